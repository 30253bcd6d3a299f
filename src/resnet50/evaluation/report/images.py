"""The images of the report, as small JPEGs inside the page: samples, hardest training images, mistakes."""

import base64
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from resnet50.etl.decode import UnreadableImageError, decode
from resnet50.evaluation.report.record import DatasetRecord, RunRecord

SAMPLES = 24
"""Sample images of the data, over all classes."""

MISTAKES = 12
"""Most confident mistakes that are shown."""

HARDEST = 12
"""Hardest training images that are shown."""

THUMBNAIL = 160
"""Longer side of an image in the report, in pixels."""


@dataclass(frozen=True)
class ReportImage:
    """A small image with its captions; `uri` is None if the file can no longer be read."""

    uri: str | None
    image_id: str
    label: str
    prediction: str = ""
    probability: float = math.nan
    loss: float = math.nan


def unreadable(images: Iterable[ReportImage]) -> int:
    """Count the images whose files can no longer be read."""
    return sum(image.uri is None for image in images)


def sample_images(dataset: DatasetRecord) -> list[ReportImage]:
    """Choose up to SAMPLES training images, equally many per class, of the most frequent classes if there are more.

    They are in the order of their hashes, which is as good as random and always the same.
    """
    rows = dataset.manifest[dataset.manifest["split"] == "train"]
    if rows.empty:
        return []
    rows = rows.assign(label=rows["label"].astype(str)).sort_values("sha256" if "sha256" in rows else "image_id")
    labels = sorted(rows["label"].value_counts().index[:SAMPLES])
    per_class = SAMPLES // len(labels)
    chosen = pd.concat([rows[rows["label"] == label].head(per_class) for label in labels])
    return [
        ReportImage(thumbnail(path, dataset.folder, dataset.bit_depth), str(image_id), label)
        for image_id, path, label in zip(chosen["image_id"], chosen["path"], chosen["label"], strict=True)
    ]


def hardest_images(run: RunRecord) -> list[ReportImage]:
    """Choose the training images with the highest mean loss over the epochs; none without the dataset."""
    if run.samples is None or run.dataset is None:
        return []
    losses = run.samples.assign(image_id=run.samples["image_id"].astype(str)).groupby("image_id")["loss"].mean()
    rows = run.dataset.manifest.assign(image_id=run.dataset.manifest["image_id"].astype(str))
    rows = rows[rows["split"] == "train"].assign(loss=rows["image_id"].map(losses)).dropna(subset="loss")
    chosen = rows.sort_values(["loss", "image_id"], ascending=[False, True]).head(HARDEST)
    return [
        ReportImage(
            thumbnail(row["path"], run.dataset.folder, run.dataset.bit_depth),
            row["image_id"],
            str(row["label"]),
            loss=float(row["loss"]),
        )
        for row in chosen.to_dict("records")
    ]


def mistakes(run: RunRecord, evaluation: str) -> tuple[list[ReportImage], int | None]:
    """Choose the most confident mistakes, and count all; the count is None without the table of images."""
    path = run.tables[evaluation]
    if not path.is_file():
        return [], None
    texts = ("image_id", "path", "label", "prediction")
    # A class may be called "NA", "null" or 7: its name stays as it is.
    rows = pd.read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=False)
    rows = rows[rows["label"] != rows["prediction"]]
    columns = [f"p_{label}" for label in run.evaluations[evaluation]["classes"]]
    # The prediction is the likeliest class, so its probability is the largest of the row.
    # Of few columns: pandas warns of adding one to a table that it has read with a hundred.
    confidence = rows[columns].to_numpy(dtype=np.float64).max(axis=1)
    rows = rows[list(texts)].assign(confidence=confidence)
    chosen = rows.sort_values(["confidence", "image_id"], ascending=[False, True]).head(MISTAKES)
    folder = Path(str(run.config.get("dataset", "")))
    depth = run.dataset.bit_depth if run.dataset else None
    images = [
        ReportImage(
            thumbnail(row["path"], folder, depth), row["image_id"], row["label"], row["prediction"], row["confidence"]
        )
        for row in chosen.to_dict("records")
    ]
    return images, len(rows)


def thumbnail(path: str, folder: Path, bit_depth: int | None = None) -> str | None:
    """Encode an image as a small JPEG in a data URI; None if it can no longer be read.

    A relative path is looked up in the working directory and then in the prepared dataset.
    """
    file = Path(path)
    try:
        image = decode(file if file.is_file() else folder / file, bit_depth)
    except UnreadableImageError:
        return None
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS, reducing_gap=3.0)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=80, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
