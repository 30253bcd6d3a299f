"""Tables with images in them that belong together: the shards and splits of a data set."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from resnet50.etl.embedded.grouping import evidence_of, warnings_of, with_splits
from resnet50.etl.embedded.image_bytes import ImageBytes
from resnet50.etl.embedded.labels import label_candidates
from resnet50.etl.embedded.names import Meaning, meaning_of_path
from resnet50.etl.embedded.pixel_tables import PixelTable
from resnet50.etl.embedded.source import EmbeddedSource
from resnet50.etl.source.split_columns import find_split_column
from resnet50.etl.source.words import ANY_LABEL_NAME, ID_NAMES, normalized

Found = PixelTable | ImageBytes

INDEX_NAMES = {"", "index", "unnamed:_0", "__index_level_0__", "img_name"}


def tables_as_sources(tables: Sequence[Found], root: Path) -> list[EmbeddedSource]:
    named = [(table, meaning_of_path(table.path.relative_to(root))) for table in tables]
    unnumbered = {key_of(table, meaning.rest) for table, meaning in named if without_numbers(meaning) == meaning.rest}
    groups: defaultdict[tuple[object, ...], list[tuple[Found, str]]] = defaultdict(list)
    for table, meaning in named:
        shards = key_of(table, without_numbers(meaning))  # part_0, part_1; but mnist_100 is a part of mnist
        key = key_of(table, meaning.rest) if shards in unnumbered else shards
        groups[key].append((table, meaning.split))
    return [source_of(group) for group in groups.values()]


def without_numbers(meaning: Meaning) -> tuple[str, ...]:
    return tuple(word for word in meaning.rest if not word.isdigit())


def key_of(table: Found, shared: tuple[str, ...]) -> tuple[object, ...]:
    return (table.path.suffix.lower(), shared, *signature(table))


def signature(table: Found) -> tuple[object, ...]:
    """Return what the files of one source have in common."""
    if isinstance(table, ImageBytes):
        return (table.images,)
    return (table.pixels.one_cell, table.pixels.pixels)


def source_of(group: Sequence[tuple[Found, str]]) -> EmbeddedSource:
    cells = {id(table): sampled(table) for table, _ in group}
    labels, refusal = labels_of([table for table, _ in group], cells)
    labeled = [(table, split) for table, split in group if set(labels) & set(cells[id(table)].columns)]
    used = labeled or list(group)
    unlabeled = [table for table, _ in group if all(table is not other for other, _ in used)]
    files = with_splits(used)
    first = used[0][0]
    kind, about = description(first)
    count = sum(table.count for table, _ in used)
    exact = all(isinstance(table, ImageBytes) or table.number.exact for table, _ in used)
    return EmbeddedSource(
        kind=kind,
        files=files,
        count=count,
        shapes=() if isinstance(first, ImageBytes) else first.pixels.shapes,
        label_columns=labels,
        evidence=evidence_of(
            f"{'' if exact else 'about '}{count:,}",
            kind,
            files,
            about,
            labels,
            unlabeled,
            find_split_column(cells[id(first)], set()),
        ),
        exact=exact,
        warnings=warnings_of(files),
        refusal=refusal,
    )


def description(table: Found) -> tuple[str, str]:
    """Return the kind of a source in words, and what an image is."""
    if isinstance(table, ImageBytes):
        return "image bytes in Parquet", f"column {table.images!r}"
    kind = "pixels in one cell" if table.pixels.one_cell else "pixels in columns"
    shapes = table.pixels.shapes
    names = table.pixels.names
    column = f"column {names[0]!r}" if table.pixels.one_cell else f"columns {names[0]!r} to {names[-1]!r}"
    return kind, f"{column}, " + (str(shapes[0]) if len(shapes) == 1 else f"{table.pixels.pixels:,} numbers each")


def sampled(table: Found) -> pd.DataFrame:
    return table.sampled_cells() if isinstance(table, ImageBytes) else table.cells()


def labels_of(tables: Sequence[Found], cells: dict[int, pd.DataFrame]) -> tuple[tuple[str, ...], str | None]:
    """Return the columns that could have the labels in any of the files, and why they can't be used."""
    found: dict[str, None] = {}
    refusals: list[str] = []
    for table in tables:
        columns, refusal = labels_of_table(table, cells[id(table)])
        found |= dict.fromkeys(columns)
        refusals += [refusal] if refusal else []
    return tuple(found), refusals[0] if refusals else None


def labels_of_table(table: Found, cells: pd.DataFrame) -> tuple[tuple[str, ...], str | None]:
    ids = {str(name) for name in cells.columns if normalized(str(name)) in ID_NAMES | INDEX_NAMES}
    if isinstance(table, PixelTable):
        columns, refusal = label_candidates(cells, ids)
        return columns, table.pixels.refusal or refusal
    classes = [name for name in table.class_names if name in cells.columns]
    several = [name for name in table.lists if normalized(name) in ANY_LABEL_NAME or name in table.class_names]
    named = [name for name in cells.columns if normalized(str(name)) in ANY_LABEL_NAME]
    if several and not classes and not named:
        return (several[0],), f"several labels per image (column {several[0]!r} has lists)"
    if classes:
        return tuple([name for name in classes if normalized(name) in ANY_LABEL_NAME] or classes), None
    return label_candidates(cells, ids)
