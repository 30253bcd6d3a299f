import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from resnet50.etl.source.tables import file_names, read_table
from resnet50.runtime.errors import UserError

WANTED = pd.DataFrame({"image_id": ["007", "008"], "label": ["NA", "None"]}, dtype="str")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_cells_are_read_as_written(tmp_path: Path, separator: str, encoding: str) -> None:
    path = tmp_path / "t.csv"
    text = f"image_id{separator}label\n007{separator} NA\n008{separator}None\n"
    path.write_text(text, encoding=encoding)
    pd.testing.assert_frame_equal(read_table(path).frame, WANTED)


def test_quoted_cells_may_hold_separators_and_line_breaks(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('id,label\na,"one, two"\nb,"x\ny"\n')
    assert read_table(path).frame["label"].tolist() == ["one, two", "x\ny"]


def test_empty_and_absent_cells_are_empty_strings(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,label\na,\nb\nc,x\n")
    assert read_table(path).frame["label"].tolist() == ["", "", "x"]


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
    table = read_table(path).frame
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
        ("t.csv", b"id,label\na,b,c\n", r"1 rows with more cells than its header \(the first in line 2\)"),
        ("t.csv", b"id,label\na,b\nc,d,e\n", "the first in line 3"),
        ("t.csv", b"id,id \na,b\n", "two columns named"),
        ("t.csv", b"a.jpg,cat\nb.jpg,dog\n", "add a header line"),
        ("t.csv", b"\x89PNG\r\n\x1a\n\x00\xff", "not UTF-8"),
        ("t.csv", b'id,label\na,"b\n', "t.csv"),
        ("t.parquet", b"PAR1 not really", "not a readable Parquet file"),
        ("t.xlsx", b"PK", "neither a table"),
        ("t.json", b"{", "not valid JSON"),
        ("t.json", b"[1, 2]", "no list of objects"),
        ("t.json", b"[]", "no list of objects"),
        ("t.jsonl", b'{"a": "1"}\n{"a": \n', "not valid JSON"),
        ("t.json", b"\xff\xfe", "not UTF-8"),
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


def long_table(path: Path, rows: int, *odd: tuple[int, str]) -> Path:
    """Write a table with a header line; some of its lines, counted from 1, are odd."""
    lines = ["id,label", *(f"{number},cat" for number in range(rows))]
    for line, text in odd:
        lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")
    return path


def test_up_to_one_in_a_hundred_malformed_rows_are_left_out_by_line(tmp_path: Path) -> None:
    table = read_table(long_table(tmp_path / "t.csv", 300, (3, "a,b,c"), (200, "d,e,f,g")))
    assert len(table.frame) == 298
    assert [(row.line, row.text) for row in table.malformed] == [(3, "a,b,c"), (200, "d,e,f,g")]
    assert table.frame["id"].tolist()[:3] == ["0", "2", "3"]
    assert set(table.frame["label"]) == {"cat"}


def test_more_malformed_rows_than_one_percent_are_refused(tmp_path: Path) -> None:
    path = long_table(tmp_path / "t.csv", 100, (3, "a,b,c"), (50, "d,e,f"))
    with pytest.raises(UserError, match=r"2 rows with more cells .*the first in line 3.*more than 1%"):
        read_table(path)


def test_line_of_a_malformed_row_counts_breaks_in_cells(tmp_path: Path) -> None:
    path = long_table(tmp_path / "t.csv", 200, (2, '"a\nb",cat'), (10, "d,e,f"))
    assert [row.line for row in read_table(path).malformed] == [11]


def test_empty_cells_at_the_end_of_a_row_are_not_malformed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,label\na,cat,\nb,dog,,\nc,owl\n")
    table = read_table(path)
    assert table.malformed == ()
    assert table.frame["label"].tolist() == ["cat", "dog", "owl"]


def test_column_without_name_and_cells_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,label,\na,cat,\nb,dog,\n")
    assert list(read_table(path).frame.columns) == ["id", "label"]


def test_header_that_names_an_image_is_a_missing_header(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("dir/a.JPG\tcat\ndir/b.JPG\tdog\n")
    with pytest.raises(UserError, match=r"starts with 'dir/a.JPG' where column names should be: add a header line"):
        read_table(path)


WANTED_JSON = pd.DataFrame({"image": ["007", "008"], "label": ["cat", "dog"]}, dtype="str")
RECORDS = [{"image": "007", "label": "cat"}, {"image": "008", "label": "dog"}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.json", json.dumps(RECORDS)),
        ("t.json", json.dumps({"rows": RECORDS})),
        ("t.jsonl", "\n".join(map(json.dumps, RECORDS)) + "\n\n"),
        ("t.ndjson", "\n".join(map(json.dumps, RECORDS))),
    ],
)
def test_json_lists_and_lines_of_objects_are_tables(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8-sig")
    pd.testing.assert_frame_equal(read_table(tmp_path / name).frame, WANTED_JSON)


@pytest.mark.parametrize(
    ("content", "label"),
    [
        ({"a.jpg": "cat", "b.jpg": "dog"}, ["cat", "dog"]),
        ({"a.jpg": {"label": "cat", "w": 1}, "b.jpg": {"label": "dog"}}, ["cat", "dog"]),
        ({"a.jpg": 0, "b.jpg": 1}, ["0", "1"]),
    ],
)
def test_json_of_labels_by_image_is_a_table(tmp_path: Path, content: dict[str, Any], label: list[str]) -> None:
    (tmp_path / "t.json").write_text(json.dumps(content))
    table = read_table(tmp_path / "t.json").frame
    assert table["file_name"].tolist() == ["a.jpg", "b.jpg"]
    assert table["label"].tolist() == label


def test_coco_joins_images_with_the_names_of_their_categories(tmp_path: Path) -> None:
    content = {
        "info": {},
        "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
        "images": [{"id": number, "file_name": f"{number}.jpg", "license": 1} for number in range(4)],
        "annotations": [
            {"image_id": 1, "category_id": 3},
            {"image_id": 1, "category_id": 3},
            {"image_id": 0, "category_id": 5},
            {"image_id": 2, "category_id": 5},
            {"image_id": 2, "category_id": 3},
        ],
    }
    (tmp_path / "t.json").write_text(json.dumps(content))
    table = read_table(tmp_path / "t.json").frame
    assert list(table.columns) == ["file_name", "label"]
    assert table["label"].tolist() == ["dog", "cat", '["dog", "cat"]', ""]


def test_label_studio_tasks_give_their_choices(tmp_path: Path) -> None:
    def task(image: str, *choices: str) -> dict[str, Any]:
        results = [{"value": {"choices": list(choices)}}] if choices else []
        return {"id": 7, "data": {"image": image}, "annotations": [{"result": results}]}

    tasks = [task("/data/upload/a.jpg", "cat"), task("/data/upload/b.jpg", "cat", "dog"), task("/data/upload/c.jpg")]
    tasks.append({"id": 8, "data": {"image": "/data/upload/d.jpg"}, "annotations": []})
    (tmp_path / "t.json").write_text(json.dumps(tasks))
    table = read_table(tmp_path / "t.json").frame
    assert table["image"].tolist() == [f"/data/upload/{name}.jpg" for name in "abcd"]
    assert table["choice"].tolist() == ["cat", '["cat", "dog"]', "", ""]


def test_json_values_are_written_as_a_csv_would_have_them(tmp_path: Path) -> None:
    values = [1, 1.0, 0.5, None, True, ["é"], ["a", "é"], [], {"k": 1}, " x "]
    (tmp_path / "t.json").write_text(json.dumps([{"image": str(at), "v": value} for at, value in enumerate(values)]))
    wanted = ["1", "1", "0.5", "", "True", "é", '["a", "é"]', "", '{"k": 1}', "x"]
    assert read_table(tmp_path / "t.json").frame["v"].tolist() == wanted
