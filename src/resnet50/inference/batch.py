"""Classify image files in batches: all at once for `evaluate`, in parts that are forgotten for `predict`."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils import data

from resnet50.data.dataset import ImageDataset
from resnet50.data.loader import evaluation_loader
from resnet50.data.transforms import Preprocess
from resnet50.etl.decode import UnreadableImageError
from resnet50.inference.classifier import Classifier
from resnet50.inference.engine import Engine, to_probabilities
from resnet50.model.file import model_file
from resnet50.runtime.console import progress, say
from resnet50.runtime.cpu import available_cores
from resnet50.runtime.errors import UserError
from resnet50.runtime.provenance import sha256_of_file
from resnet50.runtime.sharded_work import ShardOptions, run_sharded
from resnet50.runtime.sharding import digest_of


class BatchOptions(ShardOptions, Protocol):
    """What the options of `predict` and `evaluate` have in common."""

    @property
    def run(self) -> Path: ...
    @property
    def workers(self) -> int | None: ...


def make_engine(classifier: Classifier, batch_size: int, images: int) -> Engine:
    """Return the engine for so many images, and say which it is."""
    engine, device = classifier.engine(batch_size, images), classifier.device
    say(f"{engine.name} ({engine.why}), {device.precision} on {device.torch_device} ({device.why})")
    return engine


def digest_of_work(classifier: Classifier, engine: Engine, options: BatchOptions, *identity: object) -> str:
    """Identify work by everything that its results depend on."""
    weights = sha256_of_file(model_file(options.run))
    return digest_of(weights, *identity, options.batch_size, classifier.device.precision, engine.name)


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
    engine = make_engine(classifier, options.batch_size, len(paths))

    def digest() -> str:
        return digest_of_work(classifier, engine, options, identity())

    def work(rows: slice) -> np.ndarray:
        images = paths.iloc[rows]
        if images.empty:
            return np.zeros((0, len(classifier.classes)))
        dataset = ImageDataset(images, [-1] * len(images), classifier.model.preprocess)
        return classify(engine, dataset, options.batch_size, options.workers)

    return run_sharded(work, len(paths), folder, digest, classifier.device.dist, options)


def classify(engine: Engine, dataset: ImageDataset, batch_size: int, workers: int | None) -> np.ndarray:
    logits: list[Tensor] = []
    with progress("classifying", len(dataset), "images") as advance:
        loader = evaluation_loader(dataset, batch_size, loader_processes(workers))
        for batch in engine.stream(images for images, _ in loader):
            logits.append(batch)
            advance(len(batch))
    return to_probabilities(logits)


def loader_processes(workers: int | None) -> int:
    return min(4, available_cores()) if workers is None else workers


class ReadableOrNot(data.Dataset[tuple[Tensor, str]]):
    """Image files; an item is (uint8 3×S×S, "") or, if the file can't be read, (zeros, the reason)."""

    def __init__(self, paths: "pd.Series[str]", preprocess: Preprocess) -> None:
        self.images = ImageDataset(paths, range(len(paths)), preprocess)
        self.size = preprocess.size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, str]:
        try:
            return self.images[row][0], ""
        except UnreadableImageError as error:
            return torch.zeros(3, self.size, self.size, dtype=torch.uint8), str(error)


class Classified(NamedTuple):
    """The results of some rows.

    Attributes:
        rows: of the table that was classified.
        probabilities: float64, N×classes; meaningless where an image can't be read.
        errors: N reasons; empty for the images that could be read.
    """

    rows: slice
    probabilities: np.ndarray
    errors: list[str]


def classify_parts(
    engine: Engine,
    paths: "pd.Series[str]",
    parts: Sequence[slice],
    preprocess: Preprocess,
    batch_size: int,
    workers: int | None,
    *,
    strict: bool = False,
) -> Iterator[Classified]:
    """Classify some rows of a column of image files, part by part; only one part is held in memory.

    An unreadable image takes the place of a black one in its batch, so that the others get the same results.

    Args:
        engine: gets batches of `batch_size` images.
        paths: image files.
        parts: each but the last of the table has whole batches.
        preprocess: of the model.
        batch_size: images per forward pass.
        workers: processes that load images; None: by the number of cores.
        strict: whether to stop at an unreadable image.

    Raises:
        UserError: with `strict`, the first image that can't be read.
    """
    if not parts:
        return
    rows = np.concatenate([np.arange(part.start, part.stop) for part in parts])
    dataset = ReadableOrNot(paths.take(rows), preprocess)
    del rows
    loader = evaluation_loader(cast(Any, dataset), batch_size, loader_processes(workers))
    reasons: deque[str] = deque()

    def checked_batches() -> Iterator[Tensor]:
        for images, batch_reasons in cast(Iterable[tuple[Tensor, Sequence[str]]], loader):
            if strict and any(batch_reasons):
                raise UserError(f"--strict: {next(filter(None, batch_reasons))}")
            reasons.extend(batch_reasons)
            yield images

    logits = engine.stream(checked_batches())
    with progress("classifying", len(dataset), "images") as advance:
        for part in parts:
            of_part: list[Tensor] = []
            for batch in islice(logits, math.ceil((part.stop - part.start) / batch_size)):
                of_part.append(batch)
                advance(len(batch))
            errors = [reasons.popleft() for _ in range(part.stop - part.start)]
            yield Classified(part, to_probabilities(of_part), errors)
