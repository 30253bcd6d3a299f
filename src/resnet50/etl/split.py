"""Train, val and test: stratified by label, and whatever belongs together on one side."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resnet50.runtime.errors import UserError

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""What published splits are called, and what we call them."""

Shares = tuple[float, float, float]
"""Shares of train, val and test, which add to 1."""

Members = tuple[NDArray[np.int64], NDArray[np.int64]]
"""What is in a group: classes from 0, and the whole as the class after the last; how many images of each."""

REFINED_GROUPS = 500
"""So many of the largest groups are looked at again and again; smaller ones then fill up what is missing."""

KICKS = 60
"""So often some of them are thrown about, in search of a better arrangement: about a second."""

SETTLING_PASSES = 20
"""At most so many before the next kick; usually nothing moves after three or four."""


def parse_shares(text: str) -> Shares:
    """Read '0.7/0.15/0.15', or '0.8/0.2' for no test split.

    Raises:
        UserError: not two or three numbers, one below 0, they don't add to 1, or train or val gets nothing.
    """
    try:
        shares = [float(part) for part in text.split("/")]
    except ValueError:
        shares = []
    if len(shares) not in (2, 3) or not all(0 <= share <= 1 for share in shares):
        raise UserError(f"--split {text!r} is no split: write shares of train/val/test, e.g. 0.7/0.15/0.15")
    if abs(sum(shares) - 1) > 1e-6:
        raise UserError(f"--split {text} adds to {sum(shares):.6g}, not to 1: e.g. 0.7/0.15/0.15")
    train, val, test = (*shares, 0.0)[:3]
    if train == 0 or val == 0:
        raise UserError(f"--split {text} leaves no {'val' if train else 'train'} split: only test may be 0")
    return train, val, test


def split_rows(rows: pd.DataFrame, shares: Shares, seed: int) -> pd.Series:
    """Return train, val or test for every row.

    Args:
        rows: columns label and group; rows of one group stay together.
        shares: of the three splits.
        seed: of what is left to chance.

    Raises:
        UserError: a split stays empty.
    """
    labels = pd.factorize(rows["label"], sort=True)[0]
    groups = pd.factorize(rows["group"])[0]
    split = pd.Series(np.array(SPLITS)[assign(labels, groups, shares, seed)], index=rows.index, dtype="str")
    for name, share in zip(SPLITS, shares, strict=True):
        if share > 0 and not (split == name).any():
            units = f"{len(rows):,} images" if groups.max() + 1 == len(rows) else f"{groups.max() + 1:,} groups"
            raise UserError(
                f"the {name} split is empty: {units} are too few for a share of {share:g}; "
                f"give {name} a larger share with --split, or collect more"
            )
    return split


def keep_published(rows: pd.DataFrame, shares: Shares, seed: int) -> pd.Series:
    """Return the split that column `published` names; where it has no val, val is taken from train.

    Val then gets the share of train that it would have by `shares`: 0.15 / (0.7 + 0.15) of it. Test stays as published.

    Raises:
        UserError: a name that is none of train, val, test; no train; a group or identical images on two sides.
    """
    split = rows["published"].str.lower().map(SPLIT_NAMES)
    if split.isna().any():
        found = sorted(set(rows.loc[split.isna(), "published"]))
        raise UserError(
            f"the published split says {', '.join(map(repr, found[:5]))}: it has to say train, val or test in every row"
        )
    split = split.astype("str")
    if not (split == "train").any():
        raise UserError(f"the train split is empty: the published split has only {', '.join(sorted(set(split)))}")
    if not (split == "val").any():
        train, val, _ = shares
        pool = rows[split == "train"]
        split[pool.index] = split_rows(pool, (train / (train + val), val / (train + val), 0.0), seed)
    sides = split.groupby(rows["group"]).nunique()
    if (sides > 1).any():
        name = sides.index[sides > 1][0]
        raise UserError(
            f"group {name!r} is on several sides of the published split, and {(sides > 1).sum() - 1:,} more are: "
            "leave out --group-column or --split-column"
        )
    return split


def assign(labels: NDArray[Any], groups: NDArray[Any], shares: Shares, seed: int) -> NDArray[np.int64]:
    """Return the split (0 train, 1 val, 2 test) of every row.

    Groups of several rows are placed first, because they are hard to place; single rows then fill every class up to
    its shares exactly. Without groups all rows are single, and this is the ordinary stratified split.

    Scikit-learn's StratifiedGroupKFold makes k equal folds only, so groups are placed in the way of Sechidis et al.
    2011 (On the Stratification of Multi-Label Data): the larger first, each to the split that misses its labels most.
    Where a few groups hold much of the data that leaves classes far from their shares, so the largest are placed by an
    iterated local search instead (Lourenço et al. 2003): thrown to random splits, then each in turn taken out and put
    where it fits best, until nothing moves; then some are thrown again, and the outcome stays if it is better. On 5,163
    photos of 346 people, four of whom sent a third of them, no class of eighteen is then more than 6 points from its
    shares in any split under ten seeds, where placing the largest first left 15.

    Args:
        labels: class of each row, from 0 without gaps.
        groups: group of each row, from 0 without gaps.
        shares: of the splits; each row goes to one with a share above 0.
        seed: which groups and which rows of a class go where.
    """
    rng = np.random.default_rng(seed)
    wanted = np.flatnonzero(shares)  # a split with a share of 0 takes no part
    targets = np.outer(np.asarray(shares)[wanted], np.bincount(labels))
    together = np.bincount(groups)[groups] > 1
    single_counts = np.bincount(labels[~together], minlength=targets.shape[1])
    placed = np.zeros_like(targets, dtype=np.int64)
    split = np.full(len(labels), -1, dtype=np.int64)
    if together.any():
        group = np.unique(groups[together], return_inverse=True)[1]
        split[together] = place_groups(labels[together], group, targets, single_counts, rng)[group]
        np.add.at(placed, (split[together], labels[together]), 1)
    counts = single_shares(targets, placed, single_counts)
    shuffled = rng.permutation(np.flatnonzero(~together))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    split[by_class] = np.repeat(np.tile(np.arange(len(wanted)), targets.shape[1]), counts.T.ravel())
    return wanted[split]


def single_shares(
    targets: NDArray[np.float64], placed: NDArray[np.int64], single_counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many single rows of each class go to each split, splits×classes, so that targets are met within one.

    Rounding is carried from class to class, so that a hundred classes of three images each still give the shares that
    were asked for overall. Within that a split that would have none of a class comes first, train before all others.
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
    """Return the split of every group.

    Minimized is the sum over splits and classes of (images − target)² / target, plus the same sum over the splits as a
    whole: the first keeps each class near its shares, the second keeps the sizes near what was asked for. To that comes
    a price for a class without training images, for an empty split, and a small one for a class missing elsewhere.

    Args:
        labels: class of each row.
        groups: group of each row, from 0 without gaps.
        targets: images of each class that each split should have, splits×classes.
        single_counts: images of each class that are placed afterwards, one by one.
        rng: for what is left to chance.
    """
    classes = targets.shape[1]
    sizes = np.bincount(groups)
    # The split as a whole is one more column, which every image counts in.
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

    # What comes later can still bring a class to a split that has none of it.
    later = single_counts + np.bincount(labels[np.isin(groups, others)], minlength=classes)
    scarce = np.append(later, later.sum()) < len(targets)
    price = np.where(scarce, np.maximum(target, 1.0), 0.0)
    price[:, -1] *= 1e3
    price[0] *= 1e6

    split = np.empty(len(sizes), dtype=np.int64)
    split[largest], placed = search([members(group) for group in largest], target, price, rng)
    split[others] = fill_up(map(members, others), placed, target, price)
    return split


def search(
    groups: list[Members], target: NDArray[np.float64], price: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the split of each of a few large groups, and how many images of each column every split then has.

    Args:
        groups: columns of each group and how many images of them; the last column is the whole.
        target: images that there should be, splits×columns.
        price: what it costs to have none, splits×columns.
        rng: for what is left to chance.
    """
    placed = np.zeros_like(target)
    split = np.full(len(groups), -1, dtype=np.int64)
    weights = [count / target[:, column] for column, count in groups]
    prices = [price[:, column] for column, _ in groups]

    def place(group: int) -> None:
        # By how much the sum of (images − target)² / target grows, less what is the same in every split.
        column, count = groups[group]
        there = placed[:, column]
        cost = (weights[group] * (count + 2 * there) - prices[group] * (there == 0)).sum(axis=1)
        put(group, int(cost.argmin()))

    def put(group: int, where: int) -> None:
        column, count = groups[group]
        split[group] = where
        placed[where, column] += count

    def take_out(group: int) -> None:
        column, count = groups[group]
        placed[split[group], column] -= count

    def settle() -> float:
        """Place each group anew until nothing moves; return what is minimized."""
        for _ in range(SETTLING_PASSES):
            before = split.copy()
            for group in range(len(groups)):
                take_out(group)
                place(group)
            if (split == before).all():
                break
        return float(((placed - target) ** 2 / target + price * (placed == 0)).sum())

    for group in range(len(groups)):
        put(group, rng.choice(len(target), p=target[:, -1] / target[:, -1].sum()))
    lowest, kept = settle(), (split.copy(), placed.copy())
    sizes = np.array([count[-1] for _, count in groups])
    for _ in range(KICKS):
        for group in rng.choice(len(groups), size=-(-len(groups) // 30), p=sizes / sizes.sum(), replace=False):
            take_out(group)
            put(group, rng.choice(len(target), p=np.full(len(target), 1 / len(target))))
        found = settle()
        if found < lowest:
            lowest, kept = found, (split.copy(), placed.copy())
        split[:], placed[:] = kept
    return split, placed


def fill_up(
    groups: Iterable[Members], placed: NDArray[np.float64], target: NDArray[np.float64], price: NDArray[np.float64]
) -> list[int]:
    """Return the split of each of many small groups, placed one after the other where it costs least.

    There may be hundreds of thousands of them, of a few classes each: plain lists then add up faster than arrays do.

    Args:
        groups: columns of each group and how many images of them.
        placed: images that each split has of each column already, splits×columns.
        target: images that there should be, splits×columns.
        price: what it costs to have none, splits×columns.
    """
    splits = list(zip(placed.tolist(), target.tolist(), price.tolist(), strict=True))
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
