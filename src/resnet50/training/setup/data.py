"""What a training run starts from: its batches of both splits, and its network."""

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
from resnet50.data.transforms import Augmentation, Preprocess
from resnet50.etl.prepared import PreparedDataset
from resnet50.etl.store import open_store
from resnet50.model.resnet import ResNet
from resnet50.model.weights import PretrainedWeights
from resnet50.model.weights import apply as apply_weights
from resnet50.options.config import TrainOptions, Variant
from resnet50.runtime.console import warn
from resnet50.runtime.device import Device
from resnet50.training.loop import TrainingData
from resnet50.training.setup.feature_cache import cache_features


def load_data(options: TrainOptions, dataset: PreparedDataset, preprocess: Preprocess, device: Device) -> TrainingData:
    """Build the loaders of both splits."""
    assert options.workers is not None  # resolved
    train, val = dataset.split("train"), dataset.split("val")
    photos = training_images_dataset(options, dataset, preprocess)
    share = device.dist.rank, device.dist.world_size
    loader, order = training_loader(photos, options.batch, options.workers, share)
    val_order = SequentialBatchSampler(len(val), options.batch, share)
    photos_val = ImageDataset(val["path"], val["label_index"], preprocess)
    plain = evaluation_loader(photos_val, options.batch, options.workers, val_order)
    keep = 3 * preprocess.size**2 * len(val) <= KEPT_BYTES
    weights = class_weights(options, train["label_index"].to_numpy(), len(dataset.classes))
    return TrainingData(
        train=loader,
        order=order,
        val=CachedLoader(plain) if keep else plain,
        val_order=val_order,
        preprocess=preprocess,
        class_weights=weights,
        paths={"train": train["path"], "val": val["path"]},
    )


KEPT_BYTES = 1 << 30
"""Up to so many bytes of validation images stay in memory, as the network takes them, instead of being read again."""


def training_images_dataset(
    options: TrainOptions, dataset: PreparedDataset, preprocess: Preprocess
) -> AugmentedDataset:
    """Return the training split under augmentation: from the pixel store if it is to be used, else from the files."""
    train = dataset.split("train")
    photos = train["path"]
    store = open_store(dataset.folder) if options.store else None
    if store is not None:
        photos = store.images(train)
        if store.shorter_side < options.image_size:
            warn(
                f"the pixel store's photos have {store.shorter_side} pixels on the shorter side, less than "
                f"--image-size {options.image_size}: prepare with a larger --store-size, or train with --no-store"
            )
    augmentation = Augmentation(
        preprocess=preprocess.resized(options.image_size),
        level=options.augment,
        crop_scale=options.crop_scale,
        flips=options.flips,
    )
    return AugmentedDataset(photos, train["label_index"], augmentation, options.seed)


def freeze_features(
    options: TrainOptions,
    dataset: PreparedDataset,
    network: ResNet,
    data: TrainingData,
    device: Device,
) -> TrainingData:
    """Replace the images by what the frozen stages make of them."""
    assert options.workers is not None  # resolved
    photos = training_images_dataset(options, dataset, data.preprocess)
    network = network.to(device.torch_device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return cache_features(data, ordered_loader(photos, options.batch, options.workers), network, device)


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
