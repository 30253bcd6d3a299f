"""Options from the command line, from YAML and from Python: the same values, the same refusals."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from resnet50.options import (
    EvaluateOptions,
    ModelOptions,
    PredictOptions,
    PrepareOptions,
    TrainOptions,
    from_arguments,
    from_values,
    write_yaml,
)
from resnet50.runtime.errors import UserError

ALL = [PrepareOptions, TrainOptions, EvaluateOptions, PredictOptions, ModelOptions]


def test_flags_become_typed_values() -> None:
    options = from_arguments(TrainOptions, ["data", "--out", "run", "--lr", "1e-3", "--batch-size", "8"], "train")
    assert (options.dataset, options.out, options.lr, options.batch_size) == (Path("data"), Path("run"), 1e-3, 8)


def test_flags_go_over_the_config_and_the_config_over_defaults(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("dataset: data\nout: run\nepochs: 3\nbatch_size: 8\n")
    options = from_arguments(TrainOptions, ["--config", str(config), "--epochs", "7"], "train")
    assert (options.dataset, options.epochs, options.batch_size) == (Path("data"), 7, 8)
    assert options.optimizer == "adamw"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    options = from_values(
        TrainOptions, {"dataset": "d", "out": "r", "lr": 2e-4, "ema": 0.99, "depth": 18, "variant": "v1", "freeze": 2}
    )
    write_yaml(options, config)
    assert from_arguments(TrainOptions, ["--config", str(config)], "train") == options


def test_many_images_may_be_named() -> None:
    options = from_arguments(PredictOptions, ["run", "a.jpg", "b", "--top-k", "2"], "predict")
    assert options.images == ("a.jpg", "b")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "DATASET is missing"),
        (["d"], "--out is missing"),
        (["d", "--out", "r", "--epoch-count", "3"], r"--epoch-count"),
        (["d", "--out", "r", "--epochz", "3"], r"--epochz \(did you mean '--epochs'\?\)"),
        (["d", "--out", "r", "--epochs", "many"], "--epochs 'many': expected a whole number"),
        (["d", "--out", "r", "--lr", "fast"], "--lr 'fast': expected a number"),
        (["d", "--out", "r", "--optimizer", "lion"], "--optimizer 'lion': expected one of adamw, adam, sgd"),
        (["d", "--out", "r", "--variant", "v2"], "--variant 'v2': expected one of v1, v1.5"),
        (["d", "extra", "--out", "r"], "extra"),
        (["--config", "nowhere.yaml"], "nowhere.yaml does not exist"),
    ],
)
def test_a_wrong_command_line_gets_one_line_that_names_it(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        from_arguments(TrainOptions, arguments, "resnet50 train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", r"unknown key 'epoch' in .*\(did you mean 'epochs'\?\)"),
        ("epochs: many", "--epochs 'many': expected a whole number"),
        ("- a\n- b", "no mapping"),
        ("a: b: c", "not valid YAML"),
        ("", "no mapping"),
    ],
)
def test_a_wrong_config_gets_one_line_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        from_arguments(TrainOptions, ["d", "--out", "r", "--config", str(config)], "train")
    assert "\n" not in str(caught.value)


def test_python_values_are_checked_as_the_command_lines_are() -> None:
    with pytest.raises(UserError, match=r"unknown key 'batchsize' \(did you mean 'batch_size'\?\)"):
        from_values(TrainOptions, {"dataset": "d", "out": "r", "batchsize": 3})
    with pytest.raises(UserError, match="--epochs"):
        from_values(TrainOptions, {"dataset": "d", "out": "r", "epochs": "many"})


@pytest.mark.parametrize("options", ALL)
def test_every_option_has_a_help_text(options: type) -> None:
    assert options.__doc__
    for field in dataclasses.fields(options):
        assert field.metadata["help"].endswith("."), field.name


def test_the_written_config_holds_every_option(tmp_path: Path) -> None:
    write_yaml(TrainOptions(dataset=Path("d"), out=Path("r")), tmp_path / "c.yaml")
    written = yaml.safe_load((tmp_path / "c.yaml").read_text())
    assert set(written) == {field.name for field in dataclasses.fields(TrainOptions)}
