"""Matching ids to image files: a folder is listed once, then searched in memory."""

import functools
import os
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet50.etl.formats import IMAGE_EXTENSIONS
from resnet50.runtime.console import warn
from resnet50.runtime.errors import UserError


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
        """For each file, whether it has an image's extension."""
        return self.paths.str.lower().str.endswith(IMAGE_EXTENSIONS).to_numpy(dtype=bool)

    @functools.cached_property
    def depth(self) -> NDArray[np.integer]:
        """For each file, the number of folders in its path."""
        return self.paths.str.count("/").to_numpy(dtype=np.int64)

    def images(self) -> pd.Series:
        return self.paths[self.is_image]

    def below(self, prefix: str) -> "FileIndex":
        """Return the files of a subfolder; `prefix` ends with a slash, or is empty for the folder itself."""
        if not prefix:
            return self
        inside = self.paths[self.paths.str.startswith(prefix)]
        return FileIndex(self.folder / prefix, inside.str.slice(len(prefix)).reset_index(drop=True))

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

    def find(self, ids: pd.Series) -> NDArray[np.int64]:
        """Return the position in `paths` of each id's file, −1 where there is none.

        A match of the whole path has precedence over a match of its end, a name with extension over one without.

        Raises:
            UserError: an id matches several files equally well.
        """
        row_id, distinct = pd.factorize(as_paths(ids))
        distinct = pd.Series(distinct)
        pairs = self.candidates(distinct)
        wanted_depth = distinct.str.count("/").to_numpy()
        nested = self.depth[pairs["file"]] > wanted_depth[pairs["id"]]
        pairs = pairs.assign(rank=2 * nested + pairs["stem"])
        best = pairs[pairs["rank"] == pairs.groupby("id")["rank"].transform("min")]
        several = best["id"].duplicated(keep=False)
        if several.any():
            name = best.loc[several, "id"].iloc[0]
            matches = self.paths[best.loc[best["id"] == name, "file"].iloc[:3]]
            raise UserError(
                f"id {distinct[name]!r} matches several images in {self.folder}: {', '.join(matches)}; "
                "choose one with --path-template, e.g. '{image_id}.jpg', or with --images"
            )
        position = np.full(len(distinct), -1)
        position[best["id"]] = best["file"]
        return position[row_id]


def last_part(paths: pd.Series) -> pd.Series:
    return paths.str.replace("(?s)^.*/", "", regex=True)


def first_part(paths: pd.Series) -> pd.Series:
    """Return the top-level folder of each path, or the name of a file outside any folder."""
    return paths.str.replace("(?s)/.*", "", regex=True)


def last_folders(paths: pd.Series, count: int) -> pd.Series:
    """Return the last `count` folders of each path, with slashes; a path with fewer stays unchanged."""
    return paths.str.replace(f"(?s)^(?:.*/)?((?:[^/]*/){{{count}}})[^/]*$", r"\1", regex=True)


def as_paths(ids: pd.Series) -> pd.Series:
    """Normalize ids to the form of paths in a `FileIndex`: forward slashes, none in front."""
    return ids.str.replace("\\", "/", regex=False).str.removeprefix("./").str.lstrip("/")


def list_files(folder: Path, *, allow_outside: bool = False) -> FileIndex:
    """List all files below a folder, except hidden ones and those that macOS adds to archives.

    Every linked folder is visited once. Links out of the folder are followed only with `allow_outside`.

    Raises:
        UserError: the folder doesn't exist, can't be read, or contains a file name that is not UTF-8.
    """
    there = is_there(folder)
    if not there or not folder.is_dir():
        raise UserError(f"{folder} is not a folder" if there else f"folder {folder} does not exist")
    folder = folder.absolute()
    inside = folder.resolve()
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
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
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
    if outside:
        count = f"{len(outside):,}, the first is {outside[0]!r}"
        warn(
            f"links that lead out of {folder} are not followed without --allow-outside, "
            f"unless --images names one ({count})"
        )
    return FileIndex(folder, sorted(paths))


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


def narrow_to_images(ids: pd.Series, files: FileIndex) -> FileIndex:
    """Return the smallest folder below that of `files` that holds every image that the ids refer to.

    If several do (train/ and test/ may number their images alike), folders named test… are ignored.

    Raises:
        UserError: no id matches an image, or several folders hold them all.
    """
    pairs = files.candidates(as_paths(ids).drop_duplicates())
    if pairs.empty:
        raise no_images(ids, files)
    pairs = pairs.assign(path=files.paths.take(pairs["file"].to_numpy()).array)
    total, prefix = pairs["id"].nunique(), ""
    while True:
        rest = pairs["path"].str.slice(len(prefix))
        inside = rest.str.contains("/", regex=False)
        coverage = pairs[inside].groupby(first_part(rest[inside]))["id"].nunique()
        complete = [str(name) for name in coverage.index[coverage == total]]
        if len(complete) > 1:
            complete = [name for name in complete if not name.lower().startswith("test")] or complete
        if len(complete) > 1:
            raise UserError(
                f"several folders in {files.folder / prefix} hold images for the rows: {', '.join(complete)}; "
                "name one with --images",
                [{"images": str(files.folder / prefix / name)} for name in complete],
            )
        if not complete:
            return files.below(prefix)
        prefix += complete[0] + "/"
        pairs = pairs[pairs["path"].str.startswith(prefix)]


def no_images(ids: pd.Series, files: FileIndex) -> UserError:
    """Return the error for a table of which no row has an image."""
    images = files.images()
    content = f"the folder holds files such as {images.iloc[0]!r}" if len(images) else "the folder holds no images"
    return UserError(
        f"none of the {len(ids):,} rows has an image in {files.folder}: the first refers to {str(ids.iloc[0])!r}, "
        f"but {content}; name the folder with --images, the column with --id-column, "
        "or the pattern with --path-template"
    )
