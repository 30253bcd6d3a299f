"""Lists in text files and JSON: which images belong to a split, and which label each has."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet50.etl.files import FileIndex, as_paths, last_part
from resnet50.etl.source.matching import find_candidates
from resnet50.etl.source.words import shorten, split_in, split_of, words_of
from resnet50.runtime.errors import UserError

MAX_LISTS = 40
"""Text files that are read as lists; a folder with more has one per image or per class."""

MAX_BYTES = 500_000_000

COMPLETE = 0.95
"""Share of the images that lists of splits must name, so that they are the published split."""


@dataclass(frozen=True)
class ImageList:
    """A file that names images, one a line.

    Attributes:
        path: of the file, below the source.
        split: that the file's name says, or "".
        file: position of each image in the index.
        label: what stands behind each name, or "".
    """

    path: str
    split: str
    file: NDArray[np.int64]
    label: tuple[str, ...]


def read_lists(files: FileIndex) -> list[ImageList]:
    """Read all text files, and JSON files of splits, that name images of the source."""
    names = files.paths[~files.is_image]
    texts = [path for path in names if path.lower().endswith((".txt", ".lst", ".list", ".tsv"))]
    stems = (
        set(last_part(files.images()).str.replace(r"\.[^.]*$", "", regex=True))
        if len(texts) > MAX_LISTS
        else set[str]()
    )
    texts = [path for path in texts if PurePosixPath(path).stem not in stems]
    found: list[ImageList] = []
    if len(texts) <= MAX_LISTS:
        contents = {path: lines_of(files, path) for path in texts}
        by_number, read = indexed_lists(files, contents)
        found += by_number
        rest = {path: lines for path, lines in contents.items() if path not in read}
        found += [one for path, lines in rest.items() if (one := as_list(files, path, lines)) is not None]
    for path in names[names.str.lower().str.endswith(".json")].iloc[:MAX_LISTS]:
        found += lists_in_json(files, path)
    return found


def lines_of(files: FileIndex, path: str) -> list[str]:
    """Return the lines of a text file; [] if it can't be read as text."""
    try:
        if (files.folder / path).stat().st_size > MAX_BYTES:
            return []
        text = (files.folder / path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return []
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def split_of_list(path: str) -> str:
    """Return the split that a list's name says; 'train_val' and 'trainval' are train."""
    words = words_of(PurePosixPath(path).stem)
    if "trainval" in words or {"train", "val"} <= set(words):
        return "train"
    return split_in(PurePosixPath(path).stem)


def as_list(files: FileIndex, path: str, lines: list[str]) -> ImageList | None:
    """Read lines as names of images, perhaps with a label behind each, perhaps below a header; None if they aren't."""
    if not lines:
        return None
    whole = locate(files, lines, path)
    if whole is not None:
        return ImageList(path, split_of_list(path), whole, ("",) * len(lines))
    for separator in ("\t", ",", ";", None):
        limit = 1 if separator is None else -1
        cells = [[cell.strip() for cell in line.split(separator, limit)] for line in lines]
        if any(len(row) < 2 for row in cells):
            continue
        first = locate(files, [row[0] for row in cells], path)
        if first is None:
            continue
        if first[0] < 0 and (first[1:] >= 0).mean() > 0.9:
            first, cells = first[1:], cells[1:]
        return ImageList(path, split_of_list(path), first, tuple(row[1] for row in cells))
    return as_list_of_paths_last(files, path, lines)


def as_list_of_paths_last(files: FileIndex, path: str, lines: list[str]) -> ImageList | None:
    """Read lines with the image in the last column: a label before it, or a number of the line and a label (MXNet)."""
    for separator in ("\t", ",", " "):
        cells = [[cell.strip() for cell in line.split(separator)] for line in lines]
        width = len(cells[0])
        if width < 2 or any(len(row) != width for row in cells):
            continue
        position = locate(files, [row[-1] for row in cells], path)
        if position is None:
            continue
        repeated = [at for at in range(width - 1) if len({row[at] for row in cells}) <= len(cells) // 2]
        label = tuple(row[repeated[0]] for row in cells) if len(repeated) == 1 else ("",) * len(cells)
        return ImageList(path, split_of_list(path), position, label)
    return None


def locate(files: FileIndex, names: list[str], path: str) -> NDArray[np.int64] | None:
    """Return the position of the one image that each name means, −1 for none; None if most mean none.

    Of several images that a name could mean, the one nearest to the list is taken.
    """
    sample = as_paths(pd.Series(names[:: max(1, len(names) // 50)], dtype="str"))
    if not len(files.candidates(sample.drop_duplicates().reset_index(drop=True))):
        return None
    found = find_candidates(pd.Series(names, dtype="str"), files)
    pairs = found.pairs[files.is_image[found.pairs["file"].to_numpy()]]
    if 2 * pairs["id"].nunique() < len(found.ids):
        return None
    folder = path.rpartition("/")[0]
    near = files.paths.take(pairs["file"].to_numpy()).str.startswith(folder + "/" if folder else "").to_numpy()
    pairs = pairs.assign(far=~near).sort_values(["id", "far"], kind="stable")
    best = pairs[pairs["far"] == pairs.groupby("id")["far"].transform("min")]
    once = best[~best["id"].duplicated(keep=False)]
    position = np.full(len(found.ids), -1)
    position[once["id"].to_numpy()] = once["file"].to_numpy()
    return position[found.row]


def indexed_lists(files: FileIndex, contents: dict[str, list[str]]) -> tuple[list[ImageList], set[str]]:
    """Read lists that name images by a key which another list gives them; also return the paths of all of these.

    CUB-200-2011 has images.txt (number, path), image_class_labels.txt (number, class) and train_test_split.txt (number,
    1 for a training image). A key is a number, or a word that is no image's name.
    """
    pairs = {path: [line.split(None, 1) for line in lines] for path, lines in contents.items()}
    pairs = {path: rows for path, rows in pairs.items() if rows and all(len(row) == 2 for row in rows)}
    named: dict[str, NDArray[np.int64]] = {}
    for path, rows in pairs.items():
        keys = [row[0] for row in rows]
        if rows[0][1].isdigit() or len(set(keys)) < len(keys):
            continue
        position = locate(files, [row[1] for row in rows], path)
        if position is not None and (all(map(str.isdigit, keys)) or locate(files, keys, path) is None):
            named[path] = position
    if len(named) != 1:
        return [], set()
    (source, position), found = next(iter(named.items())), list[ImageList]()
    numbers = [row[0] for row in pairs[source]]
    for path, rows in pairs.items():
        values = {number: value for number, value in rows}  # noqa: C416  # pairs are lists of two
        words = set(words_of(PurePosixPath(path).stem))
        if path == source or values.keys() != set(numbers) or set(values.values()) != {"0", "1"}:
            continue
        if {"train", "test"} <= words or words & {"train", "training"}:
            one = np.array([values[number] == "1" for number in numbers])
            for split, here in (("train", one), ("test", ~one)):
                found.append(ImageList(path, split, position[here], ("",) * int(here.sum())))
    together = {path for path, rows in pairs.items() if {row[0] for row in rows} == set(numbers)}
    return found, together


def lists_in_json(files: FileIndex, path: str) -> list[ImageList]:
    """Read JSON such as {"train": ["a.jpg", …], "test": […]}."""
    try:
        if (files.folder / path).stat().st_size > MAX_BYTES:
            return []
        content: Any = json.loads((files.folder / path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return []
    if not isinstance(content, dict) or not content or not all(split_of(str(name)) for name in content):
        return []
    found: list[ImageList] = []
    for name, items in content.items():
        rows: list[Any] = items if isinstance(items, list) else []
        heads = [str(row[0] if isinstance(row, list) and row else row) for row in rows]  # [path, label, name], or path
        if heads:
            position = locate(files, heads, path)
            if position is not None:
                found.append(ImageList(path, split_of(str(name)), position, ("",) * len(heads)))
    return found


@dataclass(frozen=True)
class LabelList:
    """Lists that label images and belong together: one per split, or a single one.

    Attributes:
        pattern: of the names of their files, for --label-list.
        file: position of each image in the index.
        label: of each.
        published: the split that the list's name says, "" where there is but one.
    """

    pattern: str
    file: NDArray[np.int64]
    label: pd.Series
    published: pd.Series


def label_lists(lists: Sequence[ImageList]) -> list[LabelList]:
    """Join lists whose names differ in the split alone; lists of test images that all have one label have none."""
    groups: dict[str, list[ImageList]] = {}
    for one in lists:
        if any(one.label) and not has_more_columns(one):
            groups.setdefault(SPLIT_WORD.sub("*", one.path), []).append(one)
    groups = with_lone_splits(groups)
    found: list[LabelList] = []
    for pattern, members in groups.items():
        group = members
        if {"train", "val"} <= {one.split for one in members}:  # trainval says the same again
            group = [one for one in members if "trainval" not in words_of(PurePosixPath(one.path).stem)]
        several = [one for one in group if len(set(one.label)) > 1]
        if not several or (len(group) > 1 and len(several) == 1 and not several[0].split):
            continue
        published = len({one.split for one in several}) > 1
        file = np.concatenate([one.file for one in several])
        label = pd.Series([label for one in several for label in one.label], dtype="str")
        split = pd.Series([one.split if published else "" for one in several for _ in one.label], dtype="str")
        here = file >= 0
        once = pd.Series(file[here])
        if once.duplicated().any() and label[here].reset_index(drop=True).groupby(once.to_numpy()).nunique().max() > 1:
            continue
        keep = np.flatnonzero(here)[~once.duplicated().to_numpy()]
        found.append(
            LabelList(
                pattern, file[keep], label.iloc[keep].reset_index(drop=True), split.iloc[keep].reset_index(drop=True)
            )
        )
    return sorted(found, key=lambda one: -len(one.file))


def with_lone_splits(groups: dict[str, list[ImageList]]) -> dict[str, list[ImageList]]:
    """Join lists of a folder whose names differ in more than the split: x_train_standard.txt and x_val.txt.

    They belong together if each is alone of its split, they have the same labels, and no image in common.
    """
    lone = {pattern: members[0] for pattern, members in groups.items() if len(members) == 1 and members[0].split}
    lists = list(lone.values())
    file = np.concatenate([one.file[one.file >= 0] for one in lists]) if lists else np.empty(0, dtype=np.int64)
    if (
        len(lists) < 2
        or len({one.split for one in lists}) < len(lists)
        or len({one.path.rpartition("/")[0] for one in lists}) > 1
        or len({frozenset(one.label) for one in lists}) > 1
        or len(np.unique(file)) < len(file)
    ):
        return groups
    return {name: members for name, members in groups.items() if name not in lone} | {next(iter(lone)): lists}


def has_more_columns(one: ImageList) -> bool:
    """Return whether numbers follow each name: boxes, or the columns of a table without a header."""
    several = [re.match(r"-?\d+(?:\.\d+)?[\s,]+\S", label) is not None for label in one.label[:200]]
    return 2 * sum(several) > len(several)


SPLIT_WORD = re.compile(
    r"(?<![A-Za-z])(?:trainval|train_val|training|train|validation|valid|val|testing|test|dev)(?![a-z])", re.IGNORECASE
)


def published_by_lists(
    lists: Iterable[ImageList], file: NDArray[np.int64], ask: bool = False
) -> tuple[pd.Series | None, list[str]]:
    """Return the split that lists give each of some images, None unless they name nearly all, and each once.

    Args:
        lists: of the source.
        file: positions of the images.
        ask: which of several numbered divisions is meant, rather than to use none.

    Raises:
        UserError: there are several such divisions.
    """
    named = [one for one in lists if one.split]
    if {"train", "val"} <= {one.split for one in named}:
        named = [one for one in named if "trainval" not in words_of(PurePosixPath(one.path).stem)]
    splits = {one.split for one in named}
    if splits in ({"val"}, {"test"}):
        return published_by_one_list(named, file)
    if len(splits) < 2:
        return None, []
    split: dict[int, str] = {}
    twice = 0
    for one in named:
        for position in one.file[one.file >= 0].tolist():
            twice += split.get(position, one.split) != one.split
            split[position] = one.split
    paths = shorten(sorted({one.path for one in named}))
    if twice:
        if ask:
            check_divisions(named)
        return None, [f"not used: {paths} ({twice:,} images are in several splits)"]
    published = pd.Series([split.get(int(position), "") for position in file], dtype="str")
    complete = (published != "").mean() if len(published) else 0.0
    if complete < COMPLETE:
        return None, [f"not used: {paths} (they name {complete:.0%} of the images)"]
    return published, [f"splits: {paths}"]


NUMBERED = re.compile(r"(\d+)(\.[^./]*)$")
"""The end of the name of a list of one of several divisions: train1.txt, val_fold3.csv."""


def check_divisions(named: Sequence[ImageList]) -> None:
    """Raise a UserError if lists of splits are numbered by the division that they belong to; it offers each, and none.

    Lists without a number name no division.
    """
    divisions: dict[str, list[ImageList]] = {}
    for one in named:
        if match := NUMBERED.search(one.path):
            divisions.setdefault(match[1], []).append(one)
    if len(divisions) < 2 or any(len({one.split for one in lists}) < 2 for lists in divisions.values()):
        return
    ends = sorted({match[2] for one in named if (match := NUMBERED.search(one.path))})
    numbers = sorted(divisions, key=lambda number: (len(number), number))
    others = [
        ",".join(f"*[!0-9]{other}{end}" for other in numbers if other != number for end in ends) for number in numbers
    ]
    raise UserError(
        f"{shorten(sorted({one.path for one in named}), 3)} divide the images in {len(numbers)} ways: choose one, or "
        "exclude all of them for a new split",
        [*({"exclude": patterns} for patterns in others[:3]), {"exclude": ",".join(f"*[0-9]{end}" for end in ends)}],
    )


def published_by_one_list(named: Sequence[ImageList], file: NDArray[np.int64]) -> tuple[pd.Series | None, list[str]]:
    """Return the split where the held-out images alone are listed, as names without labels; all others train."""
    if len(named) > 1 or any(named[0].label):
        return None, []
    (one,) = named
    held = np.isin(file, one.file[one.file >= 0])
    if not held.any() or 2 * held.sum() > len(file) or held.sum() < COMPLETE * (len(one.file) - 1):
        return None, [f"not used: {one.path} (it names {held.mean():.0%} of the images)"] if held.any() else []
    said = f"splits: {one.path}; images that it doesn't name are read as train"
    return pd.Series(np.where(held, one.split, "train"), dtype="str"), [said]
