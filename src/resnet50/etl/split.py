"""Splitting into train, val and test: stratified by label, groups kept together."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet50.etl.source.words import SPLIT_NAMES
from resnet50.runtime.errors import UserError

SPLITS = ("train", "val", "test")
Fractions = tuple[float, float, float]
"""Fractions of train, val and test, which add up to 1."""

Members = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Classes of a group's images and the number of each; the last entry counts the whole group, as an extra class."""

REFINED_GROUPS = 500
"""Number of largest groups that the local search moves; smaller groups then fill the gaps."""

PERTURBATIONS = 60
"""Restarts of the local search from a perturbed arrangement: about one second."""

MAX_PASSES = 20
"""Passes of one descent at most; usually nothing moves after three or four."""


def parse_fractions(text: str) -> Fractions:
    """Parse '0.7/0.15/0.15', or '0.8/0.2' for no test split.

    Raises:
        UserError: not two or three numbers, a negative one, a sum other than 1, or nothing for train or val. A set to
            measure on may be all test: '0/0/1'.
    """
    try:
        fractions = [float(part) for part in text.split("/")]
    except ValueError:
        fractions = []
    if len(fractions) not in (2, 3) or not all(0 <= fraction <= 1 for fraction in fractions):
        raise UserError(f"--split {text!r} is not a split: give the fractions of train/val/test, e.g. 0.7/0.15/0.15")
    if abs(sum(fractions) - 1) > 1e-6:
        raise UserError(f"--split {text} adds up to {sum(fractions):.6g} instead of 1: try 0.7/0.15/0.15")
    train, val, test = (*fractions, 0.0)[:3]
    if (train == 0 or val == 0) and test != 1:
        raise UserError(
            f"--split {text} leaves no {'val' if train else 'train'} split: only test may be 0, or all there is: 0/0/1"
        )
    return train, val, test


def split_rows(rows: pd.DataFrame, fractions: Fractions, seed: int) -> pd.Series:
    """Assign every row to train, val or test.

    Args:
        rows: columns label and group; rows of a group stay together.
        fractions: of the three splits.
        seed: of the random choices.

    Raises:
        UserError: a split remains empty.
    """
    labels = pd.factorize(rows["label"], sort=True)[0]
    groups = pd.factorize(rows["group"])[0]
    split = pd.Series(np.array(SPLITS)[assign(labels, groups, fractions, seed)], index=rows.index, dtype="str")
    for name, fraction in zip(SPLITS, fractions, strict=True):
        if fraction > 0 and not (split == name).any():
            units = f"{len(rows):,} images" if groups.max() + 1 == len(rows) else f"{groups.max() + 1:,} groups"
            raise UserError(
                f"the {name} split is empty: {units} are too few for a fraction of {fraction:g}; "
                f"give {name} a larger fraction with --split, or collect more data"
            )
    return split


def check_published(rows: pd.DataFrame, cause: pd.Series) -> None:
    """Raise a UserError where all labeled images of a published split are copies of others, which are left out."""
    copies = (cause == "duplicate_images")[(rows["label"] != "") & (rows["file"] != "") & (rows["published"] != "")]
    for name, gone in copies.groupby(rows["published"]).all().items():
        if gone:
            raise UserError(
                f"nothing is left of the {name} split: all of its images are copies of images in other splits; leave "
                "it out with --exclude, or omit --test"
            )


def keep_published(rows: pd.DataFrame, fractions: Fractions, seed: int) -> pd.Series:
    """Return the split that column `published` names; without a published val split, take val from train.

    Val then gets the fraction of train that follows from `fractions`: 0.15 / (0.7 + 0.15). Test stays as published.

    Raises:
        UserError: a name other than train, val or test, no train split, a group in several splits, or fractions that
            leave nothing but test.
    """
    split = rows["published"].str.lower().map(SPLIT_NAMES)
    if split.isna().any():
        found = sorted(set(rows.loc[split.isna(), "published"]))
        raise UserError(
            f"the published split contains {', '.join(map(repr, found[:5]))}: every row needs train, val or test"
        )
    split = split.astype("str")
    if not (split == "train").any() and set(split) != {"test"}:
        raise UserError(f"the train split is empty: the published split has only {', '.join(sorted(set(split)))}")
    if not sum(fractions[:2]) and set(split) != {"test"}:
        raise UserError(
            "--split 0/0/1 makes every image a test image, but the source is divided into splits: give the folder or "
            "the table of the one to measure on"
        )
    if (split == "train").any() and not (split == "val").any():
        train, val, _ = fractions
        pool = rows[split == "train"]
        split[pool.index] = split_rows(pool, (train / (train + val), val / (train + val), 0.0), seed)
    sides = split.groupby(rows["group"]).nunique()
    if (sides > 1).any():
        name, others = sides.index[sides > 1][0], int((sides > 1).sum()) - 1
        more = f" and {others:,} more" if others else ""
        raise UserError(
            f"the published split divides group {name!r}{more} between splits: omit --group-column or --split-column"
        )
    return split


def assign(labels: NDArray[Any], groups: NDArray[Any], fractions: Fractions, seed: int) -> NDArray[np.int64]:
    """Assign every row to a split (0 train, 1 val, 2 test).

    Groups of several rows are placed first, because they are hard to place; single rows then fill every class up to its
    fractions exactly. Without groups all rows are single, and this is the ordinary stratified split.

    Scikit-learn's StratifiedGroupKFold makes k equal folds only, so groups are placed as in Sechidis et al. 2011 (On
    the Stratification of Multi-Label Data): large groups first, each in the split that lacks its labels most. Where a
    few groups hold much of the data, that leaves classes far from their fractions, so the largest groups are placed by
    an iterated local search (Lourenço et al. 2003): starting from random splits, each group in turn is moved to where
    it fits best, until nothing moves; then some are moved at random, and the result is kept if it is better. On 5,163
    images of 346 people, four of whom sent a third of them, no class of eighteen is then more than 6 points from its
    fractions in any split under ten seeds; placing the largest first left 15.

    Args:
        labels: class of each row, from 0 without gaps.
        groups: group of each row, from 0 without gaps.
        fractions: of the splits; a split with a fraction of 0 gets no row.
        seed: of the random choices.
    """
    rng = np.random.default_rng(seed)
    wanted = np.flatnonzero(fractions)  # a split with a fraction of 0 gets nothing
    targets = np.outer(np.asarray(fractions)[wanted], np.bincount(labels))
    grouped = np.bincount(groups)[groups] > 1
    single_counts = np.bincount(labels[~grouped], minlength=targets.shape[1])
    placed = np.zeros_like(targets, dtype=np.int64)
    split = np.full(len(labels), -1, dtype=np.int64)
    if grouped.any():
        group = np.unique(groups[grouped], return_inverse=True)[1]
        split[grouped] = place_groups(labels[grouped], group, targets, single_counts, rng)[group]
        np.add.at(placed, (split[grouped], labels[grouped]), 1)
    counts = allocate_single_rows(targets, placed, single_counts)
    shuffled = rng.permutation(np.flatnonzero(~grouped))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    split[by_class] = np.repeat(np.tile(np.arange(len(wanted)), targets.shape[1]), counts.T.ravel())
    return wanted[split]


def allocate_single_rows(
    targets: NDArray[np.float64], placed: NDArray[np.int64], single_counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the number of single rows of each class for each split, splits×classes, within one of the targets.

    Rounding errors are carried from class to class, so that a hundred classes of three images each still give the
    requested fractions overall. Apart from that, a split that would lack a class comes first, train before the others.
    """
    missing = np.maximum(targets - placed, 0)
    missing = np.where(missing.sum(axis=0) > 0, missing, targets)
    wanted = missing * (single_counts / missing.sum(axis=0))
    counts = np.floor(wanted + 1e-9).astype(np.int64)
    carry = np.zeros(len(targets))
    for label in np.flatnonzero(single_counts):
        for _ in range(single_counts[label] - counts[:, label].sum()):
            absent = counts[:, label] + placed[:, label] == 0
            due = wanted[:, label] - counts[:, label] + carry + absent
            counts[0 if absent[0] else np.argmax(due), label] += 1
        carry += wanted[:, label] - counts[:, label]
    return counts


def place_groups(
    labels: NDArray[Any],
    groups: NDArray[Any],
    targets: NDArray[np.float64],
    single_counts: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Assign every group to a split.

    The objective is the sum over splits and classes of (images − target)² / target, plus the same sum for each split as
    a whole: the first part keeps each class near its fractions, the second keeps the sizes near the request. Penalties
    are added for a class without training images, for an empty split, and a small one for a class missing elsewhere.

    Args:
        labels: class of each row.
        groups: group of each row, from 0 without gaps.
        targets: images of each class that each split should have, splits×classes.
        single_counts: images of each class that are placed afterwards, one by one.
        rng: for the random choices.
    """
    classes = targets.shape[1]
    sizes = np.bincount(groups)
    # The split as a whole is one more column, in which every image counts.
    target = np.column_stack([targets, targets.sum(axis=1)])
    images = np.concatenate([groups * (classes + 1) + labels, groups * (classes + 1) + classes])
    pairs, counts = np.unique(images, return_counts=True)
    owners, columns = np.divmod(pairs, classes + 1)
    starts = np.searchsorted(owners, np.arange(len(sizes) + 1))

    def members(group: int) -> Members:
        here = slice(starts[group], starts[group + 1])
        return columns[here], counts[here]

    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    largest, others = order[:REFINED_GROUPS], order[REFINED_GROUPS:]

    # Images placed later can still bring a class to a split that lacks it.
    later = single_counts + np.bincount(labels[np.isin(groups, others)], minlength=classes)
    scarce = np.append(later, later.sum()) < len(targets)
    penalty = np.where(scarce, np.maximum(target, 1.0), 0.0)
    penalty[:, -1] *= 1e3
    penalty[0] *= 1e6

    split = np.empty(len(sizes), dtype=np.int64)
    split[largest], placed = local_search([members(group) for group in largest], target, penalty, rng)
    split[others] = place_greedily(map(members, others), placed, target, penalty)
    return split


def local_search(
    groups: list[Members], target: NDArray[np.float64], penalty: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Assign a few large groups to splits; return the assignment and the images of each split, splits×columns.

    Args:
        groups: columns of each group and the number of images in each; the last column is the whole group.
        target: images that each split should have, splits×columns.
        penalty: cost of having none, splits×columns.
        rng: for the random choices.
    """
    placed = np.zeros_like(target)
    split = np.full(len(groups), -1, dtype=np.int64)
    weights = [count / target[:, column] for column, count in groups]
    penalties = [penalty[:, column] for column, _ in groups]

    def place(group: int) -> None:
        # Increase of the sum of (images − target)² / target, less what is equal for all splits.
        column, count = groups[group]
        there = placed[:, column]
        cost = (weights[group] * (count + 2 * there) - penalties[group] * (there == 0)).sum(axis=1)
        put(group, int(cost.argmin()))

    def put(group: int, where: int) -> None:
        column, count = groups[group]
        split[group] = where
        placed[where, column] += count

    def remove(group: int) -> None:
        column, count = groups[group]
        placed[split[group], column] -= count

    def descend() -> float:
        """Move each group to its best split until nothing moves; return the objective."""
        for _ in range(MAX_PASSES):
            before = split.copy()
            for group in range(len(groups)):
                remove(group)
                place(group)
            if (split == before).all():
                break
        return float(((placed - target) ** 2 / target + penalty * (placed == 0)).sum())

    for group in range(len(groups)):
        put(group, rng.choice(len(target), p=target[:, -1] / target[:, -1].sum()))
    lowest, kept = descend(), (split.copy(), placed.copy())
    sizes = np.array([count[-1] for _, count in groups])
    for _ in range(PERTURBATIONS):
        for group in rng.choice(len(groups), size=-(-len(groups) // 30), p=sizes / sizes.sum(), replace=False):
            remove(group)
            put(group, rng.choice(len(target), p=np.full(len(target), 1 / len(target))))
        found = descend()
        if found < lowest:
            lowest, kept = found, (split.copy(), placed.copy())
        split[:], placed[:] = kept
    return split, placed


def place_greedily(
    groups: Iterable[Members], placed: NDArray[np.float64], target: NDArray[np.float64], penalty: NDArray[np.float64]
) -> list[int]:
    """Assign many small groups to splits, one after the other, each where it costs least.

    There may be hundreds of thousands of groups of a few classes each; plain lists are faster than arrays for those.

    Args:
        groups: columns of each group and the number of images in each.
        placed: images that each split already has, splits×columns.
        target: images that each split should have, splits×columns.
        penalty: cost of having none, splits×columns.
    """
    splits = list(zip(placed.tolist(), target.tolist(), penalty.tolist(), strict=True))
    chosen: list[int] = []
    for columns, counts in groups:
        members = list(zip(columns.tolist(), counts.tolist(), strict=True))
        costs = [
            sum(n * (n + 2 * there[c]) / due[c] - (0.0 if there[c] else absent[c]) for c, n in members)
            for there, due, absent in splits
        ]
        best = costs.index(min(costs))
        for c, n in members:
            splits[best][0][c] += n
        chosen.append(best)
    return chosen
