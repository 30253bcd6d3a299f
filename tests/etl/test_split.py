from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from resnet50.etl import split as split_module
from resnet50.etl.split import SPLITS, Members, Shares, assign, fill_up, keep_published, parse_shares, split_rows
from resnet50.runtime.errors import UserError

USUAL: Shares = (0.7, 0.15, 0.15)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("0.7/0.15/0.15", USUAL),
        ("0.8/0.2", (0.8, 0.2, 0)),
        ("0.8/0.2/0", (0.8, 0.2, 0)),
        (" 0.6 / 0.2/0.2", (0.6, 0.2, 0.2)),
    ],
)
def test_shares_are_read(text: str, shares: Shares) -> None:
    assert parse_shares(text) == shares


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.7/0.15/0.1", "adds to 0.95, not to 1"),
        ("0.7/0.7/-0.4", "is no split"),
        ("70/15/15", "is no split"),
        ("1", "is no split"),
        ("a/b/c", "is no split"),
        ("nan/0.5/0.5", "is no split"),
        ("0.25/0.25/0.25/0.25", "is no split"),
        ("0/0.5/0.5", "leaves no train split"),
        ("0.8/0/0.2", "leaves no val split"),
    ],
)
def test_shares_that_make_no_split_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_shares(text)


def table(labels: list[str], groups: list[str] | None = None) -> pd.DataFrame:
    return pd.DataFrame({"label": labels, "group": groups or [str(row) for row in range(len(labels))]}, dtype="str")


def counts(rows: pd.DataFrame, split: pd.Series) -> np.ndarray:
    return pd.crosstab(split, rows["label"]).reindex(SPLITS, fill_value=0).to_numpy()


SHARES = st.sampled_from([USUAL, (0.8, 0.2, 0.0), (0.65, 0.1, 0.25), (1 / 3, 1 / 3, 1 / 3), (0.34, 0.33, 0.33)])


@given(
    sizes=st.lists(st.integers(1, 60), min_size=2, max_size=30).filter(lambda sizes: sum(sizes) >= 30),
    shares=SHARES,
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=80)
def test_classes_and_the_whole_are_split_by_their_shares(sizes: list[int], shares: Shares, seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    split = assign(labels, np.arange(len(labels)), shares, seed)
    per_class = np.stack([np.bincount(labels[split == side], minlength=len(sizes)) for side in range(3)])
    wanted = np.outer(shares, sizes)
    small = np.array(sizes) * shares[0] < 1
    assert (np.abs(per_class - wanted)[:, ~small] < 2).all()
    assert (per_class[0] > 0).all(), "every class is in train"
    allowance = 3 + small.sum()  # a class of one or two has to be in train, whatever the shares
    assert (np.abs(per_class.sum(axis=1) - wanted.sum(axis=1)) <= allowance).all()
    assert (per_class[2] == 0).all() or shares[2] > 0
    for side in (1, 2):
        assert (per_class[side][(wanted[side] >= 1)] > 0).all()


def test_a_thousand_classes_of_three_still_give_the_shares() -> None:
    rows = table([str(row // 3) for row in range(3000)])
    split = split_rows(rows, USUAL, seed=0)
    assert split.value_counts().to_dict() == pytest.approx({"train": 2100, "val": 450, "test": 450}, abs=5)


def test_ungrouped_split_has_the_class_counts_of_scikit_learns() -> None:
    labels = np.repeat(["a", "b", "c"], [200, 100, 40])
    rows = table(labels.tolist())
    ours = counts(rows, split_rows(rows, (0.75, 0.25, 0.0), seed=0))
    train, val = next(StratifiedShuffleSplit(1, test_size=0.25, random_state=0).split(labels, labels))
    theirs = [np.unique(labels[part], return_counts=True)[1].tolist() for part in (train, val)]
    assert ours[:2].tolist() == theirs


GROUPED = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 4)), min_size=40, max_size=300)


@given(rows=GROUPED, shares=SHARES, seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=25)
def test_no_group_is_on_two_sides_and_the_same_seed_gives_the_same_split(
    rows: list[tuple[int, int]], shares: Shares, seed: int
) -> None:
    groups, labels = (np.unique(column, return_inverse=True)[1] for column in zip(*rows, strict=True))
    split = assign(labels, groups, shares, seed)
    for group in range(groups.max() + 1):
        assert len(set(split[groups == group])) == 1
    for label in range(labels.max() + 1):
        assert (split[labels == label] == 0).any(), "every class is in train"
    assert set(np.flatnonzero(shares)) >= set(split)
    np.testing.assert_array_equal(split, assign(labels, groups, shares, seed))


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=8)
def test_groups_that_allow_it_come_near_the_shares_in_every_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(150), rng.integers(1, 12, 150))
    labels = rng.integers(0, 5, len(groups))
    split = assign(labels, groups, USUAL, seed)
    for share, side in zip(USUAL, range(3), strict=True):
        assert abs((split == side).mean() - share) < 0.01
        for label in range(5):
            assert abs((split[labels == label] == side).mean() - share) < 0.04


def test_a_few_large_groups_do_not_spoil_the_split() -> None:
    rng = np.random.default_rng(0)
    sizes = [640, 510, 340, 290, 200, 175, 160, 130, 120, 110, *[20] * 60, *[3] * 200]
    groups = np.repeat(np.arange(len(sizes)), sizes)
    taste = rng.dirichlet(np.full(12, 0.5), len(sizes))
    labels = np.array([rng.choice(12, p=taste[group]) for group in groups])
    for seed in range(3):
        split = assign(labels, groups, USUAL, seed)
        for share, side in zip(USUAL, range(3), strict=True):
            assert abs((split == side).mean() - share) < 0.01
            for label in range(12):
                assert abs((split[labels == label] == side).mean() - share) < 0.05


def test_search_is_for_the_largest_groups_and_all_others_are_placed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[list[int]] = []
    filled: list[int] = []
    search, fill_up = split_module.search, split_module.fill_up

    def counting_search(groups: list[Members], *rest: Any) -> Any:
        searched.append([int(counts[-1]) for _, counts in groups])
        return search(groups, *rest)

    def counting_fill_up(groups: Iterable[Members], *rest: Any) -> list[int]:
        members = list(groups)
        filled.append(len(members))
        return fill_up(members, *rest)

    monkeypatch.setattr(split_module, "search", counting_search)
    monkeypatch.setattr(split_module, "fill_up", counting_fill_up)
    monkeypatch.setattr(split_module, "REFINED_GROUPS", 20)
    monkeypatch.setattr(split_module, "KICKS", 2)
    groups = np.repeat(np.arange(6000), np.where(np.arange(6000) < 20, 50, 3))
    labels = np.random.default_rng(0).integers(0, 7, len(groups))
    split = assign(labels, groups, USUAL, seed=0)
    assert (searched, filled) == ([[50] * 20], [5980])
    for label in range(7):
        assert np.bincount(split[labels == label]) / (labels == label).sum() == pytest.approx(USUAL, abs=0.01)


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=20)
def test_small_group_goes_where_the_sum_of_squares_is_least(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.uniform(5, 50, (3, 6))
    placed = rng.integers(0, 30, (3, 6)).astype(float)
    price = rng.choice([0.0, 100.0], (3, 6))
    columns, counts = np.array([1, 4, 5]), np.array([2, 3, 5])
    costs: list[float] = []
    for side in range(3):
        after = placed.copy()
        after[side, columns] += counts
        costs.append((((after - target) ** 2 / target) + price * (after == 0)).sum())
    assert fill_up([(columns, counts)], placed, target, price) == [int(np.argmin(costs))]


def test_class_that_one_group_has_alone_is_in_train() -> None:
    labels = ["a"] * 40 + ["b"] * 40 + ["rare"] * 4
    groups = [str(row // 2) for row in range(80)] + ["one"] * 4
    for seed in range(5):
        rows = table(labels, groups)
        assert set(split_rows(rows, USUAL, seed)[rows["label"] == "rare"]) == {"train"}


def test_three_groups_give_three_splits() -> None:
    rows = table(["a", "b"] * 30, [str(row // 20) for row in range(60)])
    assert set(split_rows(rows, USUAL, seed=0)) == set(SPLITS)


def test_another_seed_gives_another_split_of_the_same_sizes() -> None:
    rows = table(["a", "b"] * 100)
    first, second = split_rows(rows, USUAL, seed=0), split_rows(rows, USUAL, seed=1)
    assert (first != second).any()
    assert first.value_counts().to_dict() == second.value_counts().to_dict()


def test_split_that_stays_empty_is_named_with_what_to_do() -> None:
    with pytest.raises(UserError, match=r"the test split is empty: 2 groups are too few.*--split"):
        split_rows(table(["a", "b"] * 10, ["x"] * 10 + ["y"] * 10), USUAL, seed=0)
    with pytest.raises(UserError, match=r"split is empty: 2 images"):
        split_rows(table(["a", "b"]), USUAL, seed=0)


def published(splits: list[str]) -> pd.DataFrame:
    return table(["a", "b"] * (len(splits) // 2)).assign(published=splits)


def test_published_split_is_kept_under_any_of_its_names() -> None:
    rows = published(["Train", "training", "valid", "VAL", "dev", "validation", "test", "testing"])
    assert keep_published(rows, USUAL, 0).tolist() == ["train"] * 2 + ["val"] * 4 + ["test"] * 2


def test_val_is_taken_from_train_where_none_is_published() -> None:
    rows = published(["train"] * 170 + ["test"] * 30)
    split = keep_published(rows, USUAL, 0)
    assert split.value_counts().to_dict() == {"train": 140, "val": 30, "test": 30}
    assert (split[170:] == "test").all()
    assert counts(rows, split)[1].tolist() == [15, 15]


def test_groups_stay_whole_when_val_is_taken_from_train() -> None:
    rows = published(["train"] * 80 + ["test"] * 20)
    rows["group"] = [str(row // 4) for row in range(100)]
    split = keep_published(rows, USUAL, 0)
    assert split.groupby(rows["group"]).nunique().max() == 1


def test_published_split_of_another_name_is_refused_with_it() -> None:
    with pytest.raises(UserError, match=r"'fold1', 'fold2'.*train, val or test"):
        keep_published(published(["train", "fold1", "fold2", "test"]), USUAL, 0)
    with pytest.raises(UserError, match="''"):
        keep_published(published(["train", "", "val", "test"]), USUAL, 0)


def test_published_split_without_train_is_refused() -> None:
    with pytest.raises(UserError, match=r"train split is empty.*test, val"):
        keep_published(published(["val", "val", "test", "test"]), USUAL, 0)


def test_group_on_two_sides_of_a_published_split_is_refused_with_its_name() -> None:
    rows = published(["train"] * 4 + ["val"] * 2 + ["test"] * 2)
    rows["group"] = ["x", "y", "y", "y", "z", "z", "x", "w"]
    with pytest.raises(UserError, match=r"group 'x' is on several sides"):
        keep_published(rows, USUAL, 0)
