"""Options in YAML files: what is written is read back, and a value means what it means on the command line."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from resnet50.options import (
    PredictOptions,
    PrepareOptions,
    TrainOptions,
    fields_of,
    from_arguments,
    from_values,
    read_yaml,
    write_yaml,
)
from resnet50.runtime.errors import UserError


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "c.yaml"


def test_what_is_written_is_read_back(config: Path) -> None:
    given: dict[str, Any] = {"lr": 2e-5, "ema": 0.99, "depth": 18, "variant": "v1", "freeze": 2, "compile": "on"}
    options = from_values(TrainOptions, {"dataset": "d", "out": "r", "checkpoint_minutes": math.inf, **given})
    write_yaml(options, config)
    assert from_arguments(TrainOptions, ["--config", str(config)], "train") == options
    predict = PredictOptions(run=Path("r"), images=("1", "null", "a: b", "é", "2024-01-01", "on", ""))
    write_yaml(predict, config)
    assert from_arguments(PredictOptions, ["--config", str(config)], "predict") == predict


def test_the_written_config_holds_every_option(config: Path) -> None:
    write_yaml(TrainOptions(dataset=Path("d"), out=Path("r")), config)
    written = yaml.safe_load(config.read_text())
    assert list(written) == [field.name for field in fields_of(TrainOptions)]


OLD_RUN = """\
dataset: /data/prepared
out: run
depth: 18
weights: none
variant: v1.5
shortcuts: B
zero_gamma: false
freeze: 0
image_size: 64
eval_size: 64
resize_mode: squash
augment: light
crop_scale: 0.35
flips: horizontal
store: true
workers: 0
optimizer: adamw
lr: 0.0005
head_lr: 5.0e-05
momentum: 0.9
weight_decay: 0.05
schedule: onecycle
warmup: 0.05
milestones: 0.6,0.85
step_epochs: 30
plateau_patience: 3
decay_factor: 0.1
epochs: 3
budget: null
batch_size: 32
accumulate: 1
label_smoothing: 0.05
class_weights: none
clip_grad: null
ema: 0.99
early_stopping: null
device: cpu
precision: bf16
compile: 'off'
threads: 2
observe: false
deterministic: false
seed: 0
resume: null
max_time: null
checkpoint_minutes: 10.0
keep: 2
sync_bn: false
skip_bad: 0
overwrite: true
"""


def test_the_config_of_an_old_run_loads_exactly(config: Path) -> None:
    config.write_text(OLD_RUN)
    expected = yaml.safe_load(OLD_RUN) | {"dataset": Path("/data/prepared"), "out": Path("run")}
    read = read_yaml(config, TrainOptions)
    assert read == expected
    assert {name: type(value) for name, value in read.items() if name not in ("dataset", "out")} == {
        name: type(value) for name, value in expected.items() if name not in ("dataset", "out")
    }


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("lr: 1e-3", {"lr": 1e-3}),
        ("lr: '1e-3'", {"lr": 1e-3}),
        ("lr: 1", {"lr": 1.0}),
        ("lr: null", {"lr": None}),
        ("lr: ~", {"lr": None}),
        ("lr:", {"lr": None}),
        ("checkpoint_minutes: .inf", {"checkpoint_minutes": math.inf}),
        ("epochs: '3'", {"epochs": 3}),
        ("store: false", {"store": False}),
        ("store: 'false'", {"store": False}),
        ("store: no", {"store": False}),
        ("store: 'yes'", {"store": True}),
        ("store: TRUE", {"store": True}),
        ("compile: on", {"compile": "on"}),
        ("shortcuts: none", {"shortcuts": "none"}),
        ("batch_size: auto", {"batch_size": "auto"}),
        ("budget: 90", {"budget": "90"}),
        ("milestones: 0.50", {"milestones": "0.50"}),
        ("weights: 2024-01-01", {"weights": "2024-01-01"}),
        ("{epochs: 3, lr: .5}", {"epochs": 3, "lr": 0.5}),
        ("<<: {epochs: 3}\nlr: .5", {"epochs": 3, "lr": 0.5}),
        ("\ufeffepochs: 3", {"epochs": 3}),
        ("---\nepochs: 3\n...\n", {"epochs": 3}),
        ("{}", {}),
    ],
)
def test_a_value_is_read_as_its_options_type(config: Path, text: str, values: dict[str, Any]) -> None:
    config.write_text(text, encoding="utf-8")
    read = read_yaml(config, TrainOptions)
    assert read == values
    assert all(type(read[name]) is type(value) for name, value in values.items())


@pytest.mark.parametrize("text", ["1", "007", "1.50", "no", "2024-01-01", "0x10", "12:30"])
def test_a_column_may_be_named_like_a_number_or_a_date(config: Path, text: str) -> None:
    config.write_text(f"id_column: {text}")
    assert read_yaml(config, PrepareOptions) == {"id_column": text}


def test_a_list_becomes_a_tuple_of_text(config: Path) -> None:
    config.write_text("images: [a, 1]\n")
    assert read_yaml(config, PredictOptions) == {"images": ("a", "1")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", r"unknown key 'epoch' in .*\(did you mean 'epochs'\?\)"),
        ("batch-size: 3", r"unknown key 'batch-size' in .*\(did you mean 'batch_size'\?\)"),
        ("config: x", "unknown key 'config' in"),
        ("3: 4", "unknown key '3' in"),
        ("epochs: many", "c.yaml: --epochs 'many': expected a whole number"),
        ("epochs: 3.0", "c.yaml: --epochs '3.0': expected a whole number"),
        ("epochs: true", "c.yaml: --epochs 'true': expected a whole number"),
        ("accumulate: null", "c.yaml: --accumulate 'None': expected a whole number"),
        ("epochs: [3]", "c.yaml: --epochs .*: expected a whole number"),
        ("epochs: 0", "c.yaml: --epochs 0: must be at least 1"),
        ("epochs: 2024-01-01", "c.yaml: --epochs '2024-01-01': expected a whole number"),
        ("lr: -1e-3", "c.yaml: --lr -0.001: must be above 0"),
        ("store: maybe", "c.yaml: --store 'maybe': expected true or false"),
        ("store: null", "c.yaml: --store 'None': expected true or false"),
        ("milestones: [0.6, 0.85]", "c.yaml: --milestones .*: expected text"),
        ("flips: no", "c.yaml: --flips 'no': expected one of none, horizontal, both"),
        ("epochs: 1\nlr: 0.1\nepochs: 2", "found the key 'epochs' twice"),
        ("- a\n- b", "no mapping"),
        ("a: b: c", "not valid YAML"),
        ("!!python/object:os.system {}", "not valid YAML"),
        ("", "no mapping"),
        ("# a comment", "no mapping"),
    ],
)
def test_a_wrong_config_gets_one_line_that_names_it(config: Path, text: str, message: str) -> None:
    config.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        from_arguments(TrainOptions, ["d", "--out", "r", "--config", str(config)], "train")
    assert "\n" not in str(caught.value)


def test_a_config_that_is_not_utf8_is_refused(config: Path) -> None:
    config.write_bytes(b"dataset: \xff\n")
    with pytest.raises(UserError, match=r"c\.yaml is not valid YAML"):
        read_yaml(config, TrainOptions)
