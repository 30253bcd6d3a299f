"""Reading a source by its tables: which belong together, which images their rows name, which column labels them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet50.etl.files import FileIndex, find_outside
from resnet50.etl.source.columns import (
    LabelChoice,
    cannot_tell_labels,
    find_group_columns,
)
from resnet50.etl.source.labels import check_single_label, find_names, labels_of_one_hot
from resnet50.etl.source.lists import ImageList
from resnet50.etl.source.published import published_of
from resnet50.etl.source.reading import Reading, name_of_table, with_images
from resnet50.etl.source.table_sets import TableSet
from resnet50.etl.source.tables import (
    file_names,
    require_column,
    template_fields,
)
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError

MAX_REPEATED = 0.05
"""Share of the images that may have rows with different labels; such images are left out."""


def read_set(
    options: PrepareOptions, one: TableSet, files: FileIndex, lists: Sequence[ImageList], content: bytes | None = None
) -> Reading:
    """Make a reading of tables whose columns are settled.

    Raises:
        UserError: the labels are several per image, or numbers, or the columns can't be told.
    """
    choice = settle_label(one)
    explicit = options.label_column is not None or options.label_columns is not None
    frame = pd.concat([table.table.frame for table in one.tables], ignore_index=True)
    if len(choice.columns) > 1:
        label = labels_of_one_hot(frame, choice.columns, options.combine_labels)
    else:
        label = check_single_label(frame[next(iter(choice.columns))], str(choice), options.combine_labels, explicit)
    check_repeated(frame[one.tables[0].id_column], one.file, label, options.combine_labels)
    first = one.tables[0]
    notes = [note for table in one.tables for note in (*table.found.notes, *table.placement.notes)]
    label, named = names_for(label, files)
    published, split_column, how = published_of(options, one, frame, files, lists)
    ids, outside = ids_of(options, one, frame, files)
    images, file, unlisted = with_images(files, one.file, options.images, outside)
    group = (
        ids if options.group_column is None else frame[require_column(frame, options.group_column, "--group-column")]
    )
    rows = pd.DataFrame(
        {
            "image_id": ids.to_numpy(),
            "label": label.to_numpy(),
            "group": group.where(group != "", ids).to_numpy(),
            "published": published.to_numpy(),
            "file": file.to_numpy(),
        }
    ).astype("str")
    taken = {first.id_column, *choice.columns, options.group_column or "", split_column or ""}
    groups = find_group_columns(frame, taken, label)
    evidence = (
        f"images: column {first.id_column!r} names {(file != '').sum():,} of {len(frame):,} rows' images in {images}",
        f"labels: {choice}, {choice.why}",
    )
    tables = "table" if len(one.tables) == 1 else "tables"
    return Reading(
        what=f"{tables} {one.names()}: images in column {first.id_column!r}, labels in {choice}",
        name=name_of_table(first.path) if len(one.tables) == 1 else files.folder.name,
        rows=rows,
        images=images,
        options=replace(
            options,
            source=first.path if len(one.tables) == 1 else options.source.absolute(),
            images=images,
            id_column=first.id_column,
            label_column=choice.columns[0] if len(choice.columns) == 1 else None,
            label_columns=None if len(choice.columns) == 1 else ",".join(choice.columns),
            split_column=split_column,
        ),
        evidence=evidence,
        notes=tuple(dict.fromkeys([*notes, *named, *how])),
        unlisted=unlisted,
        columns={name: frame[name] for name in groups},
        malformed=tuple(row for table in one.tables for row in table.table.malformed),
        content=content,
    )


def check_repeated(ids: pd.Series, file: NDArray[np.int64], label: pd.Series, combine: bool) -> None:
    """Refuse tables that give many images several labels, in a row each.

    Raises:
        UserError: more than 5% of the images have rows with different labels.
    """
    rows = pd.DataFrame({"file": file, "label": label.to_numpy()})[file >= 0]
    labels = rows[rows["label"] != ""].drop_duplicates().groupby("file").size()
    several = int((labels > 1).sum())
    if several > MAX_REPEATED * len(labels) and several > 1:
        raise UserError(
            f"{several:,} of {len(labels):,} images have several labels per image, in rows of their own: this is a "
            "classifier with one label per image; keep the rows of one question, or one row per image"
        )


def settle_label(one: TableSet) -> LabelChoice:
    """Return the one likeliest label column; a UserError offers them where several are as likely."""
    if not one.choices:
        raise cannot_tell_labels(one.choices)
    best = [choice for choice in one.choices if choice.strength == one.strength]
    if len(best) > 1 and one.strength < 5:
        raise cannot_tell_labels(best)
    return best[0]


def names_for(label: pd.Series, files: FileIndex) -> tuple[pd.Series, list[str]]:
    """Give numbered classes the names that a JSON or YAML file beside them has."""
    paths = files.paths[~files.is_image]
    paths = paths[paths.str.lower().str.endswith((".json", ".yaml", ".yml", ".txt"))]
    found = find_names(set(label.unique()) - {""}, [files.folder / path for path in paths.iloc[:20]])
    if found is None:
        return label, []
    names, path = found
    return label.map({**names, "": ""}).astype("str"), [f"class names: {path.name}"]


def ids_of(
    options: PrepareOptions, one: TableSet, frame: pd.DataFrame, files: FileIndex
) -> tuple[pd.Series, pd.Series | None]:
    """Return the id of each row, and the paths of images outside the folder of images, if these are allowed."""
    cells = frame[one.tables[0].id_column]
    names = file_names(cells, options.path_template, frame)
    outside = find_outside(names, files.folder) if options.allow_outside else None
    split_alike = len(one.tables) > 1 or any(
        "in the folders that column" in note for table in one.tables for note in table.placement.notes
    )
    if split_alike and cells.duplicated().any():  # numbered alike in each split or folder
        paths = files.paths.reindex(one.file, fill_value="").reset_index(drop=True)
        return paths.where(paths != "", cells), outside
    # A template with further columns means that an id alone doesn't identify an image; the filled-in template does.
    fields = (
        {field for _, field in template_fields(options.path_template)} if options.path_template else set[str | None]()
    )
    return (names if fields - {None, "image_id"} else cells), outside
