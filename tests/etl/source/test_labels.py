import json
from pathlib import Path

import pandas as pd
import pytest

from resnet50.etl.source.labels import (
    check_single_label,
    combined_label,
    find_names,
    is_binary,
    kind_of_labels,
    labels_of_one_hot,
    near_equal,
)
from resnet50.runtime.errors import UserError


def column(*values: str) -> pd.Series:
    return pd.Series(values, dtype="str")


@pytest.mark.parametrize(
    ("values", "separator"),
    [
        (["a", "b", "a|b", "b", ""], "|"),
        (["a;b", "a;c", "b;c"], ";"),
        (["scab", "rust", "rust scab", "healthy"], " "),
        (["cat, dog", "dog, cat", "owl"], ","),
        (["x|y", "y|x"], "|"),
        (['["a", "b"]', '["c"]', '["a"]'], "json"),
        (["['a', 'b']", "['c', 'a']"], "json"),
    ],
)
def test_several_labels_of_an_image_are_recognized(values: list[str], separator: str) -> None:
    kind = kind_of_labels(column(*values))
    assert kind.several == separator
    assert kind.reason.startswith("such as ")


@pytest.mark.parametrize(
    "values",
    [
        ["golden retriever", "siamese cat", "owl"],
        ["cat", "dog", ""],
        ["Washington, D.C.", "Springfield"],
        ["a|", "b|"],
        ["New York", "New Jersey", "York"],
        ["bora bora", "bora", "fiji"],
        ["[unknown]", "cat"],
        [],
    ],
)
def test_names_of_several_words_are_one_label(values: list[str]) -> None:
    assert kind_of_labels(column(*values)).several == ""


def test_few_words_in_many_combinations_are_several_labels() -> None:
    words = ["haze", "clear", "river", "road", "farm"]
    values = [" ".join(word for at, word in enumerate(words) if number >> at & 1) for number in range(1, 32)]
    assert kind_of_labels(column(*[value for value in values if " " in value])).several == " "


@pytest.mark.parametrize(
    "values",
    [
        [str(at % 10) for at in range(100)],
        ["0", "1"],
        ["0", "0.33", "0.67", "1.0"],
        [str(at) for at in range(1, 101) for _ in range(2)],
        [f"{at:03d}" for at in range(200) for _ in range(6)],
    ],
)
def test_numbered_classes_are_no_measurements(values: list[str]) -> None:
    kind = kind_of_labels(column(*values))
    assert not kind.number
    assert not kind.doubtful


@pytest.mark.parametrize(
    "values",
    [
        [f"{at / 7:.3f}" for at in range(1, 50)],
        [f"{at}e-3" for at in range(20)],
        ["-0.5", "nought"][:1] + [f"{at}.5" for at in range(12)],
    ],
)
def test_many_fractions_are_a_number_per_image(values: list[str]) -> None:
    kind = kind_of_labels(column(*values))
    assert kind.number
    assert not kind.doubtful
    assert "different ones" in kind.reason


def test_many_whole_numbers_of_few_images_are_doubtful() -> None:
    ages = column(*[str(20 + at * 3 % 67) for at in range(100)])
    kind = kind_of_labels(ages)
    assert kind.number
    assert kind.doubtful
    with pytest.raises(UserError, match=r"a number per image .* name the column with --label-column"):
        check_single_label(ages, "column 'age'", combine=False, named=False)
    assert check_single_label(ages, "column 'age'", combine=False, named=True).equals(ages)


def test_fractions_are_refused_even_if_the_column_is_named() -> None:
    with pytest.raises(UserError, match=r"column 'score' has a number per image .*low and high$"):
        check_single_label(column(*[f"{at}.5" for at in range(30)]), "column 'score'", combine=False, named=True)


def test_several_labels_per_image_are_refused_with_the_way_out() -> None:
    with pytest.raises(
        UserError, match=r"column 'tags' has several labels per image \(such as 'a\|b'\).*--combine-labels"
    ):
        check_single_label(column("a", "b", "a|b"), "column 'tags'", combine=False, named=True)


def test_combined_labels_have_one_order() -> None:
    values = column("b|a", "a|b", "a", "", "a| b|a")
    combined = check_single_label(values, "column 'tags'", combine=True, named=False)
    assert combined.tolist() == ["a+b", "a+b", "a", "", "a+b"]


@pytest.mark.parametrize("value", ['["b", "a"]', "['b', 'a']", "[b, a]"])
def test_combined_labels_are_taken_from_lists(value: str) -> None:
    assert combined_label(value, "json") == "a+b"


def one_hot(**columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns, dtype="str")


def test_one_hot_columns_give_the_name_of_the_one() -> None:
    table = one_hot(a=["1", "0", "0.0"], b=["0", "1.0", "0"], c=["-1", "0", "1"])
    assert labels_of_one_hot(table, ["a", "b", "c"], combine=False).tolist() == ["a", "b", "c"]
    true = one_hot(a=["True", "false"], b=["False", "true"])
    assert labels_of_one_hot(true, ["a", "b"], combine=False).tolist() == ["a", "b"]


def test_one_hot_rows_with_several_or_no_label_are_counted() -> None:
    table = one_hot(a=["1", "1", "0", "0"], b=["1", "1", "0", "1"])
    with pytest.raises(UserError, match=r"columns a, b .*2 rows have several 1s, 1 have none.*--combine-labels"):
        labels_of_one_hot(table, ["a", "b"], combine=False)
    assert labels_of_one_hot(table, ["a", "b"], combine=True).tolist() == ["a+b", "a+b", "", "b"]
    with pytest.raises(UserError, match=r"2 rows have no 1, so they have no label"):
        labels_of_one_hot(one_hot(a=["1", "0", "0", "0"], b=["0", "0", "0", "1"]), ["a", "b"], combine=False)


def test_one_hot_cell_other_than_0_and_1_is_named() -> None:
    with pytest.raises(UserError, match=r"column 'b' holds '0.7', where 0 or 1 should be"):
        labels_of_one_hot(one_hot(a=["1"], b=["0.7"]), ["a", "b"], combine=False)


def test_column_is_binary_to_its_last_cell() -> None:
    assert is_binary(column("0", "1", "1.0", "True"))
    assert not is_binary(column(*["0"] * 2000, "2"))
    assert not is_binary(column("0", ""))


def write(folder: Path, name: str, content: str) -> Path:
    (folder / name).write_text(content)
    return folder / name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.json", json.dumps({"0": "cat", "1": "dog"})),
        ("names.json", json.dumps({"cat": 0, "dog": 1})),
        ("names.json", json.dumps({"version": 2, "names": {"0": "cat", "1": "dog", "2": "owl"}})),
        ("data.yaml", "path: x\nnames:\n  0: cat\n  1: dog\n"),
        ("classes.txt", "0 cat\n1 dog\n"),
        ("classes.txt", "cat,0\ndog,1\n"),
    ],
)
def test_names_of_numbered_classes_are_found(tmp_path: Path, name: str, content: str) -> None:
    path = write(tmp_path, name, content)
    assert find_names({"0", "1"}, [path]) == ({"0": "cat", "1": "dog"}, path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.json", json.dumps({"0": "cat"})),
        ("names.json", json.dumps({"0": "cat", "1": "cat"})),
        ("names.json", json.dumps(["cat", "dog"])),
        ("names.json", json.dumps({"names": ["cat", "dog"]})),
        ("names.json", json.dumps({"0": "7", "1": "8"})),
        ("names.json", "{"),
        ("data.yaml", "names: [cat, dog]\n"),
        ("data.yaml", "a: b: c"),
        ("classes.txt", "cat\ndog\n"),
    ],
)
def test_incomplete_or_unnumbered_names_are_not_used(tmp_path: Path, name: str, content: str) -> None:
    assert find_names({"0", "1"}, [write(tmp_path, name, content)]) is None


def test_names_are_looked_for_only_where_labels_are_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "names.json", json.dumps({"0": "cat", "1": "dog"}))
    assert find_names({"0", "b"}, [path]) is None
    assert find_names(set(), [path]) is None


def test_first_file_that_names_every_class_is_used(tmp_path: Path) -> None:
    paths = [
        write(tmp_path, "a.json", json.dumps({"0": "cat"})),
        write(tmp_path, "b.json", json.dumps({"0": "cat", "1": "dog"})),
        write(tmp_path, "c.json", json.dumps({"0": "x", "1": "y"})),
    ]
    assert find_names({"0", "1"}, paths) == ({"0": "cat", "1": "dog"}, paths[1])


def test_labels_that_differ_in_case_form_or_marks_are_near_equal() -> None:
    labels = ["Cat", "cat", "dog", "caf\u00e9", "cafe\u0301", "red fox", "red_fox", "Red-Fox", "redfox"]
    assert near_equal(labels) == [("Cat", "cat"), ("caf\u00e9", "cafe\u0301"), ("red fox", "red_fox", "Red-Fox")]
    assert near_equal(["cat", "dog"]) == []
