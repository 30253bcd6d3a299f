"""Rules about training, on curves made to show a problem and not to."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet50.evaluation.diagnostics.training import diagnose_training
from resnet50.options import TrainOptions
from tests.evaluation.diagnostics.found import find, rules

CONFIG = {"lr": 2e-4, "augment": "light", "label_smoothing": 0.05, "image_size": 224, "weights": "imagenet"}
SEEDS = range(12)


def curves(n: int = 20, seed: int = 0, noise: float = 0.01, **columns: Any) -> pd.DataFrame:
    """A healthy run: both losses settle, training a little below validation; columns replace those given."""
    rng = np.random.default_rng(seed)
    e = np.arange(1, n + 1)

    def noisy(values: np.ndarray) -> np.ndarray:
        return values * (1 + noise * rng.standard_normal(n))

    table = {
        "epoch": e,
        "train_loss": noisy(0.35 + 1.2 * np.exp(-e / 2.5)),
        "train_accuracy": 0.88 - 0.4 * np.exp(-e / 2.5),
        "val_loss": noisy(0.40 + 1.0 * np.exp(-e / 2.0)),
        "val_accuracy": 0.86 - 0.35 * np.exp(-e / 2.0),
        "lr": 2e-4 * (1 + np.cos(np.pi * e / n)) / 2,
        "head_lr": 2e-3 * (1 + np.cos(np.pi * e / n)) / 2,
        "grad_norm": noisy(2 + 2 * np.exp(-e / 3)),
        "images_per_second": np.full(n, 11.0),
        "wait_seconds": np.full(n, 0.4),
        "seconds": np.full(n, 60.0),
    }
    table |= {name: noisy(np.asarray(values, float)) for name, values in columns.items()}
    table["objective"] = columns.get("objective", table["train_loss"] + 0.2)
    return pd.DataFrame(table)


@given(seed=st.integers(0, 10_000), n=st.integers(6, 60), noise=st.sampled_from([0.0, 0.005, 0.01, 0.02]))
@settings(max_examples=150, deadline=None)
def test_healthy_run_gives_no_warning_and_converges(seed: int, n: int, noise: float) -> None:
    diagnoses = diagnose_training(curves(n, seed, noise), CONFIG, val_images=2000, classes=10)
    assert not [diagnosis for diagnosis in diagnoses if diagnosis.level == "warning"]
    assert rules(diagnoses) <= {"convergence", "validation_noise"}


def test_convergence_is_dated_by_the_validation_loss() -> None:
    e = np.arange(1, 21)
    diagnoses = diagnose_training(curves(noise=0, val_loss=0.4 + 1.0 * np.exp(-e)), CONFIG)
    diagnosis = find(diagnoses, "convergence")
    # 5% of the fall is left when exp(-e) = 0.05 exp(-1): e = 4.
    assert diagnosis.level == "good"
    assert "by epoch 4" in diagnosis.text


@pytest.mark.parametrize("seed", SEEDS)
def test_run_that_still_improves_is_told_to_go_on(seed: int) -> None:
    e = np.arange(1, 13)
    falling = 1.5 - 0.08 * e
    diagnosis = find(
        diagnose_training(curves(12, seed, 0.003, val_loss=falling, train_loss=falling), CONFIG), "convergence"
    )
    assert diagnosis.level == "note"
    assert "--epochs 24" in diagnosis.advice


def test_run_still_improves_if_its_best_epoch_is_the_last_but_one() -> None:
    falling = 1.5 - 0.08 * np.arange(1.0, 13)
    falling[-1] = falling[-2] + 0.01
    assert find(diagnose_training(curves(12, noise=0, val_loss=falling), CONFIG), "convergence").level == "note"
    falling[-3] = falling[-1] - 0.02
    assert find(diagnose_training(curves(12, noise=0, val_loss=falling), CONFIG), "convergence").level == "good"


def overfit(n: int = 20, at: int = 6) -> dict[str, np.ndarray]:
    e = np.arange(1, n + 1)
    return {
        "train_loss": 1.4 * np.exp(-e / 5),
        "val_loss": 0.5 + 0.9 * np.exp(-e / 1.5) + 0.03 * np.maximum(0, e - at),
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_overfitting_is_found_near_its_epoch_in_noise(seed: int) -> None:
    diagnosis = find(diagnose_training(curves(20, seed, 0.01, **overfit(at=6)), CONFIG), "overfitting")
    assert diagnosis.level == "warning"
    best = int(diagnosis.text.split("lowest in epoch ")[1].split()[0])
    assert 4 <= best <= 9
    assert f"from epoch {best + 1} on" in diagnosis.text


def test_overfitting_names_its_epoch_and_values_without_noise() -> None:
    table = curves(20, noise=0, **overfit(at=6))
    diagnosis = find(diagnose_training(table, CONFIG), "overfitting")
    best = int(table["val_loss"].argmin())
    assert f"lowest in epoch {best + 1} ({table['val_loss'][best]:.3f})" in diagnosis.text
    assert f"ends at {table['val_loss'].iloc[-1]:.3f}" in diagnosis.text


def test_overfitting_with_steady_accuracy_is_called_overconfidence() -> None:
    sure = diagnose_training(curves(**overfit()), CONFIG)
    assert "overconfident" in find(sure, "overfitting").text
    worse = diagnose_training(curves(**overfit(), val_accuracy=np.linspace(0.9, 0.7, 20)), CONFIG)
    assert "overconfident" not in find(worse, "overfitting").text


def test_advice_against_overfitting_leaves_out_what_was_done() -> None:
    first = find(diagnose_training(curves(**overfit()), CONFIG), "overfitting").advice
    assert "--augment standard" in first
    assert "--early-stopping 3" in first
    done = CONFIG | {"augment": "standard", "label_smoothing": 0.1, "freeze": 2, "ema": 0.99, "early_stopping": 3}
    second = find(diagnose_training(curves(**overfit()), done), "overfitting").advice
    for option in ("--augment", "--label-smoothing", "--freeze", "--ema", "--early-stopping"):
        assert option not in second


@pytest.mark.parametrize("seed", SEEDS)
def test_rising_validation_loss_alone_is_no_overfitting(seed: int) -> None:
    """The training loss has stopped falling too: something else is wrong."""
    flat = np.full(20, 0.5)
    assert "overfitting" not in rules(
        diagnose_training(curves(20, seed, 0.002, train_loss=flat, val_loss=overfit()["val_loss"]), CONFIG)
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_noisy_plateau_is_no_overfitting(seed: int) -> None:
    e = np.arange(1, 31)
    table = curves(30, seed, 0.03, val_loss=0.4 + np.exp(-e), train_loss=0.8 * np.exp(-e / 20))
    assert "overfitting" not in rules(diagnose_training(table, CONFIG))


def test_generalization_gap_needs_more_than_the_noise_of_few_images() -> None:
    table = curves(train_accuracy=np.full(20, 0.99), val_accuracy=np.full(20, 0.80), noise=0)
    assert "99.0%" in find(diagnose_training(table, CONFIG, val_images=1000), "generalization_gap").text
    assert "generalization_gap" not in rules(diagnose_training(table, CONFIG, val_images=30))
    assert "generalization_gap" not in rules(diagnose_training(curves(), CONFIG, val_images=1000))


def test_rising_objective_says_the_rate_is_too_high() -> None:
    rising = np.concatenate([[1.0, 1.6, 1.9], np.linspace(1.8, 1.0, 7)])
    diagnosis = find(diagnose_training(curves(10, objective=rising), CONFIG), "learning_rate_high")
    assert diagnosis.level == "warning"
    assert "from 1.000 to 1.900 by epoch 3" in diagnosis.text
    assert "--lr 6.7e-05 instead of 0.0002" in diagnosis.advice


@pytest.mark.parametrize("seed", SEEDS)
def test_oscillating_objective_says_the_rate_is_too_high(seed: int) -> None:
    e = np.arange(1, 21)
    swinging = 1.0 + 0.2 * (-1.0) ** e - 0.01 * e
    table = curves(20, seed, 0.01, train_loss=swinging)
    assert "learning_rate_high" in rules(diagnose_training(table, CONFIG))


def test_rising_objective_is_dated_by_the_first_epoch_that_rises() -> None:
    table = curves(8, objective=np.array([1.3, 0.9, 1.2, 0.9, 1.2, 0.9, 0.85, 0.8]))
    text = find(diagnose_training(table, CONFIG), "learning_rate_high").text
    assert "rose in 2 of 7 epochs, first in epoch 3" in text


def test_two_validation_spikes_say_the_rate_is_too_high_but_not_one() -> None:
    val = 0.4 + np.exp(-np.arange(1, 21) / 2.0)
    val[8] *= 2
    assert "learning_rate_high" not in rules(diagnose_training(curves(noise=0, val_loss=val), CONFIG))
    val[13] *= 3
    assert (
        "most in epoch 14" in find(diagnose_training(curves(noise=0, val_loss=val), CONFIG), "learning_rate_high").text
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_wiggles_near_zero_are_no_sign_of_a_high_rate(seed: int) -> None:
    e = np.arange(1, 41)
    table = curves(40, seed, 0.2, train_loss=np.exp(-e / 3) + 0.002)
    table["objective"] = table["train_loss"]
    assert "learning_rate_high" not in rules(diagnose_training(table, CONFIG))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_straight_slow_fall_says_the_rate_is_too_low(seed: int, schedule: str) -> None:
    """Gradient descent with tiny steps: the loss falls in proportion to the learning rate summed up."""
    n = 12
    lr = np.full(n, 1e-6) if schedule == "constant" else 1e-6 * (1 + np.cos(np.pi * np.arange(1, n + 1) / n)) / 2
    traveled = np.concatenate([[0], np.cumsum(lr[:-1])])
    table = curves(n, seed, 0.001, train_loss=2.3 - 0.4 * traveled / traveled[-1])
    table["lr"] = lr
    diagnosis = find(diagnose_training(table, CONFIG | {"lr": 1e-6}), "learning_rate_low")
    assert "--lr 3e-06 instead of 1e-06" in diagnosis.advice


@pytest.mark.parametrize("seed", SEEDS)
def test_curve_that_bends_is_no_sign_of_a_low_rate(seed: int) -> None:
    e = np.arange(1, 13)
    for bending in (0.9 + 1.4 * np.exp(-e / 3), 2.3 * np.exp(-e / 4), np.full(12, 2.3)):
        assert "learning_rate_low" not in rules(diagnose_training(curves(12, seed, 0.002, train_loss=bending), CONFIG))


def test_loss_of_guessing_says_nothing_was_learned() -> None:
    guessing = np.full(10, math.log(10))
    diagnoses = diagnose_training(curves(10, noise=0.001, train_loss=guessing, val_loss=guessing), CONFIG, classes=10)
    assert find(diagnoses, "not_learning").level == "warning"
    assert "underfitting" not in rules(diagnoses)
    assert "not_learning" not in rules(diagnose_training(curves(10), CONFIG, classes=10))
    assert "not_learning" not in rules(diagnose_training(curves(10, train_loss=guessing, val_loss=guessing), CONFIG))


@pytest.mark.parametrize("seed", SEEDS)
def test_flat_high_losses_are_underfitting(seed: int) -> None:
    e = np.arange(1, 21)
    stuck = 1.5 + 0.8 * np.exp(-e)
    table = curves(20, seed, 0.003, train_loss=stuck, val_loss=stuck)
    diagnosis = find(
        diagnose_training(table, CONFIG | {"augment": "standard", "freeze": 4}, classes=10), "underfitting"
    )
    assert "--augment light" in diagnosis.advice
    assert "--freeze 0" in diagnosis.advice
    assert "--image-size 288" in diagnosis.advice
    assert "underfitting" not in rules(diagnose_training(curves(20, seed), CONFIG, classes=10))


def test_vanishing_gradient_is_told_from_a_loss_that_is_learned() -> None:
    fading = 3.0 * np.exp(-np.arange(20))
    stuck = np.full(20, 2.3)
    diagnosis = find(diagnose_training(curves(train_loss=stuck, grad_norm=fading), CONFIG), "gradient_vanishing")
    assert "--warmup 0.1" in diagnosis.advice
    plain = diagnose_training(curves(train_loss=stuck, grad_norm=fading), CONFIG | {"shortcuts": "none"})
    assert "--shortcuts B" in find(plain, "gradient_vanishing").advice
    learned = curves(train_loss=2.3 * np.exp(-np.arange(20) / 2), grad_norm=fading)
    assert "gradient_vanishing" not in rules(diagnose_training(learned, CONFIG))


def test_exploding_gradient_names_its_epoch() -> None:
    norms = np.full(20, 2.0)
    norms[0] = 50  # a new head: no explosion
    assert "gradient_exploding" not in rules(diagnose_training(curves(grad_norm=norms), CONFIG))
    norms[11] = 80
    diagnosis = find(diagnose_training(curves(noise=0, grad_norm=norms), CONFIG), "gradient_exploding")
    assert diagnosis.level == "warning"
    assert "in epoch 12" in diagnosis.text
    assert "--clip-grad 4" in diagnosis.advice
    clipped = find(diagnose_training(curves(grad_norm=norms), CONFIG | {"clip_grad": 1.0}), "gradient_exploding")
    assert clipped.level == "note"


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("column", ["train_loss", "val_loss", "objective"])
def test_loss_that_is_not_finite_is_the_only_finding(column: str, value: float) -> None:
    table = curves()
    table.loc[4:, column] = value
    diagnoses = diagnose_training(table, CONFIG | {"precision": "fp16"})
    assert rules(diagnoses) == {"divergence"}
    assert "epoch 5" in diagnoses[0].text
    assert "--precision bf16" in diagnoses[0].advice


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_few_epochs_are_said_to_be_few_and_nothing_more(n: int, seed: int) -> None:
    diagnoses = diagnose_training(curves(n, seed), CONFIG, val_images=100, classes=10)
    assert rules(diagnoses) == {"short_run", "validation_noise"}
    assert not [diagnosis for diagnosis in diagnoses if diagnosis.level != "note"]


def test_validation_noise_is_two_binomial_standard_errors() -> None:
    table = curves(5, noise=0, val_accuracy=np.full(5, 0.84))
    # √(0.84 · 0.16 / 262) = 2.26 points
    text = find(diagnose_training(table, CONFIG, val_images=262), "validation_noise").text
    assert "standard error of 2.3 points" in text
    assert "below 4.5 points" in text
    assert "validation_noise" not in rules(diagnose_training(table, CONFIG, val_images=50_000))
    assert "validation_noise" not in rules(diagnose_training(table, CONFIG))


def test_empty_and_incomplete_tables_give_what_they_carry() -> None:
    assert diagnose_training(pd.DataFrame(), CONFIG) == []
    assert diagnose_training(curves().iloc[:0], CONFIG) == []
    partial = curves().drop(columns=["grad_norm", "lr", "head_lr", "train_accuracy", "objective"])
    assert rules(diagnose_training(partial, {})) == {"convergence"}


def test_options_may_be_the_dataclass(tmp_path: Path) -> None:
    options = TrainOptions(dataset=tmp_path, out=tmp_path, augment="standard")
    assert "--crop-scale" in find(diagnose_training(curves(**overfit()), options), "overfitting").advice


def test_skipped_steps_are_told_but_for_the_fp16_scalers_own() -> None:
    skipped = np.zeros(20, dtype=int)
    skipped[4] = 3
    diagnosis = find(diagnose_training(curves().assign(skipped_steps=skipped), CONFIG), "skipped_steps")
    assert diagnosis.level == "warning"
    assert "3 steps" in diagnosis.text
    assert "epoch 5" in diagnosis.text
    fp16 = {**CONFIG, "precision": "fp16"}
    assert "skipped_steps" not in rules(diagnose_training(curves().assign(skipped_steps=skipped), fp16))
    assert "bf16" in find(diagnose_training(curves().assign(skipped_steps=10 * skipped), fp16), "skipped_steps").advice
    assert "skipped_steps" not in rules(diagnose_training(curves().assign(skipped_steps=0), CONFIG))


@pytest.mark.parametrize(
    ("options", "words"), [({}, "without --no-store"), ({"store": True, "workers": 2}, "--workers 2")]
)
def test_a_loader_that_keeps_training_waiting_is_named_with_what_helps(options: dict[str, Any], words: str) -> None:
    slow = curves(wait_seconds=np.full(20, 21.0), noise=0.0)
    diagnosis = find(diagnose_training(slow, CONFIG | options), "loader_bound")
    assert "35.0% of the time" in diagnosis.text
    assert words in diagnosis.advice
    assert ("--no-store" in diagnosis.advice) == (not options)


def test_a_slow_first_epoch_alone_is_no_bottleneck() -> None:
    waits = np.array([30.0, *[0.5] * 19])
    assert "loader_bound" not in rules(diagnose_training(curves(wait_seconds=waits), CONFIG))
    without = curves().drop(columns="wait_seconds")
    assert "loader_bound" not in rules(diagnose_training(without, CONFIG))
