"""What the columns of a competition's sample ask for."""

from pathlib import Path

import pytest

from resnet50.inference.submission import Column, decide_columns, summary
from resnet50.inference.template import read_template
from resnet50.runtime.errors import UserError

PETS = ("cat", "dog")
BINARY = ("0", "1")


def decide(folder: Path, text: str, classes: tuple[str, ...] = PETS, submit: str | None = None) -> list[int | None]:
    path = folder / "sample_submission.csv"
    path.write_text(text)
    return [column.of for column in decide_columns(read_template(path), classes, submit)]


@pytest.mark.parametrize(
    ("text", "classes", "expected"),
    [
        ("id,label\n1,cat\n2,dog\n", PETS, [None]),
        ("id,label\n1,?\n2,?\n", PETS, [None]),
        ("id,label\n1,?\n2,?\n", BINARY, [None]),
        ("id,level\n1,0\n2,3\n", ("0", "1", "2", "3"), [None]),
        ("id,label\n1,\n2,\n", ("a", "b", "c"), [None]),
        ("id,dog,cat\n1,0,0\n", PETS, [1, 0]),
        ("id,dog,cat\n1,0.5,0.5\n", PETS, [1, 0]),
        ("id,cat\n1,0.5\n", PETS, [0]),
        ("id,cat\n1,\n", PETS, [0]),
        ("id,target\n1,0.5\n", BINARY, [1]),
        ("id;target\n1;0,5\n", BINARY, [1]),
        ("id,target\n1,0.25\n", ("True", "False"), [0]),
    ],
)
def test_columns_get_what_their_names_and_values_ask_for(
    text: str, classes: tuple[str, ...], expected: list[int | None], tmp_path: Path
) -> None:
    assert decide(tmp_path, text, classes) == expected


@pytest.mark.parametrize(
    ("text", "classes", "choices"),
    [
        ("id,target\n1,0\n2,1\n", BINARY, ["labels", "probability:1", "probability:0"]),
        ("id,target\n1,0.0\n2,0.0\n", BINARY, ["labels", "probability:1", "probability:0"]),
        ("id,target\n1,0\n", PETS, ["labels", "probability:dog", "probability:cat"]),
        ("id,label\n1,\n", PETS, ["labels", "probability:dog", "probability:cat"]),
        ("id,is_cat\n1,0.5\n", PETS, ["probability:cat", "probability:dog"]),
        ("id,cat\n1,1\n2,0\n", PETS, ["labels", "probability:cat", "probability:dog"]),
        ("id,label\n1,husky\n2,poodle\n", PETS, ["labels", "probability:dog", "probability:cat"]),
        ("id,label\n1,Cat\n2,Cat\n", PETS, ["labels", "probability:dog", "probability:cat"]),
        ("id,label\n1,dog\n2,fox\n", PETS, ["labels", "probability:dog", "probability:cat"]),
        ("id,label\n1,False\n", PETS, ["labels", "probability:dog", "probability:cat"]),
        ("id,label\n1,healthy\n", BINARY, ["labels", "probability:1", "probability:0"]),
        ("id,label\n1,50%\n", BINARY, ["labels", "probability:1", "probability:0"]),
        ("id,label\n1,4\n", ("a", "b", "c"), ["labels", "probability:a", "probability:b", "probability:c"]),
    ],
)
def test_what_could_be_meant_two_ways_is_asked_with_the_likeliest_first(
    text: str, classes: tuple[str, ...], choices: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="--submit") as error:
        decide(tmp_path, text, classes)
    assert [choice["submit"] for choice in error.value.choices] == choices
    for choice in choices:  # each is an answer
        assert decide(tmp_path, text, classes, choice) == [
            None if choice == "labels" else classes.index(choice.removeprefix("probability:"))
        ]


@pytest.mark.parametrize(
    ("text", "submit", "message"),
    [
        ("id,dog,cats\n1,0,0\n", None, r"column 'cats' is not a class.*did you mean 'cat'"),
        ("id,dog,cat\n1,0,0\n", "labels", "single column"),
        ("id,label\n1,0.5\n", "labels", "fractions"),
        ("id,label\n1,2.5\n", None, "neither labels nor probabilities"),
        ("id,label\n1,0\n", "probability:cats", "did you mean 'cat'"),
        ("id,label\n1,0\n", "cat", "give labels, or probability:CLASS"),
    ],
)
def test_columns_and_answers_that_do_not_fit_are_refused(
    text: str, submit: str | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as error:
        decide(tmp_path, text, submit=submit)
    assert not error.value.choices


def test_the_summary_names_columns_and_classes_without_one() -> None:
    assert summary([Column("target", 1)], BINARY) == ["column 'target': the probability of '1'"]
    assert summary([Column("a", 0), Column("b", 1)], ("a", "b", "c")) == [
        "columns 'a', 'b': the probability of the class of that name",
        "the template has no column for c",
    ]
