"""Options from Python values: the checks of the command line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet50.options import BenchOptions, PredictOptions, TrainOptions, from_values, write_yaml
from resnet50.runtime.errors import UserError

PLACES = {"dataset": "d", "out": "r"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batchsize": 3}, r"unknown key 'batchsize' \(did you mean 'batch_size'\?\)"),
        ({"epochs": "many"}, "--epochs 'many': expected a whole number"),
        ({"epochs": 3.0}, "--epochs '3.0': expected a whole number"),
        ({"epochs": True}, "--epochs 'True': expected a whole number"),
        ({"accumulate": None}, "--accumulate 'None': expected a whole number"),
        ({"epochs": 0}, "--epochs 0: must be at least 1"),
        ({"lr": float("nan")}, "--lr nan: must be above 0"),
        ({"lr": True}, "--lr 'True': expected a number"),
        ({"budget": 90}, "--budget '90': expected text"),
        ({"out": 3}, "--out '3': expected a path"),
        ({"store": "maybe"}, "--store 'maybe': expected true or false"),
        ({"compile": True}, "--compile 'True': expected one of auto, on, off"),
        ({"depth": 18.0}, "--depth '18.0': expected one of 18"),
    ],
)
def test_python_values_are_checked_as_the_command_line_is(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_values(TrainOptions, PLACES | values)


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("lr", 1, 1.0),
        ("lr", np.float32(0.5), 0.5),
        ("epochs", np.int64(3), 3),
        ("epochs", "3", 3),
        ("store", np.bool_(False), False),
        ("weights", Path("w.pth"), "w.pth"),
        ("dataset", Path("x"), Path("x")),
        ("depth", "18", 18),
    ],
)
def test_what_can_be_read_as_an_options_type_is(name: str, given: Any, value: Any) -> None:
    read = getattr(from_values(TrainOptions, PLACES | {name: given}), name)
    assert read == value
    assert type(read) is type(value)


def test_lists_and_tuples_become_tuples_of_text() -> None:
    assert from_values(PredictOptions, {"run": "r", "images": ["a", Path("b")]}).images == ("a", "b")
    assert from_values(BenchOptions, {"rows": ("step",)}).rows == ("step",)
    with pytest.raises(UserError, match="IMAGES 'a': expected a list of text"):
        from_values(PredictOptions, {"run": "r", "images": "a"})


def test_something_required_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"^DATASET is missing"):
        from_values(TrainOptions, {"out": "r"})


def test_a_resumed_run_needs_no_other_value(tmp_path: Path) -> None:
    write_yaml(TrainOptions(dataset=Path("d"), out=Path("r"), epochs=3), tmp_path / "config.yaml")
    options = from_values(TrainOptions, {"resume": str(tmp_path)})
    assert (options.dataset, options.out, options.resume, options.epochs) == (Path("d"), tmp_path, tmp_path, 3)
