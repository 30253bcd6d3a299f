"""From any source of labeled images to one reading of it: image_id, label, group, published split, file."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from resnet50.etl.embedded import EmbeddedSource, find_embedded, unreadable_container
from resnet50.etl.files import FileIndex, first_part, is_there, last_part, list_files, parent
from resnet50.etl.source.class_folders import FolderReading
from resnet50.etl.source.columns import Submission, cannot_tell_labels, find_group_columns
from resnet50.etl.source.connect import (
    SourceTable,
    connect,
    split_of_table,
)
from resnet50.etl.source.doubts import check_classes
from resnet50.etl.source.file_names import fields_in_names, guess_pattern
from resnet50.etl.source.folder_readings import read_as_folders, read_as_list, read_as_names
from resnet50.etl.source.folders import Folders, folders_of
from resnet50.etl.source.labels import check_single_label
from resnet50.etl.source.lacking import no_images, no_labels, nothing_found
from resnet50.etl.source.levels import read_folders
from resnet50.etl.source.lists import ImageList, LabelList, label_lists, read_lists
from resnet50.etl.source.matching import role_of
from resnet50.etl.source.reading import Reading
from resnet50.etl.source.split_columns import split_cells
from resnet50.etl.source.table_or_folders import labels_by, tables_or_folders, tables_win
from resnet50.etl.source.table_readings import read_set
from resnet50.etl.source.table_sets import (
    NAMED,
    Tables,
    TableSet,
    best_sets,
    lists_for_folders,
    lists_of_splits,
    table_sets,
    tables_of,
)
from resnet50.etl.source.tables import Table, parquet_of, read_table, require_column
from resnet50.etl.source.words import ID_NAMES, normalized, shorten
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError

EMBEDDED_IMAGES = "images"
"""Folder of a dataset for images that were inside tables."""

TABLE_OPTIONS = (
    "images",
    "id_column",
    "label_column",
    "label_columns",
    "path_template",
    "group_column",
    "split_column",
)
"""Options that only a table has a use for."""


def extract(options: PrepareOptions, table: pd.DataFrame | None = None) -> Reading:
    """Understand a source: collect the readings that its tables, class folders and lists allow, and decide by evidence.

    Args:
        options: `source` says what to read.
        table: a DataFrame to read instead; `options.source` is where it will be kept.

    Raises:
        UserError: the source doesn't exist or can't be read; or two readings remain, which `choices` has.
    """
    try:
        return understand(options, table)
    except UserError as error:
        if options.exclude:  # a choice adds to what is excluded already
            error.choices = tuple(
                choice | {"exclude": f"{options.exclude},{choice['exclude']}"} if "exclude" in choice else choice
                for choice in error.choices
            )
        raise


def understand(options: PrepareOptions, table: pd.DataFrame | None) -> Reading:
    """Read a DataFrame, a file or a folder."""
    source = options.source.absolute()
    if table is not None:
        if options.images is None:
            raise UserError("a DataFrame is in no folder: name the one that holds its images with --images")
        content = parquet_of(table)
        return read_one_table(options, read_table(source, content), content)
    if not is_there(source):
        raise UserError(f"source {options.source} does not exist")
    if source.is_file():
        return read_file(options, source)
    reading = read_folder(options, list_images(options, source))
    return with_groups(reading, options)


def list_images(options: PrepareOptions, folder: Path) -> FileIndex:
    exclude = [pattern.strip() for pattern in options.exclude.split(",")] if options.exclude else []
    return list_files(folder, allow_outside=options.allow_outside, exclude=exclude)


def read_file(options: PrepareOptions, source: Path) -> Reading:
    """Read one file: a table of images, or images inside a table."""
    what = unreadable_container(source)
    if what is not None:
        raise UserError(what)
    inside = embedded_in(options, [source]) if options.images is None else []
    if inside:
        return with_groups(read_embedded(options, inside[0]), options)
    return read_one_table(options, read_table(source))


def embedded_in(options: PrepareOptions, files: FileIndex | list[Path]) -> list[EmbeddedSource]:
    return find_embedded(files, pixel_shape=options.pixel_shape, pixel_max=options.pixel_max)


def read_embedded(options: PrepareOptions, source: EmbeddedSource) -> Reading:
    """Make a reading of images inside tables, which are written to the dataset's own folder."""
    table = source.table(options.label_column)
    column = options.label_column or (source.label_columns[0] if source.label_columns else None)
    named = options.label_column is not None
    label = check_single_label(table["label"], f"column {column!r}", options.combine_labels, named)
    if options.split_column is not None:
        cells = table[require_column(table, options.split_column, "--split-column")]
        table = table.assign(published=split_cells(cells, options.split_column, options.split_values))
    if options.group_column is not None:
        require_column(table, options.group_column, "--group-column")
    rows = table[["image_id", "published", "file"]].assign(
        label=label, group=table[options.group_column or "image_id"].where(lambda group: group != "", table["image_id"])
    )
    images = options.out.absolute() / EMBEDDED_IMAGES
    return Reading(
        what=f"{source.kind}: {source.where}, labels in column {column!r}",
        name=options.source.absolute().stem,
        rows=rows,
        images=images,
        options=replace(options, source=options.source.absolute(), label_column=column),
        evidence=source.evidence,
        notes=(*source.warnings, *source.notes),
        columns={
            name: table[name] for name in find_group_columns(table, {"image_id", "label", "published", "file"}, label)
        },
        embedded=source,
    )


def read_one_table(options: PrepareOptions, table: Table, content: bytes | None = None) -> Reading:
    """Read the table that the user has named; its images are in its folder, or in --images."""
    files = list_images(options, options.images or table.path.parent)
    check_columns(options, table)
    split = split_of_table(table.path, files.folder)
    one = connect(options, table, files, split) or connect_by_name(options, table, files, split)
    if one is None:
        raise no_images(options, table, files)
    found = table_sets(options, [one], files, None, None)
    lists = read_lists(files) if content is None and options.split_column is None else []
    return with_groups(read_set(options, found[0], files, lists, content), options)


def connect_by_name(options: PrepareOptions, table: Table, files: FileIndex, split: str) -> SourceTable | None:
    """Find the images of a table of which fewer than half are there: by a column that is called like an id."""
    named = [name for name in map(str, table.frame.columns) if normalized(name) in ID_NAMES]
    tried = (connect(replace(options, id_column=name), table, files, split) for name in named)
    return next((way for way in tried if way is not None), None)


def check_columns(options: PrepareOptions, table: Table) -> None:
    """Raise a UserError for a column that an option names and the table lacks."""
    for name in ("id_column", "label_column", "group_column", "split_column"):
        value = getattr(options, name)
        if value is not None:
            require_column(table.frame, value, "--" + name.replace("_", "-"))
    for value in (options.label_columns or "").split(",") if options.label_columns else ():
        require_column(table.frame, value.strip(), "--label-columns")


def read_folder(options: PrepareOptions, files: FileIndex) -> Reading:
    """Decide between the tables of a folder, its class folders, its lists, and the names of its images."""
    folders = folders_of(files)
    lists = read_lists(folders.files)
    if options.label_pattern is not None:
        return read_as_names(options, folders.files, options.label_pattern, lists=lists)
    if options.label_list is not None:
        return read_chosen_list(options, folders.files, lists)
    asked = [name for name in TABLE_OPTIONS if getattr(options, name) is not None]
    ways = [] if asked else read_folders(folders)
    labels = labels_by(folders, ways)
    images = list_images(options, options.images) if options.images else files
    found = Tables([], None, [], [], []) if options.class_folders else tables_of(options, files, images, labels)
    sets, submission, passed_over = found.sets, found.submission, found.passed_over
    kept, notes = best_sets(sets)
    if asked and not kept:
        return read_asked(options, files, asked)
    if kept:
        ways = [way for way in ways if len(set(way.label.values())) > 1]
    if kept and (not ways or tables_win(options, kept[0], files, ways, folders)):
        beside = [f"not used: class folders, {way.level} (the table has labels)" for way in ways]
        return with_notes(with_test_folders(read_sets(options, kept, sets, files, images), files), [*beside, *notes])
    if kept and ways[0].weak and kept[0].choices:
        raise tables_or_folders(options, kept[0], ways)
    listed = [] if options.class_folders else label_lists(lists)
    most = bool(listed) and 2 * len(listed[0].file) >= len(folders.images)
    if most and (not ways or len(ways) > 1 or ways[0].weak):
        return read_listed(options, folders.files, listed, ways)
    if len(ways) == 1:
        check_classes(options, folders, ways[0], found.unconnected)
    if ways:
        unused = [
            f"not used: {one.names()} (no column of labels by its name, and there are class folders)" for one in kept
        ]
        classes = {label for way in ways[:1] for label in way.label.values()}
        lists = [*lists, *lists_for_folders(sets, images, folders.files, classes)]
        return with_notes(read_ways(options, folders, ways, lists), [*unused, *notes])
    if sets:
        raise no_labels(sets[0])
    return read_flat(options, folders.files, lists, submission, passed_over, found.without_images)


def read_asked(options: PrepareOptions, files: FileIndex, asked: Sequence[str]) -> Reading:
    """Read images inside tables whose columns an option names; a UserError says that no table names images."""
    inside = embedded_in(options, files)
    if len(inside) == 1:
        return read_embedded(options, inside[0])
    flag = "--" + asked[0].replace("_", "-")
    raise UserError(f"{options.source} has no table whose rows refer to images: give the table itself, or omit {flag}")


def read_chosen_list(options: PrepareOptions, files: FileIndex, lists: Sequence[ImageList]) -> Reading:
    """Read the lists that --label-list names."""
    listed = label_lists(lists)
    for one in listed:
        if options.label_list in (one.pattern, one.pattern.rpartition("/")[2]):
            return read_as_list(options, files, one)
    known = ", ".join(one.pattern for one in listed) or "there are none"
    raise UserError(f"--label-list {options.label_list!r}: no such lists of images with labels ({known})")


def read_listed(
    options: PrepareOptions, files: FileIndex, listed: Sequence[LabelList], ways: Sequence[FolderReading]
) -> Reading:
    """Read lists of images with labels; a UserError asks where several lists, or class folders, could be meant."""
    complete = [one for one in listed if 2 * len(one.file) >= len(listed[0].file)]
    if len(complete) == 1 and len(ways) != 1:
        return read_as_list(options, files, complete[0])
    names = ", ".join(one.pattern for one in complete[:6])
    folders = "; or the folders of the images are" if ways else ""
    raise UserError(
        f"several lists label the images of {options.source}: {names}{folders}: choose with --label-list",
        [*({"label_list": one.pattern} for one in complete[:6]), *([{"class_folders": "true"}] if ways else [])],
    )


def with_test_folders(reading: Reading, files: FileIndex) -> Reading:
    """Add the images in class folders below a test or val folder that a table of training images doesn't list."""
    if (reading.rows["published"] != "").any() or not reading.images.is_relative_to(files.folder):
        return reading
    classes = set(reading.rows["label"]) - {""}
    paths = files.images()
    folder = parent(paths)
    folders = pd.Series(folder.unique(), dtype="str")
    split = pd.Series([role_of(name) for name in folders], index=folders.to_numpy())
    held_out = split[split.isin(["val", "test"]) & last_part(folders).isin(classes).to_numpy()]
    held = paths[folder.isin(held_out.index)]
    if held.empty:
        return reading
    listed = set(f"{reading.images}/" + reading.rows["file"])
    held = held[~(f"{files.folder}/" + held).isin(listed)]
    if held.empty or not 2 * last_part(parent(held)).nunique() >= len(classes):
        return reading
    way = os.path.relpath(files.folder, reading.images).replace(os.sep, "/")
    more = pd.DataFrame(
        {
            "image_id": held,
            "label": last_part(parent(held)),
            "group": held,
            "published": parent(held).map(split),
            "file": f"{way}/" + held,
        }
    )
    rows = pd.concat([reading.rows.assign(published="train"), more], ignore_index=True).astype("str")
    where = shorten(sorted(first_part(held).unique()))
    return replace(
        reading,
        rows=rows,
        notes=(*reading.notes, f"{where}: {len(held):,} images in class folders, as a published split"),
    )


def read_sets(
    options: PrepareOptions, kept: Sequence[TableSet], sets: Sequence[TableSet], files: FileIndex, images: FileIndex
) -> Reading:
    """Read the tables that remain of all; a UserError asks which, if there are several."""
    if len(kept) > 1:
        paths = [one.tables[0].path for one in kept]
        names = shorten([path.relative_to(files.folder).as_posix() for path in paths], 10)
        raise UserError(
            f"{options.source} has several tables with labels for its images ({names}): give one of them as SOURCE",
            [{"source": str(path), "images": str(images.folder)} for path in paths],
        )
    if kept[0].strength < NAMED and len(kept[0].choices) > 1:
        raise cannot_tell_labels(kept[0].choices)
    return read_set(options, kept[0], images, [*read_lists(images), *lists_of_splits(sets, kept, images)])


def read_ways(
    options: PrepareOptions, folders: Folders, ways: Sequence[FolderReading], lists: Sequence[ImageList]
) -> Reading:
    """Read class folders; a UserError asks which level they are, if several could be."""
    if len(ways) > 1:
        levels = "; ".join(way.level for way in ways[:6])
        raise UserError(
            f"which folders of {options.source} are the classes? {levels}", [way.choice for way in ways[:6]]
        )
    return read_as_folders(options, folders, ways[0], lists)


def read_flat(
    options: PrepareOptions,
    files: FileIndex,
    lists: Sequence[ImageList],
    submission: Submission | None,
    passed_over: list[str],
    without_images: list[Table],
) -> Reading:
    """Read images inside tables, by tables that name few of them, by the names of their files, or not at all."""
    inside = [source for source in embedded_in(options, files) if source.has_labels or options.label_column]
    if len(inside) > 1:
        raise UserError(
            f"{options.source} has several files with images inside: give one of them as SOURCE "
            f"({', '.join(source.where for source in inside[:6])})",
            [{"source": str(source.files[0].path)} for source in inside],
        )
    if inside:
        return read_embedded(options, inside[0])
    for table in without_images:
        one = connect_by_name(options, table, files, split_of_table(table.path, files.folder))
        if one is None:
            raise no_images(options, table, files)
        return read_set(options, table_sets(options, [one], files, submission, None)[0], files, lists)
    guess = guess_pattern(files)
    fields = [] if guess is not None else fields_in_names(files)
    if fields:
        raise UserError(
            f"{options.source} has neither a table nor class folders; parts of its images' names may be labels",
            [{"label_pattern": pattern} for pattern in fields],
        )
    if guess is None:
        raise nothing_found(options, files, passed_over)
    pattern, count = guess
    if submission is None:
        raise UserError(
            f"{options.source} has neither a table nor class folders; {count:,} images may have labels in their names",
            [{"label_pattern": pattern}],
        )
    evidence = (f"names: {count:,} images match it, {submission.name} asks for labels, and no table has them",)
    return read_as_names(options, files, pattern, evidence, lists)


def with_notes(reading: Reading, notes: Sequence[str]) -> Reading:
    return replace(reading, notes=(*reading.notes, *notes))


def with_groups(reading: Reading, options: PrepareOptions) -> Reading:
    """Take the group of each image from its id, where --group-pattern says how."""
    if options.group_pattern is None:
        return reading
    if options.group_column is not None:
        raise UserError("--group-column and --group-pattern both say which images belong together: give one of the two")
    try:
        pattern = re.compile(options.group_pattern)
    except re.error as error:
        raise UserError(f"--group-pattern {options.group_pattern!r} is not a regular expression: {error}") from error
    ids = reading.rows["image_id"]
    found = [pattern.search(name) for name in ids]
    if not any(found):
        raise UserError(f"--group-pattern {options.group_pattern!r} matches no id, such as {ids.iloc[0]!r}")
    group = [
        next(filter(None, match.groups()), match[0]) if match else name for match, name in zip(found, ids, strict=True)
    ]
    note = f"groups by --group-pattern: {len(set(group)):,}"
    if without := found.count(None):
        first = ids.iloc[found.index(None)]
        note += f"; {without:,} ids don't match, such as {first!r}: each is a group of its own"
    return with_notes(replace(reading, rows=reading.rows.assign(group=group)), [note])
