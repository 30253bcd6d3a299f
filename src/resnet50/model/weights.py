"""Pretrained weights, from a source's name or a file, with their variant and preprocessing."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import Tensor

from resnet50.data.transforms import Preprocess
from resnet50.model import hubs
from resnet50.model.file import load_tensors, read_metadata
from resnet50.model.keras import convert, read_layers_model
from resnet50.model.resnet import ResNet
from resnet50.options import Depth, ShortcutKind, Variant
from resnet50.runtime.console import say
from resnet50.runtime.errors import UserError, nearest
from resnet50.runtime.provenance import sha256_of_file

SOURCES = "none, imagenet, torchvision:IMAGENET1K_V1, torchvision:IMAGENET1K_V2, hf:ORG/REPO, keras"

HARMLESS_TIMM_ARGUMENTS = {
    "num_classes": None,
    "in_chans": 3,
    "global_pool": "avg",
    "drop_rate": None,
    "drop_path_rate": None,
}
"""Arguments of a timm model that don't change the architecture, with the required value (None: any)."""


@dataclass(frozen=True)
class PretrainedWeights:
    """Weights to start from, with everything needed to use them.

    Attributes:
        source: name of the source, e.g. `torchvision:IMAGENET1K_V2`, or the path as given.
        sha256: of the file (of a TensorFlow.js model: of model.json and its shards in order).
        tensors: float, under torchvision's names, as in a `ResNet`'s state dict.
        variant: variant of the pretrained network.
        preprocess: preprocessing used in pretraining.
        shortcuts: shortcuts of the pretrained network.
        classes: names of the logits' classes, if the file has them (this project's own files do).
    """

    source: str
    sha256: str
    tensors: dict[str, Tensor]
    variant: Variant
    preprocess: Preprocess
    shortcuts: ShortcutKind = "B"
    classes: tuple[str, ...] | None = None


def load_pretrained(weights: str, depth: Depth) -> PretrainedWeights | None:
    """Load the weights that `--weights` names; None for "none".

    Args:
        weights: none; imagenet (the first available source, caches before downloads); torchvision:NAME; hf:ORG/REPO
            (timm's layout); keras; or the path of a torchvision checkpoint (.pth), a safetensors file, a folder with
            model.safetensors (timm's, or a run), or a TensorFlow.js layers model (folder, model.json, .tgz).
        depth: of the network.

    Raises:
        UserError: the source or file doesn't exist, is damaged, has another architecture, or is unavailable. Training
            never silently starts from scratch instead.
    """
    if weights == "none":
        return None
    if weights == "imagenet":
        return load_imagenet(depth)
    if weights == "keras" or weights.startswith(("torchvision:", "hf:")):
        if weights == "keras" and depth != 50:
            raise UserError(f"Keras's weights are for ResNet-50, not ResNet-{depth}: use --weights imagenet")
        path = hubs.find_cached(weights, depth) or hubs.download(weights, depth)
        return replace(load_path(path, depth), source=weights)
    if not Path(weights).exists():
        known = [name.strip() for name in SOURCES.split(",")]
        raise UserError(
            f"no weights {weights!r}: neither an existing file or folder, nor one of {SOURCES}{nearest(weights, known)}"
        )
    return replace(load_path(Path(weights), depth), source=weights)


def load_imagenet(depth: Depth) -> PretrainedWeights:
    """Load ImageNet weights from the first available source, trying all caches before downloads."""
    torchvision = [f"torchvision:{entry.name}" for entry in hubs.torchvision_entries(depth)]
    others = [f"hf:timm/resnet{depth}.a1_in1k"] + (["keras"] if depth == 50 else [])
    for source in torchvision + others:
        if path := hubs.find_cached(source, depth):
            say(f"weights: {source}, from {path}")
            return replace(load_path(path, depth), source=source)
    reasons: list[str] = []
    for source in [torchvision[0], *others]:
        try:
            path = hubs.download(source, depth)
        except hubs.UnavailableError as error:
            say(f"weights: {error}")
            reasons.append(str(error))
        else:
            say(f"weights: {source}, downloaded to {path}")
            return replace(load_path(path, depth), source=source)
    raise UserError(
        f"no ImageNet weights for ResNet-{depth} are available ({'; '.join(reasons)}): give a file or folder with "
        "--weights PATH, set HTTPS_PROXY if there is a proxy, or train from scratch with --weights none"
    )


def load_path(path: Path, depth: Depth) -> PretrainedWeights:
    """Load a file or folder in any of the formats that `load_pretrained` accepts."""
    if path.is_dir():
        for name in ("model.safetensors", "model.json"):
            if (path / name).is_file():
                return load_path(path / name, depth)
        raise UserError(f"{path} has neither model.safetensors (a run, or timm's) nor model.json (TensorFlow.js)")
    if path.suffix in (".pth", ".pt"):
        return load_checkpoint(path, depth)
    if path.suffix == ".safetensors":
        return load_safetensors(path, depth)
    if path.suffix in (".json", ".tgz"):
        model = read_layers_model(path)
        return PretrainedWeights(str(path), model.sha256, convert(model), model.variant, Preprocess())
    raise UserError(f"{path} is not a weights file: expected .pth, .safetensors, or .json or .tgz (TensorFlow.js)")


def load_checkpoint(path: Path, depth: Depth) -> PretrainedWeights:
    """Load a torchvision checkpoint: a pickled dictionary of tensors; nothing but tensors is unpickled."""
    sha256 = sha256_of_file(path)
    expected = hubs.hash_in_name(path)
    if expected and not sha256.startswith(expected):
        raise UserError(
            f"{path} is damaged: its SHA-256 begins with {sha256[: len(expected)]}, its name says {expected}; "
            "delete it to download it again, or rename it if the name contains no hash"
        )
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises errors of many types
        raise UserError(f"{path} is not a PyTorch checkpoint, or is damaged: {hubs.one_line(error)}") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(f"{path} is not a plain dictionary of tensors: save only the network's state_dict()")
    published = [entry for entry in hubs.torchvision_entries(depth) if entry.url.endswith(f"/{path.name}")]
    preprocess = hubs.torchvision_preprocess(published[0]) if published else Preprocess()
    return PretrainedWeights(str(path), sha256, cast(dict[str, Tensor], tensors), "v1.5", preprocess)


def load_safetensors(path: Path, depth: Depth) -> PretrainedWeights:
    """Load a safetensors file: this project's, which has metadata, or timm's with its config.json."""
    metadata = read_metadata(path)
    tensors = load_tensors(path)
    if "preprocess" not in metadata:
        return PretrainedWeights(str(path), sha256_of_file(path), tensors, "v1.5", timm_preprocess(path, depth))
    try:
        trained_depth = int(metadata["depth"])
        variant, shortcuts = metadata["variant"], metadata.get("shortcuts", "B")
        classes = tuple(cast(list[str], json.loads(metadata["classes"]))) if "classes" in metadata else None
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged: its metadata can't be read ({error!r})") from error
    if trained_depth != depth or variant not in get_args(Variant) or shortcuts not in get_args(ShortcutKind):
        raise UserError(
            f"{path} holds a ResNet-{trained_depth} ({variant}), not a ResNet-{depth}: give --depth to match"
        )
    return PretrainedWeights(
        str(path),
        metadata.get("source_sha256") or sha256_of_file(path),
        tensors,
        cast(Variant, variant),
        Preprocess.from_json(metadata["preprocess"]),
        cast(ShortcutKind, shortcuts),
        classes,
    )


def timm_preprocess(weights: Path, depth: Depth) -> Preprocess:
    """Read the config.json beside timm's weights: check the architecture, return the preprocessing.

    As in timm, an image's shorter side is scaled to the input size divided by `crop_pct`, rounded down.
    """
    path = weights.with_name("config.json")
    if not path.is_file():
        say(f"{weights} has no config.json beside it: assuming v1.5 and ImageNet's preprocessing")
        return Preprocess()
    try:
        config = cast(dict[str, Any], json.loads(path.read_text(encoding="utf-8")))
        architecture = config["architecture"]
        arguments = cast(dict[str, Any], config.get("model_args", {}))
        settings = cast(dict[str, Any], config.get("pretrained_cfg", config))
        size = int(settings["input_size"][-1])
        crop_mode = settings.get("crop_mode", "center")
        fields: dict[str, Any] = {
            "size": size,
            "resize": math.floor(size / settings["crop_pct"]),
            "resize_mode": {"center": "crop", "squash": "squash", "border": "pad"}.get(crop_mode, crop_mode),
            "interpolation": settings["interpolation"],
            "mean": tuple(settings["mean"]),
            "std": tuple(settings["std"]),
        }
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, ZeroDivisionError) as error:
        raise UserError(f"{path} is not a configuration in timm's layout: {error!r}") from error
    if architecture != f"resnet{depth}":
        raise UserError(f"{path}: these are weights of {architecture!r}, not of resnet{depth}; give --depth to match")
    for name, value in arguments.items():
        if name not in HARMLESS_TIMM_ARGUMENTS or HARMLESS_TIMM_ARGUMENTS[name] not in (None, value):
            raise UserError(f"{path}: a {architecture} changed by {name}={value!r} is another network")
    return Preprocess(**fields)


def apply(pretrained: PretrainedWeights, network: ResNet, classes: Sequence[str] | None = None) -> bool:
    """Load weights into a network; the head only if it stands for the same classes.

    Args:
        pretrained: weights from `load_pretrained`.
        network: keeps its new head if the number of classes differs, or if the classes are known on both sides and
            differ. Everything else must match exactly.
        classes: names of the classes of the network's logits.

    Returns:
        Whether the network kept its new head.

    Raises:
        UserError: lists what is missing, unexpected or of another shape; the network is unchanged.
    """
    own = network.state_dict()
    tensors = dict(pretrained.tensors)
    new_head = tensors.get("fc.weight", torch.empty(0)).shape[:1] != own["fc.weight"].shape[:1] or (
        classes is not None and pretrained.classes is not None and tuple(classes) != pretrained.classes
    )
    if new_head:
        tensors |= {name: own[name] for name in ("fc.weight", "fc.bias")}
    # Old checkpoints lack the batch counters, which are unused while a norm has a momentum.
    tensors = {name: own[name] for name in own if name.endswith("num_batches_tracked")} | tensors
    if pretrained.shortcuts != network.shortcuts:
        raise UserError(f"{pretrained.source}: trained with shortcuts {pretrained.shortcuts}, not {network.shortcuts}")
    problems = {
        "missing": [name for name in own if name not in tensors],
        "unexpected": [name for name in tensors if name not in own],
        "of another shape": [
            f"{name} {tuple(tensors[name].shape)} for {tuple(own[name].shape)}"
            for name in own
            if name in tensors and tensors[name].shape != own[name].shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{len(names)} {kind} ({abbreviate(names)})" for kind, names in problems.items() if names)
        raise UserError(f"{pretrained.source} does not fit a ResNet-{network.depth}: {listed}")
    network.load_state_dict(tensors)
    return new_head


def abbreviate(names: Sequence[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
