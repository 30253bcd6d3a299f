"""`resnet50 prepare` on photos of a million pixels, against the loop over PIL that people write."""

import hashlib
import multiprocessing
import shutil
import time
from pathlib import Path

from resnet50.bench.images import MEGAPIXEL
from resnet50.bench.limits import decoding
from resnet50.bench.rounds import Workload
from resnet50.bench.rows import Row, Scratch, Side, Sides
from resnet50.runtime.cpu import available_cores

COUNT, COUNT_IN_FULL = 500, 20_000

SHORTER_SIDE = 256
"""Pixels to which both sides shrink a photo's shorter side."""

DECODED = 200
"""Photos that the limit decodes: it holds them all in memory."""


def rows() -> list[Row]:
    """Return the row of `prepare`."""
    meaning = "photos of a million pixels: decode, shrink, hash, audit, split, write the dataset with its pixel store"
    baseline = "PIL in a process per core: decode, shrink, hash, write"
    return [Row("prepare", "prepare", meaning, baseline, sides)]


def sides(scratch: Scratch) -> Sides:
    """Return the sides over the same made photos."""
    table = scratch.photos(COUNT_IN_FULL if scratch.full else COUNT, MEGAPIXEL)
    settings = {"table": str(table), "out": str(scratch.folder / "prepared")}
    return Sides(
        Side("resnet50.bench.prepare:ours", settings),
        Side("resnet50.bench.prepare:pil", settings | {"out": str(scratch.folder / "pil")}),
        Side("resnet50.bench.prepare:decode_only", {"table": str(table)}),
    )


def photos_of(table: str) -> list[Path]:
    """Return the photos beside a table."""
    return sorted((Path(table).parent / "images").iterdir())


def ours(table: str, out: str) -> dict[str, Workload]:
    """Run the verb, each time into a fresh folder."""
    from resnet50.etl.prepare import prepare
    from resnet50.options import PrepareOptions

    options, count = PrepareOptions(source=Path(table), out=Path(out), store_size=SHORTER_SIDE), len(photos_of(table))

    def once() -> float:
        start = time.perf_counter()
        prepare(options)
        seconds = time.perf_counter() - start
        shutil.rmtree(out)
        return count / seconds

    once()
    return {"round": once}


def pil(table: str, out: str) -> dict[str, Workload]:
    """Do it with PIL; the processes are there before the clock starts."""
    photos, processes = photos_of(table), available_cores()
    pool = multiprocessing.Pool(processes)
    parts = [(photos[part::processes], Path(out) / f"part-{part}") for part in range(processes)]

    def once() -> float:
        Path(out).mkdir()
        start = time.perf_counter()
        pool.map(write_small, parts, chunksize=1)
        seconds = time.perf_counter() - start
        shutil.rmtree(out)
        return len(photos) / seconds

    once()
    return {"round": once}


def write_small(part: tuple[list[Path], Path]) -> list[str]:
    """Shrink photos into one file of raw pixels; return their hashes."""
    from PIL import Image

    photos, out = part
    hashes: list[str] = []
    with out.open("wb") as file:
        for path in photos:
            hashes.append(hashlib.sha256(path.read_bytes()).hexdigest())
            with Image.open(path) as opened:
                image = opened.convert("RGB")
            factor = SHORTER_SIDE / min(image.size)
            size = (round(image.width * factor), round(image.height * factor))
            file.write(image.resize(size, Image.Resampling.BILINEAR).tobytes())
    return hashes


def decode_only(table: str) -> dict[str, Workload]:
    """Decode photos at the reduced scale on every core, and nothing else."""
    return {"round": decoding(photos_of(table)[:DECODED], available_cores(), SHORTER_SIDE)}
