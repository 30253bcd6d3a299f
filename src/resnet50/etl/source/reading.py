"""A reading: one way to understand a source, with the evidence for it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from resnet50.etl.embedded.source import EmbeddedSource
from resnet50.etl.files import FileIndex
from resnet50.etl.source.tables import MalformedRow
from resnet50.options import PrepareOptions

GENERIC_NAMES = {"data", "images", "index", "labels", "metadata", "source", "table", "train"}
"""Names of tables that don't describe their content; the dataset is then named after the table's folder."""


@dataclass(frozen=True)
class Reading:
    """One way to understand a source.

    Attributes:
        what: in a line.
        name: of the dataset.
        rows: a row per row of the table, or per image: image_id, label ("" where empty), group, published (the split
            as written; "" everywhere if there is none), file (path of the image below `images`, "" for none).
        images: folder of the images.
        options: with what was decided filled in.
        evidence: what speaks for this reading, a line each.
        notes: what else was decided, and what is not used, a line each.
        unlisted: images in that folder that the rows don't refer to.
        columns: further columns of the table that say what several images come from, by name.
        malformed: rows that are left out, because they have more cells than the header.
        content: Parquet file of the DataFrame that the rows are from, to be kept in the dataset; else None.
        embedded: has the images, which are inside tables and will be written to `images`; else None.
    """

    what: str
    name: str
    rows: pd.DataFrame
    images: Path
    options: PrepareOptions
    evidence: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unlisted: list[str] = field(default_factory=list)
    columns: dict[str, pd.Series] = field(default_factory=dict)
    malformed: tuple[MalformedRow, ...] = ()
    content: bytes | None = None
    embedded: EmbeddedSource | None = None

    def lines(self) -> list[str]:
        """Return what is shown of the decision: the reading, what speaks for it, and what else was decided."""
        return [self.what, *(f"because: {line}" for line in self.evidence), *self.notes]


def with_images(
    files: FileIndex, position: np.ndarray, folder: Path | None, outside: pd.Series | None = None
) -> tuple[Path, pd.Series, list[str]]:
    """Return the smallest folder that holds all images (or the one that is named), their paths in it, and the others'.

    Args:
        files: of the source.
        position: of each row's image, −1 for none.
        folder: of the images, if an option names it.
        outside: paths from `files.folder` of images outside it, by row.
    """
    paths = files.paths.reindex(position, fill_value="").reset_index(drop=True)
    inside = paths[paths != ""]
    prefix = ""
    if folder is None and len(inside) and (outside is None or not (outside != "").any()):
        first, last = os.path.dirname(inside.min()), os.path.dirname(inside.max())  # noqa: PTH120
        common = os.path.commonpath([first, last]) if first and last else ""
        prefix = common + "/" if common else ""
    below = paths.where(paths == "", paths.str.slice(len(prefix)))
    if outside is not None:
        below = below.where(below != "", outside.to_numpy())
    unlisted = files.is_image.copy()
    unlisted[position[position >= 0]] = False
    others = files.paths[unlisted]
    others = others[others.str.startswith(prefix)].str.slice(len(prefix))
    return files.folder / prefix, below, others.tolist()


def name_of_table(path: Path) -> str:
    """Return the dataset's name: the table's, or its folder's where the table's says nothing."""
    return path.parent.name if path.stem.lower() in GENERIC_NAMES else path.stem
