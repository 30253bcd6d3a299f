"""Files that belong together become one source: their splits, and the lines that say what was found."""

from collections.abc import Sequence

from resnet50.etl.embedded.names import missing_shards
from resnet50.etl.embedded.part import EmbeddedFile, Part
from resnet50.etl.split import SPLITS


def with_splits(parts: Sequence[tuple[Part, str]]) -> tuple[EmbeddedFile, ...]:
    """Return files with their published splits, train first; a single split is none.

    Beside a file that is called test, one without a split in its name is train.
    """
    named = {split for _, split in parts}
    if "" in named and len(named) > 1 and "train" not in named:
        parts = [(part, split or "train") for part, split in parts]
    distinct = {split for _, split in parts}
    if len(distinct) == 1:
        parts = [(part, "") for part, _ in parts]
    order = ("", *SPLITS)
    files = [EmbeddedFile(part, split) for part, split in parts]
    return tuple(sorted(files, key=lambda file: (order.index(file.split), str(file.path))))


def evidence_of(
    count: str,
    kind: str,
    files: Sequence[EmbeddedFile],
    about: str,
    labels: Sequence[str],
    unlabeled: Sequence[Part],
    split_column: str | None = None,
) -> tuple[str, ...]:
    """Return the lines for the screen."""
    names = list(dict.fromkeys(file.path.name for file in files))
    where = ", ".join(names[:3]) + (f" and {len(names) - 3:,} more files" if len(names) > 3 else "")
    lines = [f"images: {count} in {where}, {kind} ({about})"]
    if len(labels) == 1:
        lines.append(f"labels: {labels[0]!r}")
    elif labels:
        lines.append(f"labels: one of {', '.join(labels[:10])}")
    splits = dict.fromkeys(file.split for file in files if file.split)
    if splits:
        arrays = len({file.path for file in files}) == 1
        lines.append(f"splits: {', '.join(splits)}, as the {'arrays' if arrays else 'files'} are named")
    elif split_column is not None:
        lines.append(f"splits: column {split_column!r}")
    if unlabeled:
        lines.append(f"not used: {', '.join(sorted({part.path.name for part in unlabeled}))} (no labels)")
    return tuple(lines)


def warnings_of(files: Sequence[EmbeddedFile]) -> tuple[str, ...]:
    missing = missing_shards(file.path.name for file in files)
    return (f"shards that are not there: {', '.join(missing[:10])}",) if missing else ()
