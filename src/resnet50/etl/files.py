"""The files of a folder, listed once and then searched in memory; system files are never among them."""

import functools
import os
import re
from collections.abc import Sequence
from fnmatch import translate
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet50.etl.formats import IMAGE_EXTENSIONS, looks_like_image
from resnet50.runtime.console import warn
from resnet50.runtime.errors import UserError

SYSTEM_FOLDERS = {
    "__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "recycler", "recycled",
    "system volume information", "lost+found", "lost.dir", "__pycache__",
}  # fmt: skip
"""Folders that systems make: macOS's archives, NAS thumbnails and waste bins. Hidden ones are passed over as well."""

SYSTEM_FILES = {"thumbs.db", "desktop.ini", "ehthumbs.db", "ehthumbs_vista.db", "icon\r"}

OTHER_EXTENSIONS = (
    ".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".pq", ".xml", ".yaml", ".yml", ".md", ".rst",
    ".html", ".htm", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ods", ".py", ".pyc", ".ipynb", ".m", ".r", ".sh",
    ".mat", ".npy", ".npz", ".pkl", ".pickle", ".h5", ".hdf5", ".tfrec", ".tfrecord", ".zip", ".tar", ".gz", ".tgz",
    ".bz2", ".xz", ".7z", ".rar", ".pt", ".pth", ".onnx", ".safetensors", ".log", ".names", ".data", ".cfg", ".ini",
    ".mp4", ".avi", ".mov", ".wav", ".mp3", ".lock",
)  # fmt: skip
"""Extensions of files that are no images; they are not opened to see."""

SNIFFED = 16
"""Files of a folder with the same unknown extension whose content is looked at."""


class FileIndex:
    """The files below a folder, found by their path or the end of it, with or without the extension.

    Only files inside the folder can be found: an id like '../../etc/passwd' matches none of them.

    Attributes:
        folder: absolute path.
        paths: path of every file relative to `folder`, with forward slashes, sorted.
    """

    def __init__(self, folder: Path, paths: list[str] | pd.Series) -> None:
        self.folder, self.paths = folder, pd.Series(paths, dtype="str")

    @functools.cached_property
    def is_image(self) -> NDArray[np.bool_]:
        """For each file, whether it is an image: by its extension or, where that is unknown, by its content.

        Of the files of a folder with the same unknown extension, a few are read; most of them decide for all.
        """
        lower = self.paths.str.lower()
        found = lower.str.endswith(IMAGE_EXTENSIONS).to_numpy(dtype=bool, copy=True)
        unknown = np.flatnonzero(~found & ~lower.str.endswith(OTHER_EXTENSIONS).to_numpy(dtype=bool))
        if len(unknown):
            rest = self.paths.iloc[unknown]
            kind = pd.MultiIndex.from_arrays([parent(rest), extension(rest)])
            for where in pd.Series(unknown).groupby(pd.factorize(kind)[0]).groups.values():
                group = unknown[where]
                some = group[:: max(1, len(group) // SNIFFED)][:SNIFFED]
                looks = [looks_like_image(self.folder / path) for path in self.paths.iloc[some]]
                found[group] = 2 * sum(looks) > len(looks)
        return found

    @functools.cached_property
    def depth(self) -> NDArray[np.integer]:
        """For each file, the number of folders in its path."""
        return self.paths.str.count("/").to_numpy(dtype=np.int64)

    def images(self) -> pd.Series:
        return self.paths[self.is_image]

    def keep(self, wanted: NDArray[np.bool_] | pd.Series) -> "FileIndex":
        """Return the index of some of the files."""
        kept = FileIndex(self.folder, self.paths[np.asarray(wanted)].reset_index(drop=True))
        if "is_image" in self.__dict__:
            kept.__dict__["is_image"] = self.is_image[np.asarray(wanted)]
        return kept

    def below(self, prefix: str) -> "FileIndex":
        """Return the files of a subfolder; `prefix` ends with a slash, or is empty for the folder itself."""
        if not prefix:
            return self
        here = self.paths.str.startswith(prefix).to_numpy(dtype=bool)
        inside = FileIndex(self.folder / prefix, self.paths[here].str.slice(len(prefix)).reset_index(drop=True))
        if "is_image" in self.__dict__:
            inside.__dict__["is_image"] = self.is_image[here]
        return inside

    @functools.cached_property
    def names(self) -> pd.DataFrame:
        """The file names without their folders; images a second time without the extension.

        Columns: name; file (position in `paths`); stem (whether the extension was removed).
        """
        names = last_part(self.paths)
        stems = names[self.is_image].str.replace(r"\.[^.]*$", "", regex=True)
        both = pd.concat([names, stems]).rename_axis("file").rename("name").reset_index()
        return both.assign(stem=both.index >= len(names))

    def candidates(self, ids: pd.Series) -> pd.DataFrame:
        """Return all pairs of an id and a file that it could refer to: columns id (position in `ids`), file, stem.

        Args:
            ids: distinct ids, as `as_paths` writes them.
        """
        wanted = pd.DataFrame({"key": ids.array, "id": np.arange(len(ids))})
        folders = ids.str.count("/").to_numpy()
        folder_parts = self.folder.as_posix().strip("/") + "/"  # an id may start with the folder's own name
        deepest = folder_parts.count("/") + self.depth.max(initial=0)
        found = [pd.DataFrame(columns=["id", "file", "stem"], dtype="int64")]
        for count in np.unique(folders[folders <= deepest]).tolist():
            here = wanted[folders == count]
            named = self.names
            if len(here) < len(named) / 10:  # few ids: compare the folders of files with these names only
                named = named[named["name"].isin(last_part(here["key"]))]
            key = named["name"]
            if count:
                full_paths = folder_parts + self.paths.take(named["file"].to_numpy())
                key = last_folders(full_paths, count).set_axis(named.index) + key
            found.append(named.assign(key=key).merge(here, on="key")[["id", "file", "stem"]])
        return pd.concat(found, ignore_index=True)


def last_part(paths: pd.Series) -> pd.Series:
    return paths.str.replace("(?s)^.*/", "", regex=True)


def parent(paths: pd.Series) -> pd.Series:
    """Return the folder of each path, without a slash at the end; "" for a file outside any folder."""
    return paths.str.replace("(?s)/?[^/]*$", "", regex=True)


def extension(paths: pd.Series) -> pd.Series:
    """Return the extension of each path in lower case, with its dot; "" for none."""
    last = "." + paths.str.replace(r"(?s)^.*[./]", "", regex=True)
    return last.where(paths.str.contains(r"\.[^./]*$", regex=True), "").str.lower()


def first_part(paths: pd.Series) -> pd.Series:
    """Return the top-level folder of each path, or the name of a file outside any folder."""
    return paths.str.replace("(?s)/.*", "", regex=True)


def last_folders(paths: pd.Series, count: int) -> pd.Series:
    """Return the last `count` folders of each path, with slashes; a path with fewer stays unchanged."""
    return paths.str.replace(f"(?s)^(?:.*/)?((?:[^/]*/){{{count}}})[^/]*$", r"\1", regex=True)


def as_paths(ids: pd.Series) -> pd.Series:
    """Normalize ids to the form of paths in a `FileIndex`: forward slashes, none in front."""
    return ids.str.replace("\\", "/", regex=False).str.removeprefix("./").str.lstrip("/")


def list_files(folder: Path, *, allow_outside: bool = False, exclude: Sequence[str] = ()) -> FileIndex:
    """List all files below a folder, except hidden ones and those that operating systems add.

    Every linked folder is visited once. Links out of the folder are followed only with `allow_outside`.

    Args:
        folder: to list.
        allow_outside: follow links that lead out of the folder.
        exclude: patterns as a shell has them; files and folders whose path or name matches one are left out.

    Raises:
        UserError: the folder doesn't exist, can't be read, or contains a file name that is not UTF-8.
    """
    there = is_there(folder)
    if not there or not folder.is_dir():
        raise UserError(f"{folder} is not a folder" if there else f"folder {folder} does not exist")
    folder = folder.absolute()
    inside = folder.resolve()
    excluded = Exclusion(exclude)
    paths: list[str] = []
    outside: list[str] = []
    seen: set[tuple[int, int]] = set()
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            status = os.stat(folder / below)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder / below) as entries:
                for entry in entries:
                    if is_system_entry(entry.name) or excluded.matches(below + entry.name):
                        continue
                    if entry.is_symlink() and not (allow_outside or leads_inside(entry.path, inside)):
                        outside.append(below + entry.name)
                    elif is_folder(entry):
                        pending.append(f"{below}{entry.name}/")
                    elif entry.is_symlink() or entry.is_file():  # not a pipe: reading it could block forever
                        paths.append(below + entry.name)
        except OSError as error:
            raise UserError(f"folder {folder / below} cannot be read: {error.strerror}") from error
    for path in (*paths, *outside):
        if not path.isascii():
            check_utf8(path, folder)
    excluded.warn_about_unmatched(folder)
    if outside:
        count = f"{len(outside):,}, the first is {outside[0]!r}"
        warn(
            f"links that lead out of {folder} are not followed without --allow-outside, "
            f"unless --images names one ({count})"
        )
    return FileIndex(folder, sorted(paths))


class Exclusion:
    """The patterns of --exclude, and which of them have matched nothing yet."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = {pattern: re.compile(translate(pattern)) for pattern in patterns}
        self.unmatched = set(patterns)

    def matches(self, path: str) -> bool:
        """Return whether a path, or the name at its end, matches a pattern."""
        name = path.rpartition("/")[2]
        found = [text for text, pattern in self.patterns.items() if pattern.match(path) or pattern.match(name)]
        self.unmatched.difference_update(found)
        return bool(found)

    def warn_about_unmatched(self, folder: Path) -> None:
        if self.unmatched:
            warn(f"--exclude: nothing in {folder} matches {', '.join(map(repr, sorted(self.unmatched)))}")


def is_system_entry(name: str) -> bool:
    """Return whether a file or folder is hidden, or one that an operating system makes for itself."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS or name.lower() in SYSTEM_FILES


def is_there(path: Path) -> bool:
    """Return whether a path exists; a UserError if a missing permission hides it."""
    try:
        return path.exists()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or links to one; circular links count as unreadable files."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def leads_inside(link: str, folder: Path) -> bool:
    """Return whether a link leads into a (resolved) folder, or to itself."""
    try:
        return Path(link).resolve().is_relative_to(folder)
    except (OSError, RuntimeError):  # RuntimeError: a circular link, before Python 3.13
        return True


def find_outside(ids: pd.Series, folder: Path) -> pd.Series:
    """Return the path, relative to a folder, of the file outside it that each id refers to; "" for none.

    Such an id is an absolute path, or leaves the folder by '..'.
    """
    written = ids.str.replace("\\", "/", regex=False)
    leaving = written.str.startswith("/") | written.str.contains(r"(?:^|/)\.\.(?:/|$)", regex=True)
    found = {"": ""}
    for name in written[leaving].unique():
        path = folder / name
        found[name] = ""
        if os.path.isfile(path):  # noqa: PTH113  # accepts a name of any length
            # '..' is relative to the target of a linked folder
            found[name] = os.path.relpath(path.parent.resolve() / path.name, folder.resolve()).replace(os.sep, "/")
    return written.where(leaving, "").map(found).astype("str")


def check_utf8(path: str, folder: Path) -> None:
    """Raise a UserError for a file name that can't be written to a table."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"file name {os.fsencode(path)!r} in {folder} is not UTF-8: rename it") from error
