"""Which image an id of a template is."""

from pathlib import Path

import pandas as pd
import pytest

from resnet50.inference.matching import match_ids
from resnet50.runtime.errors import UserError

SITES = ["test/site1/0001.jpg", "test/site2/0001.jpg", "test/site2/0002.jpg", "/data/other/x.rf.3f2a.png"]


def match(ids: list[str], paths: list[str] = SITES) -> list[int]:
    columns = pd.Series(ids, dtype="str"), pd.Series(paths, dtype="str")
    return match_ids(*columns, Path("sample.csv")).tolist()


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["0002.jpg"], [2]),
        (["0002", "x.rf.3f2a", "0002"], [2, 3, 2]),
        (["site2/0001.jpg", "site1/0001"], [1, 0]),
        (["site1\\0001.jpg", "./0002.jpg", "/data/other/x.rf.3f2a.png"], [0, 2, 3]),
    ],
)
def test_an_id_is_the_end_of_a_path_with_or_without_extension(ids: list[str], expected: list[int]) -> None:
    assert match(ids) == expected


def test_an_id_may_name_folders_above_those_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path / "images")
    assert match(["images/a.jpg"], ["a.jpg", "b.jpg"]) == [0]


def test_an_extension_decides_before_the_name_alone() -> None:
    assert match(["1.jpg"], ["1.jpg.png", "1.jpg"]) == [1]


@pytest.mark.parametrize("name", ["0001", "0001.jpg"])
def test_an_id_that_fits_two_images_names_both(name: str) -> None:
    with pytest.raises(UserError, match=rf"'{name}' fits test/site1/0001\.jpg and test/site2/0001\.jpg"):
        match(["0002", name])


def test_two_extensions_of_one_name_are_two_images() -> None:
    with pytest.raises(UserError, match=r"'1' fits a/1\.jpg and a/1\.png"):
        match(["1"], ["a/1.jpg", "a/1.png"])


def test_folders_that_all_ids_share_may_be_others(capsys: pytest.CaptureFixture[str]) -> None:
    ids = ["/kaggle/input/test/site1/0001.jpg", "/kaggle/input/test/site2/0002.jpg"]
    assert match(ids) == [0, 2]
    assert match([name.replace("/test/", "/stage2/") for name in ids]) == [0, 2]
    assert "matched without the 'kaggle/input/stage2/'" in capsys.readouterr().err


def test_folders_that_ids_do_not_share_are_never_ignored() -> None:
    with pytest.raises(UserError, match=r"1 of 2 ids have no image.*'site3/0002\.jpg'"):
        match(["site1/0001.jpg", "site3/0002.jpg"])


def test_letter_case_and_unicode_forms_match_and_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert match(["caf\u00e9", "A.JPG"], ["cafe\u0301.jpg", "a.jpg"]) == [0, 1]
    assert "2 ids match but for letter case or Unicode form" in capsys.readouterr().err
    assert match(["a", "A"], ["a.jpg", "A.jpg"]) == [0, 1]
    with pytest.raises(UserError, match=r"fits .*A\.jpg and .*a\.jpg"):
        match(["X/a", "x/A"], ["x/A.jpg", "x/a.jpg"])


def test_an_id_without_an_image_is_shown_beside_an_image() -> None:
    with pytest.raises(UserError, match=r"1 of 2 ids have no image among the 4 given.*'zebra'.*test/site1/0001\.jpg"):
        match(["0002", "zebra"])
