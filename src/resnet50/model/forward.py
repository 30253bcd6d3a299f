"""The forward pass over batches: uint8 images in, logits out."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from resnet50.data.transforms import Preprocess
from resnet50.model.resnet import ResNet
from resnet50.runtime.device import Device

Forward = Callable[[Any, Tensor, Preprocess], Tensor]
"""Maps a network (or its DDP replica) and a batch on its device to logits."""


def forward_images(network: nn.Module, images: Tensor, preprocess: Preprocess) -> Tensor:
    """Map uint8 images, N×3×H×W, to logits, N×classes."""
    return network(preprocess.normalize(images))


def to_device(images: Tensor, device: Device) -> Tensor:
    """Move images to the device in channels-last memory, which convolutions prefer."""
    return images.to(device.torch_device, non_blocking=True, memory_format=torch.channels_last)


@torch.no_grad()
def forward_batches(
    network: ResNet,
    batches: Iterable[tuple[Tensor, Tensor]],
    preprocess: Preprocess,
    device: Device,
    forward: Forward = forward_images,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (float32 logits, N×classes, on the device; labels, N, unchanged) for every batch, in order."""
    network.eval()
    for images, labels in batches:
        with device.autocast():
            logits = forward(network, to_device(images, device), preprocess)
        yield logits.float(), labels
