import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from resnet50.data import Preprocess
from resnet50.model import resnet50
from resnet50.model.keras import convert, read_layers_model
from resnet50.runtime.errors import UserError


def keras_forward(
    keras_layers: list[tuple[str, str, tuple[int, ...], int]], arrays: dict[str, np.ndarray], images: Tensor
) -> Tensor:
    """Keras's ResNet50 (v1) in plain functions: BGR from 0 to 255 minus the means in, logits out."""
    weights = {name: torch.from_numpy(array).double() for name, array in arrays.items()}
    layers = {conv: (norm, stride) for conv, norm, _, stride in keras_layers}

    def conv_norm(x: Tensor, conv: str, padding: int) -> Tensor:
        norm, stride = layers[conv]
        kernel = weights[f"{conv}/kernel"].permute(3, 2, 0, 1)
        x = F.conv2d(x, kernel, weights[f"{conv}/bias"], stride, padding)
        mean, variance, gamma, beta = (
            weights[f"{norm}/{part}"].view(-1, 1, 1) for part in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return gamma * (x - mean) / torch.sqrt(variance + 1e-3) + beta

    x = F.relu(conv_norm(images, "conv1", 3))
    x = F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2)
    for name in dict.fromkeys(conv[:5] for conv in layers if conv.startswith("res")):
        y = F.relu(conv_norm(x, f"{name}_branch2a", 0))
        y = F.relu(conv_norm(y, f"{name}_branch2b", 1))
        y = conv_norm(y, f"{name}_branch2c", 0)
        x = F.relu(y + (conv_norm(x, f"{name}_branch1", 0) if name.endswith("a") else x))
    return x.mean((2, 3)) @ weights["fc1000/kernel"] + weights["fc1000/bias"]


@pytest.mark.slow
def test_converted_network_gives_keras_logits(
    layers_model: Path, keras_layers: list[tuple[str, str, tuple[int, ...], int]], keras_arrays: dict[str, np.ndarray]
) -> None:
    model = read_layers_model(layers_model / "model.json")
    network = resnet50(10, variant=model.variant).eval()
    missing, unexpected = network.load_state_dict(convert(model), strict=False)
    assert all(name.endswith("num_batches_tracked") for name in missing)
    assert not unexpected
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    means = torch.tensor(Preprocess().mean).view(3, 1, 1).double() * 255
    with torch.no_grad():
        converted = network.double()(Preprocess().normalize(pixels).double())
        expected = keras_forward(keras_layers, keras_arrays, (pixels - means).flip(1))
    torch.testing.assert_close(converted, expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1


def test_variant_follows_from_the_strides(layers_model: Path, tmp_path: Path) -> None:
    assert read_layers_model(layers_model / "model.json").variant == "v1"
    description = json.loads((layers_model / "model.json").read_text())
    for layer in description["modelTopology"]["model_config"]["config"]["layers"]:
        if layer["name"].endswith("branch2a"):
            layer["config"]["strides"] = [1, 1]
    copy = tmp_path / "ResNet50"
    shutil.copytree(layers_model, copy)
    (copy / "model.json").write_text(json.dumps(description))
    assert read_layers_model(copy / "model.json").variant == "v1.5"


def test_npm_package_and_its_folder_give_the_same_weights_and_hash(layers_model: Path, npm_package: Path) -> None:
    folder, package = read_layers_model(layers_model / "model.json"), read_layers_model(npm_package)
    assert package.sha256 == folder.sha256
    assert package.weights.keys() == folder.weights.keys()
    assert all(torch.equal(package.weights[name], folder.weights[name]) for name in folder.weights)


def write_model(folder: Path, data: bytes = bytes(16), **changes: object) -> Path:
    """Write a layers model of one four-number weight."""
    entry = {"name": "fc1000/bias", "shape": [4], "dtype": "float32"} | changes
    path = folder / "model.json"
    manifest = [{"paths": ["shard.bin"], "weights": [entry]}]
    path.write_text(json.dumps({"modelTopology": {"config": {"layers": []}}, "weightsManifest": manifest}))
    (folder / "shard.bin").write_bytes(data)
    return path


def test_shard_of_the_wrong_length_is_reported(tmp_path: Path) -> None:
    for data in (bytes(12), bytes(20)):
        with pytest.raises(UserError, match="or is damaged"):
            read_layers_model(write_model(tmp_path, data))


def test_missing_shard_is_named(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    (tmp_path / "shard.bin").unlink()
    with pytest.raises(UserError, match=r"shard\.bin is missing"):
        read_layers_model(path)


def test_quantized_weights_are_refused(tmp_path: Path) -> None:
    for changes in ({"dtype": "uint8"}, {"quantization": {"dtype": "uint8", "scale": 0.1, "min": 0}}):
        with pytest.raises(UserError, match="is quantized or not float32"):
            read_layers_model(write_model(tmp_path, **changes))


def test_shard_outside_the_folder_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    path.write_text(path.read_text().replace("shard.bin", "../shard.bin"))
    with pytest.raises(UserError, match="is outside the model's folder"):
        read_layers_model(path)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"modelTopology": null}', "\xff"])
def test_json_of_something_else_is_reported(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"model\.json is not a TensorFlow\.js layers model"):
        read_layers_model(tmp_path / "model.json")


def test_damaged_archive_or_one_without_a_model_is_reported(tmp_path: Path, npm_package: Path) -> None:
    empty = tmp_path / "empty.tgz"
    with tarfile.open(empty, "w:gz"):
        pass
    with pytest.raises(UserError, match=r"holds 0 files named model\.json"):
        read_layers_model(empty)
    for damaged in (b"no archive", npm_package.read_bytes()[:1_000_000]):
        (tmp_path / "damaged.tgz").write_bytes(damaged)
        with pytest.raises(UserError, match="or is damaged"):
            read_layers_model(tmp_path / "damaged.tgz")


def test_layers_of_another_network_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="conv2_block1_1_conv"):
        convert(read_layers_model(write_model(tmp_path, name="conv2_block1_1_conv/kernel", shape=[1, 1, 2, 2])))
    with pytest.raises(UserError, match="fc1000"):
        convert(read_layers_model(write_model(tmp_path)))
