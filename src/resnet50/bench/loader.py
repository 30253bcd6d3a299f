"""Loading training batches on one core: from the pixel store and from files, against PIL in a `DataLoader`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from resnet50.bench.clock import repeated
from resnet50.bench.limits import copy_limit, decoding
from resnet50.bench.rounds import Workload
from resnet50.bench.rows import Row, Scratch, Side, Sides
from resnet50.runtime.errors import UserError

BATCH, SIZE = 32, 224

CROP_SCALE = 0.08
"""Smallest fraction of an image that a crop keeps: torchvision's default, for both sides."""

IMAGES = 480
"""Number of images, read repeatedly; few enough to stay in memory, so that no disk is measured."""

PIL_LOADER = "PIL, RandomResizedCrop, DataLoader"


def rows() -> list[Row]:
    what = "random resized crops, flipped and normalized to float batches of 32 at 224 pixels, on one core, from"
    return [
        Row("loader_store", "loader", f"{what} the prepared pixel store", PIL_LOADER, store_sides),
        Row("loader_jpeg", "loader", f"{what} the JPEG files", PIL_LOADER, jpeg_sides),
    ]


def store_sides(scratch: Scratch) -> Sides:
    dataset = scratch.prepared()
    return Sides(
        candidate_side(dataset, store=True), baseline_side(dataset), copy_limit(bytes_per_image(Path(dataset)))
    )


def jpeg_sides(scratch: Scratch) -> Sides:
    """Return the sides of the row that reads files; the limit is decoding, if they are JPEGs."""
    dataset = scratch.prepared()
    all_jpeg = all(path.lower().endswith((".jpg", ".jpeg")) for path in first_paths(dataset))
    limit = Side("resnet50.bench.loader:decode_only", {"dataset": dataset}) if all_jpeg else None
    return Sides(candidate_side(dataset, store=False), baseline_side(dataset), limit)


def candidate_side(dataset: str, *, store: bool) -> Side:
    return Side("resnet50.bench.loader:candidate", {"dataset": dataset, "store": store})


def baseline_side(dataset: str) -> Side:
    return Side("resnet50.bench.loader:pil", {"dataset": dataset})


def bytes_per_image(dataset: Path) -> float:
    """Return the fewest bytes moved per image: crop read, pixels written and read again, floats written."""
    from resnet50.etl.store import open_store

    store = open_store(dataset)
    if store is None:
        raise UserError(f"{dataset} has no pixel store: prepare it again without --no-store, or omit --dataset")
    mean_crop = (CROP_SCALE + 1) / 2 * store.bytes / len(store.index)
    pixels = 3 * SIZE * SIZE
    return mean_crop + 2 * pixels + 4 * pixels


def first_paths(dataset: str) -> list[str]:
    from resnet50.etl.prepared import load_prepared

    return load_prepared(Path(dataset)).split("train")["path"].head(IMAGES).tolist()


def on_one_core() -> None:
    """Restrict this process and its threads to one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)


def candidate(dataset: str, *, store: bool) -> dict[str, Workload]:
    """Return a workload that loads and normalizes batches as `resnet50 train` does."""
    on_one_core()
    from resnet50.bench.candidate import set_up

    options: dict[str, Any] = {
        "image_size": SIZE,
        "batch_size": BATCH,
        "crop_scale": CROP_SCALE,
        "device": "cpu",
        "threads": 1,
        "workers": 0,
    }
    data = set_up(dataset, store=store, **options).data
    data.order.rows = min(data.order.rows, IMAGES)

    def load() -> None:
        data.order.epoch += 1
        for images, _ in data.train:
            data.preprocess.normalize(images)

    return {"round": repeated(load, data.order.epoch_samples, torch.device("cpu"))}


class Files(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Image files opened with PIL, like torchvision's `ImageFolder`."""

    def __init__(self, paths: Sequence[str], transform: Any) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        with Image.open(self.paths[row]) as image:
            return self.transform(image.convert("RGB")), 0


def pil(dataset: str) -> dict[str, Workload]:
    """Return a workload that loads batches like torchvision's training reference."""
    on_one_core()
    from torchvision import transforms

    from resnet50.data.transforms import IMAGENET_MEAN, IMAGENET_STD

    steps = [
        transforms.RandomResizedCrop(SIZE),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
    files = Files(first_paths(dataset), transforms.Compose(steps))
    batch = min(BATCH, len(files))
    loader = torch.utils.data.DataLoader(files, batch, shuffle=True, drop_last=True)

    def load() -> None:
        for _ in loader:
            pass

    return {"round": repeated(load, len(loader) * batch, torch.device("cpu"))}


def decode_only(dataset: str) -> dict[str, Workload]:
    """Return a workload that only decodes the same files, in full, on one core."""
    on_one_core()
    return {"round": decoding(first_paths(dataset), threads=1)}
