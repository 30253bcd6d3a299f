"""What is done about near-duplicates: kept in one split, left out, or only listed."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet50.etl.audit import Audit, Items
from resnet50.etl.decode import decode_image
from resnet50.etl.near_duplicates.clusters import Forest
from resnet50.etl.near_duplicates.confirm import Images, NearDuplicate
from resnet50.etl.near_duplicates.find import find_near_duplicates
from resnet50.etl.source.words import SPLIT_NAMES
from resnet50.etl.split import SPLITS
from resnet50.etl.store import StoreWriter, open_store
from resnet50.options.prepare import NearDuplicates
from resnet50.runtime.console import warn

LARGE_FRACTION, LARGE_COUNT = 0.01, 30
"""A cluster of more images than both, as a fraction of all and in number, is not kept together or dropped."""

LISTED = 20
"""Images of a large cluster that the audit names."""


def open_images(rows: pd.DataFrame, folder: Path, store: StoreWriter | None, bit_depth: int | None = None) -> Images:
    """Return what reads the images of rows by their positions: from the finished store, or else from their files."""
    stored = None if store is None else open_store(store.folder.parent)
    if stored is not None:
        return stored.images(rows).__getitem__
    files = [f"{folder}/{file}" for file in rows["file"]]
    return lambda index: decode_image(files[index], 256, bit_depth)


def resolve_near_duplicates(rows: pd.DataFrame, found: Audit, choice: NearDuplicates, images: Images) -> pd.DataFrame:
    """Find near-duplicates, list them in the audit, and return the rows that stay, with their groups.

    A published split stays as it is: near-duplicates in several of its parts are listed, and none are dropped. Nor are
    those whose labels differ, since what tells them apart may be too small to be seen here.

    Args:
        rows: that are kept: image_id, label, group, published, thumbnail.
        found: receives the findings, the actions, and the cause of rows that are dropped.
        choice: --near-duplicates.
        images: of the rows, by position.
    """
    if choice == "ignore" or len(rows) < 2:
        return rows
    pairs = find_near_duplicates(rows["thumbnail"].tolist(), images)
    cluster = clusters_of(pairs, len(rows))
    sizes = np.bincount(cluster, minlength=len(rows))[cluster]
    large = sizes > max(LARGE_COUNT, LARGE_FRACTION * len(rows))
    small = np.flatnonzero((sizes > 1) & ~large)
    pairs = sorted(pair for pair in pairs if not large[pair.first])
    labels = rows["label"].to_numpy()[small]
    contradictory = small[varies(labels, cluster[small])]
    published = published_splits(rows)

    found.items["near_duplicates"] = [describe(pair, rows) for pair in pairs]
    found.items["large_clusters"] = large_clusters(rows, cluster, large)
    found.items["contradictory_near_duplicates"] = contradictions(rows, cluster, contradictory)
    if published is not None:
        found.items["near_duplicates_across_splits"] = straddling(rows, published, cluster, small)
        found.actions["near_duplicates"] = "stay as published"
        same = [pair for pair in pairs if published[pair.first] == published[pair.second]]
        rows = rows.assign(group=join_groups(rows["group"], same))
    elif choice == "drop":
        found.actions["near_duplicates"] = "left out; the first stays"
        later = np.setdiff1d(small[cluster[small] != small], contradictory)
        found.cause[rows.index[later]] = "near_duplicates"
        rows = rows.drop(index=rows.index[later])
    else:
        rows = rows.assign(group=join_groups(rows["group"], pairs))
    warn_about_near_duplicates(found, choice)
    return rows


def clusters_of(pairs: Iterable[NearDuplicate], count: int) -> NDArray[np.int64]:
    """Return the first member of each image's cluster."""
    forest = Forest(count)
    for pair in pairs:
        forest.join(pair.first, pair.second)
    return forest.roots()


def varies(values: NDArray[np.object_], cluster: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say of each member whether values differ within its cluster."""
    return (pd.Series(values).groupby(cluster).transform("nunique") > 1).to_numpy(dtype=np.bool_)


def published_splits(rows: pd.DataFrame) -> NDArray[np.object_] | None:
    """Return the published split of each row by its usual name; None if there is none."""
    if not (rows["published"] != "").any():
        return None
    given = rows["published"].str.lower()
    return given.map(SPLIT_NAMES).fillna(given).to_numpy(dtype=np.object_)


def join_groups(groups: pd.Series, pairs: Iterable[NearDuplicate]) -> pd.Series:
    """Return the groups, those that a pair connects under the name of the first of them."""
    codes, names = pd.factorize(groups)
    forest = Forest(len(names))
    for pair in pairs:
        forest.join(int(codes[pair.first]), int(codes[pair.second]))
    return pd.Series(names[forest.roots()[codes]], index=groups.index, dtype=groups.dtype)


def describe(pair: NearDuplicate, rows: pd.DataFrame) -> dict[str, object]:
    first, second = rows.iloc[pair.first], rows.iloc[pair.second]
    return {
        "image_id": second["image_id"],
        "label": second["label"],
        "same_as": first["image_id"],
        "similarity": round(pair.similarity, 3),
        "mirrored": pair.mirrored,
    }


def contradictions(rows: pd.DataFrame, cluster: NDArray[np.int64], members: NDArray[np.int64]) -> Items:
    """Return the images whose near-duplicates have another label, cluster by cluster."""
    ordered = members[np.argsort(cluster[members], kind="stable")]
    ids, labels = rows["image_id"].to_numpy(), rows["label"].to_numpy()
    return [{"image_id": ids[row], "label": labels[row], "same_as": ids[cluster[row]]} for row in ordered.tolist()]


def straddling(
    rows: pd.DataFrame, published: NDArray[np.object_], cluster: NDArray[np.int64], members: NDArray[np.int64]
) -> Items:
    """Return the images of val and test with a near-duplicate in train, or else in another split, one by one."""
    ids = rows["image_id"].to_numpy()
    rank = np.array([SPLITS.index(name) if name in SPLITS else len(SPLITS) for name in published[members].tolist()])
    order = np.lexsort((members, rank, cluster[members]))
    earliest: dict[int, int] = {}
    items: Items = []
    for row in members[order].tolist():
        there = earliest.setdefault(int(cluster[row]), row)
        if published[row] != published[there]:
            names = {"split": published[row], "same_as": ids[there], "in_split": published[there]}
            items.append({"image_id": ids[row], "label": rows["label"].iloc[row], **names})
    return items


def large_clusters(rows: pd.DataFrame, cluster: NDArray[np.int64], large: NDArray[np.bool_]) -> Items:
    """Return the number of images in each large cluster, and the first few."""
    ids = rows["image_id"].to_numpy()
    members = np.flatnonzero(large)
    items: Items = []
    for first in np.unique(cluster[members]).tolist():
        here = members[cluster[members] == first]
        items.append({"images": len(here), "image_ids": ids[here[:LISTED]].tolist()})
    return items


def warn_about_near_duplicates(found: Audit, choice: NearDuplicates) -> None:
    across = len(found.items["near_duplicates_across_splits"])
    if across:
        warn(
            f"the published split leaks: {across:,} images have a near-duplicate in another split, so metrics on them "
            "are too good; audit.html shows them"
        )
    if found.items["near_duplicates"] and choice == "drop" and found.actions["near_duplicates"].startswith("stay"):
        warn("--near-duplicates drop: nothing is left out, because the split is published")
    if contradictory := len(found.items["contradictory_near_duplicates"]):
        warn(f"{contradictory:,} images have a near-duplicate with another label; audit.html shows them")
    if large := [item["images"] for item in found.items["large_clusters"]]:
        warn(
            f"{sum(large):,} images look alike, in {len(large):,} clusters of up to {max(large):,}: they are not kept "
            "in one split; if they belong together, name what they have in common with --group-column"
        )
