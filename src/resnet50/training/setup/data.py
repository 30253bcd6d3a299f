"""What a run starts from: the batches of both splits, and the network."""

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor

from resnet50.data.dataset import AugmentedDataset, ImageDataset
from resnet50.data.loader import (
    CachedLoader,
    SequentialBatchSampler,
    evaluation_loader,
    ordered_loader,
    training_loader,
)
from resnet50.data.skipping import SkippedSamples, SkippingLoader
from resnet50.data.transforms import Augmentation, Preprocess
from resnet50.etl.prepared import PreparedDataset
from resnet50.etl.store import open_store
from resnet50.model.resnet import ResNet
from resnet50.model.weights import PretrainedWeights
from resnet50.model.weights import apply as apply_weights
from resnet50.options import TrainOptions, Variant
from resnet50.runtime.console import warn
from resnet50.runtime.device import Device
from resnet50.training.setup.feature_cache import cache_features
from resnet50.training.training import TrainingData


def load_data(options: TrainOptions, dataset: PreparedDataset, preprocess: Preprocess, device: Device) -> TrainingData:
    """Build the loaders of both splits."""
    assert options.workers is not None  # resolved
    train, val = dataset.split("train"), dataset.split("val")
    train_images = training_images_dataset(options, dataset, preprocess)
    val_images = ImageDataset(val["path"], val["label_index"], preprocess)
    rank, world_size = device.dist.rank, device.dist.world_size
    on_wait: list[Callable[[], object]] = []
    train_loader, order = training_loader(train_images, options.batch, options.workers, rank, world_size, on_wait)
    val_order = SequentialBatchSampler(len(val), options.batch, rank, world_size)
    val_loader = evaluation_loader(val_images, options.batch, options.workers, val_order, on_wait)
    skipped = SkippedSamples(options.skip_bad, {"train": train["path"], "val": val["path"]})
    val_batches = SkippingLoader(val_loader, val_order, skipped, "val")
    cached = 3 * preprocess.size**2 * len(val) <= CACHED_BYTES
    weights = class_weights(options, train["label_index"].to_numpy(), len(dataset.classes))
    return TrainingData(
        train=SkippingLoader(train_loader, order, skipped, "train"),
        order=order,
        val=CachedLoader(val_batches) if cached else val_batches,
        val_order=val_order,
        preprocess=preprocess,
        class_weights=weights,
        skipped=skipped,
        on_wait=on_wait,
    )


CACHED_BYTES = 1 << 30
"""Validation images stay in memory if they take no more bytes than this, instead of being read in every epoch."""


def training_images_dataset(
    options: TrainOptions, dataset: PreparedDataset, preprocess: Preprocess
) -> AugmentedDataset:
    """Return the training split under augmentation, from the pixel store or from the files."""
    train = dataset.split("train")
    images = train["path"]
    store = open_store(dataset.folder) if options.store else None
    if store is not None:
        images = store.images(train)
        if store.shorter_side < options.side:
            warn(
                f"the pixel store's images have {store.shorter_side} pixels on the shorter side, less than "
                f"--image-size {options.side}: prepare with a larger --store-size, or train with --no-store"
            )
    augmentation = Augmentation(
        preprocess=preprocess.resized(options.side),
        level=options.augment,
        crop_scale=options.crop_scale,
        flips=options.flips,
    )
    return AugmentedDataset(images, train["label_index"], augmentation, options.seed)


def freeze_features(
    options: TrainOptions,
    dataset: PreparedDataset,
    network: ResNet,
    data: TrainingData,
    device: Device,
) -> TrainingData:
    """Replace the images by the features that the frozen stages compute from them."""
    assert options.workers is not None  # resolved
    images = training_images_dataset(options, dataset, data.preprocess)
    network = network.to(device.torch_device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return cache_features(data, ordered_loader(images, options.batch, options.workers), network, device)


def class_weights(options: TrainOptions, labels: np.ndarray, classes: int) -> Tensor | None:
    """Return 1/frequency of each class, scaled so that the average image weighs 1; None for equal weights."""
    if options.class_weights == "none":
        return None
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)), dtype=torch.float32)


def build_network(options: TrainOptions, dataset: PreparedDataset, pretrained: PretrainedWeights | None) -> ResNet:
    """Build the network for the dataset's classes and give it the weights to start from."""
    torch.manual_seed(options.seed)
    network = ResNet(
        options.depth,
        len(dataset.classes),
        cast(Variant, options.variant),
        options.shortcuts,
        zero_gamma=options.zero_gamma,
    )
    if pretrained is not None:
        apply_weights(pretrained, network, dataset.classes)
    return network
