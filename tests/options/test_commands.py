"""The command line that gives some options."""

import shlex
from pathlib import Path
from types import SimpleNamespace

from resnet50.options import PredictOptions, PrepareOptions, TrainOptions, call, command, from_arguments


def test_a_command_gives_back_its_options() -> None:
    options = PredictOptions(
        run=Path("my run"), images=("a.jpg", "b c/*.jpg"), out=Path("it's.csv"), batch_size=8, strict=True
    )
    line = command("predict", options, {"submit": "probability:T-Shirt / Top"})
    assert line.startswith("resnet50 predict 'my run' a.jpg 'b c/*.jpg' --out ")
    assert "--submit 'probability:T-Shirt / Top'" in line
    assert "workers" not in line
    read = from_arguments(PredictOptions, shlex.split(line)[2:], "resnet50 predict")
    assert command("predict", read, {}) == line


def test_switches_and_values_that_are_turned_off_are_written_so() -> None:
    options = PrepareOptions(source=Path("a"), out=Path("b"), store=False)
    assert command("prepare", options, {}) == "resnet50 prepare a --out b --no-store"
    assert command("prepare", options, {"overwrite": "true"}) == "resnet50 prepare a --out b --overwrite --no-store"


def test_names_that_look_like_options_stand_behind_a_dash() -> None:
    options = PredictOptions(run=Path("run"), images=("-a.jpg",))
    line = command("predict", options, {})
    assert line == "resnet50 predict -- run -a.jpg"
    assert from_arguments(PredictOptions, shlex.split(line)[2:], "resnet50 predict") == options


def test_defaults_of_other_verbs_are_left_out_too() -> None:
    assert command("train", TrainOptions(dataset=Path("d"), out=Path("r")), {}) == "resnet50 train d --out r"


def record(source: str, out: str, **options: object) -> tuple[str, str, dict[str, object]]:
    return source, out, options


def test_a_call_gives_back_its_options_with_the_values_of_python() -> None:
    options = PrepareOptions(source=Path("my data"), out=Path("d"), images=Path("it's"), store=False)
    line = call("prepare", options, {"class_folders": "true", "label_pattern": r"^(cat|dog)\."}, {})
    assert line.startswith("resnet50.prepare('my data', 'd', ")
    assert eval(line, {"resnet50": SimpleNamespace(prepare=record)}) == (
        "my data",
        "d",
        {"images": "it's", "store": False, "class_folders": True, "label_pattern": r"^(cat|dog)\."},
    )


def test_a_call_names_a_table_in_memory_unless_another_source_is_chosen() -> None:
    options = PrepareOptions(source=Path("source.parquet"), out=Path("d"))
    assert call("prepare", options, {}, {"source": "table"}) == "resnet50.prepare(table, 'd')"
    assert call("prepare", options, {"source": "a.csv"}, {"source": "table"}) == "resnet50.prepare('a.csv', 'd')"
