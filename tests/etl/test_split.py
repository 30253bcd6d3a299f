from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from resnet50.etl import split as split_module
from resnet50.etl.split import (
    SPLITS,
    Fractions,
    Members,
    assign,
    keep_published,
    parse_fractions,
    place_greedily,
    split_rows,
)
from resnet50.runtime.errors import UserError

USUAL: Fractions = (0.7, 0.15, 0.15)


@pytest.mark.parametrize(
    ("text", "fractions"),
    [
        ("0.7/0.15/0.15", USUAL),
        ("0.8/0.2", (0.8, 0.2, 0)),
        ("0.8/0.2/0", (0.8, 0.2, 0)),
        (" 0.6 / 0.2/0.2", (0.6, 0.2, 0.2)),
    ],
)
def test_fractions_are_parsed(text: str, fractions: Fractions) -> None:
    assert parse_fractions(text) == fractions


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.7/0.15/0.1", "adds up to 0.95 instead of 1"),
        ("0.7/0.7/-0.4", "is not a split"),
        ("70/15/15", "is not a split"),
        ("1", "is not a split"),
        ("a/b/c", "is not a split"),
        ("nan/0.5/0.5", "is not a split"),
        ("0.25/0.25/0.25/0.25", "is not a split"),
        ("0/0.5/0.5", "leaves no train split"),
        ("0.8/0/0.2", "leaves no val split"),
    ],
)
def test_invalid_fractions_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_fractions(text)


def table(labels: list[str], groups: list[str] | None = None) -> pd.DataFrame:
    return pd.DataFrame({"label": labels, "group": groups or [str(row) for row in range(len(labels))]}, dtype="str")


def counts(rows: pd.DataFrame, split: pd.Series) -> np.ndarray:
    return pd.crosstab(split, rows["label"]).reindex(SPLITS, fill_value=0).to_numpy()


FRACTIONS = st.sampled_from([USUAL, (0.8, 0.2, 0.0), (0.65, 0.1, 0.25), (1 / 3, 1 / 3, 1 / 3), (0.34, 0.33, 0.33)])


@given(
    sizes=st.lists(st.integers(1, 60), min_size=2, max_size=30).filter(lambda sizes: sum(sizes) >= 30),
    fractions=FRACTIONS,
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=80)
def test_classes_and_totals_are_split_by_the_fractions(sizes: list[int], fractions: Fractions, seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    split = assign(labels, np.arange(len(labels)), fractions, seed)
    per_class = np.stack([np.bincount(labels[split == side], minlength=len(sizes)) for side in range(3)])
    wanted = np.outer(fractions, sizes)
    small = np.array(sizes) * fractions[0] < 1
    assert (np.abs(per_class - wanted)[:, ~small] < 2).all()
    assert (per_class[0] > 0).all(), "every class is in train"
    allowance = 3 + small.sum()  # a class of one or two has to be in train, whatever the fractions
    assert (np.abs(per_class.sum(axis=1) - wanted.sum(axis=1)) <= allowance).all()
    assert (per_class[2] == 0).all() or fractions[2] > 0
    for side in (1, 2):
        assert (per_class[side][(wanted[side] >= 1)] > 0).all()


def test_thousand_classes_of_three_images_give_the_fractions() -> None:
    rows = table([str(row // 3) for row in range(3000)])
    split = split_rows(rows, USUAL, seed=0)
    assert split.value_counts().to_dict() == pytest.approx({"train": 2100, "val": 450, "test": 450}, abs=5)


def test_ungrouped_split_has_scikit_learns_class_counts() -> None:
    labels = np.repeat(["a", "b", "c"], [200, 100, 40])
    rows = table(labels.tolist())
    split_counts = counts(rows, split_rows(rows, (0.75, 0.25, 0.0), seed=0))
    train, val = next(StratifiedShuffleSplit(1, test_size=0.25, random_state=0).split(labels, labels))
    expected = [np.unique(labels[part], return_counts=True)[1].tolist() for part in (train, val)]
    assert split_counts[:2].tolist() == expected


GROUPED = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 4)), min_size=40, max_size=300)


def test_order_of_rows_does_not_change_the_counts_of_a_class() -> None:
    rows = table([f"{number:03d}" for number in range(100) for _ in range(3)])
    backward = table(rows["label"].tolist()[::-1])
    forth, back = (counts(order, split_rows(order, USUAL, seed=0)) for order in (rows, backward))
    assert forth.tolist() == back.tolist()


@pytest.mark.slow
@given(rows=GROUPED, fractions=FRACTIONS, seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=25)
def test_groups_stay_together_and_the_seed_fixes_the_split(
    rows: list[tuple[int, int]], fractions: Fractions, seed: int
) -> None:
    groups, labels = (np.unique(column, return_inverse=True)[1] for column in zip(*rows, strict=True))
    split = assign(labels, groups, fractions, seed)
    for group in range(groups.max() + 1):
        assert len(set(split[groups == group])) == 1
    for label in range(labels.max() + 1):
        assert (split[labels == label] == 0).any(), "every class is in train"
    assert set(np.flatnonzero(fractions)) >= set(split)
    np.testing.assert_array_equal(split, assign(labels, groups, fractions, seed))


@pytest.mark.slow
@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=8)
def test_small_groups_come_near_the_fractions_in_every_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(150), rng.integers(1, 12, 150))
    labels = rng.integers(0, 5, len(groups))
    split = assign(labels, groups, USUAL, seed)
    for fraction, side in zip(USUAL, range(3), strict=True):
        assert abs((split == side).mean() - fraction) < 0.01
        for label in range(5):
            assert abs((split[labels == label] == side).mean() - fraction) < 0.04


@pytest.mark.slow
def test_few_large_groups_do_not_spoil_the_split() -> None:
    rng = np.random.default_rng(0)
    sizes = [640, 510, 340, 290, 200, 175, 160, 130, 120, 110, *[20] * 60, *[3] * 200]
    groups = np.repeat(np.arange(len(sizes)), sizes)
    taste = rng.dirichlet(np.full(12, 0.5), len(sizes))
    labels = np.array([rng.choice(12, p=taste[group]) for group in groups])
    for seed in range(3):
        split = assign(labels, groups, USUAL, seed)
        for fraction, side in zip(USUAL, range(3), strict=True):
            assert abs((split == side).mean() - fraction) < 0.01
            for label in range(12):
                assert abs((split[labels == label] == side).mean() - fraction) < 0.05


def test_largest_groups_are_searched_and_the_others_placed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[list[int]] = []
    filled: list[int] = []
    local_search, place_greedily = split_module.local_search, split_module.place_greedily

    def recording_search(groups: list[Members], *rest: Any) -> Any:
        searched.append([int(counts[-1]) for _, counts in groups])
        return local_search(groups, *rest)

    def recording_place_greedily(groups: Iterable[Members], *rest: Any) -> list[int]:
        members = list(groups)
        filled.append(len(members))
        return place_greedily(members, *rest)

    monkeypatch.setattr(split_module, "local_search", recording_search)
    monkeypatch.setattr(split_module, "place_greedily", recording_place_greedily)
    monkeypatch.setattr(split_module, "REFINED_GROUPS", 20)
    monkeypatch.setattr(split_module, "PERTURBATIONS", 2)
    groups = np.repeat(np.arange(6000), np.where(np.arange(6000) < 20, 50, 3))
    labels = np.random.default_rng(0).integers(0, 7, len(groups))
    split = assign(labels, groups, USUAL, seed=0)
    assert (searched, filled) == ([[50] * 20], [5980])
    for label in range(7):
        assert np.bincount(split[labels == label]) / (labels == label).sum() == pytest.approx(USUAL, abs=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_search_ends_where_no_group_alone_fits_better_elsewhere(seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = rng.integers(0, 30, (9, 4))
    content = np.column_stack([content, content.sum(axis=1)])  # the last column is the whole group
    target = np.outer(USUAL, content.sum(axis=0))

    def placed(split: np.ndarray) -> np.ndarray:
        return np.stack([content[split == side].sum(axis=0) for side in range(3)])

    def objective(split: np.ndarray) -> float:
        return float(((placed(split) - target) ** 2 / target).sum())

    groups = [(np.arange(5), counts) for counts in content]
    split, found = split_module.local_search(groups, target, np.zeros_like(target), rng)
    np.testing.assert_array_equal(found, placed(split))
    moved = [np.where(np.arange(9) == group, side, split) for group in range(9) for side in range(3)]
    assert min(map(objective, moved)) == pytest.approx(objective(split))
    others = [objective(rng.integers(0, 3, 9)) for _ in range(500)]
    assert objective(split) < np.quantile(others, 0.05)


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=20)
def test_small_group_is_placed_where_the_cost_is_least(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.uniform(5, 50, (3, 6))
    placed = rng.integers(0, 30, (3, 6)).astype(float)
    penalty = rng.choice([0.0, 100.0], (3, 6))
    columns, counts = np.array([1, 4, 5]), np.array([2, 3, 5])
    costs: list[float] = []
    for side in range(3):
        after = placed.copy()
        after[side, columns] += counts
        costs.append((((after - target) ** 2 / target) + penalty * (after == 0)).sum())
    assert place_greedily([(columns, counts)], placed, target, penalty) == [int(np.argmin(costs))]


def test_single_rows_make_up_for_what_groups_have_taken() -> None:
    rows = table(["a"] * 200, ["large"] * 100 + [str(row) for row in range(100)])
    split = split_rows(rows, USUAL, seed=0)
    assert split.value_counts().to_dict() == {"train": 140, "val": 30, "test": 30}


def test_class_of_a_single_group_is_in_train() -> None:
    labels = ["a"] * 40 + ["b"] * 40 + ["rare"] * 4
    groups = [str(row // 2) for row in range(80)] + ["one"] * 4
    for seed in range(5):
        rows = table(labels, groups)
        assert set(split_rows(rows, USUAL, seed)[rows["label"] == "rare"]) == {"train"}


def test_three_groups_fill_three_splits() -> None:
    rows = table(["a", "b"] * 30, [str(row // 20) for row in range(60)])
    assert set(split_rows(rows, USUAL, seed=0)) == set(SPLITS)


def test_another_seed_gives_another_split_of_the_same_sizes() -> None:
    rows = table(["a", "b"] * 100)
    first, second = split_rows(rows, USUAL, seed=0), split_rows(rows, USUAL, seed=1)
    assert (first != second).any()
    assert first.value_counts().to_dict() == second.value_counts().to_dict()


def test_empty_split_is_reported_with_advice() -> None:
    with pytest.raises(UserError, match=r"the test split is empty: 2 groups are too few.*--split"):
        split_rows(table(["a", "b"] * 10, ["x"] * 10 + ["y"] * 10), USUAL, seed=0)
    with pytest.raises(UserError, match=r"split is empty: 2 images"):
        split_rows(table(["a", "b"]), USUAL, seed=0)


def published(splits: list[str]) -> pd.DataFrame:
    return table(["a", "b"] * (len(splits) // 2)).assign(published=splits)


def test_published_split_is_kept_under_any_of_its_names() -> None:
    rows = published(["Train", "training", "valid", "VAL", "dev", "validation", "test", "testing"])
    assert keep_published(rows, USUAL, 0).tolist() == ["train"] * 2 + ["val"] * 4 + ["test"] * 2


def test_val_is_taken_from_train_if_not_published() -> None:
    rows = published(["train"] * 170 + ["test"] * 30)
    split = keep_published(rows, USUAL, 0)
    assert split.value_counts().to_dict() == {"train": 140, "val": 30, "test": 30}
    assert (split[170:] == "test").all()
    assert counts(rows, split)[1].tolist() == [15, 15]


def test_groups_stay_together_when_val_is_taken_from_train() -> None:
    rows = published(["train"] * 80 + ["test"] * 20)
    rows["group"] = [str(row // 4) for row in range(100)]
    split = keep_published(rows, USUAL, 0)
    assert split.groupby(rows["group"]).nunique().max() == 1


def test_unknown_name_of_a_published_split_is_reported() -> None:
    with pytest.raises(UserError, match=r"'fold1', 'fold2'.*train, val or test"):
        keep_published(published(["train", "fold1", "fold2", "test"]), USUAL, 0)
    with pytest.raises(UserError, match="''"):
        keep_published(published(["train", "", "val", "test"]), USUAL, 0)


def test_published_split_without_train_is_refused() -> None:
    with pytest.raises(UserError, match=r"train split is empty.*test, val"):
        keep_published(published(["val", "val", "test", "test"]), USUAL, 0)


def test_published_splits_are_not_made_one_test_split() -> None:
    with pytest.raises(UserError, match="0/0/1 makes every image a test image"):
        keep_published(published(["train", "train", "test", "test"]), (0, 0, 1), 0)
    assert set(keep_published(published(["test"] * 4), (0, 0, 1), 0)) == {"test"}


def test_group_in_two_published_splits_is_named() -> None:
    rows = published(["train"] * 4 + ["val"] * 2 + ["test"] * 2)
    rows["group"] = ["x", "y", "y", "y", "z", "z", "x", "w"]
    with pytest.raises(UserError, match=r"divides group 'x' between splits"):
        keep_published(rows, USUAL, 0)
