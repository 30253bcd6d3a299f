"""From the parts of a prediction to its CSV, and the table of the images that can't be read."""

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from resnet50.inference.csv_rows import Dialect
from resnet50.inference.outputs import Output
from resnet50.inference.parts import Part, PartFolder, gaps
from resnet50.options import PredictOptions
from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.console import say
from resnet50.runtime.errors import UserError
from resnet50.runtime.sharding import Shard

ERROR_COLUMNS = ("image_id", "path", "error")


def errors_file(out: Path) -> Path:
    """Return the table of the images that can't be read: p.errors.csv beside p.csv."""
    return out.with_name(f"{out.stem}.errors.csv")


def refuse_if_strict(options: PredictOptions, folder: PartFolder, done: Sequence[Part]) -> None:
    """Raise a UserError with --strict if a part has an image that can't be read."""
    bad = next((part for part in done if part.unreadable), None)
    if options.strict and bad is not None:
        _, errors = folder.read(bad.rows)
        _, path, error = next(csv.reader(io.StringIO(errors.decode())))
        raise UserError(f"--strict: {path}: {error}")


def join(options: PredictOptions, output: Output, folder: PartFolder) -> str:
    """Put the parts together; return a line about the images that can't be read, if there are any."""
    assert options.out is not None  # checked
    out, total = options.out, len(output.paths)
    parts = complete_parts(folder, total, options)
    refuse_if_strict(options, folder, parts)
    unreadable = sum(part.unreadable for part in parts)
    if unreadable:
        write_joined(errors_file(out), Dialect().text([ERROR_COLUMNS]), (folder.read(part.rows)[1] for part in parts))
    else:
        errors_file(out).unlink(missing_ok=True)  # of an earlier result, which is overwritten
    write_joined(out, output.header, (folder.read(part.rows)[0] for part in parts))
    say(f"{output.count(total, unreadable):,} rows in {out}")
    for line in output.summary():
        say(f"  {line}")
    return output.about_unreadable(unreadable, total, out, errors_file(out)) if unreadable else ""


def complete_parts(folder: PartFolder, total: int, options: PredictOptions) -> list[Part]:
    """Return the parts of all rows, in order; a UserError if there are not all."""
    parts = folder.done()
    missing = gaps(parts, slice(0, total))
    if missing and options.merge is not None:
        shards = [Shard(index, options.merge) for index in range(options.merge)]
        lacking = [shard for shard in shards if gaps(parts, shard.of(total, options.batch_size))]
        names = ", ".join(f"{shard.index + 1}/{shard.count}" for shard in lacking)
        raise UserError(f"shards {names} are not in {folder.folder}: run the command with --shard for each")
    for before, after in pairwise(parts):
        if before.rows.stop != after.rows.start:
            raise UserError(f"{folder.path(after.rows)} holds rows of another part too: delete it and --resume")
    return parts


def write_joined(path: Path, header: bytes, parts: Iterable[bytes]) -> None:
    """Write a header and the text of all parts, completely or not at all."""
    with atomic_write(path) as partial, partial.open("wb") as file:
        file.write(header)
        file.writelines(parts)
