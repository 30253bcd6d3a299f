"""A prepared dataset's folder: dataset.yaml, manifest.parquet, audit.json, audit.html, pixels/, and source.parquet."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import yaml

from resnet50.etl.split import SPLITS
from resnet50.options import PrepareOptions, plain_values
from resnet50.runtime.atomic import cannot_write, flush
from resnet50.runtime.errors import UserError

DESCRIPTION, MANIFEST, AUDIT = "dataset.yaml", "manifest.parquet", "audit.json"

SOURCE = "source.parquet"
"""The table of a dataset that was prepared from a DataFrame."""

COLUMNS = {
    "image_id": "str",
    "path": "str",
    "label": "str",
    "label_index": "int64",
    "group": "str",
    "split": "str",
    "width": "int64",
    "height": "int64",
    "sha256": "str",
}
"""Columns of the manifest."""


@dataclass(frozen=True, eq=False)
class PreparedDataset:
    """Labeled images with splits, as `resnet50 prepare` writes them.

    Attributes:
        folder: folder of the dataset.
        name: used in reports.
        classes: names of the classes, sorted; a label's index is its position here.
        manifest: a row per image: image_id, path (absolute), label, label_index, group, split, width and height in
            pixels (upright), sha256 of the file.
        fingerprint: SHA-256 over classes, ids, labels, splits, image hashes and bit depth; equal for equal data only.
        bit_depth: bits that the images' integers use where they have more than 8; None: as their files say.
    """

    folder: Path
    name: str
    classes: tuple[str, ...]
    manifest: pd.DataFrame
    fingerprint: str
    bit_depth: int | None = None

    def split(self, name: str) -> pd.DataFrame:
        """Return the rows of a split ("train", "val" or "test"), in the manifest's order.

        Raises:
            UserError: the dataset has no such split.
        """
        rows = self.manifest[self.manifest["split"] == name]
        if rows.empty:
            present = ", ".join(split for split in SPLITS if (self.manifest["split"] == split).any())
            raise UserError(f"dataset {self.folder} has no {name} split, only {present}")
        return rows.reset_index(drop=True)


def fingerprint_of(manifest: pd.DataFrame, classes: tuple[str, ...], bit_depth: int | None = None) -> str:
    """Return the SHA-256 over the content of a dataset, independent of its location.

    Hashed are the classes, then each column: the number of values, the length of each, and their concatenation; then
    the bit depth, if it is given.
    """
    digest = hashlib.sha256()
    columns = [manifest[name] for name in ("image_id", "label", "split", "sha256")]
    for values in (pd.Series(classes, dtype="str"), *columns):
        text = values.astype("str")
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text.str.len().to_numpy().tobytes())
        digest.update(text.str.cat().encode())
    if bit_depth is not None:
        digest.update(f"bit depth {bit_depth}".encode())
    return digest.hexdigest()


def load_prepared(folder: str | os.PathLike[str]) -> PreparedDataset:
    """Read a prepared dataset.

    Args:
        folder: folder that `resnet50 prepare` wrote.

    Raises:
        UserError: the folder doesn't exist or is not a prepared dataset, or a file in it is damaged or belongs to
            another dataset.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"dataset {folder} does not exist: make it with `resnet50 prepare`")
    for name in (DESCRIPTION, MANIFEST):
        if not (folder / name).is_file():
            raise UserError(f"{folder} is not a prepared dataset (it has no {name}): make one with `resnet50 prepare`")
    damaged = "is damaged; prepare the dataset again"
    try:
        description = yaml.safe_load((folder / DESCRIPTION).read_bytes())
        name, classes = str(description["name"]), tuple(str(label) for label in description["classes"])
        fingerprint = str(description["fingerprint"])
        bit_depth: int | None = description.get("options", {}).get("bit_depth")
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / DESCRIPTION} {damaged} ({' '.join(str(error).split())})") from error
    try:
        manifest = pd.read_parquet(folder / MANIFEST)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{folder / MANIFEST} {damaged} ({' '.join(str(error).split())})") from error
    missing = [column for column in COLUMNS if column not in manifest.columns]
    if missing:
        raise UserError(f"{folder / MANIFEST} {damaged} (it has no column {missing[0]!r})")
    if fingerprint_of(manifest, classes, bit_depth) != fingerprint:
        raise UserError(f"{folder / MANIFEST} does not belong to the {DESCRIPTION} beside it; prepare it again")
    return PreparedDataset(folder, name, classes, manifest, fingerprint, bit_depth)


def check_output(out: Path, overwrite: bool, *inputs: Path | None) -> None:
    """Raise a UserError if the output folder can't be written, or must not be replaced."""
    if out.is_dir() and any(out.iterdir()):
        if not overwrite:
            raise UserError(f"output folder {out} is not empty: choose another one, or add --overwrite")
        if not (out / DESCRIPTION).is_file() or not (out / MANIFEST).is_file():
            raise UserError(f"{out} is not a prepared dataset, so --overwrite won't delete it: choose another --out")
        for kept in inputs:
            if kept is not None and kept.resolve().is_relative_to(out.resolve()):
                raise UserError(f"{out} contains {kept}, so --overwrite won't delete it: choose another --out")
    elif out.exists() and not out.is_dir():
        raise UserError(f"output {out} is a file: --out must be a folder")
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"{parent} is not writable: choose another --out")


def write_prepared(
    folder: Path,
    options: PrepareOptions,
    name: str,
    manifest: pd.DataFrame,
    audit: dict[str, dict[str, Any]],
    rows: int,
    reading: Sequence[str] = (),
) -> PreparedDataset:
    """Write a prepared dataset into a folder that will become `options.out`.

    Equal input gives equal bytes. Options that don't affect the content are not written.

    Args:
        folder: empty, or holding the pixel store; see `atomic_folder`.
        options: with every guess filled in.
        name: of the dataset.
        manifest: with the columns in `COLUMNS`.
        audit: as `Audit.to_json` returns it.
        rows: number of rows of the source table.
        reading: how the source was understood, and why, a line each.
    """
    classes = tuple(sorted(manifest["label"].unique()))
    fingerprint = fingerprint_of(manifest, classes, options.bit_depth)
    description = {
        "name": name,
        "fingerprint": fingerprint,
        "classes": list(classes),
        "counts": {
            "rows": rows,
            "images": len(manifest),
            "by_split": {split: int((manifest["split"] == split).sum()) for split in SPLITS},
            "by_class": {label: int(count) for label, count in manifest["label"].value_counts().sort_index().items()},
        },
        "reading": list(reading),
        "options": {
            key: value
            for key, value in plain_values(options).items()
            if key not in ("out", "overwrite", "shard", "merge", "dry_run")
        },
    }
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")
    manifest.to_parquet(folder / MANIFEST, index=False)
    with (folder / AUDIT).open("w", encoding="utf-8") as file:  # streamed: there may be a million findings
        json.dump(audit, file, indent=1, ensure_ascii=False)
        file.write("\n")
    return PreparedDataset(options.out, name, classes, manifest, fingerprint, options.bit_depth)


@contextmanager
def atomic_folder(out: Path) -> Generator[Path]:
    """Yield a new folder beside `out` that replaces `out` on success and is deleted on an error.

    Raises:
        UserError: the disk is full, or has become read-only.
    """
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.parent / f".{out.name}.new-{os.getpid()}"
    stale = out.parent / f".{out.name}.old-{os.getpid()}"
    try:
        fresh.mkdir()
        yield fresh
        for path in (*fresh.rglob("*"), fresh):
            flush(path)
        if out.exists():
            out.rename(stale)
        fresh.rename(out)
    except BaseException as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if stale.exists() and not out.exists():
            stale.rename(out)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise cannot_write(out, error) from error
        raise
    shutil.rmtree(stale, ignore_errors=True)
