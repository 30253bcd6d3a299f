"""What to say about labels and groups that may not be what the user thinks they are."""

import shlex
from collections.abc import Sequence

import pandas as pd

from resnet50.etl.source.labels import kind_of_labels, near_equal
from resnet50.etl.source.reading import Reading
from resnet50.etl.source.words import shorten
from resnet50.runtime.console import warn
from resnet50.runtime.errors import UserError

GROUP_PATTERNS = (
    r"^(.+?)[_.](?:jpe?g|png|bmp|webp)\.rf\.[0-9a-f]+",  # Roboflow's augmented copies of an image
    r"^(?:.*/)?(.+?)[_-](?i:left|right|l|r)(?:\.[^.]*)?$",
    r"^(?:.*/)?((?:person|patient|subject|case|p|s|id)[_-]?\d+)(?=[_-])",
    r"^(?:.*/)?(\d+_\d+)_\d+(?:\.[^.]*)?$",
    r"^(?:.*/)?(\d+)_\d+(?:\.[^.]*)?$",
    r"^(?:.*/)?(\d+)_idx\d+_",
)
"""Ids that several images share by their names: copies, eyes, people, tracks, series."""


def check_labels(labels: pd.Series) -> None:
    """Refuse labels of which every image has its own.

    Raises:
        UserError: no class has two images.
    """
    counts = labels[labels != ""].value_counts()
    if len(counts) > 1 and counts.max() == 1:
        kind = kind_of_labels(labels)
        what = (
            "they look like a number per image"
            if kind.number
            else "are these the labels? name their column with --label-column"
        )
        raise UserError(
            f"each of the {len(counts):,} classes has a single image, such as {counts.index[0]!r}: {what}; "
            "a classifier needs several images of a class"
        )


def warn_about_malformed(source: Reading) -> None:
    """Warn of rows with more cells than the header, by their lines."""
    if source.malformed:
        lines = shorten([str(row.line) for row in source.malformed], 10)
        warn(f"rows with more cells than the header are left out: line {lines} (an unquoted separator?)")


def warn_about_labels(classes: Sequence[str]) -> None:
    """Warn of classes that differ only in letter case, Unicode form, or blanks and dashes."""
    groups = near_equal(classes)
    if groups:
        alike = "; ".join(" and ".join(repr(label) for label in group) for group in groups[:5])
        warn(f"labels that are nearly equal are classes of their own: {alike}; make them one in the table if they are")


def warn_about_groups(manifest: pd.DataFrame, source: Reading, rows: pd.Index) -> None:
    """Warn of patients, users, series whose images are on several sides of the split.

    Args:
        manifest: of the dataset.
        source: its further columns.
        rows: the rows of the source that the manifest's rows are.
    """
    if source.options.group_column is not None or source.options.group_pattern is not None:
        return
    for name, values in source.columns.items():
        groups = values.reindex(rows).to_numpy()
        count, straddling = straddle(groups, manifest["split"])
        if straddling:
            warn(
                f"{straddling:,} of {count:,} groups by column {name!r} have images in several splits, so the test may "
                f"measure what is known already: keep them together with --group-column {shlex.quote(name)}"
            )
    if not source.columns:
        warn_about_patterns(manifest)


def straddle(groups: object, split: pd.Series) -> tuple[int, int]:
    """Return how many groups there are, and how many of them are in several splits."""
    sides = pd.DataFrame({"group": groups, "split": split.to_numpy()})
    sides = sides[sides["group"].fillna("") != ""].groupby("group")["split"].nunique()
    return len(sides), int((sides > 1).sum())


def warn_about_patterns(manifest: pd.DataFrame) -> None:
    """Warn of ids that say by their names which images belong together, where these are in several splits."""
    for pattern in GROUP_PATTERNS:
        groups = manifest["image_id"].str.extract(pattern, expand=False)
        known = groups.notna()
        number = groups[known].nunique()
        if known.mean() < 0.3 or number < 2 * manifest["label"].nunique() or number > 0.8 * known.sum():
            continue
        count, straddling = straddle(groups.fillna(""), manifest["split"])
        if straddling > 0.02 * count:
            warn(
                f"{straddling:,} of {count:,} groups by the names of the images (such as {groups[known].iloc[0]}) have "
                f"images in several splits: keep them together with --group-pattern {shlex.quote(pattern)}"
            )
            return
