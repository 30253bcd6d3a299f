"""`resnet50 prepare` on images of a million pixels, against a typical loop over PIL."""

import hashlib
import multiprocessing
import shutil
import time
from pathlib import Path

from resnet50.bench.images import MEGAPIXEL_SIZE
from resnet50.bench.limits import decoding
from resnet50.bench.rounds import Workload
from resnet50.bench.rows import Row, Scratch, Side, Sides
from resnet50.runtime.cpu import available_cores

COUNT, COUNT_IN_FULL = 500, 20_000

SHORTER_SIDE = 256
"""In pixels; both sides shrink an image's shorter side to it."""

DECODED = 200
"""Number of images that the limit decodes; it keeps them all in memory."""


def rows() -> list[Row]:
    meaning = "images of a million pixels: decode, shrink, hash, audit, split, write the dataset with its pixel store"
    baseline = "PIL in a process per core: decode, shrink, hash, write"
    return [Row("prepare", "prepare", meaning, baseline, sides)]


def sides(scratch: Scratch) -> Sides:
    table = scratch.image_table(COUNT_IN_FULL if scratch.full else COUNT, MEGAPIXEL_SIZE)
    settings = {"table": str(table), "out": str(scratch.folder / "prepared")}
    return Sides(
        Side("resnet50.bench.prepare:candidate", settings),
        Side("resnet50.bench.prepare:pil", settings | {"out": str(scratch.folder / "pil")}),
        Side("resnet50.bench.prepare:decode_only", {"table": str(table)}),
    )


def images_of(table: str) -> list[Path]:
    return sorted((Path(table).parent / "images").iterdir())


def candidate(table: str, out: str) -> dict[str, Workload]:
    """Return a workload that runs `prepare`, each time into a new folder."""
    from resnet50.etl.prepare import prepare
    from resnet50.options import PrepareOptions

    options, count = PrepareOptions(source=Path(table), out=Path(out), store_size=SHORTER_SIDE), len(images_of(table))

    def once() -> float:
        start = time.perf_counter()
        prepare(options)
        seconds = time.perf_counter() - start
        shutil.rmtree(out)
        return count / seconds

    once()
    return {"round": once}


def pil(table: str, out: str) -> dict[str, Workload]:
    """Return a workload that uses PIL in a pool of processes, which start before the clock."""
    images, processes = images_of(table), available_cores()
    pool = multiprocessing.Pool(processes)
    shards = [(images[shard::processes], Path(out) / f"shard-{shard}") for shard in range(processes)]

    def once() -> float:
        Path(out).mkdir()
        start = time.perf_counter()
        pool.map(write_small, shards, chunksize=1)
        seconds = time.perf_counter() - start
        shutil.rmtree(out)
        return len(images) / seconds

    once()
    return {"round": once}


def write_small(shard: tuple[list[Path], Path]) -> list[str]:
    """Shrink images into one file of raw pixels; return the hashes of their files."""
    from PIL import Image

    images, out = shard
    hashes: list[str] = []
    with out.open("wb") as file:
        for path in images:
            hashes.append(hashlib.sha256(path.read_bytes()).hexdigest())
            with Image.open(path) as opened:
                image = opened.convert("RGB")
            factor = SHORTER_SIDE / min(image.size)
            size = (round(image.width * factor), round(image.height * factor))
            file.write(image.resize(size, Image.Resampling.BILINEAR).tobytes())
    return hashes


def decode_only(table: str) -> dict[str, Workload]:
    """Return a workload that only decodes images at reduced scale, on all cores."""
    return {"round": decoding(images_of(table)[:DECODED], available_cores(), SHORTER_SIDE)}
