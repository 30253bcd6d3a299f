"""What is said about labels and groups that may not be what they seem."""

import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from resnet50.etl.source.reading import Reading
from resnet50.etl.source.tables import MalformedRow
from resnet50.etl.source.warnings import (
    check_labels,
    straddle,
    warn_about_groups,
    warn_about_labels,
    warn_about_malformed,
)
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError


def reading(columns: dict[str, pd.Series] | None = None, malformed: int = 0, **options: Any) -> Reading:
    return Reading(
        what="",
        name="",
        rows=pd.DataFrame(),
        images=Path("/data"),
        options=PrepareOptions(source=Path("t.csv"), out=Path("out"), **options),
        columns=columns or {},
        malformed=tuple(MalformedRow(line, "a,b,c") for line in range(2, 2 + malformed)),
    )


def manifest(*ids: str) -> pd.DataFrame:
    """Return a manifest of two classes whose images are in train and test by turns."""
    half = len(ids) // 2
    return pd.DataFrame(
        {
            "image_id": ids,
            "label": ["a"] * half + ["b"] * (len(ids) - half),
            "split": (["train", "test"] * len(ids))[: len(ids)],
        }
    )


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("form", "group"),
    [
        ("{0}_left.png", "0"),
        ("scan/{0}_R.png", "0"),
        ("{0}_jpg.rf.3f2a9c1b{1}.jpg", "0"),
        ("patient{0}_view{1}.png", "patient0"),
        ("0001_{0}_{1}.png", "0001_0"),
        ("{0}_{1}.png", "0"),
        ("{0}_idx5_x{1}_y7_class0.png", "0"),
    ],
)
def test_groups_that_names_show_are_warned_of_with_the_flag(
    form: str, group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = [form.replace("_left", end).replace("_R", end.upper()[:2]) for end in ("_left", "_right")]
    ids = [one.format(number, at) for number in range(20) for at, one in enumerate(pair)]
    warn_about_groups(manifest(*ids), reading(), pd.RangeIndex(len(ids)))
    warning = told(capsys)
    assert f"20 of 20 groups by the names of the images (such as {group}) have images in several splits" in warning
    (pattern,) = shlex.split(warning.partition("--group-pattern ")[2])
    groups = {found[1] for name in ids if (found := re.search(pattern, name))}
    assert len(groups) == 20


@pytest.mark.parametrize(
    "ids",
    [
        [f"{number}.png" for number in range(40)],
        [f"IMG_{number}.jpg" for number in range(40)],
        [f"cat/{number}.png" for number in range(40)],
        [f"{number // 20}_{number}.png" for number in range(40)],
        [f"{number}_0.png" for number in range(40)],
    ],
)
def test_numbered_images_and_classes_are_no_groups(ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    warn_about_groups(manifest(*ids), reading(), pd.RangeIndex(len(ids)))
    assert told(capsys) == ""


def test_columns_of_groups_are_counted_over_the_rows_that_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    column = pd.Series(["gone", *[f"p{number // 2}" for number in range(8)]], dtype="str")
    rows = pd.Index(range(1, 9))
    warn_about_groups(manifest(*map(str, range(8))), reading({"patient": column}), rows)
    assert "4 of 4 groups by column 'patient' have images in several splits" in told(capsys)


@pytest.mark.parametrize("options", [{"group_column": "patient"}, {"group_pattern": "^."}])
def test_nothing_is_said_where_groups_are_kept_together(
    options: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    column = pd.Series([f"p{number // 2}" for number in range(8)], dtype="str")
    warn_about_groups(manifest(*map(str, range(8))), reading({"patient": column}, **options), pd.RangeIndex(8))
    assert told(capsys) == ""


def test_images_without_a_group_straddle_nothing() -> None:
    split = pd.Series(["train", "test", "train", "test"])
    assert straddle(pd.Series(["", "", "x", "x"]), split) == (1, 1)
    assert straddle(pd.Series(["", "", None, "y"]), split) == (1, 0)


def test_single_images_of_every_class_are_refused() -> None:
    with pytest.raises(UserError, match=r"each of the 3 classes has a single image.*--label-column"):
        check_labels(pd.Series(["a", "b", "c", ""], dtype="str"))
    check_labels(pd.Series(["a", "b", "b"], dtype="str"))
    check_labels(pd.Series(["a"], dtype="str"))


def test_single_images_of_every_number_are_said_to_be_numbers() -> None:
    with pytest.raises(UserError, match="they look like a number per image"):
        check_labels(pd.Series([f"{number}.5" for number in range(30)], dtype="str"))


def test_lines_of_malformed_rows_are_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    warn_about_malformed(reading(malformed=12))
    assert "line 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more (an unquoted separator?)" in told(capsys)
    warn_about_malformed(reading())
    assert told(capsys) == ""


def test_labels_that_are_nearly_equal_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    warn_about_labels(["Cat", "cat", "dog"])
    assert "'Cat' and 'cat'" in told(capsys)
    warn_about_labels(["cat", "dog"])
    assert told(capsys) == ""
