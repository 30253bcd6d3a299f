"""Classify a table of image files at once, in shards, or under torchrun: what `predict` and `evaluate` share."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from torch import Tensor

from resnet50.data.dataset import ImageDataset
from resnet50.data.loader import evaluation_loader
from resnet50.inference.classifier import Classifier
from resnet50.inference.engine import Engine, to_probabilities
from resnet50.model.file import model_file
from resnet50.runtime.console import progress, say
from resnet50.runtime.cpu import available_cores
from resnet50.runtime.provenance import sha256_of_file
from resnet50.runtime.sharded_work import ShardOptions, run_sharded
from resnet50.runtime.sharding import digest_of


class BatchOptions(ShardOptions, Protocol):
    """What the options of `predict` and `evaluate` have in common."""

    @property
    def run(self) -> Path: ...
    @property
    def workers(self) -> int | None: ...


def predict_sharded(
    classifier: Classifier, paths: pd.Series, identity: Callable[[], object], folder: Path, options: BatchOptions
) -> np.ndarray | None:
    """Compute the probability of every class for every image file: float64, N×classes, in order.

    Args:
        classifier: Its engine does the work, in batches of `options.batch_size`.
        paths: Image files, N.
        identity: Describes the images; shards are only merged if it and the rest of their digest agree.
        folder: Where shards are kept until they are merged.
        options: Model, batch size, loader processes, and which shard to do or how many to merge.

    Returns:
        None after a shard, whose rows are then in `folder`.

    Raises:
        UserError: An image cannot be read, or a shard to merge is missing, damaged or of other work.
    """
    device = classifier.device
    engine = classifier.engine(options.batch_size, len(paths))
    say(f"{engine.name} ({engine.why}), {device.precision} on {device.torch_device} ({device.why})")

    def digest() -> str:
        weights = sha256_of_file(model_file(options.run))
        return digest_of(weights, identity(), options.batch_size, device.precision, engine.name)

    def work(rows: slice) -> np.ndarray:
        images = paths.iloc[rows]
        if images.empty:
            return np.zeros((0, len(classifier.classes)))
        dataset = ImageDataset(images, [-1] * len(images), classifier.model.preprocess)
        return classify(engine, dataset, options.batch_size, options.workers)

    return run_sharded(work, len(paths), folder, digest, device.dist, options)


def classify(engine: Engine, dataset: ImageDataset, batch_size: int, workers: int | None) -> np.ndarray:
    workers = min(4, available_cores()) if workers is None else workers
    logits: list[Tensor] = []
    with progress("classifying", len(dataset), "images") as advance:
        for images, _ in evaluation_loader(dataset, batch_size, workers):
            logits.append(engine(images))
            advance(len(images))
    return to_probabilities(logits)


def probability_columns(probabilities: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    """Turn probabilities, N×classes, into columns named `p_CLASS`."""
    return pd.DataFrame(probabilities, columns=[f"p_{name}" for name in classes])
