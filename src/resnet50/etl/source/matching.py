"""Which image each row of a table names, and which folders may hold the images."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet50.etl.files import FileIndex, as_paths, extension, first_part, parent
from resnet50.etl.formats import DECODABLE_EXTENSIONS
from resnet50.etl.source.words import AUXILIARY, is_unlabeled, normalized, shorten, split_in

SAMPLE = 1000
"""Ids by which it is decided how a column writes the paths of its images."""

MINOR = 0.1
"""A folder that holds fewer of the images than this share of another's is no alternative to it."""

COMPARED = 100
"""Files of two folders whose bytes are compared; sizes are compared for all."""

Form = Callable[[pd.Series], pd.Series]


@dataclass(frozen=True)
class Candidates:
    """The images that the rows of a table could mean.

    Attributes:
        row: for each row, the number of its id.
        ids: the distinct ids, as paths.
        pairs: columns id, file (position in the index), root (the folder that the id's path starts in).
        notes: how ids were matched where that is not as they are written.
    """

    row: NDArray[np.int64]
    ids: pd.Series
    pairs: pd.DataFrame
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placement:
    """One way to give every id of a table its image.

    Attributes:
        file: for each id, the position of its image in the index; −1 for none.
        choice: the options that select this way; {} if there is no other.
        notes: what was decided on the way.
    """

    file: NDArray[np.int64]
    choice: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def found(self) -> int:
        return int((self.file >= 0).sum())


def find_candidates(names: pd.Series, files: FileIndex) -> Candidates:
    """Find all images that the file names of a table's rows could mean.

    A name matches the end of an image's path, with or without the extension. Where names as they are written find
    nothing, their protocol and query, leading folders, and the prefix that an upload adds are taken away, step by step
    and from all alike, until they do. Names that are left match another Unicode form or letter case if that is unique.
    """
    row, distinct = pd.factorize(names)
    ids = pd.Series(distinct, dtype="str")
    form, note = choose_form(ids, files)
    keys = form(ids)
    pairs = candidates_of(keys, files)
    notes = [note] if note else []
    if note and pairs.drop_duplicates("id")["file"].duplicated().any():  # different names, one image: not these
        keys, pairs, notes = as_paths(ids), candidates_of(as_paths(ids), files), []
    # an exact namesake among test images is not it: the image may be elsewhere in other letters
    roles = {root: role_of(root) for root in pairs["root"].unique()}
    found = ~pairs["root"].map(roles).isin(["test", "unlabeled"]).to_numpy(dtype=bool)
    left = np.setdiff1d(np.arange(len(ids)), pairs.loc[found, "id"].to_numpy())
    if len(left):
        alike, more = find_alike(keys, left, pairs, files)
        pairs, notes = pd.concat([pairs, alike], ignore_index=True), notes + more
    return Candidates(row, keys, pairs, tuple(notes))


def candidates_of(keys: pd.Series, files: FileIndex) -> pd.DataFrame:
    """Return the pairs of an id and a file; a whole path beats the end of one, a name with extension one without."""
    pairs = files.candidates(keys)
    depth = keys.str.count("/").to_numpy()[pairs["id"].to_numpy()]
    nested = files.depth[pairs["file"].to_numpy()] > depth
    rank = pairs["stem"].to_numpy().astype(np.int64) + 2 * (nested & (depth > 0))
    best = pairs.assign(rank=rank)
    best = best[best["rank"] == best.groupby("id")["rank"].transform("min")]
    paths = files.paths.take(best["file"].to_numpy())
    depth = keys.str.count("/").to_numpy()[best["id"].to_numpy()]
    root = parent(paths)
    for count in np.unique(depth[depth > 0]).tolist():
        here = depth == count
        root = root.mask(here, root.str.replace(f"(?:(?:^|/)[^/]+){{1,{count}}}$", "", regex=True))
    return best[["id", "file"]].assign(root=root.to_numpy()).reset_index(drop=True)


def choose_form(ids: pd.Series, files: FileIndex) -> tuple[Form, str]:
    """Return how to write the ids so that some are found, and a line about it: as they are, if nothing helps."""
    sample = ids.iloc[:: max(1, len(ids) // SAMPLE)]
    for form, note in forms(sample):
        pairs = files.candidates(form(sample).drop_duplicates().reset_index(drop=True))
        if files.is_image[pairs["file"].to_numpy()].any():
            return form, note
    return as_paths, ""


def forms(sample: pd.Series) -> Iterator[tuple[Form, str]]:
    """Yield the ways to write ids, most literal first, with a line about each."""
    yield as_paths, ""
    paths = as_paths(without_address(sample))
    depth = int(paths.str.count("/").max()) if len(paths) else 0
    looks_like_paths = depth > 0 or (paths != as_paths(sample)).any()
    if not looks_like_paths:
        return
    for dropped in range(depth + 1):
        yield tail_form(dropped), f"ids: matched by the end of their path, as {tail_form(dropped)(sample).iloc[0]}"
    if paths.str.contains(UPLOADED, regex=True).mean() > 0.5:
        for dropped in range(depth + 1):
            form = tail_form(dropped, uploaded=True)
            yield form, f"ids: matched without the prefix of an upload, as {form(sample).iloc[0]}"


UPLOADED = r"(?:^|(?<=/))[0-9a-f]{8}-(?=[^/]+$)"
"""The prefix that Label Studio puts before the name of an uploaded file."""


def tail_form(dropped: int, uploaded: bool = False) -> Form:
    """Return a form of paths without address, leading folders and, if asked, an upload's prefix."""

    def form(ids: pd.Series) -> pd.Series:
        paths = as_paths(without_address(ids))
        if uploaded:
            paths = paths.str.replace(UPLOADED, "", regex=True)
        return paths.str.replace(f"^(?:[^/]+/){{0,{dropped}}}", "", regex=True) if dropped else paths

    return form


def without_address(ids: pd.Series) -> pd.Series:
    """Take protocol, host and query from URLs: https://host/a/b.jpg?raw=1 is a/b.jpg, /local/?d=a/b.jpg is a/b.jpg."""
    special = ids.str.contains(r"://|\?|%[0-9A-Fa-f]{2}|^[A-Za-z]:[\\/]", regex=True)
    if not special.any():
        return ids
    changed = ids[special].str.replace(r"^.*[?&]d=([^&]+).*$", r"\1", regex=True)
    changed = changed.str.replace(r"^[A-Za-z][\w+.-]*://[^/]*/", "", regex=True)
    changed = changed.str.replace(r"^[A-Za-z]:[\\/]", "", regex=True).str.replace(r"[?#].*$", "", regex=True)
    return ids.where(~special, changed.map(unquote).reindex(ids.index))


def folded(paths: pd.Series) -> pd.Series:
    return paths.str.normalize("NFC").str.casefold()


def find_alike(
    keys: pd.Series, left: NDArray[np.int64], pairs: pd.DataFrame, files: FileIndex
) -> tuple[pd.DataFrame, list[str]]:
    """Find images for the ids that are left in another Unicode form or letter case, where one of a folder fits."""
    wanted = keys.iloc[left]
    alike = FileIndex(files.folder, folded(files.paths))
    alike.__dict__["is_image"] = files.is_image
    found = candidates_of(folded(wanted).reset_index(drop=True), alike)
    found = found[~found["file"].isin(pairs["file"])]
    found = found[~found.duplicated(["id", "root"], keep=False) & ~found["file"].duplicated(keep=False)]
    if found.empty:
        return found, []
    paths = files.paths.take(found["file"].to_numpy())
    found = found.assign(id=left[found["id"].to_numpy()], root=found["root"].to_numpy())
    ids = keys.iloc[found["id"].to_numpy()]
    by_form = ids.str.normalize("NFC").to_numpy() == last_parts(paths.str.normalize("NFC"), ids).to_numpy()
    notes: list[str] = []
    for here, what in ((by_form, "another Unicode form of their letters"), (~by_form, "another letter case")):
        if here.any():
            first = int(np.flatnonzero(here)[0])
            notes.append(f"ids: {here.sum():,} matched by {what}: {ids.iloc[first]} is {paths.iloc[first]}")
    return found, notes


def last_parts(paths: pd.Series, ids: pd.Series) -> pd.Series:
    """Return the end of each path that its id names, without the extension if the id has none."""
    ends = [path.split("/")[-1 - id.count("/") :] for path, id in zip(paths, ids, strict=True)]
    names = ["/".join(parts) for parts in ends]
    stems = [
        name if "." in id.split("/")[-1] else re.sub(r"\.[^.]*$", "", name) for name, id in zip(names, ids, strict=True)
    ]
    return pd.Series(stems, dtype="str")


def place(found: Candidates, files: FileIndex, split: str = "") -> list[Placement]:
    """Return the ways to give each id one image, likeliest first; [] if all images are set aside.

    Args:
        found: the images that ids could mean.
        files: where they lie.
        split: the split that the table's name says, or "".
    """
    pairs = found.pairs.assign(path=files.paths.take(found.pairs["file"].to_numpy()).to_numpy())
    pairs, formats = without_special_formats(pairs)
    pairs, notes = without_auxiliary(pairs)
    notes = formats + notes
    pairs, more = without_held_out(pairs, split)
    if pairs.empty:
        return []
    ways = settle(pairs, "", files)
    placements: list[Placement] = []
    for way in ways:
        position = np.full(len(found.ids), -1)
        position[way.pairs["id"].to_numpy()] = way.pairs["file"].to_numpy()
        choice = choice_of(way, pairs, files) if len(ways) > 1 else {}
        placements.append(Placement(position, choice, (*notes, *more, *way.notes)))
    return sorted(placements, key=lambda placement: -placement.found)


def without_special_formats(pairs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Set aside DICOM, HEIC and raw files of images that are there as JPEG, PNG or the like, too."""
    suffix = extension(pairs["path"])
    plain = suffix.isin(DECODABLE_EXTENSIONS)
    aside = ~plain & pairs["id"].isin(pairs.loc[plain, "id"])
    if not aside.any():
        return pairs, []
    return pairs[~aside], [f"not used: {', '.join(sorted(suffix[aside].unique()))} files of the same images"]


def without_auxiliary(pairs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Set aside masks, thumbnails and the like, where the ids have images elsewhere."""
    roots = pd.Series(pairs["root"].unique(), dtype="str")
    auxiliary = set(roots[[any(normalized(part) in AUXILIARY for part in root.split("/")) for root in roots]])
    other = pairs[~pairs["root"].isin(auxiliary)]
    if not auxiliary or other["id"].nunique() < 0.9 * pairs["id"].nunique():
        return pairs, []
    return other, [f"not used: {shorten(sorted(auxiliary), 3)} (made from the images)"]


def role_of(root: str) -> str:
    """Return the split that a folder's path says, "unlabeled" for predictions and the like, "" for neither."""
    for part in reversed(root.split("/")):
        role = split_in(part) or ("unlabeled" if is_unlabeled(part) else "")
        if role:
            return role
    return ""


def without_held_out(pairs: pd.DataFrame, split: str) -> tuple[pd.DataFrame, list[str]]:
    """Set aside folders of test and unlabeled images, which other rows than these belong to.

    A table whose name says a split has its images in a folder of that split, or of none. Any other table keeps a test
    folder's images only if they continue those of the other folders: no id is in both.
    """
    roles = {root: role_of(root) for root in pairs["root"].unique()}
    role = pairs["root"].map(roles)
    if split:
        aside = (role != "") & (role != split)
        if split == "train":  # train.csv may have the rows of val/ as well, if its ids are not in train/ too
            val = (role == "val") & ~pairs["id"].isin(pairs.loc[~aside, "id"])
            aside &= ~(val & (not pairs.loc[role == "val", "id"].isin(pairs.loc[~aside, "id"]).any()))
    else:
        held_out = role.isin(["test", "unlabeled"])
        in_both = pairs.loc[held_out, "id"].isin(pairs.loc[~held_out, "id"]).any()
        aside = held_out if in_both or held_out.all() else role == "unlabeled"
    if not aside.any():
        return pairs, []
    folders = shorten(sorted({root or "." for root in pairs.loc[aside, "root"]}), 3)
    return pairs[~aside], [f"not used: {folders} (other images than the rows')"]


@dataclass(frozen=True)
class Way:
    """Pairs in which every id has one file, and what chose them."""

    pairs: pd.DataFrame
    choice: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def choice_of(way: Way, pairs: pd.DataFrame, files: FileIndex) -> dict[str, str]:
    """Return the options that select a way: where no one folder has its images, those that exclude the others."""
    folder = way.choice.get("images")
    prefix = "" if folder is None else folder.removeprefix(f"{files.folder}/") + "/"
    if way.choice and way.pairs["path"].str.startswith(prefix).all():
        return way.choice
    others = parent(pairs.loc[~pairs["file"].isin(way.pairs["file"]), "path"]).unique()
    return {"exclude": ",".join(f"{other}/*" for other in sorted(others) if other)}


def settle(pairs: pd.DataFrame, prefix: str, files: FileIndex) -> list[Way]:
    """Choose between folders that have images for the same ids, from the top of the tree down."""
    if not pairs["id"].duplicated().any():
        return [Way(pairs)]
    rest = pairs["path"].str.slice(len(prefix))
    top = first_part(rest).where(rest.str.contains("/", regex=False), "")
    folders = sorted(top.unique())
    if folders == [""]:
        return settle_formats(pairs, files)
    if len(folders) == 1:
        return settle(pairs, f"{prefix}{folders[0]}/", files)
    pairs, notes = without_twins(pairs, top, files)
    top = top[pairs.index]
    pairs = without_minor(pairs, top)
    top = top[pairs.index]
    rival = rivals(pairs, top)
    if not rival:
        return settle_apart(pairs, top, prefix, files, notes)
    ways: list[Way] = []
    for folder in rival:
        mine = pairs[(top == folder) | ~top.isin(rival)]
        choice = {"images": str(files.folder / f"{prefix}{folder}")} if folder else {}
        for way in settle(mine, prefix, files):
            ways.append(Way(way.pairs, way.choice or choice, (*notes, *way.notes)))
    return ways


def settle_apart(pairs: pd.DataFrame, top: pd.Series, prefix: str, files: FileIndex, notes: list[str]) -> list[Way]:
    """Settle folders that share no id each by itself, and join what comes out."""
    ways = [Way(pairs.iloc[:0], {}, tuple(notes))]
    for folder, part in pairs.groupby(top):
        inner = (
            settle(part, f"{prefix}{folder}/" if folder else prefix, files) if folder else settle_formats(part, files)
        )
        ways = [
            Way(pd.concat([way.pairs, other.pairs]), way.choice | other.choice, (*way.notes, *other.notes))
            for way in ways
            for other in inner
        ]
    return ways


def rivals(pairs: pd.DataFrame, top: pd.Series) -> list[str]:
    """Return the folders that have an id which another folder has too."""
    held = pd.DataFrame({"id": pairs["id"], "top": top}).drop_duplicates()
    shared = held["id"].duplicated(keep=False)
    return sorted(held.loc[shared, "top"].unique())


def without_minor(pairs: pd.DataFrame, top: pd.Series) -> pd.DataFrame:
    """Drop folders that have an image for a few of the ids of a folder that has most."""
    count = pd.DataFrame({"id": pairs["id"], "top": top}).drop_duplicates()["top"].value_counts()
    minor = set(count.index[count < MINOR * count.max()]) & set(rivals(pairs, top))
    return pairs[~top.isin(minor)]


def without_twins(pairs: pd.DataFrame, top: pd.Series, files: FileIndex) -> tuple[pd.DataFrame, list[str]]:
    """Drop folders whose images are byte-identical to those that another folder has for the same ids."""
    notes: list[str] = []
    depth = pd.Series(files.depth[pairs["file"].to_numpy()], index=pairs.index)
    order = sorted(rivals(pairs, top), key=lambda folder: (depth[top == folder].min(), folder))
    for at, first in enumerate(order):
        for second in order[at + 1 :]:
            a, b = pairs[top == first].drop_duplicates("id"), pairs[top == second].drop_duplicates("id")
            both = a.merge(b, on="id", suffixes=("", "_b"))
            if len(both) and identical(both["file"].to_numpy(), both["file_b"].to_numpy(), files):
                twin = (top == second) & pairs["id"].isin(both["id"])
                pairs, top = pairs[~twin], top[~twin]
                notes.append(f"not used: {second or '.'} (the same images as in {first or '.'})")
    return pairs, notes


def identical(first: NDArray[np.int64], second: NDArray[np.int64], files: FileIndex) -> bool:
    """Return whether files are byte-identical in pairs: all by size, some of them byte by byte."""
    pairs = [
        (files.folder / files.paths.iloc[a], files.folder / files.paths.iloc[b])
        for a, b in zip(first, second, strict=True)
    ]
    try:
        if any(a.stat().st_size != b.stat().st_size for a, b in pairs):
            return False
        return all(a.read_bytes() == b.read_bytes() for a, b in pairs[:: max(1, len(pairs) // COMPARED)])
    except OSError:
        return False


def settle_formats(pairs: pd.DataFrame, files: FileIndex) -> list[Way]:
    """Choose between files of one folder with the same name and different extensions."""
    if not pairs["id"].duplicated().any():
        return [Way(pairs)]
    suffix = extension(pairs["path"])
    twice = pairs["id"].duplicated(keep=False)
    ways: list[Way] = []
    for one in sorted(suffix[twice].unique()):
        mine = pairs[(suffix == one) | ~twice].drop_duplicates("id")
        ways.append(Way(mine, {"path_template": "{image_id}" + one}))
    return ways
