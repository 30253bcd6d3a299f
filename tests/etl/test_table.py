from pathlib import Path

import pandas as pd
import pytest

from resnet50.etl.table import file_names, guess_label_column, read_table
from resnet50.runtime.errors import UserError

WANTED = pd.DataFrame({"image_id": ["007", "008"], "label": ["NA", "None"]}, dtype="str")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_cells_are_read_as_written(tmp_path: Path, separator: str, encoding: str) -> None:
    path = tmp_path / "t.csv"
    text = f"image_id{separator}label\n007{separator} NA\n008{separator}None\n"
    path.write_text(text, encoding=encoding)
    pd.testing.assert_frame_equal(read_table(path), WANTED)


def test_quoted_cells_may_hold_separators_and_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('id,label\na,"one, two"\nb,"x\ny"\n')
    assert read_table(path)["label"].tolist() == ["one, two", "x\ny"]


def test_empty_and_absent_cells_are_empty_strings(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,label\na,\nb\nc,x\n")
    assert read_table(path)["label"].tolist() == ["", "", "x"]


def test_parquet_gives_the_same_strings_as_csv(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame(
        {
            "id": ["007", None, "a "],
            "number": [1, 2, 3],
            "gap": [1.0, None, 3.0],
            "real": [0.5, 1.0, 2.0],
            "flag": [True, False, True],
            "kind": pd.Categorical(["x", None, "y"]),
        }
    ).to_parquet(path)
    table = read_table(path)
    assert table["id"].tolist() == ["007", "", "a"]
    assert table["number"].tolist() == ["1", "2", "3"]
    assert table["gap"].tolist() == ["1", "", "3"]
    assert table["real"].tolist() == ["0.5", "1.0", "2.0"]
    assert table["flag"].tolist() == ["True", "False", "True"]
    assert table["kind"].tolist() == ["x", "", "y"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "t.csv is empty"),
        ("t.csv", b"id,label\n", "has no rows"),
        ("t.csv", b"id,label\na,b\xff\n", "not UTF-8"),
        ("t.csv", b"id,label\na,b,c\n", "more cells than its header"),
        ("t.csv", b"id,label\na,b\nc,d,e\n", "t.csv"),
        ("t.csv", b"id,id \na,b\n", "two columns named"),
        ("t.csv", b"a.jpg,cat\nb.jpg,dog\n", "add a header line"),
        ("t.csv", b"\x89PNG\r\n\x1a\n\x00\xff", "not UTF-8"),
        ("t.csv", b'id,label\na,"b\n', "t.csv"),
        ("t.parquet", b"PAR1 not really", "not a readable Parquet file"),
        ("t.xlsx", b"PK", "neither a table"),
    ],
)
def test_bad_table_is_named_on_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.csv does not exist"):
        read_table(tmp_path / "no.csv")


def test_template_is_filled_from_ids_and_columns() -> None:
    table = pd.DataFrame({"patient": ["p1", "p2"]})
    ids = pd.Series(["1", "2"])
    assert file_names(ids, "{patient}/scan_{image_id}.png", table).tolist() == ["p1/scan_1.png", "p2/scan_2.png"]
    assert file_names(ids, None, table).tolist() == ["1", "2"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{image_id", "malformed"),
        ("all.jpg", "needs column names"),
        ("{image_id:>5}", "needs column names"),
        ("{pateint}/{image_id}", "did you mean 'patient'"),
    ],
)
def test_invalid_template_is_refused(template: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        file_names(pd.Series(["1"]), template, pd.DataFrame({"patient": ["p"]}))


def test_label_column_is_guessed_by_name_or_by_elimination() -> None:
    assert guess_label_column(pd.DataFrame(columns=["id", "Label", "age"]), {"id"}) == "Label"
    assert guess_label_column(pd.DataFrame(columns=["id", "rust"]), {"id"}) == "rust"


@pytest.mark.parametrize("columns", [["id", "healthy", "rust"], ["id", "label", "class"], ["id"]])
def test_ambiguous_label_column_must_be_named(columns: list[str]) -> None:
    with pytest.raises(UserError, match="--label-column"):
        guess_label_column(pd.DataFrame(columns=columns), {"id"})
