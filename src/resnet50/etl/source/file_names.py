"""Labels in the names of image files: the pattern that they begin with, or their parts."""

import re

import pandas as pd

from resnet50.etl.files import FileIndex, last_part, parent
from resnet50.etl.source.matching import role_of

NO_CLASS_WORDS = {
    "img", "dsc", "dscn", "dscf", "image", "images", "photo", "pic", "picture", "p", "frame", "file", "scan",
    "screenshot", "untitled", "imgp", "dji", "gopr", "pxl", "mvimg", "vid", "train", "test", "val", "sample", "left",
    "right", "page", "download",
}  # fmt: skip
"""What cameras and programs begin file names with."""


MIN_PER_NAME = 3
"""Images per class, on average, for names to be taken for labels."""


def label_pattern_of(stems: pd.Series) -> str | None:
    """Return the pattern of file names that begin with a class: 'cat.0', 'dog.1', 'Abyssinian_100'; None if none fits.

    Names that cameras and programs give (IMG_1, DSC_2) are none.
    """
    if len(stems) < 4:
        return None
    prefix = stems.str.extract(r"^([^\W\d_](?:.*?[^\W\d_])?)[\s._-]*\(?\d+\)?$", expand=False).fillna("")
    if prefix[prefix != ""].nunique() < 2:
        return numbered_pattern_of(stems)
    names = prefix[prefix != ""].value_counts()
    if len(names) < 2 or (prefix == "").mean() > 0.02 or names.mean() < MIN_PER_NAME or names.min() < 2:
        return None
    if any(str(name).lower() in NO_CLASS_WORDS for name in names.index):
        return None
    after = stems.str.replace(r"\(?\d+\)?$", "", regex=True).str.extract(r"([\s._-]*)$", expand=False)
    separator = re.escape(str(after.mode().iloc[0])) if len(set(after)) == 1 else r"[ ._-]*"
    if len(names) <= 8:
        return f"^({'|'.join(re.escape(str(name)) for name in sorted(names.index))}){separator}"
    return rf"^([^\W\d_](?:.*?[^\W\d_])?){separator}\(?\d+\)?\."


def numbered_pattern_of(stems: pd.Series) -> str | None:
    """Return the pattern of names such as 'obj12__35', a numbered class before a number; None if it doesn't fit."""
    prefix = stems.str.extract(r"^([^\W\d_]+\d+)[\s._-]+\d+$", expand=False).fillna("")
    names = prefix[prefix != ""].value_counts()
    words = {re.sub(r"\d+$", "", str(name)).lower() for name in names.index}
    if len(names) < 2 or (prefix == "").mean() > 0.02 or names.mean() < MIN_PER_NAME or words & NO_CLASS_WORDS:
        return None
    return r"^([^\W\d_]+\d+)[\s._-]"


def guess_pattern(files: FileIndex) -> tuple[str, int] | None:
    """Return the pattern that the names of the images begin with, and how many of them; None if there is none.

    Folders of test and unlabeled images are left aside.
    """
    paths = files.images()
    folder = parent(paths)
    roles = folder.map({name: role_of(name) for name in folder.unique()})
    paths = paths[~roles.isin(["test", "unlabeled"])]
    pattern = label_pattern_of(last_part(paths).str.replace(r"\.[^.]*$", "", regex=True)) if len(paths) else None
    return None if pattern is None else (pattern, len(paths))


def fields_in_names(files: FileIndex) -> list[str]:
    """Return patterns for the fields of names such as '23_0_1_2017.jpg' that could be labels, fewest values first."""
    stems = last_part(files.images()).str.replace(r"\.[^.]*$", "", regex=True)
    fields = pd.DataFrame([stem.split("_") for stem in stems])
    if len(stems) < 4 or fields.shape[1] < 2 or fields.isna().any(axis=None):
        return []
    found: list[tuple[int, str]] = []
    for at in range(fields.shape[1]):
        values = fields[at].nunique()
        if 1 < values <= max(2, len(stems) // MIN_PER_NAME):
            found.append((values, "^" + "[^_]*_" * at + "([^_.]+)"))
    return [pattern for _, pattern in sorted(found)]
