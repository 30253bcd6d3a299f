"""Reading images in shards: several machines read their parts, one puts the dataset together from what they read.

`OUT.shards/2-of-8/` has `facts.parquet`, a row per image in the order of the table, and `pixels.bin`, the pixels for
the store one after another. The merge goes through them as if it read the images itself, so the dataset is the same.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from resnet50.etl.audit import ReadImage, read_parallel
from resnet50.etl.prepared import replacing
from resnet50.etl.store import map_file
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError
from resnet50.runtime.sharding import Shard, check_all_there, digest_of, shard_name, started_by_torchrun

FACTS, PIXELS, ABOUT = "facts.parquet", "pixels.bin", "shard.json"


def shards_folder(options: PrepareOptions) -> Path:
    """Return where the shards of a dataset lie until they are merged."""
    return options.out.with_name(f"{options.out.name}.shards")


def digest_of_work(folder: Path, files: pd.Index, shorter_side: int | None) -> str:
    """Return a digest of what all shards have in common: the images, and the size at which they are stored."""
    attempt = [os.environ.get(name) for name in ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_PORT")]
    return digest_of(str(folder), list(files), shorter_side, attempt if started_by_torchrun() else None)


def write_shard(shard: Shard, into: Path, folder: Path, files: pd.Index, shorter_side: int | None) -> Path:
    """Read a shard of the image files and write what was read, whole or not at all.

    Args:
        shard: which of how many.
        into: folder of the shards.
        folder: of the images.
        files: all of them, in the order of the table.
        shorter_side: of the pixels in the store; None without one.
    """
    facts: list[dict[str, Any]] = []
    with replacing(into / shard.name) as fresh:
        with (fresh / PIXELS).open("wb") as file:
            for image in read_parallel(folder, files[shard.of(len(files))], shorter_side):
                stored = (0, 0) if image.pixels is None else image.pixels.shape[:2]
                facts.append(image._asdict() | {"pixels": None, "stored_height": stored[0], "stored_width": stored[1]})
                if image.pixels is not None:
                    file.write(np.ascontiguousarray(image.pixels).data)
        columns = ["width", "height", "sha256", "reason", "stored_height", "stored_width"]
        pd.DataFrame(facts, columns=columns).to_parquet(fresh / FACTS, index=False)
        about = {"digest": digest_of_work(folder, files, shorter_side)}
        (fresh / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    return into / shard.name


def read_shards(count: int, at: Path, folder: Path, files: pd.Index, shorter_side: int | None) -> Iterator[ReadImage]:
    """Yield what the shards have read of the image files, in order, as `read_parallel` would.

    Raises:
        UserError: one is missing, damaged, or of other work.
    """
    digest = digest_of_work(folder, files, shorter_side)
    if started_by_torchrun():
        wait_for_shards(count, at, digest)
    shards = [at / shard_name(index, count) for index in range(count)]
    check_all_there(shards)
    for index, shard in enumerate(shards, start=1):
        check_shard(shard, f"--shard {index}/{count}", digest)
    for shard in shards:
        yield from read_shard(shard)


def wait_for_shards(count: int, at: Path, digest: str) -> None:
    """Wait until the other processes have written theirs; torchrun ends this one should one of them fail."""
    while True:
        abouts = [at / shard_name(index, count) / ABOUT for index in range(count)]
        if all(about.is_file() and digest in about.read_text(encoding="utf-8") for about in abouts):
            return
        time.sleep(0.2)


def check_shard(shard: Path, flag: str, digest: str) -> None:
    """Raise a UserError unless a shard is there and belongs to the others."""
    again = f"run the command with {flag} again"
    try:
        about, facts = json.loads((shard / ABOUT).read_bytes()), pd.read_parquet(shard / FACTS)
        size = 3 * int((facts["stored_height"] * facts["stored_width"]).sum())
        whole = (shard / PIXELS).stat().st_size == size
        found = about["digest"]
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise UserError(f"{shard} is damaged: {again}") from error
    if not whole:
        raise UserError(f"{shard} is damaged: {again}")
    if found != digest:
        raise UserError(f"{shard} was made from other images or with other options: {again}")


def read_shard(shard: Path) -> Iterator[ReadImage]:
    """Yield what a shard has read."""
    facts = pd.read_parquet(shard / FACTS)
    content = map_file(shard / PIXELS) if (shard / PIXELS).stat().st_size else np.zeros(0, np.uint8)
    offset = 0
    for width, height, sha256, reason, rows, columns in facts.itertuples(index=False):
        size = 3 * rows * columns
        pixels = content[offset : offset + size].reshape(rows, columns, 3) if size else None
        offset += size
        yield ReadImage(width, height, sha256, reason, pixels)
