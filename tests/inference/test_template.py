"""Reading a sample submission: separators, decimal commas, text as it stands."""

import zipfile
from pathlib import Path

import pytest

from resnet50.inference.csv_rows import Dialect
from resnet50.inference.template import read_template
from resnet50.runtime.errors import UserError


def template(folder: Path, text: str) -> Path:
    path = folder / "sample_submission.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_are_told_and_ids_keep_their_zeros(separator: str, tmp_path: Path) -> None:
    sample = read_template(template(tmp_path, f"id{separator}label\n007{separator}cat\nNA{separator}dog\n"))
    assert sample.dialect == Dialect(separator)
    assert sample.ids.tolist() == ["007", "NA"]
    assert sample.targets == ["label"]


def test_decimal_commas_are_kept_beside_semicolons(tmp_path: Path) -> None:
    sample = read_template(template(tmp_path, "id;label\n1;0,5\n"))
    assert sample.dialect == Dialect(";", ",")
    assert sample.numbers("label").tolist() == [0.5]


def test_a_zipped_sample_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sample_submission.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sample_submission.csv", "id,label\n1,cat\n")
    assert read_template(path).ids.tolist() == ["1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id\n1\n", "at least one column to predict"),
        ("", "not a CSV file"),
        ("id,label\n", "no rows"),
        ("id,label\n1,cat,0.5\n", "rows with more cells than the header"),
    ],
)
def test_a_sample_without_ids_or_columns_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_template(template(tmp_path, text))


def test_a_sample_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.csv does not exist"):
        read_template(tmp_path / "nowhere.csv")
    (tmp_path / "image.csv").write_bytes(b"\xff\xd8\xff\xe0\0\0\x81,\n")
    with pytest.raises(UserError, match=r"image\.csv is not a CSV file"):
        read_template(tmp_path / "image.csv")
