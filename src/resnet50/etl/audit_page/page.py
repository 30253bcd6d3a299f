"""Rendering `audit.html`."""

import importlib.resources
import itertools
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined

from resnet50.etl.audit import KINDS, Audit
from resnet50.etl.audit_page.examples import Gallery, Thumbnail, examples_of
from resnet50.etl.split import SPLITS

PAGE = "audit.html"

CLASSES_SHOWN, SAMPLED_CLASSES, SAMPLES = 60, 12, 2
"""Classes in the table, classes of which sample images are shown, and how many of each."""

MEANINGS = {
    "missing_images": "The table names an image, and there is no such file.",
    "unlisted_images": "These files are in the image folder, and no row of the table names them.",
    "unreadable_images": "These files are damaged, cut off, or not images.",
    "pixel_range": "Their values lie outside of the range that they should have: nothing says which value is white.",
    "duplicate_images": "These files are the same, byte for byte.",
    "contradictory_labels": "The same file has more than one label. At most one can be right.",
    "empty_labels": "Nothing says what these images show.",
    "repeated_ids": "The same image is listed more than once.",
    "malformed_rows": "These rows of the table have more cells than its header. Perhaps a separator is not quoted.",
    "clipped_pixels": "A few values lie outside of the range that they should have. They were set to black or white.",
    "near_duplicates": (
        "These files differ, but show the same image: compressed again, resized, cropped, brightened or mirrored, or "
        "taken a moment later. If one were used for training and the other for testing, the network would be tested on "
        "what it has seen, and would look better than it is."
    ),
    "near_duplicates_across_splits": (
        "The split was published with the data, so it was left as it is. But these images have a near-duplicate in "
        "another part of it: the network is tested on what it has seen, and looks better than it is."
    ),
    "contradictory_near_duplicates": (
        "These images show nearly the same and have different labels. Either a label is wrong, or the difference is a "
        "detail: look at them."
    ),
    "large_clusters": (
        "So many images resemble each other that they are probably of the same kind of thing, rather than of the same "
        "thing. They were left as they are. If they belong together, name the column that says so with --group-column."
    ),
    "small_classes": "There may be too few images of these classes to learn what they look like.",
}
"""What each kind of finding means, for someone new to it."""


def write_audit_page(
    folder: Path,
    name: str,
    rows: pd.DataFrame,
    manifest: pd.DataFrame,
    found: Audit,
    images: Path,
    bit_depth: int | None = None,
) -> None:
    """Write `audit.html`, a self-contained page.

    Args:
        folder: of the dataset.
        name: of the dataset.
        rows: every row of the source: image_id, label, file.
        manifest: of the images that are kept.
        found: the findings.
        images: folder of the image files.
        bit_depth: as for `resnet50.etl.decode.decode`.
    """
    splits = pd.Series(manifest["split"].to_numpy(), index=manifest["image_id"].to_numpy())
    gallery = Gallery(rows, splits, images, bit_depth)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    template = importlib.resources.files("resnet50.etl.audit_page").joinpath("audit.html.j2")
    html = environment.from_string(template.read_text(encoding="utf-8")).render(
        name=name,
        rows=len(rows),
        kept=len(manifest),
        classes=manifest["label"].nunique(),
        findings=[finding(kind, found, gallery) for kind in KINDS if found.items[kind]],
        nothing=[KINDS[kind].title for kind in KINDS if not found.items[kind]],
        splits=SPLITS,
        counts=class_counts(manifest),
        hidden_classes=max(0, manifest["label"].nunique() - CLASSES_SHOWN),
        totals=[int((manifest["split"] == split).sum()) for split in SPLITS],
        samples=samples(manifest, gallery),
    )
    (folder / PAGE).write_text(html, encoding="utf-8")


def finding(kind: str, found: Audit, gallery: Gallery) -> dict[str, Any]:
    examples = examples_of(kind, found.items[kind], gallery)
    return {
        "kind": kind,
        "title": KINDS[kind].title,
        "count": len(found.items[kind]),
        "action": found.action(kind),
        "meaning": MEANINGS[kind],
        "groups": examples.groups,
        "lines": examples.lines,
        "more": max(0, len(found.items[kind]) - max(len(examples.lines), sum(map(bool, examples.groups)))),
    }


def class_counts(manifest: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the images of the most frequent classes by split; `width` is the fraction of the largest class."""
    counts = pd.crosstab(manifest["label"], manifest["split"]).reindex(columns=list(SPLITS), fill_value=0)
    counts = counts.loc[counts.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    largest = int(counts.iloc[0].sum())
    rows = zip(counts.index, counts.to_numpy().tolist(), strict=True)
    return [
        {"label": label, "splits": numbers, "all": sum(numbers), "widths": [100 * n / largest for n in numbers]}
        for label, numbers in itertools.islice(rows, CLASSES_SHOWN)
    ]


def samples(manifest: pd.DataFrame, gallery: Gallery) -> list[Thumbnail]:
    """Return a few images of the most frequent classes, in the order of their hashes: as good as random."""
    labels = manifest["label"].value_counts().head(SAMPLED_CLASSES).index
    chosen = manifest[manifest["label"].isin(labels)].sort_values("sha256").groupby("label").head(SAMPLES)
    chosen = chosen.sort_values("label", kind="stable")
    return [gallery.thumbnail(name, label) for name, label in zip(chosen["image_id"], chosen["label"], strict=True)]
