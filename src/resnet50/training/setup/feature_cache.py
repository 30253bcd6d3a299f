"""With every stage frozen, an image's features never change: they are computed once, and the head trains on them."""

import dataclasses

import torch
from torch import Tensor

from resnet50.data.loader import EpochBatchSampler, Loader, TensorBatches
from resnet50.data.transforms import Preprocess
from resnet50.model.forward import forward_batches
from resnet50.model.resnet import ResNet
from resnet50.runtime.console import progress
from resnet50.runtime.device import Device
from resnet50.training.training import TrainingData


def forward_features(network: ResNet, features: Tensor, preprocess: Preprocess) -> Tensor:
    """Map pooled features to logits."""
    del preprocess
    return network.fc(features.flatten(1))


def pooled_features(network: ResNet, images: Tensor, preprocess: Preprocess) -> Tensor:
    """Map images to the features that the head sees."""
    return network.features(preprocess.normalize(images))


def cache_features(data: TrainingData, in_order: Loader, network: ResNet, device: Device) -> TrainingData:
    """Compute the features of both splits once, and return data that has them in place of the images.

    Args:
        data: with images.
        in_order: the training images, each once, in the order of the table.
        network: on its device; only its stages are used.
        device: of the network.
    """

    def compute(batches: Loader, order: EpochBatchSampler | None) -> TensorBatches:
        parts: list[tuple[Tensor, Tensor]] = []
        for features, labels in forward_batches(network, batches, data.preprocess, device, pooled_features):
            parts.append((features[:, :, None, None].cpu(), labels))
            advance(len(labels))
        features, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        return TensorBatches(features, labels, data.order.batch_size, order)

    with progress("computing features", data.order.rows + data.val_order.rows, "images") as advance:
        return dataclasses.replace(
            data,
            train=compute(in_order, data.order),
            val=compute(data.val, None),
            forward=forward_features,
        )
