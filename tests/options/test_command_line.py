"""Command lines: flags over the config file over defaults, errors in one line, help in sections."""

from pathlib import Path
from typing import Any

import pytest

from resnet50.cli import VERBS
from resnet50.options import (
    BenchOptions,
    CheckOptions,
    EvaluateOptions,
    PredictOptions,
    PrepareOptions,
    StudyOptions,
    TrainOptions,
    fields_of,
    from_arguments,
    write_yaml,
)
from resnet50.options.command_line import parser_for
from resnet50.options.fields import section_of
from resnet50.runtime.errors import UserError

PLACES = ["d", "--out", "r"]


def train_options(*arguments: str) -> TrainOptions:
    return from_arguments(TrainOptions, [*PLACES, *arguments], "resnet50 train")


def test_flags_become_typed_values() -> None:
    options = train_options("--lr", "1e-3", "--batch-size", "8")
    assert (options.dataset, options.out, options.lr, options.batch_size) == (Path("d"), Path("r"), 1e-3, 8)


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--lr=1e-3"], "lr", 1e-3),
        (["--lr", ".5"], "lr", 0.5),
        (["--lr", "null"], "lr", None),
        (["--batch-size", "auto"], "batch_size", "auto"),
        (["--batch", "8"], "batch_size", 8),
        (["--store"], "store", True),
        (["--no-store"], "store", False),
        (["--store", "--no-store"], "store", False),
        (["--epochs", "3", "--epochs", "4"], "epochs", 4),
        (["--budget", "90"], "budget", "90"),
        (["--depth", "18"], "depth", 18),
        (["--weights", "a: b"], "weights", "a: b"),
        (["--"], "keep", 2),
    ],
)
def test_a_word_is_read_as_its_options_type(arguments: list[str], name: str, value: Any) -> None:
    read = getattr(train_options(*arguments), name)
    assert read == value
    assert type(read) is type(value)


def test_positionals_may_follow_flags_and_start_with_a_dash_after_two() -> None:
    assert from_arguments(TrainOptions, ["--out", "r", "d"], "train").dataset == Path("d")
    assert from_arguments(TrainOptions, ["--out", "r", "--", "-d"], "train").dataset == Path("-d")
    assert from_arguments(PredictOptions, ["r", "--", "-a", "b"], "predict").images == ("-a", "b")


def test_several_images_may_be_named() -> None:
    options = from_arguments(PredictOptions, ["run", "a.jpg", "b", "--top-k", "2"], "predict")
    assert options.images == ("a.jpg", "b")
    assert from_arguments(PredictOptions, ["run"], "predict").images == ()


def test_flags_override_the_config_and_the_config_the_defaults(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("dataset: data\nout: run\nepochs: 3\nbatch_size: 8\nstore: false\n")
    options = from_arguments(TrainOptions, ["--config", str(config), "--epochs", "7", "--store"], "train")
    assert (options.dataset, options.epochs, options.batch_size, options.store) == (Path("data"), 7, 8, True)
    assert options.optimizer == "adamw"


def test_positionals_may_come_from_the_config(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("run: r\nimages: [a, b]\n")
    assert from_arguments(PredictOptions, ["--config", str(config)], "predict").images == ("a", "b")
    options = from_arguments(PredictOptions, ["--config", str(config), "other", "c"], "predict")
    assert (options.run, options.images) == (Path("other"), ("c",))
    config.write_text("name: anatomy\nout: o\n")
    options = from_arguments(StudyOptions, ["features", "--config", str(config)], "study")
    assert (options.name, options.source) == ("features", Path("demo/dataset"))


def test_resuming_takes_the_options_of_the_run_except_those_given(tmp_path: Path) -> None:
    run, config = tmp_path / "run", tmp_path / "c.yaml"
    run.mkdir()
    config.write_text("keep: 4\nlr: 0.5\n")
    write_yaml(TrainOptions(dataset=Path("d"), out=Path("r"), epochs=3, lr=0.25, max_time="1h"), run / "config.yaml")
    options = from_arguments(TrainOptions, ["--resume", str(run), "--epochs", "5", "--config", str(config)], "train")
    assert (options.dataset, options.epochs, options.lr, options.keep) == (Path("d"), 5, 0.5, 4)
    assert (options.out, options.resume, options.max_time) == (run, run, None)
    with pytest.raises(UserError, match=r"is not a training run \(it has no config.yaml\)"):
        from_arguments(TrainOptions, ["--resume", str(tmp_path)], "train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "DATASET is missing: .* See resnet50 train --help"),
        (["d"], "--out is missing"),
        ([*PLACES, "--epoch-count", "3"], r"--epoch-count"),
        ([*PLACES, "--epochz", "3"], r"--epochz \(did you mean '--epochs'\?\)"),
        ([*PLACES, "--epochz=3"], r"--epochz \(did you mean '--epochs'\?\)"),
        ([*PLACES, "--batch_size", "3"], r"--batch_size \(did you mean '--batch-size'\?\)"),
        ([*PLACES, "--no-epochs"], "--no-epochs"),
        ([*PLACES, "--epochs", "many"], "--epochs 'many': expected a whole number"),
        ([*PLACES, "--epochs", "3.0"], "--epochs '3.0': expected a whole number"),
        ([*PLACES, "--epochs", ""], "--epochs '': expected a whole number"),
        ([*PLACES, "--accumulate", "null"], "--accumulate 'null': expected a whole number"),
        ([*PLACES, "--epochs", "-3"], "--epochs -3: must be at least 1"),
        ([*PLACES, "--epochs"], "--epochs: expected one argument"),
        ([*PLACES, "--lr", "fast"], "--lr 'fast': expected a number"),
        ([*PLACES, "--lr=-1e-3"], "--lr -0.001: must be above 0"),
        ([*PLACES, "--batch-size", "8.0"], "--batch-size '8.0': expected a whole number or one of auto"),
        ([*PLACES, "--optimizer", "lion"], "--optimizer 'lion': expected one of adamw, adam, sgd"),
        ([*PLACES, "--variant", "v2"], "--variant 'v2': expected one of v1, v1.5"),
        ([*PLACES, "--depth", "18.0"], "--depth '18.0': expected one of 18, 34, 50, 101, 152"),
        ([*PLACES, "--store", "false"], "unknown option or argument false"),
        ([*PLACES, "--store=false"], "--store"),
        ([*PLACES, "--c", "x"], "ambiguous option: --c"),
        (["--dataset", "d", "--out", "r"], "--dataset is no option: give DATASET without it"),
        (["d", "extra", "--out", "r"], "extra"),
        (["--config", "nowhere.yaml"], "nowhere.yaml does not exist"),
    ],
)
def test_a_wrong_command_line_gets_one_line_that_names_it(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        from_arguments(TrainOptions, arguments, "resnet50 train")
    assert "\n" not in str(caught.value)


def test_an_error_calls_a_positional_by_its_name() -> None:
    with pytest.raises(UserError, match=r"^NAME 'al': expected one of all, degradation"):
        from_arguments(StudyOptions, ["al", "--out", "o"], "study")


@pytest.mark.parametrize(("options", "_"), VERBS.values(), ids=VERBS)
def test_help_shows_every_option_once_in_its_section(options: type, _: str) -> None:
    text = parser_for(options, "resnet50").format_help()
    assert max(map(len, text.splitlines())) <= 110
    title, found = "", list[tuple[str, str]]()
    for line in text.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            title = line.removesuffix(":")
        elif line.startswith("  ") and line[2] != " ":
            found.append((title, line.split()[0].rstrip(",").removeprefix("--").replace("-", "_").lower()))
    expected = [(section_of(options, field.name), field.name) for field in fields_of(options)]
    assert found == [*expected, ("General", "config"), ("General", "_h")]


@pytest.mark.parametrize(
    ("options", "arguments"),
    [(PrepareOptions, ["s", "--out", "o"]), (CheckOptions, ["d"]), (EvaluateOptions, ["r"]), (BenchOptions, [])],
)
def test_required_options_are_enough(options: Any, arguments: list[str]) -> None:
    given = from_arguments(options, arguments, "resnet50")
    assert all(getattr(given, field.name) == field.default for field in fields_of(options)[2:])
