"""Which column of a table names the images, which holds the labels, the split, the group."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resnet50.etl.files import FileIndex, as_paths
from resnet50.etl.source.labels import is_binary, one_hot_sums
from resnet50.etl.source.matching import find_candidates
from resnet50.etl.source.split_columns import split_values
from resnet50.etl.source.tables import file_names, join_names, template_fields
from resnet50.etl.source.words import (
    CIRCUMSTANCES,
    GROUP_NAMES,
    ID_NAMES,
    LABEL_NAMES,
    is_number,
    is_unlabeled,
    normalized,
    words_of,
)
from resnet50.runtime.errors import UserError

COLUMNS_PER_LOOKUP = 100
"""Columns whose values are looked up among the image files at once."""

CLASS_WORDS = {"type", "class", "category", "label", "kind", "name", "target", "group"}

MAX_CHOICES = 6
"""Columns that an error offers, likeliest first."""


@dataclass(frozen=True)
class Submission:
    """What a sample submission asks for.

    Attributes:
        name: of the file.
        targets: its columns but the first.
    """

    name: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class LabelChoice:
    """A column that may hold the labels, or 0/1 columns that do together.

    Attributes:
        columns: one, or several that are 0 and 1.
        strength: of the evidence; 1 is possible, from 2 on it is called a label or is shown to be one.
        why: the evidence.
    """

    columns: tuple[str, ...]
    strength: float
    why: str

    @property
    def option(self) -> dict[str, str]:
        one_hot = len(self.columns) > 1
        name = ",".join(self.columns)
        return {"label_columns": name} if one_hot else {"label_column": name}

    def __str__(self) -> str:
        columns = list(self.columns)
        return f"columns {join_names(columns)}" if len(columns) > 1 else f"column {columns[0]!r}"


def id_columns(table: pd.DataFrame, files: FileIndex, template: str | None, taken: set[str]) -> list[str]:
    """Return the columns that name images, best first; several only if they name different ones.

    A column with paths that are written in another way (a URL, another root) counts if no other column does.
    """
    columns = [str(column) for column in table.columns if column not in taken]
    naming = columns_naming_images(columns, table, files, template)
    if not naming and template is None:
        naming = [name for name in columns if names_images_otherwise(table[name], files)]
    if len(naming) > 1:  # a class number may equal an image's number, but it repeats
        naming = [name for name in naming if table[name].is_unique] or naming
    if len(naming) > 1:  # a row's number may equal an image's number
        naming = [name for name in naming if table[name].str.contains(r"[^\d]", regex=True).any()] or naming
    if len(naming) > 1:
        naming = [name for name in naming if normalized(name) in ID_NAMES] or naming
    return naming


def names_images_otherwise(values: pd.Series, files: FileIndex) -> bool:
    """Return whether values find images in another form: as a URL, below another folder, in other letters."""
    some = values[values != ""].drop_duplicates()
    some = some.iloc[:: max(1, len(some) // 200)]
    if some.empty or all(is_number(value) for value in some):
        return False
    pairs = find_candidates(some.reset_index(drop=True), files).pairs
    pairs = pairs[files.is_image[pairs["file"].to_numpy()]]
    return 2 * pairs["id"].nunique() >= len(some)


def columns_naming_images(
    columns: Sequence[str], table: pd.DataFrame, files: FileIndex, template: str | None
) -> list[str]:
    """Return the columns in which at least half of up to a thousand values refer to images."""
    fields = {field for _, field in template_fields(template)} if template else set[str | None]()
    others = table[[name for name in table.columns if name in fields]]
    naming: list[str] = []
    for start in range(0, len(columns), COLUMNS_PER_LOOKUP):  # batched: some tables have thousands of columns
        chunk = list(columns[start : start + COLUMNS_PER_LOOKUP])
        filled = [table[name][table[name] != ""] for name in chunk]
        some = [values.iloc[:: max(1, len(table) // 1000)] for values in filled]
        column = np.repeat(np.arange(len(chunk)), [len(values) for values in some])
        values = pd.concat(some)
        rows = others.loc[values.index].reset_index(drop=True)
        names = as_paths(file_names(values.reset_index(drop=True), template, rows))
        wanted, distinct = pd.factorize(names)
        pairs = files.candidates(pd.Series(distinct, dtype="str"))
        found = np.zeros(len(distinct), dtype=np.int64)
        found[pairs.loc[files.is_image[pairs["file"]], "id"]] = 1
        once = pd.DataFrame({"column": column, "wanted": wanted}).drop_duplicates()
        counts = once.assign(found=found[once["wanted"]]).groupby("column")["found"].agg(["sum", "count"])
        naming += [chunk[at] for at in counts.index[(counts["sum"] > 0) & (2 * counts["sum"] >= counts["count"])]]
    return naming


def label_choices(
    table: pd.DataFrame,
    id_column: str,
    taken: set[str],
    folders: pd.Series | None = None,
    submission: Submission | None = None,
) -> list[LabelChoice]:
    """Return the columns that may hold the labels, likeliest first.

    Args:
        table: with the rows' cells.
        id_column: names the images.
        taken: columns that are used for something else.
        folders: the class folder that each row's image is in, "" for none.
        submission: the sample submission that is beside the table.
    """
    columns = [str(name) for name in table.columns if name not in taken and name != id_column]
    choices = [choice for name in columns if (choice := label_choice(table, name, folders, submission)) is not None]
    choices += one_hot_choices(table, columns, submission)
    choices.sort(key=lambda choice: (-choice.strength, *unlikely(table, choice)))
    return without_equal(table, choices)


def label_choice(
    table: pd.DataFrame, name: str, folders: pd.Series | None, submission: Submission | None
) -> LabelChoice | None:
    """Weigh one column; None for one that can't hold labels."""
    values = table[name]
    filled = values[values != ""]
    classes = filled.nunique()
    if classes == 0 or is_prediction(name):
        return None
    if submission is not None and submission.targets == (name,):
        return LabelChoice((name,), 4, f"the target of {submission.name}")
    if submission is not None and len(submission.targets) > 1:
        asked = {normalized(target) for target in submission.targets}
        here = {normalized(value) for value in filled.unique()} if classes <= 20_000 else set[str]()
        if here and len(asked & here) >= 0.8 * len(asked | here):
            return LabelChoice((name,), 4, f"its values are the columns of {submission.name}")
    plain = normalized(name)
    for rank, names in enumerate(LABEL_NAMES):
        if plain in names or (rank < 2 and plain.removeprefix("image_").removesuffix("_name") in names):
            if plain in names and plain in ID_NAMES and classes == len(filled):
                return None
            return LabelChoice((name,), 3 - 0.2 * rank, "its name")
    if folders is not None and same_partition(values, folders):
        return LabelChoice((name,), 2.5, "its values are the folders of the images")
    if classes < 2 or classes == len(filled) or split_values(values) is not None:
        return None
    if plain in ("split", "fold", "partition", "kfold", "subset") and classes <= 20:
        return None
    if filled.iloc[:200].str.contains(r"://|^\d{4}-\d\d-\d\d|^\W*$", regex=True).mean() > 0.5:
        return None
    return LabelChoice((name,), 1, "possible")


def is_prediction(name: str) -> bool:
    return is_unlabeled(name) or name.startswith("p_") or name.lower() in ("confidence", "score", "probability")


def unlikely(table: pd.DataFrame, choice: LabelChoice) -> tuple[float, int]:
    """Sort possible columns: names that speak of classes first, those of circumstances last, words before numbers."""
    if choice.strength > 1:
        return 0.0, 0
    name, values = choice.columns[0], table[choice.columns[0]]
    words, classes = set(words_of(name)), values.nunique()
    speaks = bool(words & CLASS_WORDS)
    numbers = all(is_number(value) for value in values[values != ""].iloc[:200])
    against = 2 * bool(words & CIRCUMSTANCES) + numbers + (classes > 0.5 * len(values))
    return against - speaks, -classes if speaks else classes


def one_hot_choices(table: pd.DataFrame, columns: list[str], submission: Submission | None) -> list[LabelChoice]:
    """Return the 0/1 columns that hold the labels together: those of the submission, or all that exclude each other."""
    binary = [name for name in columns if is_binary(table[name])]
    if submission is not None and len(submission.targets) > 1 and set(submission.targets) <= set(binary):
        return [LabelChoice(submission.targets, 4, f"the columns of {submission.name}")]
    if len(binary) < 2:
        return []
    for run in (binary, *contiguous(columns, binary)):
        varying = sum(not is_constant(table[name]) for name in run)
        if varying > 1 and (one_hot_sums(table, run) == 1).all():
            return [LabelChoice(tuple(run), 2.9 if len(run) > 2 else 2.1, "exactly one of them is 1 in every row")]
    if len(binary) >= max(2, 0.6 * len(columns)) and (one_hot_sums(table, binary) > 1).any():
        return [LabelChoice(tuple(binary), 2.1 if len(binary) == len(columns) else 1.5, "0 and 1 in every row")]
    return []


def is_constant(values: pd.Series) -> bool:
    return bool((values == values.iloc[0]).all())


def contiguous(columns: list[str], some: list[str]) -> list[list[str]]:
    """Return runs of neighboring columns, longest first."""
    runs: list[list[str]] = [[]]
    for name in columns:
        if name in some:
            runs[-1].append(name)
        elif runs[-1]:
            runs.append([])
    return sorted(runs, key=len, reverse=True)


def same_partition(first: pd.Series, second: pd.Series) -> bool:
    """Return whether two columns divide the rows in the same way, whatever they call the parts."""
    here = (first != "") & (second != "")
    if not here.any():
        return False
    pairs = pd.DataFrame({"first": first[here].to_numpy(), "second": second[here].to_numpy()}).drop_duplicates()
    return bool(len(pairs) > 1 and pairs["first"].is_unique and pairs["second"].is_unique)


def without_equal(table: pd.DataFrame, choices: list[LabelChoice]) -> list[LabelChoice]:
    """Drop columns that say the same as a likelier one in other words (class_id beside class_name)."""
    kept: list[LabelChoice] = []
    for choice in choices:
        alike = (other for other in kept if len(choice.columns) == len(other.columns) == 1)
        if not any(same_partition(table[choice.columns[0]], table[other.columns[0]]) for other in alike):
            kept.append(choice)
    return kept


def find_group_columns(table: pd.DataFrame, taken: set[str], labels: pd.Series) -> list[str]:
    """Return the columns that look like ids of what several images come from: patients, users, series."""
    found: list[str] = []
    for name in map(str, table.columns):
        words = set(words_of(name))
        if name in taken or not (words & GROUP_NAMES):
            continue
        values = table.loc[table[name] != "", name]
        groups = values.nunique()
        if 1 < groups < 0.95 * len(values) and groups > labels.nunique() and not same_partition(table[name], labels):
            found.append(name)
    return found


def cannot_tell_ids(columns: Sequence[str], possible: Sequence[str]) -> UserError:
    found = f"both {join_names(possible, ' and ')} could" if possible else f"none of {join_names(columns)} seems to"
    return UserError(
        f"cannot tell which column has the image ids ({found}): name it with --id-column",
        [{"id_column": name} for name in possible[:MAX_CHOICES]],
    )


def cannot_tell_labels(choices: Sequence[LabelChoice]) -> UserError:
    found = f"it could be {'; '.join(map(str, choices[:10]))}" if choices else "no column is left"
    return UserError(
        f"cannot tell which column has the labels ({found}): name it with --label-column",
        [choice.option for choice in choices[:MAX_CHOICES]],
    )
