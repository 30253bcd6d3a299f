"""The image file of every id of a template."""

import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd

from resnet50.runtime.console import warn
from resnet50.runtime.errors import UserError

NONE, SEVERAL = -1, -2
"""In place of the position of an id's image: there is none; there are several."""


def match_ids(ids: "pd.Series[str]", paths: "pd.Series[str]", template: Path) -> np.ndarray:
    """Return the position of every id's image among `paths`.

    An id is the end of a path: its name, or some folders and its name, with or without the extension. Where folders
    that all ids begin with are not those of the images, they are ignored; where only letter case or the Unicode form
    differ, so are these. Both are said.

    Raises:
        UserError: an id has no image, or several.
    """
    names, files = as_paths(ids), absolute(paths)
    found = match_ends(names, files)
    if (found == NONE).any():
        found = match_without_shared_folders(names, files, template, found)
    if (found == NONE).any():
        found = match_letters(ids, names, files, paths, template, found)
    if (found == SEVERAL).any():
        raise several_images(ids[found == SEVERAL], paths, files, template)
    if (found == NONE).any():
        missing = ids[found == NONE]
        raise UserError(
            f"{template}: {len(missing):,} of {len(ids):,} ids have no image among the {len(paths):,} given: the first "
            f"is {missing.iloc[0]!r}, but the images are such as {paths.iloc[0]!r}"
        )
    return found


def as_paths(names: "pd.Series[str]") -> "pd.Series[str]":
    """Write ids and files alike: forward slashes, none in front."""
    return names.str.replace("\\", "/", regex=False).str.replace(r"^(?:\./|/)+", "", regex=True)


def absolute(paths: "pd.Series[str]") -> "pd.Series[str]":
    """Return the absolute paths of files, for an id may name folders above those that the user has named."""
    here = Path.cwd()
    return as_paths(pd.Series([str(here / path) for path in paths], dtype="str"))  # as they are if absolute


def match_ends(names: "pd.Series[str]", files: "pd.Series[str]") -> np.ndarray:
    """Match names to the ends of paths: first with the extension, then those that are left without it."""
    found = np.full(len(names), NONE)
    folders = names.str.count("/").to_numpy()
    for complete in (files, without_extension(files)):
        for count in np.unique(folders[found == NONE]).tolist():
            wanted = (found == NONE) & (folders == count)
            found[wanted] = look_up(names[wanted], ends_of(complete, count))
    return found


def without_extension(files: "pd.Series[str]") -> "pd.Series[str]":
    return files.str.replace(r"\.[^./]*$", "", regex=True)


def ends_of(files: "pd.Series[str]", folders: int) -> "pd.Series[str]":
    """Return the name of each file below its last `folders` folders."""
    return files.str.replace(rf"(?s)^.*/((?:[^/]*/){{{folders}}}[^/]*)$", r"\1", regex=True)


def look_up(names: "pd.Series[str]", ends: "pd.Series[str]") -> np.ndarray:
    """Return the position of each name among the ends of paths; NONE or SEVERAL where there isn't just one."""
    first = ends[~ends.duplicated()]
    place = pd.Index(first).get_indexer(pd.Index(names))
    found = np.where(place == NONE, NONE, first.index.to_numpy()[place])
    return np.where(names.isin(ends[ends.duplicated()]), SEVERAL, found)


def match_without_shared_folders(
    names: "pd.Series[str]", files: "pd.Series[str]", template: Path, found: np.ndarray
) -> np.ndarray:
    """Match names without the folders that all of them begin with, as few of these as it takes."""
    folders = shared_folders(names)
    for count in range(1, len(folders) + 1):
        prefix = "/".join(folders[:count]) + "/"
        matched = match_ends(names.str.slice(len(prefix)), files)
        if (matched != NONE).all():
            warn(f"{template}: the ids are matched without the {prefix!r} that all of them begin with")
            return matched
    return found


def shared_folders(names: "pd.Series[str]") -> list[str]:
    """Return the folders that all names begin with."""
    first, last = (str(name).split("/")[:-1] for name in (names.min(), names.max()))
    shared: list[str] = []
    for one, other in zip(first, last, strict=False):  # what these two share, all do that lie between them
        if one != other:
            break
        shared.append(one)
    return shared


def match_letters(
    ids: "pd.Series[str]",
    names: "pd.Series[str]",
    files: "pd.Series[str]",
    paths: "pd.Series[str]",
    template: Path,
    found: np.ndarray,
) -> np.ndarray:
    """Match the names that are left without regard to letter case and Unicode form."""
    left = found == NONE
    matched = match_ends(letters(names[left]), letters(files))
    if (hits := matched >= 0).any():
        first = int(np.argmax(hits))
        warn(
            f"{template}: {int(hits.sum()):,} ids match but for letter case or Unicode form, as "
            f"{ids[left].iloc[first]!r} does {paths.iloc[int(matched[first])]!r}"
        )
    both = found.copy()
    both[left] = matched
    return both


def letters(names: "pd.Series[str]") -> "pd.Series[str]":
    plain = [unicodedata.normalize("NFC", name).casefold() for name in names]
    return pd.Series(plain, names.index, dtype="str")


def several_images(
    ids: "pd.Series[str]", paths: "pd.Series[str]", files: "pd.Series[str]", template: Path
) -> UserError:
    """Return the error for ids that fit several images; it names those of the first."""
    name = str(letters(as_paths(ids.head(1))).iloc[0])
    complete = "/" + letters(files)
    while True:
        end = "/" + name
        fits = complete.str.endswith(end) | without_extension(complete).str.endswith(end)
        if fits.sum() > 1 or "/" not in name:
            break
        name = name.partition("/")[2]
    others = f" ({len(ids):,} ids fit several images)" if len(ids) > 1 else ""
    return UserError(
        f"{template}: the id {ids.iloc[0]!r} fits {' and '.join(paths[fits].head(2))}{others}: name only the folder of "
        "the images that are meant"
    )
