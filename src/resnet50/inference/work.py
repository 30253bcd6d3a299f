"""The classifying of `predict`: part after part, among one process or several."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from resnet50.inference.batch import Classified, classify_parts
from resnet50.inference.classifier import Classifier
from resnet50.inference.csv_rows import Dialect
from resnet50.inference.engine import Engine
from resnet50.inference.joining import refuse_if_strict
from resnet50.inference.outputs import Output
from resnet50.inference.parts import PartFolder, gaps, pieces
from resnet50.options import PredictOptions
from resnet50.runtime.console import say, warn
from resnet50.runtime.distributed import Distributed
from resnet50.runtime.errors import UserError
from resnet50.runtime.sharding import Shard, parse_shard

MAX_PRINTED = 20
"""Images whose likeliest classes are printed."""

PART_IMAGES = 1024
"""Images of a part, about: what a kill loses, and what is held in memory."""

MAX_WARNINGS = 5
"""Unreadable images that are named while the others are classified."""


@dataclass(frozen=True)
class Work:
    """What is to be classified, and by what; among several processes, each does its share."""

    options: PredictOptions
    output: Output
    classifier: Classifier
    engine: Engine
    dist: Distributed

    def show(self) -> str:
        """Classify all images, and print the likeliest classes of the first ones."""
        total = len(self.output.paths)
        unreadable = sum(map(count_errors, self.classified(self.own([slice(0, total)]))))
        unreadable = sum(self.dist.all_gather(unreadable))
        listed = "--out FILE.csv lists them, beside the classes of the others"
        return f"{unreadable:,} of {total:,} images can't be read: {listed}" if unreadable else ""

    def write_parts(self, folder: PartFolder) -> None:
        """Classify the images that no part in the folder holds yet, and write their parts."""
        missing = self.dist.on_main(lambda: self.missing_rows(folder))
        folder.create()
        for part in self.classified(self.own(missing)):
            folder.write(part.rows, self.lines(part), self.error_lines(part), count_errors(part))
        self.dist.barrier()
        self.fetch_parts(folder, list(pieces(missing, self.part_size(missing))))

    def missing_rows(self, folder: PartFolder) -> list[slice]:
        """Return the rows to do: with --resume those that are not done, else all, after what is there is removed."""
        options, total = self.options, len(self.output.paths)
        within = slice(0, total) if options.shard is None else parse_shard(options.shard).of(total, options.batch_size)
        if options.resume:
            done = folder.done()
            refuse_if_strict(options, folder, done)
            missing = gaps(done, within)
            left = sum(rows.stop - rows.start for rows in missing)
            say(f"{within.stop - within.start - left:,} of {within.stop - within.start:,} images are done already")
            return missing
        if options.shard is None:
            folder.remove()
        else:
            folder.remove_rows(within)
        return gaps([], within)

    def part_size(self, rows: Sequence[slice]) -> int:
        """Return the images of a part: whole batches, few enough that every process has some."""
        batch = self.options.batch_size
        batches = sum(math.ceil((part.stop - part.start) / batch) for part in rows)
        return max(1, min(PART_IMAGES // batch, math.ceil(batches / self.dist.world_size))) * batch

    def own(self, rows: Sequence[slice]) -> list[slice]:
        """Return the parts that this process classifies."""
        parts = list(pieces(rows, self.part_size(rows)))
        return parts[Shard(self.dist.rank, self.dist.world_size).of(len(parts))]

    def classified(self, parts: Sequence[slice]) -> Iterator[Classified]:
        """Classify parts; print the first images' classes, and name the first images that can't be read."""
        options, warned = self.options, 0
        for part in classify_parts(
            self.engine,
            self.output.paths,
            parts,
            self.classifier.model.preprocess,
            options.batch_size,
            options.workers,
            strict=options.strict,
        ):
            self.stop_if_gone(part)
            for reason in [reason for reason in part.errors if reason][: MAX_WARNINGS - warned]:
                warn(reason)
                warned += 1
            if part.rows.start == 0:
                self.print_likeliest(part)
            yield part

    def stop_if_gone(self, part: Classified) -> None:
        """Raise a UserError if every file of a part is gone: a disk that went away is no damage of the images."""
        paths = self.output.paths.iloc[part.rows]
        if all(part.errors) and len(paths) > 1 and not any(map(os.path.exists, paths)):
            raise UserError(
                f"{paths.iloc[0]} and the {len(paths) - 1:,} images after it are gone: is their disk still there? "
                "With --out, --resume continues"
            )

    def print_likeliest(self, part: Classified) -> None:
        classes = self.classifier.classes
        first = zip(self.output.paths.iloc[part.rows], part.probabilities, part.errors, strict=True)
        for path, row, error in islice(first, MAX_PRINTED):
            if not error:
                likeliest = np.argsort(-row, kind="stable")[: self.options.top_k]
                say(f"{path}: " + ", ".join(f"{classes[index]} {row[index]:.1%}" for index in likeliest))
        if (more := len(self.output.paths) - min(MAX_PRINTED, len(part.errors))) > 0:
            say(f"… and {more:,} more")

    def lines(self, part: Classified) -> bytes:
        readable = np.array([not error for error in part.errors])
        return self.output.lines(part.rows, part.probabilities, readable)

    def error_lines(self, part: Classified) -> bytes:
        """Return the rows of the table of errors."""
        columns = self.output.ids(part.rows), self.output.paths.iloc[part.rows], part.errors
        rows = zip(*columns, strict=True)
        return Dialect().text((name, path, error.removeprefix(f"{path}: ")) for name, path, error in rows if error)

    def fetch_parts(self, folder: PartFolder, parts: Sequence[slice]) -> None:
        """Bring the parts of processes with a disk of their own to the main process."""
        dist = self.dist
        if dist.world_size == 1:
            return
        for rows in dist.on_main(lambda: [part for part in parts if not folder.path(part).is_file()]):
            contents = dist.all_gather(folder.content(rows))
            if dist.is_main:
                folder.put(rows, next(content for content in contents if content is not None))


def count_errors(part: Classified) -> int:
    return sum(map(bool, part.errors))
