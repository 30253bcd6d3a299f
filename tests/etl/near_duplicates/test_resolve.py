import numpy as np
import pandas as pd
import pytest

from resnet50.etl.audit import KINDS, Audit
from resnet50.etl.decode import DecodedImage
from resnet50.etl.near_duplicates import resolve
from resnet50.etl.near_duplicates.confirm import NearDuplicate
from resnet50.etl.near_duplicates.resolve import join_groups, resolve_near_duplicates
from resnet50.options.prepare import NearDuplicates

Frame = pd.DataFrame


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return the list of pairs that the search will find."""
    listed: list[tuple[int, int]] = []

    def find(*_: object) -> list[NearDuplicate]:
        return [NearDuplicate(first, second, 0.9, False) for first, second in listed]

    monkeypatch.setattr(resolve, "find_near_duplicates", find)
    return listed


def rows_of(labels: str, published: str = "") -> Frame:
    """Return a row for each letter of the labels; letters t, v and e stand for published splits."""
    names = {"t": "train", "v": "Validation", "e": "test"}
    return pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(len(labels))],
            "label": list(labels),
            "group": [f"i{number}" for number in range(len(labels))],
            "published": [names[letter] for letter in published] if published else "",
            "thumbnail": b"",
        }
    )


def resolved(rows: Frame, choice: NearDuplicates = "keep-together") -> tuple[Frame, Audit]:
    found = Audit({kind: [] for kind in KINDS}, pd.Series("", index=rows.index, dtype="str"))
    return resolve_near_duplicates(rows, found, choice, unread), found


def unread(_: int) -> DecodedImage:
    raise AssertionError


def test_clusters_share_a_group(pairs: list[tuple[int, int]]) -> None:
    pairs += [(1, 3), (3, 4)]
    rows, found = resolved(rows_of("aaaaaa"))
    assert rows["group"].tolist() == ["i0", "i1", "i2", "i1", "i1", "i5"]
    assert [(item["same_as"], item["image_id"]) for item in found.items["near_duplicates"]] == [
        ("i1", "i3"),
        ("i3", "i4"),
    ]
    assert found.action("near_duplicates") == "kept in one split"


def test_drop_keeps_the_first_of_a_cluster(pairs: list[tuple[int, int]]) -> None:
    pairs += [(0, 2), (2, 3)]
    rows, found = resolved(rows_of("aaaab"), "drop")
    assert rows["image_id"].tolist() == ["i0", "i1", "i4"]
    assert found.cause.tolist() == ["", "", "near_duplicates", "near_duplicates", ""]


def test_near_duplicates_with_other_labels_are_listed_and_never_dropped(pairs: list[tuple[int, int]]) -> None:
    pairs += [(0, 1), (2, 3)]
    rows, found = resolved(rows_of("abcc"), "drop")
    assert rows["image_id"].tolist() == ["i0", "i1", "i2"]
    listed = [(item["image_id"], item["label"]) for item in found.items["contradictory_near_duplicates"]]
    assert listed == [("i0", "a"), ("i1", "b")]


@pytest.mark.parametrize("choice", ["keep-together", "drop"])
def test_published_split_stays_and_what_straddles_it_is_listed(
    pairs: list[tuple[int, int]], choice: NearDuplicates, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs += [(0, 3), (1, 2), (4, 5)]
    rows, found = resolved(rows_of("aaaaaa", "evttte"), choice)
    assert rows["image_id"].tolist() == [f"i{number}" for number in range(6)]
    assert rows["group"].tolist() == rows["image_id"].tolist()
    listed = [(i["image_id"], i["split"], i["same_as"]) for i in found.items["near_duplicates_across_splits"]]
    assert listed == [("i0", "test", "i3"), ("i1", "val", "i2"), ("i5", "test", "i4")]
    printed = " ".join(capsys.readouterr().err.split())
    assert "3 images have a near-duplicate in another split" in printed
    assert ("nothing is left out" in printed) == (choice == "drop")


def test_near_duplicates_within_published_train_stay_together_for_val(pairs: list[tuple[int, int]]) -> None:
    pairs += [(0, 1), (1, 2)]
    rows, _ = resolved(rows_of("aaa", "tte"))
    assert rows["group"].tolist() == ["i0", "i0", "i2"]


def test_large_clusters_are_reported_and_neither_grouped_nor_dropped(
    pairs: list[tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    pairs += [(0, number) for number in range(1, 40)] + [(50, 51)]
    for choice in ("keep-together", "drop"):
        rows, found = resolved(rows_of("a" * 60), choice)
        assert rows["image_id"].iloc[:40].nunique() == rows["group"].iloc[:40].nunique() == 40
        assert [item["images"] for item in found.items["large_clusters"]] == [40]
        assert [item["image_id"] for item in found.items["near_duplicates"]] == ["i51"]
        assert "40 images look alike" in " ".join(capsys.readouterr().err.split())


def test_ignored_near_duplicates_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "find_near_duplicates", None)
    rows, found = resolved(rows_of("aab"), "ignore")
    assert len(rows) == 3
    assert found.items["near_duplicates"] == []


def test_groups_that_near_duplicates_connect_become_one() -> None:
    groups = pd.Series(["x", "x", "y", "z", "z"], index=np.arange(5) * 10)
    joined = join_groups(groups, [NearDuplicate(1, 4, 0.9, False)])
    assert joined.tolist() == ["x", "x", "y", "x", "x"]
    assert joined.index.tolist() == groups.index.tolist()
