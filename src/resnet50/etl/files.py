"""Which image file belongs to which id: a folder is listed once, then matched without touching the disk again."""

import functools
import os
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet50.errors import UserError
from resnet50.etl.decode import IMAGE_EXTENSIONS


class FileIndex:
    """The files below a folder, found by their path or by the last parts of it, with or without the extension.

    Only files that lie in the folder can be found: an id like '../../etc/passwd' names none of them.

    Attributes:
        folder: absolute path.
        paths: path of every file relative to `folder`, with forward slashes, sorted.
    """

    def __init__(self, folder: Path, paths: list[str]) -> None:
        self.folder, self.paths = folder, paths
        self.known_keys: dict[int, pd.DataFrame] = {}

    @functools.cached_property
    def is_image(self) -> NDArray[np.bool_]:
        """Return for each file whether its extension is an image's."""
        return np.array([path.lower().endswith(IMAGE_EXTENSIONS) for path in self.paths], dtype=bool)

    def images(self) -> list[str]:
        """Return the paths of the files that are images by their extension."""
        return [path for path, image in zip(self.paths, self.is_image, strict=True) if image]

    def below(self, prefix: str) -> "FileIndex":
        """Return the files of a subfolder; `prefix` ends in a slash, or is empty for the folder itself."""
        if not prefix:
            return self
        return FileIndex(
            self.folder / prefix, [path.removeprefix(prefix) for path in self.paths if path.startswith(prefix)]
        )

    def keys(self, parts: int) -> pd.DataFrame:
        """Return the names that files go by in `parts` parts: their last parts, and for images those without extension.

        Columns: key; file (position in `paths`); stem (whether the key lacks the extension).
        """
        if parts in self.known_keys:
            return self.known_keys[parts]
        above = self.folder.as_posix().strip("/") + "/"  # so that an id may start with the folder's own name
        tails = ["/".join((above + path).split("/")[-parts:]) for path in self.paths]
        stems = [os.path.splitext(tail)[0] for tail, image in zip(tails, self.is_image, strict=True) if image]  # noqa: PTH122
        self.known_keys[parts] = pd.DataFrame(
            {
                "key": tails + stems,
                "file": np.concatenate([np.arange(len(tails)), np.flatnonzero(self.is_image)]),
                "stem": np.repeat([False, True], [len(tails), len(stems)]),
            }
        )
        return self.known_keys[parts]

    def candidates(self, ids: pd.Series) -> pd.DataFrame:
        """Return every pair of an id (column id) and a file that it could name (columns file, stem)."""
        ids = as_paths(ids).drop_duplicates()
        parts = ids.str.count("/") + 1
        found: list[pd.DataFrame] = []
        for count in sorted(set(parts)):
            wanted, keys = pd.DataFrame({"key": ids[parts == count]}), self.keys(int(count))
            if len(wanted) < len(keys) / 10:  # a sample: don't sort all keys for it
                keys = keys[keys["key"].isin(wanted["key"])]
            found.append(keys.merge(wanted, on="key"))
        return pd.concat(found).rename(columns={"key": "id"}) if found else pd.DataFrame(columns=["id", "file", "stem"])

    def find(self, ids: pd.Series) -> NDArray[np.int64]:
        """Return for each id the position of its file in `paths`, −1 where there is none.

        The whole path relative to the folder goes before its last parts, a name with extension before one without.

        Raises:
            UserError: an id fits several files equally well.
        """
        pairs = self.candidates(ids)
        paths = pd.Series(self.paths, dtype="str").take(pairs["file"].to_numpy(dtype=np.int64)).set_axis(pairs.index)
        nested = paths.str.count("/").to_numpy() > pairs["id"].str.count("/").to_numpy()
        pairs = pairs.assign(rank=2 * nested + pairs["stem"].to_numpy(dtype=bool))
        best = pairs[pairs["rank"] == pairs.groupby("id")["rank"].transform("min")]
        several = best["id"].duplicated(keep=False)
        if several.any():
            name = best.loc[several, "id"].iloc[0]
            fits = [self.paths[file] for file in best.loc[best["id"] == name, "file"][:3]]
            raise UserError(
                f"id {name!r} fits several images in {self.folder}: {', '.join(fits)}; "
                "say which with --path-template, e.g. '{image_id}.jpg', or with --images"
            )
        position = pd.Series(best["file"].to_numpy(dtype=np.int64), index=best["id"].to_numpy())
        return as_paths(ids).map(position).fillna(-1).to_numpy(dtype=np.int64)


def as_paths(ids: pd.Series) -> pd.Series:
    """Return ids written the way paths are in a `FileIndex`: forward slashes, none in front."""
    return ids.str.replace("\\", "/", regex=False).str.removeprefix("./").str.lstrip("/")


def list_files(folder: Path) -> FileIndex:
    """List all files below a folder, hidden ones and what macOS leaves in archives aside; links are followed once.

    Raises:
        UserError: there is no such folder, it can't be read, or a file name in it is not UTF-8.
    """
    if not folder.is_dir():
        raise UserError(f"folder {folder} does not exist" if not folder.exists() else f"{folder} is not a folder")
    folder = folder.absolute()
    paths: list[str] = []
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
                    if entry.is_dir():
                        pending.append(f"{below}{entry.name}/")
                    else:
                        paths.append(below + entry.name)
        except OSError as error:
            raise UserError(f"folder {folder / below} cannot be read: {error.strerror}") from error
    for path in paths:
        if not path.isascii():
            check_utf8(path, folder)
    return FileIndex(folder, sorted(paths))


def check_utf8(path: str, folder: Path) -> None:
    """Raise a UserError for a file name that no table could hold."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"file name {os.fsencode(path)!r} in {folder} is not UTF-8: rename it") from error


def narrow_to_images(ids: pd.Series, files: FileIndex) -> FileIndex:
    """Return the smallest folder below that of `files` that holds every image which the ids name.

    Where several do (train/ and test/ may number their images alike), folders named test… don't count.

    Raises:
        UserError: no id names an image, or several folders hold them all.
    """
    pairs = files.candidates(ids)
    if pairs.empty:
        raise no_images(ids, files)
    pairs["path"] = pd.Series(files.paths, dtype="str").take(pairs["file"].to_numpy(dtype=np.int64)).to_numpy()
    total, prefix = pairs["id"].nunique(), ""
    while True:
        rest = pairs["path"].str.slice(len(prefix))
        child = rest.where(rest.str.contains("/", regex=False), "").str.split("/", n=1).str[0]
        coverage = pairs[child != ""].groupby(child[child != ""])["id"].nunique()
        complete = [str(name) for name in coverage.index[coverage == total]]
        if len(complete) > 1:
            complete = [name for name in complete if not name.lower().startswith("test")] or complete
        if len(complete) > 1:
            raise UserError(
                f"several folders in {files.folder / prefix} hold images for the rows: {', '.join(complete)}; "
                "name one with --images"
            )
        if not complete:
            return files.below(prefix)
        prefix += complete[0] + "/"
        pairs = pairs[pairs["path"].str.startswith(prefix)]


def no_images(ids: pd.Series, files: FileIndex) -> UserError:
    """Return the error for a table none of whose rows has an image."""
    images = files.images()
    held = f"the folder holds {images[0]!r} and the like" if images else "the folder holds no images"
    return UserError(
        f"none of the {len(ids):,} rows has an image in {files.folder}: the first wants {str(ids.iloc[0])!r}, {held}; "
        "name the folder with --images, the column with --id-column, or the form with --path-template"
    )
