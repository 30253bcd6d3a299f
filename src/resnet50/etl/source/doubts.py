"""What speaks against folders as classes: tables beside them with a row per image, and images that recur in each."""

import re
from collections.abc import Sequence
from itertools import islice, product

import pandas as pd

from resnet50.etl.files import last_part
from resnet50.etl.source.class_folders import FolderReading
from resnet50.etl.source.columns import label_choices
from resnet50.etl.source.file_names import fields_in_names
from resnet50.etl.source.folders import Folders
from resnet50.etl.source.tables import Table, file_names
from resnet50.etl.source.words import is_id_like, shorten
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError

MAX_VERSIONS = 4
"""Folders that may show the same images in several ways; more of them are classes."""

MAX_TEMPLATES = 64
"""Ways to fill the parts of a path with columns that are tried."""

SPARSE = 10
"""Median gap between the numbers in shared names from which they are not counters that start anew in each folder."""


def check_classes(options: PrepareOptions, folders: Folders, way: FolderReading, tables: Sequence[Table]) -> None:
    """Ask whether folders are the classes, where something speaks against it.

    Args:
        options: --class-folders answers the question.
        folders: of the source.
        way: the one reading of them.
        tables: beside them that name no images.

    Raises:
        UserError: the folders' names are ids, and a table has a row per image; or the folders have the same images.
    """
    if options.class_folders or not way.label:
        return
    label = pd.Series(folders.number).map(way.label)
    paths = folders.files.paths.iloc[folders.images].reset_index(drop=True)[label.notna()]
    label = label[label.notna()]
    yes = {"class_folders": "true"}
    for table in tables if is_id_like(set(label)) else ():
        if len(table.frame) == len(paths):
            raise UserError(
                f"{table.path.name} has {len(paths):,} rows, as many as there are images, but names none of them: are "
                f"the folders ({way.level}) the classes, or does the table have the labels?",
                [*by_template(options, table, paths), yes],
            )
    if recur(last_part(paths).str.replace(r"\.[^.]*$", "", regex=True), label):
        fields = [{"label_pattern": pattern} for pattern in fields_in_names(folders.files)]
        raise UserError(
            f"the folders {shorten(sorted(set(label)))} have images of the same names: are they the classes, or "
            "versions of the same images, whose names may have the labels?",
            [*fields[:6], yes],
        )


def recur(stems: pd.Series, label: pd.Series) -> bool:
    """Return whether two to four folders share the names of their images, and these are no counters."""
    if not 2 <= label.nunique() <= MAX_VERSIONS:
        return False
    names = pd.DataFrame({"stem": stems.to_numpy(), "label": label.to_numpy()}).drop_duplicates()
    shared = names[names["stem"].duplicated()]["stem"].drop_duplicates()
    if 2 * len(shared) < names["label"].value_counts().min():
        return False
    number = shared.str.extract(r"(\d+)\D*$", expand=False).dropna().astype("float64")
    gaps = number.sort_values().diff().dropna()
    return len(gaps) > 0 and len(number) == len(shared) and float(gaps.median()) > SPARSE


def by_template(options: PrepareOptions, table: Table, paths: pd.Series) -> list[dict[str, str]]:
    """Return the choices for a table whose columns make up the images' paths together: one per column of labels."""
    template = template_of(table.frame, paths)
    if template is None:
        return []
    taken = set(re.findall(r"\{(.+?)\}", template))
    first = {"source": str(table.path), "images": str(options.images or options.source), "path_template": template}
    choices = label_choices(table.frame, "", taken)
    return [first | choice.option for choice in choices[:4]]


def template_of(frame: pd.DataFrame, paths: pd.Series) -> str | None:
    """Return the path of an image with names of columns in braces: x/{patient}_{number}.png; None if none fits all."""
    parts = pd.DataFrame([re.split(r"(\d+|[A-Za-z]+)", path) for path in paths])
    if parts.isna().any(axis=None) or not frame.columns.is_unique:
        return None
    cells = {str(name): set(frame[name]) for name in frame.columns if not set("{}") & set(str(name))}
    fields: list[list[str]] = []
    for at in parts.columns:
        values = set(parts[at])
        if len(values) == 1:
            fields.append([values.pop().replace("{", "{{").replace("}", "}}")])
        else:
            fields.append([f"{{{name}}}" for name, known in cells.items() if known == values])
    wanted = set(paths)
    for one in islice(product(*fields), MAX_TEMPLATES):
        template = "".join(one)
        if set(file_names(frame.iloc[:, 0], template, frame)) == wanted:
            return template
    return None
