"""Preparing in shards: several machines each read part of the images, and one merges the results.

`OUT.shards/2-of-8/` has `facts.parquet`, a row per image in the order of the table, and `pixels.bin`, the pixels for
the store one after another. The merge consumes them as if it had read the images itself, so the dataset is the same.
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

from resnet50.etl.audit import RECORD_COLUMNS, DecodeSettings, ImageRecord, read_parallel
from resnet50.etl.prepared import atomic_folder
from resnet50.etl.store import map_file
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError
from resnet50.runtime.sharding import Shard, check_all_there, digest_of, shard_name, started_by_torchrun

RECORDS, PIXELS, DESCRIPTION = "facts.parquet", "pixels.bin", "shard.json"


def shards_folder(options: PrepareOptions) -> Path:
    """Return the folder of a dataset's shards, which exists until they are merged."""
    return options.out.with_name(f"{options.out.name}.shards")


def common_digest(folder: Path, files: pd.Index, settings: DecodeSettings) -> str:
    """Return a digest of what all shards share: the images, and how they are read and stored."""
    attempt = [os.environ.get(name) for name in ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_PORT")]
    return digest_of(str(folder), list(files), *settings, attempt if started_by_torchrun() else None)


def write_shard(shard: Shard, shards_dir: Path, folder: Path, files: pd.Index, settings: DecodeSettings) -> Path:
    """Read one shard of the image files and write the result atomically.

    Args:
        shard: which shard, of how many.
        shards_dir: folder of all shards.
        folder: folder of the images.
        files: all image files, in the order of the table.
        settings: how they are read.
    """
    records: list[dict[str, Any]] = []
    with atomic_folder(shards_dir / shard.name) as fresh:
        with (fresh / PIXELS).open("wb") as file:
            for image in read_parallel(folder, files[shard.of(len(files))], settings):
                stored = (0, 0) if image.pixels is None else image.pixels.shape[:2]
                records.append(
                    image._asdict() | {"pixels": None, "stored_height": stored[0], "stored_width": stored[1]}
                )
                if image.pixels is not None:
                    file.write(np.ascontiguousarray(image.pixels).data)
        columns = [*RECORD_COLUMNS, "stored_height", "stored_width"]
        pd.DataFrame(records, columns=columns).to_parquet(fresh / RECORDS, index=False)
        description = {"digest": common_digest(folder, files, settings)}
        (fresh / DESCRIPTION).write_text(json.dumps(description), encoding="utf-8")
    return shards_dir / shard.name


def read_shards(
    count: int, shards_dir: Path, folder: Path, files: pd.Index, settings: DecodeSettings
) -> Iterator[ImageRecord]:
    """Yield the records of all shards in order, as `read_parallel` would.

    Raises:
        UserError: a shard is missing, damaged, or was made from other images or options.
    """
    digest = common_digest(folder, files, settings)
    if started_by_torchrun():
        wait_for_shards(count, shards_dir, digest)
    shards = [shards_dir / shard_name(index, count) for index in range(count)]
    check_all_there(shards)
    for index, shard in enumerate(shards, start=1):
        check_shard(shard, f"--shard {index}/{count}", digest)
    for shard in shards:
        yield from read_shard(shard)


def wait_for_shards(count: int, shards_dir: Path, digest: str) -> None:
    """Wait until the other processes have written their shards; if one fails, torchrun ends this one too."""
    while True:
        descriptions = [shards_dir / shard_name(index, count) / DESCRIPTION for index in range(count)]
        if all(path.is_file() and digest in path.read_text(encoding="utf-8") for path in descriptions):
            return
        time.sleep(0.2)


def check_shard(shard: Path, flag: str, digest: str) -> None:
    """Raise a UserError unless a shard is intact and belongs with the others."""
    advice = f"run the command with {flag} again"
    try:
        description, records = json.loads((shard / DESCRIPTION).read_bytes()), pd.read_parquet(shard / RECORDS)
        size = 3 * int((records["stored_height"] * records["stored_width"]).sum())
        complete = (shard / PIXELS).stat().st_size == size
        found = description["digest"]
        _ = records[list(RECORD_COLUMNS)]
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise UserError(f"{shard} is damaged: {advice}") from error
    if not complete:
        raise UserError(f"{shard} is damaged: {advice}")
    if found != digest:
        raise UserError(f"{shard} was made from other images or with other options: {advice}")


def read_shard(shard: Path) -> Iterator[ImageRecord]:
    records = pd.read_parquet(shard / RECORDS)
    content = map_file(shard / PIXELS) if (shard / PIXELS).stat().st_size else np.zeros(0, np.uint8)
    offset = 0
    names = [*RECORD_COLUMNS, "stored_height", "stored_width"]
    for *values, rows, columns in records[names].itertuples(index=False):
        size = 3 * rows * columns
        pixels = content[offset : offset + size].reshape(rows, columns, 3) if size else None
        offset += size
        yield ImageRecord(**dict(zip(RECORD_COLUMNS, values, strict=True)), pixels=pixels)
