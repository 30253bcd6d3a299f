"""`model.safetensors`: weights with everything needed to use them alone, in the file's own metadata."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from resnet50.config import Depth, ShortcutKind, Variant
from resnet50.data.transforms import Preprocess
from resnet50.errors import UserError
from resnet50.model.resnet import ResNet
from resnet50.whole import whole_file

FORMAT = "resnet50-1"


@dataclass(frozen=True)
class Model:
    """A trained network with the classes and the preprocessing that belong to it."""

    network: ResNet
    classes: tuple[str, ...]
    preprocess: Preprocess


def save_model(model: Model, path: Path) -> None:
    """Write a model file, whole or not at all."""
    network = model.network
    metadata = {
        "format": FORMAT,
        "depth": str(network.depth),
        "variant": network.variant,
        "shortcuts": network.shortcuts,
        "classes": json.dumps(model.classes, ensure_ascii=False),
        "preprocess": model.preprocess.to_json(),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with whole_file(path) as partial:
        partial.write_bytes(save(tensors, metadata))  # save_file would make it unreadable for others than its owner


def model_file(path: Path) -> Path:
    """Return the model file of a run folder, or the file itself."""
    return path / "model.safetensors" if path.is_dir() else path


def load_model(path: Path) -> Model:
    """Read a model file, or the one in a run folder, onto the CPU in evaluation mode.

    Raises:
        UserError: no such file, not one of ours, or damaged.
    """
    path = model_file(path)
    if not path.is_file():
        raise UserError(
            f"no model at {path}: give a run folder (the output of `resnet50 train`) or a model.safetensors"
        )
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path} was not written by `resnet50 train`: it has no classes and no preprocessing")
    try:
        classes = tuple(cast(list[str], json.loads(metadata["classes"])))
        network = ResNet(
            cast(Depth, int(metadata["depth"])),
            len(classes),
            cast(Variant, metadata["variant"]),
            cast(ShortcutKind, metadata["shortcuts"]),
        )
        network.load_state_dict(load_file(path), strict=True)
    except (KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{path} is damaged: {' '.join(str(error).split())[:300]}") from error
    return Model(network.eval(), classes, Preprocess.from_json(metadata["preprocess"]))


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; a UserError when it is none."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a safetensors file, or a damaged one ({error})") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; a UserError when it is none."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a safetensors file, or a damaged one ({error})") from error
