"""Samples whose images have become unreadable since the dataset was prepared, and loading without them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from resnet50.data.loader import EpochBatchSampler, Loader, SequentialBatchSampler
from resnet50.etl.decode import UnreadableImageError, one_line
from resnet50.runtime.console import warn
from resnet50.runtime.distributed import Distributed
from resnet50.runtime.errors import UserError


@dataclass
class SkippedSamples:
    """The samples that training goes on without.

    Attributes:
        limit: how many there may be, in both splits together.
        rows: of the training split and of the validation split.
        paths: of every row of both splits.
        events: a sentence on each skipped sample.
    """

    limit: int = 0
    paths: Mapping[str, Iterable[str]] = field(default_factory=dict[str, Iterable[str]])
    rows: dict[str, list[int]] = field(default_factory=lambda: {"train": [], "val": []})
    events: list[str] = field(default_factory=list[str])

    @property
    def count(self) -> int:
        """Return how many samples of both splits are skipped."""
        return sum(map(len, self.rows.values()))

    def skip_sample(self, split: str, error: UnreadableImageError) -> None:
        """Skip the sample whose image an error names.

        Raises:
            UserError: it would be one too many.
        """
        text = str(error)
        row = next((n for n, path in enumerate(self.paths[split]) if text.startswith(f"{one_line(path)}: ")), None)
        if row is None or row in self.rows[split]:
            raise error
        if self.count >= self.limit:
            gone = f"{self.count + 1} images have" if self.limit else "an image has"
            more = f", more than --skip-bad {self.limit}" if self.limit else ""
            raise UserError(
                f"{gone} gone bad since the dataset was prepared{more}: {text}; --skip-bad N continues without up to N"
            ) from error
        self.add(split, row, f"skipped in {split}, {self.count + 1} of up to {self.limit}: {text}")

    def add(self, split: str, row: int, event: str) -> None:
        """Add a row, and say so."""
        self.rows[split].append(row)
        self.events.append(event)
        warn(event)

    def sync_skipped(self, dist: Distributed) -> None:
        """Let every process skip what any of them skips.

        Raises:
            UserError: together they skip more than one process may.
        """
        if dist.world_size == 1 or not self.limit:
            return
        for rows in dist.all_gather(self.rows):
            for split in rows:
                for row in sorted(set(rows[split]) - set(self.rows[split])):
                    name = one_line(list(self.paths[split])[row])
                    self.add(split, row, f"skipped in {split} by another process: {name}")
        if self.count > self.limit:
            raise UserError(
                f"{self.count} images have gone bad since the dataset was prepared, more than --skip-bad {self.limit}: "
                "see above"
            )

    def gather(self, dist: Distributed) -> dict[str, Any]:
        """Return what any process skips, for a checkpoint, as plain values."""
        rows = dist.all_gather(self.rows)
        return {
            "rows": {split: sorted({row for shard in rows for row in shard[split]}) for split in self.rows},
            "events": self.events,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take back what `gather` returned. The lists stay the same objects: samplers hold them."""
        for split, rows in saved["rows"].items():
            self.rows[split][:] = rows
        self.events[:] = saved["events"]


class SkippingLoader:
    """The batches of a loader, without samples that turn out to be unreadable, as many as are allowed."""

    def __init__(
        self, loader: Loader, sampler: EpochBatchSampler | SequentialBatchSampler, skipped: SkippedSamples, split: str
    ) -> None:
        self.loader, self.sampler, self.skipped, self.split = loader, sampler, skipped, split
        sampler.skipped = skipped.rows[split]

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches. At an unreadable sample, read on behind the batch that was yielded last."""
        first, done, samples = self.sampler.first, 0, 0
        try:
            while True:
                self.sampler.first = first + done
                try:
                    for images, labels in self.loader:
                        done, samples = done + 1, samples + len(labels)
                        yield images, labels
                    break
                except UnreadableImageError as error:
                    self.skipped.skip_sample(self.split, error)
        finally:
            self.sampler.first = first
        if not first and not samples and self.sampler.world_size == 1:
            name = {"train": "training", "val": "validation"}[self.split]
            raise UserError(f"every image of the {name} split has gone bad since the dataset was prepared")
