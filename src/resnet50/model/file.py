"""Model files (`model.safetensors`): weights, with classes and preprocessing in the metadata."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from resnet50.data.transforms import Preprocess
from resnet50.model.resnet import ResNet
from resnet50.options import Depth, ShortcutKind, Variant
from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.errors import UserError

FORMAT = "resnet50-1"


@dataclass(frozen=True)
class Model:
    """A trained network with its classes and preprocessing.

    Attributes:
        network: the network.
        classes: name of each logit's class.
        preprocess: applied to images before the network.
    """

    network: ResNet
    classes: tuple[str, ...]
    preprocess: Preprocess


def save_model(model: Model, path: Path) -> None:
    """Write a model file atomically."""
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
    with atomic_write(path) as partial:
        partial.write_bytes(save(tensors, metadata))  # save_file would make it readable by its owner only


def model_file(path: Path) -> Path:
    """Return the model file of a run folder, or the path itself if it is a file."""
    return path / "model.safetensors" if path.is_dir() else path


def load_model(path: Path) -> Model:
    """Load a model file, or the one in a run folder, onto the CPU in evaluation mode.

    Raises:
        UserError: the file doesn't exist, was not written by this project, or is damaged.
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
        classes = class_names(metadata["classes"])
        architecture = (
            cast(Depth, int(metadata["depth"])),
            len(classes),
            cast(Variant, metadata["variant"]),
            cast(ShortcutKind, metadata["shortcuts"]),
        )
        preprocess = Preprocess.from_json(metadata["preprocess"])
        tensors = load_file(path)
        with torch.device("meta"):  # no memory yet: the file may claim any number of classes
            check_tensors(tensors, ResNet(*architecture).state_dict())
        network = ResNet(*architecture)
        network.load_state_dict(tensors, strict=True)
    except (
        KeyError,
        ValueError,
        RuntimeError,
        SafetensorError,
        UserError,
    ) as error:  # also a RecursionError
        raise UserError(f"{path} is damaged: {' '.join(str(error).split())[:300]}") from error
    return Model(network.eval(), classes, preprocess)


def class_names(text: str) -> tuple[str, ...]:
    """Parse the names of the classes; a ValueError unless they are distinct strings."""
    given: Any = json.loads(text)
    if not isinstance(given, list) or not all(isinstance(name, str) for name in cast(list[Any], given)):
        raise ValueError("its classes are not a list of names")
    names = cast(list[str], given)
    if len(set(names)) < len(names):
        raise ValueError("two of its classes have the same name")
    return tuple(names)


def check_tensors(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Raise a ValueError unless the tensors have the expected names, shapes and kinds of dtype."""
    for name in expected | tensors:
        if name not in tensors or name not in expected:
            raise ValueError(f"{name} is {'missing' if name in expected else 'not part of the network'}")
        found, wanted = tensors[name], expected[name]
        if found.shape != wanted.shape:
            raise ValueError(f"{name} has the shape {tuple(found.shape)}, not {tuple(wanted.shape)}")
        if found.is_floating_point() != wanted.is_floating_point():
            raise ValueError(f"{name} has the dtype {found.dtype}, not {wanted.dtype}")


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; a UserError if it is not one."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a safetensors file, or is damaged ({error})") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; a UserError if it is not one."""
    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:  # KeyError: a dtype that torch lacks
        raise UserError(f"{path} is not a safetensors file, or is damaged ({error})") from error
