"""Which column names the images, which holds labels, splits, groups."""

from pathlib import Path

import pandas as pd
import pytest

from resnet50.etl.files import FileIndex
from resnet50.etl.source.columns import (
    LabelChoice,
    Submission,
    cannot_tell_ids,
    cannot_tell_labels,
    find_group_columns,
    id_columns,
    label_choices,
)
from resnet50.etl.source.split_columns import find_split_column, split_values

FILES = FileIndex(Path("/data"), [f"images/{number}.png" for number in range(12)])


def table(**columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns, dtype="str")


def numbers(start: int = 0, count: int = 12, step: int = 1) -> list[str]:
    return [str(start + step * number) for number in range(count)]


def likeliest(frame: pd.DataFrame, **evidence: object) -> LabelChoice:
    return label_choices(frame, "id", set(), **evidence)[0]  # pyright: ignore[reportArgumentType]


def test_column_whose_values_name_images_has_the_ids() -> None:
    frame = table(key=numbers(), label=["cat", "dog"] * 6, other=numbers(100))
    assert id_columns(frame, FILES, None, set()) == ["key"]


def test_numbered_classes_are_not_taken_for_ids() -> None:
    assert id_columns(table(grade=["0", "1"] * 6, image=numbers()), FILES, None, set()) == ["image"]


def test_numbered_rows_are_not_taken_for_ids_beside_paths() -> None:
    frame = table(row=numbers(), file=[f"{number}.png" for number in reversed(range(12))])
    assert id_columns(frame, FILES, None, set()) == ["file"]


def test_column_with_urls_has_the_ids_if_no_other_has() -> None:
    frame = table(link=[f"https://host.example/x/{number}.png" for number in range(12)], label=["a", "b"] * 6)
    assert id_columns(frame, FILES, None, set()) == ["link"]


def test_template_is_filled_in_to_find_the_ids() -> None:
    frame = table(nr=numbers(), folder=["images"] * 12)
    assert id_columns(frame, FILES, "{folder}/{image_id}.png", {"folder"}) == ["nr"]
    assert id_columns(frame, FILES, "{folder}/{image_id}.jpg", {"folder"}) == []


def test_column_with_few_images_has_no_ids() -> None:
    assert id_columns(table(age=numbers(0, 12, 7)), FILES, None, set()) == []


@pytest.mark.parametrize(
    "name", ["label", "dx", "classname", "class_id", "ClassId", "choice", "level", "tags", "Finding Labels"]
)
def test_column_is_a_label_by_its_name(name: str) -> None:
    frame = table(id=numbers(), sex=["m", "f"] * 6, **{name: ["a", "b", "c"] * 4})
    choice = likeliest(frame)
    assert choice.columns == (name,)
    assert (choice.strength >= 2, choice.why) == (True, "its name")


def test_name_of_a_class_beats_its_number_and_both_say_the_same() -> None:
    frame = table(id=numbers(), class_id=["0", "1"] * 6, class_name=["cat", "dog"] * 6)
    assert [choice.columns for choice in label_choices(frame, "id", set())] == [("class_name",)]


def test_target_of_a_submission_is_the_label() -> None:
    frame = table(id=numbers(), label=["a", "b"] * 6, verdict=["x", "y", "z"] * 4)
    assert likeliest(frame, submission=Submission("sample.csv", ("verdict",))).columns == ("verdict",)


def test_column_with_a_submissions_columns_as_values_is_the_label() -> None:
    frame = table(id=numbers(), place=["n", "s"] * 6, kind=["rust", "scab", "none"] * 4)
    choice = likeliest(frame, submission=Submission("sample.csv", ("rust", "scab", "none")))
    assert (choice.columns, choice.why) == (("kind",), "its values are the columns of sample.csv")


def test_columns_of_a_submission_are_one_hot_labels() -> None:
    frame = table(id=numbers(), rust=["1", "0"] * 6, scab=["0", "1"] * 6, indoors=["1", "1", "0"] * 4)
    choice = likeliest(frame, submission=Submission("sample.csv", ("rust", "scab")))
    assert choice.option == {"label_columns": "rust,scab"}


def test_columns_that_exclude_each_other_are_one_hot_labels() -> None:
    frame = table(
        id=numbers(), a=["1", "0", "0"] * 4, b=["0", "1", "0"] * 4, c=["0", "0", "1"] * 4, note=["x", "y"] * 6
    )
    choice = likeliest(frame)
    assert choice.columns == ("a", "b", "c")
    assert choice.strength >= 2


def test_column_that_divides_like_the_folders_is_the_label() -> None:
    frame = table(id=numbers(), code=["7", "9"] * 6, ward=["n", "s", "e"] * 4)
    choice = likeliest(frame, folders=pd.Series(["cat", "dog"] * 6, dtype="str"))
    assert (choice.columns, choice.why) == (("code",), "its values are the folders of the images")


@pytest.mark.parametrize(
    "values",
    [
        ["same"] * 12,
        numbers(),
        ["train", "test"] * 6,
        ["https://x/1", "https://x/2"] * 6,
        ["2020-01-02", "2020-01-03"] * 6,
        [""] * 12,
    ],
)
def test_column_that_can_hold_no_labels_is_no_choice(values: list[str]) -> None:
    assert label_choices(table(id=numbers(), thing=values), "id", set()) == []


@pytest.mark.parametrize("name", ["prediction", "p_cat", "confidence", "score", "probability"])
def test_predictions_are_no_labels(name: str) -> None:
    assert label_choices(table(id=numbers(), **{name: ["0.1", "0.9"] * 6}), "id", set()) == []


def test_other_columns_are_possible_but_not_by_name() -> None:
    choices = label_choices(table(id=numbers(), sex=["m", "f"] * 6, cell_type=["x", "y", "z"] * 4), "id", set())
    assert [choice.columns for choice in choices] == [("cell_type",), ("sex",)]
    assert {choice.strength for choice in choices} == {1}


@pytest.mark.parametrize(
    ("values", "meaning"),
    [
        (["train", "test"], {"train": "train", "test": "test"}),
        (["Training", "PublicTest", "PrivateTest"], {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}),
        (["TRAIN", "VALIDATION", "TEST"], {"TRAIN": "train", "VALIDATION": "val", "TEST": "test"}),
        (["train", "train"], None),
        (["train", "cat"], None),
        (["train", ""], None),
        (["0", "1"], None),
    ],
)
def test_values_of_a_published_split_are_understood(values: list[str], meaning: dict[str, str] | None) -> None:
    assert split_values(pd.Series(values, dtype="str")) == meaning


def test_split_column_is_found_by_name_and_values() -> None:
    split = ["train", "test"] * 6
    assert find_split_column(table(id=numbers(), Split=split), set()) == "Split"
    assert find_split_column(table(id=numbers(), verdict=split), set()) is None
    assert find_split_column(table(id=numbers(), split=["a", "b"] * 6), set()) is None
    assert find_split_column(table(id=numbers(), split=split), {"split"}) is None


def test_two_split_columns_are_none() -> None:
    assert find_split_column(table(split=["train", "test"] * 6, fold=["test", "train"] * 6), set()) is None


def test_repeated_ids_of_patients_users_and_series_are_groups() -> None:
    label = pd.Series(["a", "b"] * 6, dtype="str")
    frame = table(
        id=numbers(),
        patient_id=[f"p{number // 2}" for number in range(12)],
        LesionId=[f"l{number // 3}" for number in range(12)],
        user=["x"] * 12,
        series=numbers(),
        place=[f"q{number // 2}" for number in range(12)],
    )
    assert find_group_columns(frame, {"id"}, label) == ["patient_id", "LesionId"]
    assert find_group_columns(frame, {"id", "patient_id"}, label) == ["LesionId"]


def test_questions_offer_a_choice_each_and_no_more_than_six() -> None:
    error = cannot_tell_ids(["a", "b", "c"], ["a", "b"])
    assert "both a and b could): name it with --id-column" in str(error)
    assert error.choices == ({"id_column": "a"}, {"id_column": "b"})
    choices = [LabelChoice((f"c{number}",), 1, "possible") for number in range(30)]
    many = cannot_tell_labels(choices)
    assert many.choices == tuple({"label_column": f"c{number}"} for number in range(6))
    assert "column 'c9')" in str(many)
    assert "no column is left" in str(cannot_tell_labels([]))


def test_message_about_hundreds_of_columns_stays_short() -> None:
    error = cannot_tell_ids([f"c{number}" for number in range(300)], [])
    assert "none of c0, c1, c2" in str(error)
    assert "c9 … seems to" in str(error)
    assert len(str(error)) < 300
