"""The folders of a source that have images, without copies of folders, masks and thumbnails."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from resnet50.etl.files import FileIndex, last_part, parent
from resnet50.etl.source.matching import identical, role_of
from resnet50.etl.source.words import (
    AUXILIARY,
    normalized,
    shorten,
    words_of,
)


@dataclass(frozen=True)
class Folders:
    """The folders of a source that have images.

    Attributes:
        files: of the source, without what was set aside.
        names: paths of the folders, sorted.
        number: for each image, the number of its folder.
        images: positions of the images in `files`.
        notes: about folders that were set aside.
    """

    files: FileIndex
    names: list[str]
    number: np.ndarray
    images: np.ndarray
    notes: tuple[str, ...] = ()


def folders_of(files: FileIndex) -> Folders:
    """Group images by their folder. Byte-identical copies of a folder, masks and thumbnails are set aside."""
    images = np.flatnonzero(files.is_image)
    paths = files.paths.iloc[images]
    number, names = pd.factorize(parent(paths), sort=True)
    folders = [str(name) for name in names]
    name_hash = pd.util.hash_array(last_part(paths).to_numpy(dtype=object))
    signature = pd.DataFrame({"number": number, "hash": name_hash}).groupby("number")["hash"].agg(["sum", "count"])
    aside, notes = find_twins(files, images, number, folders, signature)
    made, more = find_auxiliary(folders, paths, number)
    aside |= made
    beside, also = masks_beside_images(paths)
    kept = ~np.isin(number, sorted(aside)) & ~beside
    wanted = ~files.is_image
    wanted[images[kept]] = True
    files = files.keep(wanted)
    return Folders(files, folders, number[kept], np.flatnonzero(files.is_image), (*notes, *more, *also))


MADE = r"[ _.-]+(?:mask|gt|groundtruth|seg|segmentation|thumb|thumbnail|annotation|overlay|heatmap)s?(?:[ _.-]?\d+)?$"
"""The end of the name of something made from an image."""


def masks_beside_images(paths: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Find files such as 'a_mask.png' beside the image 'a.png' that they are made from."""
    likely = np.flatnonzero(paths.str.contains(MADE.removesuffix("$") + r"\.[^./]*$", case=False, regex=True))
    made = np.zeros(len(paths), dtype=bool)
    if len(likely):
        stems = paths.str.replace(r"\.[^./]*$", "", regex=True)
        plain = stems.iloc[likely].str.replace(MADE, "", regex=True, case=False)
        made[likely] = plain.isin(set(stems))
    first = paths[made].iloc[0] if made.any() else ""
    return made, [
        f"not used: {made.sum():,} files such as {first} (made from the images beside them)"
    ] if made.any() else []


def find_twins(
    files: FileIndex, images: np.ndarray, number: np.ndarray, folders: list[str], signature: pd.DataFrame
) -> tuple[set[int], list[str]]:
    """Return the folders that are copies of another with the same name and split: the shallowest stays."""
    keys: dict[tuple[str, str, int, int], list[int]] = {}
    for at, name in enumerate(folders):
        key = (
            name.rpartition("/")[2].lower(),
            role_of(name),
            int(signature["sum"].iloc[at]),
            int(signature["count"].iloc[at]),
        )
        keys.setdefault(key, []).append(at)
    aside: set[int] = set()
    pairs: list[tuple[str, str]] = []
    for group in keys.values():
        group.sort(key=lambda at: (folders[at].count("/"), folders[at]))
        for place, first in enumerate(group):
            for second in group[place + 1 :]:
                if first in aside or second in aside:
                    continue
                a, b = images[number == first], images[number == second]
                if identical(a, b, files):
                    aside.add(second)
                    pairs.append((folders[second], folders[first]))
    if not pairs:
        return aside, []
    copy, kept = common_end(pairs)
    return aside, [f"not used: {copy} (byte-identical to {kept})"]


def common_end(pairs: list[tuple[str, str]]) -> tuple[str, str]:
    """Name the outermost folders of some copies: a/x/1 and x/1 are a copy a/x of x, if all agree; else the first."""
    copy, kept = pairs[0]
    while "/" in copy and "/" in kept and copy.rpartition("/")[2] == kept.rpartition("/")[2]:
        copy, kept = copy.rpartition("/")[0], kept.rpartition("/")[0]
    if all(other.startswith(copy) for other, _ in pairs):
        return copy + "/", (kept or ".") + "/"
    return f"{len(pairs):,} folders such as {pairs[0][0]}", pairs[0][1]


def find_auxiliary(folders: list[str], paths: pd.Series, number: np.ndarray) -> tuple[set[int], list[str]]:
    """Return folders of masks, thumbnails and the like whose files are named as images elsewhere."""
    made = [
        at
        for at, name in enumerate(folders)
        if any(
            normalized(part) in AUXILIARY or set(words_of(part)) & (AUXILIARY - {"depth", "boxes"})
            for part in name.split("/")
        )
    ]
    if not made or len(made) == len(folders):
        return set(), []
    stems = last_part(paths).str.replace(r"\.[^.]*$", "", regex=True)
    here = np.isin(number, made)
    others = set(stems[~here])
    short = stems[here].str.replace(MADE, "", regex=True, case=False)
    if (short.isin(others) | stems[here].isin(others)).mean() < 0.5:
        return set(), []
    return set(made), [f"not used: {shorten([folders[at] for at in made], 3)} (made from the images)"]
