"""A prepared dataset as a folder: dataset.yaml, manifest.parquet, audit.json, pixels/. Written here, read here."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Generator
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
    """Labeled images with splits.

    Attributes:
        folder: where it lies.
        name: what it is called in reports.
        classes: names of the classes, sorted; a label's index is its place here.
        manifest: a row per image: image_id, path (absolute), label, label_index, group, split, width and height in
            pixels (upright), sha256 of the file.
        fingerprint: SHA-256 over classes, ids, labels, splits and image hashes: equal exactly where the data is.
    """

    folder: Path
    name: str
    classes: tuple[str, ...]
    manifest: pd.DataFrame
    fingerprint: str

    def split(self, name: str) -> pd.DataFrame:
        """Return the rows of a split, in the manifest's order; a UserError if there are none."""
        rows = self.manifest[self.manifest["split"] == name]
        if rows.empty:
            there = ", ".join(split for split in SPLITS if (self.manifest["split"] == split).any())
            raise UserError(f"dataset {self.folder} has no {name} split, only {there}")
        return rows.reset_index(drop=True)


def fingerprint_of(manifest: pd.DataFrame, classes: tuple[str, ...]) -> str:
    """Return the SHA-256 over what makes the dataset: not over where it lies.

    The classes, then each column: the number of values, the length of each, and all of them with nothing in between.
    """
    digest = hashlib.sha256()
    columns = [manifest[name] for name in ("image_id", "label", "split", "sha256")]
    for values in (pd.Series(classes, dtype="str"), *columns):
        text = values.astype("str")
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text.str.len().to_numpy().tobytes())
        digest.update(text.str.cat().encode())
    return digest.hexdigest()


def load_prepared(folder: Path) -> PreparedDataset:
    """Read a prepared dataset.

    Raises:
        UserError: no such folder, not a prepared dataset, or a file in it is damaged or doesn't belong to the others.
    """
    if not folder.is_dir():
        raise UserError(f"dataset {folder} does not exist: make it with `resnet50 prepare`")
    for name in (DESCRIPTION, MANIFEST):
        if not (folder / name).is_file():
            raise UserError(f"{folder} is not a prepared dataset (it has no {name}): make one with `resnet50 prepare`")
    again = "is damaged; prepare the dataset again"
    try:
        description = yaml.safe_load((folder / DESCRIPTION).read_bytes())
        name, classes = str(description["name"]), tuple(str(label) for label in description["classes"])
        fingerprint = str(description["fingerprint"])
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{folder / DESCRIPTION} {again} ({' '.join(str(error).split())})") from error
    try:
        manifest = pd.read_parquet(folder / MANIFEST)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{folder / MANIFEST} {again} ({' '.join(str(error).split())})") from error
    missing = [column for column in COLUMNS if column not in manifest.columns]
    if missing:
        raise UserError(f"{folder / MANIFEST} {again} (it has no column {missing[0]!r})")
    if fingerprint_of(manifest, classes) != fingerprint:
        raise UserError(f"{folder / MANIFEST} does not belong to the {DESCRIPTION} beside it; prepare it again")
    return PreparedDataset(folder, name, classes, manifest, fingerprint)


def check_output(out: Path, overwrite: bool, source: Path, images: Path | None) -> None:
    """Raise a UserError if the output folder can't be written, or must not be replaced."""
    if out.is_dir() and any(out.iterdir()):
        if not overwrite:
            raise UserError(f"output folder {out} already holds something: choose another one, or add --overwrite")
        if not (out / DESCRIPTION).is_file() or not (out / MANIFEST).is_file():
            raise UserError(f"{out} is not a prepared dataset, so --overwrite won't delete it: choose another --out")
        for kept in (source, images):
            if kept is not None and kept.resolve().is_relative_to(out.resolve()):
                raise UserError(f"{out} contains {kept}, so --overwrite won't delete it: choose another --out")
    elif out.exists() and not out.is_dir():
        raise UserError(f"output {out} is a file: --out has to be a folder")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise UserError(f"{above} can't be written to: choose another --out")


def write_prepared(
    folder: Path,
    options: PrepareOptions,
    name: str,
    manifest: pd.DataFrame,
    audit: dict[str, dict[str, Any]],
    rows: int,
) -> PreparedDataset:
    """Write a prepared dataset into a folder that is to become `options.out`.

    Equal input gives equal bytes; of the options, those that say nothing of it are not written.

    Args:
        folder: an empty one, or with a pixel store in it; see `replacing`.
        options: with every guess filled in.
        name: of the dataset.
        manifest: with the columns of `COLUMNS`.
        audit: as `Audit.to_json` returns it.
        rows: of the table that it was made from.
    """
    classes = tuple(sorted(manifest["label"].unique()))
    fingerprint = fingerprint_of(manifest, classes)
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
        "options": {
            key: value
            for key, value in plain_values(options).items()
            if key not in ("out", "overwrite", "shard", "merge")
        },
    }
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")
    manifest.to_parquet(folder / MANIFEST, index=False)
    with (folder / AUDIT).open("w", encoding="utf-8") as file:  # piece by piece: there may be a million findings
        json.dump(audit, file, indent=1, ensure_ascii=False)
        file.write("\n")
    return PreparedDataset(options.out, name, classes, manifest, fingerprint)


@contextmanager
def replacing(out: Path) -> Generator[Path]:
    """Give a new folder beside `out` to write to, which takes its place at the end, and vanishes on an error.

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
