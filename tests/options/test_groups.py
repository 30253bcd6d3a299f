"""Each option is declared once, documented, in a section, and checked whenever a verb's options are made."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnet50.cli import VERBS
from resnet50.options import (
    BenchOptions,
    EvaluateOptions,
    ModelOptions,
    PredictOptions,
    PrepareOptions,
    StudyOptions,
    TrainOptions,
    fields_of,
)
from resnet50.options.fields import Range, section_of
from resnet50.runtime.errors import UserError

each_verb = pytest.mark.parametrize("options", [options for options, _ in VERBS.values()], ids=VERBS)

MAKE: dict[str, Callable[..., Any]] = {
    "train": lambda **values: TrainOptions(dataset=Path("d"), out=Path("r"), **values),
    "prepare": lambda **values: PrepareOptions(source=Path("s"), out=Path("o"), **values),
    "evaluate": lambda **values: EvaluateOptions(run=Path("r"), **values),
    "predict": lambda **values: PredictOptions(run=Path("r"), **values),
    "model": ModelOptions,
    "study": lambda **values: StudyOptions(name="all", out=Path("o"), **values),
    "bench": BenchOptions,
}


@each_verb
def test_every_option_has_a_help_text(options: type) -> None:
    assert options.__doc__
    for field in fields_of(options):
        assert field.metadata["help"].endswith("."), field.name


@each_verb
def test_sections_hold_together_and_no_option_is_lost(options: type) -> None:
    fields = fields_of(options)
    assert set(fields) == set(dataclasses.fields(options))
    sections = [section_of(options, field.name) for field in fields]
    changes = [new for old, new in zip(["", *sections], sections, strict=False) if new != old]
    assert len(changes) == len(set(changes))


def test_a_narrowed_option_stays_in_its_section() -> None:
    assert section_of(ModelOptions, "variant") == "Network"
    assert ModelOptions().variant == "v1.5"


def test_shared_options_are_alike_in_every_verb() -> None:
    verbs = (TrainOptions, EvaluateOptions, PredictOptions)
    for name in ("device", "precision", "workers"):
        fields = [next(field for field in fields_of(verb) if field.name == name) for verb in verbs]
        assert all(field.metadata is fields[0].metadata for field in fields)


@pytest.mark.parametrize(
    ("verb", "name", "refused", "accepted", "limits"),
    [
        *[
            ("train", name, 0, 1, "at least 1")
            for name in ("epochs", "batch_size", "accumulate", "step_epochs", "early_stopping", "threads", "keep")
        ],
        *[
            ("train", name, 0.0, 1e-9, "above 0")
            for name in ("lr", "head_lr", "clip_grad", "checkpoint_minutes")
        ],
        *[
            ("train", name, 1.0, 0.0, "at least 0 and below 1")
            for name in ("warmup", "label_smoothing", "momentum", "ema")
        ],
        *[
            ("train", name, -1e-9, 0.999, "at least 0 and below 1")
            for name in ("warmup", "label_smoothing", "momentum", "ema")
        ],
        *[
            ("train", name, -1, 0, "at least 0")
            for name in ("workers", "weight_decay", "seed", "plateau_patience", "skip_bad", "decay_factor")
        ],
        ("train", "image_size", 31, 32, "at least 32"),
        ("train", "eval_size", 31, 32, "at least 32"),
        ("train", "freeze", 6, 5, "at least 0 and at most 5"),
        ("train", "freeze", -1, 0, "at least 0 and at most 5"),
        ("train", "crop_scale", 0.0, 1.0, "above 0 and at most 1"),
        ("train", "crop_scale", 1.1, 1e-9, "above 0 and at most 1"),
        ("prepare", "min_class_count", -1, 0, "at least 0"),
        ("prepare", "seed", -1, 0, "at least 0"),
        ("prepare", "store_size", 31, 32, "at least 32"),
        ("prepare", "merge", 0, 1, "at least 1"),
        ("evaluate", "batch_size", 0, 1, "at least 1"),
        ("evaluate", "workers", -1, 0, "at least 0"),
        ("predict", "batch_size", 0, 1, "at least 1"),
        ("predict", "top_k", 0, 1, "at least 1"),
        ("model", "classes", 0, 1, "at least 1"),
        ("model", "image_size", 31, 32, "at least 32"),
        ("study", "seed", -1, 0, "at least 0"),
        ("bench", "rounds", 1, 2, "at least 2"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused(verb: str, name: str, refused: float, accepted: float, limits: str) -> None:
    assert getattr(MAKE[verb](**{name: accepted}), name) == accepted
    with pytest.raises(UserError, match=rf"^--{name.replace('_', '-')} {refused}(\.0)?: must be {limits}$"):
        MAKE[verb](**{name: refused})


def test_a_replaced_value_is_checked_too() -> None:
    options = MAKE["train"](epochs=3)
    assert dataclasses.replace(options, epochs=4).epochs == 4
    with pytest.raises(UserError, match="--epochs 0"):
        dataclasses.replace(options, epochs=0)
    with pytest.raises(UserError, match="--depth '51': expected one of 18, 34"):
        dataclasses.replace(options, depth=51)
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.epochs = 5


@pytest.mark.parametrize("limits", [Range(at_least=0), Range(above=0), Range(at_most=0), Range(below=0)])
def test_nan_lies_in_no_range(limits: Range) -> None:
    value = math.nan
    assert value not in limits
    assert value in Range()
