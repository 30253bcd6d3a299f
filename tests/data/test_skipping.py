"""Samples that become unreadable: skipped as far as allowed, every other one exactly once."""

from pathlib import Path

import pytest
import torch

from resnet50.data import Augmentation, AugmentedDataset, ImageDataset, Preprocess, evaluation_loader, training_loader
from resnet50.data.loader import CachedLoader, SequentialBatchSampler
from resnet50.data.skipping import SkippedSamples, SkippingLoader
from resnet50.runtime.errors import UserError
from tests.conftest import MakeImage

PREPROCESS = Preprocess(size=32, resize=36)
ROWS = 11


@pytest.fixture
def paths(tmp_path: Path, make_image: MakeImage) -> list[str]:
    files = [tmp_path / f"{number}.png" for number in range(ROWS)]
    for number, file in enumerate(files):
        make_image(seed=number).save(file)
    return [str(file) for file in files]


def spoil(paths: list[str], *rows: int) -> None:
    for row in rows:
        Path(paths[row]).write_bytes(b"no longer an image")


def validation(paths: list[str], skipped: SkippedSamples, workers: int = 0) -> SkippingLoader:
    order = SequentialBatchSampler(ROWS, 3)
    loader = evaluation_loader(ImageDataset(paths, range(ROWS), PREPROCESS), 3, workers, order)
    return SkippingLoader(loader, order, skipped, "val")


def training(paths: list[str], skipped: SkippedSamples, workers: int = 0) -> SkippingLoader:
    dataset = AugmentedDataset(paths, range(ROWS), Augmentation(preprocess=PREPROCESS), seed=3)
    loader, order = training_loader(dataset, 3, workers)
    return SkippingLoader(loader, order, skipped, "train")


def labels_of(loader: SkippingLoader | CachedLoader) -> list[list[int]]:
    return [labels.tolist() for _, labels in loader]


@pytest.mark.parametrize("workers", [0, 2])
def test_validation_goes_on_without_a_bad_sample(paths: list[str], workers: int) -> None:
    spoil(paths, 4, 5, 9)
    skipped = SkippedSamples(3, {"val": paths})
    loader = validation(paths, skipped, workers)
    rows = [row for batch in labels_of(loader) for row in batch]
    assert rows == [0, 1, 2, 3, 6, 7, 8, 10]
    assert skipped.rows["val"] == [4, 5, 9]
    assert [row for batch in labels_of(loader) for row in batch] == rows


@pytest.mark.parametrize("workers", [0, 2])
def test_training_batches_keep_their_other_samples(paths: list[str], workers: int) -> None:
    whole = labels_of(training(paths, SkippedSamples()))
    spoil(paths, whole[1][0], whole[2][2])
    found = labels_of(training(paths, SkippedSamples(2, {"train": paths}), workers))
    assert found == [whole[0], whole[1][1:], whole[2][:2]]


def test_a_batch_without_a_readable_sample_is_empty(paths: list[str]) -> None:
    whole = labels_of(training(paths, SkippedSamples()))
    spoil(paths, *whole[1])
    batches = list(training(paths, SkippedSamples(3, {"train": paths})))
    assert [len(labels) for _, labels in batches] == [3, 0, 3]
    assert batches[1][0].shape == (0, 3, 32, 32)


def test_an_epoch_that_is_resumed_begins_at_its_batch(paths: list[str]) -> None:
    whole = labels_of(training(paths, SkippedSamples()))
    spoil(paths, whole[2][1])
    loader = training(paths, SkippedSamples(1, {"train": paths}))
    loader.sampler.first = 1
    assert labels_of(loader) == [whole[1], [whole[2][0], whole[2][2]]]
    assert loader.sampler.first == 1


def test_the_limit_holds_for_both_splits_together(paths: list[str]) -> None:
    bad = labels_of(training(paths, SkippedSamples()))[0][0]
    spoil(paths, bad)
    skipped = SkippedSamples(1, {"train": paths, "val": paths})
    labels_of(training(paths, skipped))
    with pytest.raises(UserError, match=r"2 images have gone bad .*more than --skip-bad 1"):
        labels_of(validation(paths, skipped))


def test_without_a_limit_the_first_bad_image_is_named(paths: list[str]) -> None:
    spoil(paths, 4)
    with pytest.raises(UserError, match=r"an image has gone bad since .*4\.png.*--skip-bad N"):
        labels_of(validation(paths, SkippedSamples(0, {"val": paths})))


def test_cached_batches_lack_the_bad_sample_and_no_other(paths: list[str]) -> None:
    spoil(paths, 4)
    cached = CachedLoader(validation(paths, SkippedSamples(1, {"val": paths})))
    first = labels_of(cached)
    for path in paths:
        Path(path).unlink()
    assert labels_of(cached) == first
    assert sorted(row for batch in first for row in batch) == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]


def test_a_loader_that_is_left_early_starts_over(paths: list[str]) -> None:
    loader = validation(paths, SkippedSamples())
    for images, _ in loader:
        assert images.dtype == torch.uint8
        break
    assert labels_of(loader)[0] == [0, 1, 2]


def test_what_a_checkpoint_holds_comes_back_to_the_samplers(paths: list[str]) -> None:
    skipped = SkippedSamples(2, {"val": paths})
    loader = validation(paths, skipped)
    skipped.load_state_dict({"rows": {"train": [], "val": [1]}, "events": ["skipped in val, 1 of up to 2: 1.png"]})
    assert [row for batch in labels_of(loader) for row in batch] == [0, *range(2, ROWS)]
    assert skipped.count == 1
