"""A competition's sample file, filled in."""

from pathlib import Path

import pandas as pd
import pytest

from resnet50.inference.submission import fill_template
from resnet50.runtime.errors import UserError


def predictions(classes: tuple[str, ...] = ("cat", "dog")) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "image_id": ["007", "1", "b"],
            "path": ["x/007.jpg", "x/1.jpg", "y/b.png"],
            "prediction": [*classes, classes[0]],
        }
    )
    for number, name in enumerate(classes):
        table[f"p_{name}"] = [0.5 + number / 10, 0.25, 0.125]
    return table


def template(folder: Path, text: str) -> Path:
    path = folder / "sample_submission.csv"
    path.write_text(text)
    return path


def test_a_label_column_gets_labels_in_the_order_of_the_sample(tmp_path: Path) -> None:
    filled = fill_template(template(tmp_path, "id,label\nb,cat\n007,cat\n1,cat\n"), predictions(), ("cat", "dog"))
    assert filled.to_csv(index=False) == "id,label\nb,cat\n007,cat\n1,dog\n"


def test_ids_with_extension_are_found_too(tmp_path: Path) -> None:
    filled = fill_template(template(tmp_path, "image,label\n1.jpg,cat\n"), predictions(), ("cat", "dog"))
    assert filled.to_csv(index=False) == "image,label\n1.jpg,dog\n"


def test_class_columns_get_probabilities(tmp_path: Path) -> None:
    filled = fill_template(template(tmp_path, "id,dog,cat\n1,0.5,0.5\n007,0.5,0.5\n"), predictions(), ("cat", "dog"))
    assert filled.to_csv(index=False) == "id,dog,cat\n1,0.25,0.25\n007,0.6,0.5\n"


def test_a_single_column_of_fractions_gets_the_probability_of_class_1(tmp_path: Path) -> None:
    filled = fill_template(template(tmp_path, "id,target\n007,0.5\n1,0.5\n"), predictions(("0", "1")), ("0", "1"))
    assert filled["target"].tolist() == [0.6, 0.25]


def test_a_single_column_of_whole_numbers_gets_labels(tmp_path: Path) -> None:
    filled = fill_template(template(tmp_path, "id,target\n007,0\n1,0\n"), predictions(("0", "1")), ("0", "1"))
    assert filled["target"].tolist() == ["0", "1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\n1,cat\nzebra,cat\n", "1 ids have no image.*'zebra'"),
        ("id,dog,cats\n1,0,0\n", r"column 'cats' is not a class.*did you mean 'cat'"),
        ("id\n1\n", "at least one column to predict"),
        ("", "not a CSV file"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fill_template(template(tmp_path, text), predictions(), ("cat", "dog"))


def test_a_sample_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.csv does not exist"):
        fill_template(tmp_path / "nowhere.csv", predictions(), ("cat", "dog"))
