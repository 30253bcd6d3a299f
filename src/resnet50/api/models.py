"""Networks: a trained one as a `Classifier`, or one to train as an `nn.Module`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, cast, get_args

from resnet50.runtime.errors import UserError, nearest

if TYPE_CHECKING:
    from resnet50.inference.classifier import Classifier
    from resnet50.model.resnet import ResNet
    from resnet50.options import Depth, EngineName, Precision, ShortcutKind, Variant
    from resnet50.options.keywords import StrPath

ModelName = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


def load(
    path: StrPath, *, device: str = "auto", precision: Precision = "auto", engine: EngineName = "auto"
) -> Classifier:
    """Load a trained network to classify images with.

    Args:
        path: a `Run`, its folder, or a model.safetensors.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32, bf16 or fp16.
        engine: what runs the network: torch, openvino, or auto (on a CPU, OpenVINO if it is installed).

    Raises:
        UserError: the file is missing or damaged, or the device or engine is not available.
    """
    from resnet50.inference.classifier import Classifier

    return Classifier.load(path, device=device, precision=precision, engine=engine)


def create_model(
    name: ModelName = "resnet50",
    *,
    weights: StrPath | None = None,
    num_classes: int | None = None,
    variant: Variant | None = None,
    shortcuts: ShortcutKind = "B",
) -> ResNet:
    """Build a network, an `nn.Module` with torchvision's names, from scratch or from pretrained weights.

    Args:
        name: resnet18, resnet34, resnet50, resnet101 or resnet152.
        weights: None for He initialization; else as `train` takes them: "imagenet", "torchvision:IMAGENET1K_V2",
            "hf:timm/resnet50.a1_in1k", or the path of a file, a folder or a run.
        num_classes: number of logits; None for as many as the weights have, else 1000. The head starts afresh if the
            weights have another number.
        variant: which convolution of a bottleneck strides: its 3x3 (v1.5) or its first 1x1 (v1); None for the weights'
            own, else v1.5.
        shortcuts: A, B, C or none, as in the paper.

    Raises:
        UserError: there is no such network, the weights are not available, or they don't fit.
    """
    from resnet50.model.resnet import ResNet
    from resnet50.model.weights import apply, load_pretrained

    if name not in get_args(ModelName):
        names = get_args(ModelName)
        raise UserError(f"there is no model {name!r}{nearest(name, names)}: models are {', '.join(names)}")
    depth = cast("Depth", int(name.removeprefix("resnet")))
    pretrained = None if weights is None else load_pretrained(os.fspath(weights), depth)
    if pretrained is None:
        return ResNet(depth, num_classes or 1000, variant or "v1.5", shortcuts)
    if num_classes is None:
        head = pretrained.tensors.get("fc.bias")
        num_classes = 1000 if head is None else len(head)
    network = ResNet(depth, num_classes, variant or pretrained.variant, shortcuts)
    apply(pretrained, network)
    return network
