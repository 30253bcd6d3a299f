"""From any layout of labeled images to one table: image_id, label, group, published split, file."""

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from resnet50.etl.embedded import (
    EmbeddedSource,
    choices_between,
    find_embedded,
    unreadable_container,
    unreadable_containers,
)
from resnet50.etl.files import FileIndex, find_outside, first_part, is_there, list_files, narrow_to_images, no_images
from resnet50.etl.split import SPLIT_NAMES
from resnet50.etl.table import (
    CSV_SUFFIXES,
    PARQUET_SUFFIXES,
    columns_naming_images,
    file_names,
    guess_id_column,
    guess_label_column,
    parquet_of,
    read_table,
    require_column,
    template_fields,
)
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError

GENERIC_NAMES = {"data", "images", "index", "labels", "metadata", "source", "table", "train"}
"""Names of tables that don't describe their content; the dataset is then named after the table's folder."""


@dataclass(frozen=True)
class Extracted:
    """The rows of a source, before any are excluded.

    Attributes:
        name: of the dataset.
        rows: a row per row of the table, or per image of the class folders: image_id, label ("" where empty), group,
            published (the published split as written; "" everywhere if there is none), file (path of the image below
            `images`, "" where there is none).
        images: the folder of images.
        unlisted: images in that folder that no row refers to.
        options: the options with every guess filled in.
        notes: a line for each guess, and for everything that was ignored.
        content: Parquet file of the DataFrame that the rows are from, to be kept in the dataset; else None.
        embedded: where the images come from that are yet to be written to `images`; None if they are files already.
    """

    name: str
    rows: pd.DataFrame
    images: Path
    unlisted: list[str]
    options: PrepareOptions
    notes: list[str]
    content: bytes | None = None
    embedded: EmbeddedSource | None = None


IMAGES = "images"
"""Folder in a dataset for the images that were inside tables."""


def extract(options: PrepareOptions, table: pd.DataFrame | None = None) -> Extracted:
    """Read a table, class folders, splits with class folders, or a folder that has a labeled table in it.

    A folder is read as its labeled table if it has one, except where train/, val/ and test/ contain class folders:
    these are a published split, and it is kept.

    Args:
        options: `source` says what to read.
        table: a DataFrame to read instead; `options.source` is where it will be kept.

    Raises:
        UserError: the source doesn't exist, can't be interpreted, or is ambiguous.
    """
    source = options.source.absolute()
    if table is not None:
        if options.images is None:
            raise UserError("a DataFrame is in no folder: name the one that holds its images with --images")
        files = list_files(options.images, allow_outside=options.allow_outside)
        return extract_table(options, source, files, parquet_of(table))
    if not is_there(source):
        raise UserError(f"source {options.source} does not exist")
    if source.is_file():
        container = unreadable_container(source)
        if container is not None:
            raise UserError(container)
        inside = extract_embedded(options, [source])
        if inside is not None:
            return inside
        folder = options.images or source.parent
        return extract_table(options, source, list_files(folder, allow_outside=options.allow_outside))
    files = list_files(source, allow_outside=options.allow_outside)
    table_options = [
        flag
        for flag in ("images", "id_column", "label_column", "path_template", "group_column", "split_column")
        if getattr(options, flag) is not None
    ]
    if not table_options and len(class_folder_splits(files)) > 1:
        return extract_folders(options, files)
    labeled = find_labeled_table(options, files)
    if labeled is not None:
        if options.images is not None:
            files = list_files(options.images, allow_outside=options.allow_outside)
        return extract_table(options, labeled, files)
    inside = extract_embedded(options, files)
    if inside is not None:
        return inside
    if table_options:
        flag = "--" + table_options[0].replace("_", "-")
        raise UserError(
            f"{options.source} has no table whose rows refer to images: give the table itself, or omit {flag}"
        )
    return extract_folders(options, files)


def extract_embedded(options: PrepareOptions, files: FileIndex | list[Path]) -> Extracted | None:
    """Read images that are inside tables or arrays; None if there are none.

    Raises:
        UserError: several files could be meant.
    """
    found = find_embedded(files, pixel_shape=options.pixel_shape, pixel_max=options.pixel_max)
    found = [source for source in found if source.has_labels] or found
    if len(found) > 1:
        names = "; ".join(f"{source.where} ({source.kind})" for source in found)
        raise UserError(f"{options.source} has images in several tables: {names}", choices_between(found))
    if not found:
        return None
    (source,) = found
    label_column = source.label_column(options.label_column)
    rows = source.table(label_column)
    source_path = options.source.absolute()
    name = source_path.parent.name if source_path.stem.lower() in GENERIC_NAMES else source_path.stem
    return Extracted(
        name=name,
        rows=rows.assign(group=rows["image_id"]),
        images=options.out.absolute() / IMAGES,
        unlisted=[],
        options=dataclasses.replace(options, source=source_path, label_column=label_column),
        notes=[*source.evidence, *source.notes, *source.warnings],
        embedded=source,
    )


def extract_table(options: PrepareOptions, path: Path, files: FileIndex, content: bytes | None = None) -> Extracted:
    """Read a table and find its images in `files`, or in the smallest folder below that has them all."""
    table = read_table(path, content)
    notes = [] if path == options.source.absolute() else [f"table: {path.name}"]
    if options.group_column is not None:
        require_column(table, options.group_column, "--group-column")
    if options.split_column is not None:
        require_column(table, options.split_column, "--split-column")
    id_column, label_column = choose_columns(options, table, files, notes)

    names = file_names(table[id_column], options.path_template, table)
    outside = pd.Series("", index=names.index, dtype="str")
    if options.allow_outside:
        outside = find_outside(names, files.folder)
    if options.images is None and (outside == "").all():
        files = narrow_to_images(names, files)
        notes.append(f"image folder: {files.folder}")
    position = files.find(names)
    if (position < 0).all() and (outside == "").all():
        raise no_images(names, files)
    unlisted = files.is_image.copy()
    unlisted[position[position >= 0]] = False

    # A template with further columns means that an id alone doesn't identify an image; the filled-in template does.
    template_columns = (
        {field for _, field in template_fields(options.path_template)} if options.path_template else set()
    )
    needs_template = bool(template_columns - {None, "image_id"})
    ids = names if needs_template else table[id_column]
    file = files.paths.reindex(position, fill_value="").set_axis(table.index)
    file = file.where(file != "", outside)
    group = ids if options.group_column is None else table[options.group_column].where(lambda value: value != "", ids)
    rows = pd.DataFrame(
        {
            "image_id": ids,
            "label": table[label_column],
            "group": group,
            "published": "" if options.split_column is None else table[options.split_column],
            "file": file,
        }
    )
    return Extracted(
        name=path.parent.name if path.stem.lower() in GENERIC_NAMES else path.stem,
        rows=rows,
        images=files.folder,
        unlisted=files.paths[unlisted].tolist(),
        options=dataclasses.replace(
            options, source=path, images=files.folder, id_column=id_column, label_column=label_column
        ),
        notes=notes,
        content=content,
    )


def choose_columns(options: PrepareOptions, table: pd.DataFrame, files: FileIndex, notes: list[str]) -> tuple[str, str]:
    """Return the columns of ids and labels: as the options name them, else guessed, with a line in `notes`."""
    taken = {options.group_column, options.split_column}
    if options.label_column is not None:
        taken.add(require_column(table, options.label_column, "--label-column"))
    if options.id_column is not None:
        id_column = require_column(table, options.id_column, "--id-column")
    else:
        id_column = guess_id_column(table, files, options.path_template, taken)
        notes.append(f"image ids: column {id_column!r}")
    if options.label_column is not None:
        label_column = options.label_column
    else:
        label_column = guess_label_column(table, taken | {id_column})
        notes.append(f"labels: column {label_column!r}")
    return id_column, label_column


def find_labeled_table(options: PrepareOptions, files: FileIndex) -> Path | None:
    """Return the table below a folder whose rows refer to its images; None if there is none.

    Files that competitions call test… or …submission… have no labels. Of several tables, one called train… is chosen.

    Raises:
        UserError: several tables are possible.
    """
    images = list_files(options.images, allow_outside=options.allow_outside) if options.images else files
    tables: list[Path] = []
    for path in files.paths:
        name = PurePosixPath(path)
        if name.suffix.lower() not in (*CSV_SUFFIXES[:2], *PARQUET_SUFFIXES):
            continue
        if name.name.lower().startswith("test") or "submission" in name.name.lower():
            continue
        if has_image_ids(files.folder / path, images, options):
            tables.append(files.folder / path)
    if len(tables) > 1:
        tables = [path for path in tables if path.name.lower().startswith("train")] or tables
    if len(tables) > 1:
        names = ", ".join(path.relative_to(files.folder).as_posix() for path in tables[:10])
        raise UserError(
            f"{options.source} has several tables that refer to images ({names}): give one of them as SOURCE",
            [{"source": str(path)} for path in tables],
        )
    return tables[0] if tables else None


def has_image_ids(path: Path, images: FileIndex, options: PrepareOptions) -> bool:
    """Return whether a table has a column whose values refer to images; an unreadable table has none."""
    try:
        table = read_table(path)
    except UserError:  # an unrelated file; the faults of the chosen table are reported when it is read
        return False
    columns = list(table.columns) if options.id_column is None else [options.id_column]
    usable = [name for name in columns if name in table.columns]
    return bool(columns_naming_images(usable, table, images, options.path_template))


def extract_folders(options: PrepareOptions, files: FileIndex) -> Extracted:
    """Read class folders: the label of an image is the folder that it is in, its id the path from there on."""
    name = files.folder.name
    notes: list[str] = []
    while (only := wrapping_folder(files)) is not None:
        files = files.below(only + "/")
    splits = class_folder_splits(files)
    flat = [folder for folder in top_folders(files.images()) if folder not in splits] if splits else []
    if len(splits) == 1:  # only train/ has classes, so there is no published split
        files, splits = files.below(splits[0] + "/"), []
    if flat:
        notes.append(f"not used: {', '.join(flat)} (without class folders)")
    images = files.images()
    images = images[~first_part(images).isin(flat)]
    published = first_part(images) if splits else pd.Series("", index=images.index, dtype="str")
    inside = images.str.replace("(?s)^[^/]*/", "", regex=True) if splits else images
    labeled = inside.str.contains("/", regex=False)
    if not labeled.any():
        containers = "".join(f"; {line}" for line in unreadable_containers(files))
        raise UserError(
            f"{options.source} has neither a table whose rows refer to images nor class folders with images{containers}"
        )
    notes.append(f"labels: class folders in {files.folder}")
    if splits:
        notes.append(f"splits: folders {', '.join(splits)}")
    others = Counter(PurePosixPath(path).suffix.lower() or "no extension" for path in files.paths[~files.is_image])
    if others:
        kinds = ", ".join(f"{count:,} × {kind}" for kind, count in sorted(others.items()))
        notes.append(f"not used, without an image's extension: {kinds}")
    rows = pd.DataFrame({"image_id": images, "label": first_part(inside), "published": published})[labeled]
    rows = rows.reset_index(drop=True)
    return Extracted(
        name=name,
        rows=rows.assign(group=rows["image_id"], file=rows["image_id"]),
        images=files.folder,
        unlisted=images[~labeled].tolist(),
        options=dataclasses.replace(options, source=options.source.absolute(), images=files.folder),
        notes=notes,
    )


def top_folders(paths: pd.Series) -> list[str]:
    """Return the top-level folder of every path that has one, sorted."""
    return sorted(first_part(paths[paths.str.contains("/", regex=False)]).unique())


def wrapping_folder(files: FileIndex) -> str | None:
    """Return the one folder around all class folders, as archives often unpack to; None if there is none."""
    images = files.images()
    folders = top_folders(images)
    wrapped = len(folders) == 1 and (images.str.count("/") >= 2).all()
    return folders[0] if wrapped and folders[0].lower() not in SPLIT_NAMES else None


def class_folder_splits(files: FileIndex) -> list[str]:
    """Return the folders called train, val or test that have class folders, if no folder has another name."""
    images = files.images()
    folders = top_folders(images)
    if not folders or any(folder.lower() not in SPLIT_NAMES for folder in folders):
        return []
    return top_folders(images[images.str.count("/") >= 2])
