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
"""Smallest share of a photo that a crop keeps: torchvision's default, for both sides."""

IMAGES = 480
"""Photos that are read over and over, so few that they stay in memory: no disk is measured."""

PIL_LOADER = "PIL, RandomResizedCrop, DataLoader"


def rows() -> list[Row]:
    """Return the rows of the loaders."""
    what = "random resized crops, flipped and normalized to float batches of 32 at 224 pixels, on one core, from"
    return [
        Row("loader_store", "loader", f"{what} the prepared pixel store", PIL_LOADER, store_sides),
        Row("loader_jpeg", "loader", f"{what} the JPEG files", PIL_LOADER, jpeg_sides),
    ]


def store_sides(scratch: Scratch) -> Sides:
    """Return the sides of the row that reads the store."""
    dataset = scratch.prepared()
    return Sides(our_side(dataset, store=True), pil_side(dataset), copy_limit(bytes_per_image(Path(dataset))))


def jpeg_sides(scratch: Scratch) -> Sides:
    """Return the sides of the row that reads files; decoding them is the limit, where they are JPEGs."""
    dataset = scratch.prepared()
    all_jpeg = all(path.lower().endswith((".jpg", ".jpeg")) for path in first_paths(dataset))
    limit = Side("resnet50.bench.loader:decode_only", {"dataset": dataset}) if all_jpeg else None
    return Sides(our_side(dataset, store=False), pil_side(dataset), limit)


def our_side(dataset: str, *, store: bool) -> Side:
    """Return our loader."""
    return Side("resnet50.bench.loader:ours", {"dataset": dataset, "store": store})


def pil_side(dataset: str) -> Side:
    """Return the usual loader."""
    return Side("resnet50.bench.loader:pil", {"dataset": dataset})


def bytes_per_image(dataset: Path) -> float:
    """Return how many bytes a batch's image moves at least: crop read, pixels written, read again, floats written."""
    from resnet50.etl.store import open_store

    store = open_store(dataset)
    if store is None:
        raise UserError(f"{dataset} has no pixel store: prepare it again without --no-store, or leave --dataset out")
    mean_crop = (CROP_SCALE + 1) / 2 * store.bytes / len(store.index)
    pixels = 3 * SIZE * SIZE
    return mean_crop + 2 * pixels + 4 * pixels


def first_paths(dataset: str) -> list[str]:
    """Return the image files that both sides read."""
    from resnet50.etl.prepared import load_prepared

    return load_prepared(Path(dataset)).split("train")["path"].head(IMAGES).tolist()


def on_one_core() -> None:
    """Keep this process and its threads to one core, however many a loader would start."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)


def ours(dataset: str, *, store: bool) -> dict[str, Workload]:
    """Load batches as `resnet50 train` does, up to what the network would be given."""
    on_one_core()
    from resnet50.bench.ours import set_up

    choices: dict[str, Any] = {
        "image_size": SIZE,
        "batch_size": BATCH,
        "crop_scale": CROP_SCALE,
        "device": "cpu",
        "threads": 1,
        "workers": 0,
    }
    data = set_up(dataset, store=store, **choices).data
    data.order.rows = min(data.order.rows, IMAGES)

    def load() -> None:
        data.order.epoch += 1
        for images, _ in data.train:
            data.preprocess.normalize(images)

    return {"round": repeated(load, data.order.epoch_samples, torch.device("cpu"))}


class Files(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Image files, opened with PIL, as torchvision's `ImageFolder` does."""

    def __init__(self, paths: Sequence[str], transform: Any) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        """Return the transformed image, and a label."""
        from PIL import Image

        with Image.open(self.paths[row]) as image:
            return self.transform(image.convert("RGB")), 0


def pil(dataset: str) -> dict[str, Workload]:
    """Load batches as torchvision's training reference does."""
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
    """Decode the same files in full on one core, and nothing else."""
    on_one_core()
    return {"round": decoding(first_paths(dataset), threads=1)}
