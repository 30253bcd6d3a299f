"""Order, coverage and the same samples however they are loaded."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from resnet50.data import Augmentation, AugmentedDataset, ImageDataset, Preprocess, evaluation_loader, training_loader
from resnet50.data.dataset import Sample
from resnet50.etl.decode import UnreadableImageError, decode
from tests.conftest import MakeImage

PREPROCESS = Preprocess(size=32, resize=36)


@pytest.fixture
def paths(tmp_path: Path, make_image: MakeImage) -> list[Path]:
    files = [tmp_path / f"{number}.png" for number in range(11)]
    for number, file in enumerate(files):
        make_image(seed=number).save(file)
    return files


def epoch_samples(paths: list[Path], batch_size: int, workers: int, epoch: int) -> dict[int, torch.Tensor]:
    """Return every image of an epoch by its label, which here is its row."""
    dataset = AugmentedDataset(paths, range(len(paths)), Augmentation(preprocess=PREPROCESS, level="standard"), seed=3)
    loader, order = training_loader(dataset, batch_size, workers)
    order.epoch = epoch
    return {int(label): image for images, labels in loader for image, label in zip(images, labels, strict=True)}


def test_samples_do_not_depend_on_workers_or_batch_size(paths: list[Path]) -> None:
    expected = epoch_samples(paths, batch_size=1, workers=0, epoch=2)
    assert len(expected) == 11
    for batch_size, workers in ((11, 0), (3, 1), (4, 2)):
        samples = epoch_samples(paths, batch_size, workers, epoch=2)
        assert len(samples) == 11 // batch_size * batch_size
        assert all(torch.equal(image, expected[row]) for row, image in samples.items())


def test_another_epoch_brings_other_augmentations_and_another_order(paths: list[Path]) -> None:
    first, second = (epoch_samples(paths, 1, 0, epoch) for epoch in (0, 1))
    assert list(first) != list(second)
    assert not any(torch.equal(first[row], second[row]) for row in first)


def test_workers_that_live_on_see_the_epoch_change(paths: list[Path]) -> None:
    dataset = AugmentedDataset(paths, range(11), Augmentation(preprocess=PREPROCESS), seed=3)
    loader, order = training_loader(dataset, 11, 1)
    orders = []
    for order.epoch in (0, 1, 0):
        orders.append(next(labels.tolist() for _, labels in loader))
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.parametrize(("batch_size", "batches"), [(4, 2), (11, 1), (12, 1), (100, 1)])
def test_training_drops_an_incomplete_last_batch(paths: list[Path], batch_size: int, batches: int) -> None:
    loader, order = training_loader(
        AugmentedDataset(paths, range(11), Augmentation(preprocess=PREPROCESS), seed=0), batch_size, 0
    )
    sizes = [len(labels) for _, labels in loader]
    assert len(order) == len(sizes) == batches
    assert sizes == [min(batch_size, 11)] * batches


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_counts_every_image_once_and_in_order(paths: list[Path], workers: int) -> None:
    loader = evaluation_loader(ImageDataset(paths, range(11), PREPROCESS), 4, workers)
    batches = list(loader)
    assert [label for _, labels in batches for label in labels.tolist()] == list(range(11))
    images = torch.cat([images for images, _ in batches])
    assert images.dtype == torch.uint8
    assert all(torch.equal(image, PREPROCESS(decode(path))) for image, path in zip(images, paths, strict=True))


def test_dataset_serves_anyones_transform(paths: list[Path]) -> None:
    dataset = ImageDataset(paths, [5] * 11, lambda image: torch.from_numpy(np.array(image)).sum())
    image, label = dataset[3]
    assert label == 5
    assert image == np.array(decode(paths[3])).sum()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_went_bad_stops_with_its_name(paths: list[Path], workers: int) -> None:
    paths[7].write_bytes(b"no image any more")
    with pytest.raises(UnreadableImageError, match=r"^\S+7\.png: cannot be read as an image"):
        list(evaluation_loader(ImageDataset(paths, range(11), PREPROCESS), 4, workers))


def test_paths_and_labels_of_different_length_are_refused(paths: list[Path]) -> None:
    with pytest.raises(ValueError, match="11 paths but 3 labels"):
        ImageDataset(paths, range(3), PREPROCESS)


def test_order_is_a_pure_function_of_seed_and_epoch(paths: list[Path]) -> None:
    def order_of(seed: int, epoch: int) -> list[list[Sample]]:
        dataset = AugmentedDataset(paths, range(11), Augmentation(preprocess=PREPROCESS), seed)
        _, order = training_loader(dataset, 2, 0)
        order.epoch = epoch
        return list(order)

    assert order_of(1, 4) == order_of(1, 4)
    assert order_of(1, 4) != order_of(2, 4)


@pytest.mark.skipif(sys.platform != "linux", reason="what it is about is Linux's")
def test_workers_survive_a_sigterm_that_is_not_their_parents(paths: list[Path]) -> None:
    """Libraries start threads in them: one that took the signal would end the process."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    before = set(children.read_text().split())
    batches = iter(evaluation_loader(ImageDataset(paths, range(11), PREPROCESS), 4, 2))
    next(batches)
    workers = set(children.read_text().split()) - before
    assert len(workers) == 2
    for pid in workers:
        masks = [
            re.findall(r"SigBlk:\s*(\w+)", path.read_text())[0] for path in Path(f"/proc/{pid}/task").glob("*/status")
        ]
        open_to_it = [mask for mask in masks if not int(mask, 16) >> (signal.SIGTERM - 1) & 1]
        assert len(open_to_it) <= 1  # the one that waits for it
        subprocess.run(["kill", "-TERM", pid], check=True)
    time.sleep(0.2)
    assert sum(len(labels) for _, labels in batches) == 7
