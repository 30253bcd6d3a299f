"""Steps, sums and epochs of the training loop, on a small network and a few images."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnet50.data import AugmentedDataset
from resnet50.data.loader import ordered_loader
from resnet50.model import resnet
from resnet50.options import TrainOptions
from resnet50.runtime.console import plain_progress
from resnet50.runtime.errors import UserError
from resnet50.training import loop
from resnet50.training.callbacks.callback import Callback
from resnet50.training.loop import fit, train_step, validate
from resnet50.training.metrics import EpochMetrics
from resnet50.training.setup.compile import compile_step
from resnet50.training.setup.feature_cache import cache_features
from resnet50.training.state import TrainState
from resnet50.training.timer import SlowLoadingWarning
from resnet50.training.training import Training, TrainingData
from tests.training.conftest import CPU, OPTIONS, PREPROCESS, batch, double_state, fresh_state

SILENT = plain_progress("", 1, "images")


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 3.0])])
def test_a_step_is_that_of_plain_pytorch(data: TrainingData, weights: torch.Tensor | None) -> None:
    options = replace(OPTIONS, label_smoothing=0.1, schedule="constant", warmup=0.0)
    state = double_state(options)
    network = copy.deepcopy(state.network).train()
    head = {"params": list(network.fc.parameters()), "lr": 1e-2}
    backbone = [p for name, p in network.named_parameters() if not name.startswith("fc.")]
    no_decay = {"weight_decay": 0.0}
    reference = torch.optim.AdamW(
        [
            {"params": [p for p in backbone if p.ndim > 1], "lr": 1e-3},
            {"params": [p for p in backbone if p.ndim == 1], "lr": 1e-3} | no_decay,
            {"params": [network.fc.weight], "lr": 1e-2},
            {"params": [network.fc.bias], "lr": 1e-2} | no_decay,
        ],
        weight_decay=0.01,
    )
    assert len(head["params"]) == 2
    images, labels = batch(7)  # a batch may lack a sample
    objective = 0.0
    for _ in range(2):
        train_step(Training(state, replace(data, class_weights=weights), options, CPU), images, labels)
        logits = network(PREPROCESS.normalize(images)).float()
        loss = F.cross_entropy(logits, labels, weights, label_smoothing=0.1)
        loss.backward()
        objective += loss.item()
        reference.step()
        reference.zero_grad()
    assert state.metrics.objective.item() == pytest.approx(objective, rel=1e-5)
    ours, theirs = (torch.cat([p.detach().flatten() for p in n.parameters()]) for n in (state.network, network))
    # A step is 1e-3. Adam divides a gradient by its size: one next to nothing may go either way by its last bits.
    assert ((ours - theirs).abs() > 1e-5).double().mean() < 1e-4
    assert (ours - theirs).norm() / theirs.norm() < 1e-5


def test_channels_last_changes_the_layout_and_nothing_else(data: TrainingData) -> None:
    options = replace(OPTIONS, optimizer="sgd", lr=1e-2, head_lr=1e-2)
    last, first = fresh_state(options), fresh_state(options)
    first.network.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    for _ in range(2):
        train_step(Training(last, data, options, CPU), *batch())
        train_step(Training(first, data, options, CPU), *batch())
    assert last.network.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert first.network.conv1.weight.is_contiguous()
    assert last.metrics.loss.item() == pytest.approx(first.metrics.loss.item(), rel=1e-6)
    for ours, theirs in zip(last.network.parameters(), first.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.contiguous(), rtol=1e-4, atol=1e-5)  # kernels add in another order


def test_bf16_points_the_way_that_fp32_does(data: TrainingData) -> None:
    gradients: list[torch.Tensor] = []
    for precision in ("fp32", "bf16"):
        state = fresh_state(replace(OPTIONS, optimizer="sgd", momentum=0.0, weight_decay=0.0, lr=1.0, head_lr=1.0))
        before = torch.cat([p.detach().flatten() for p in state.network.parameters()])
        options = replace(OPTIONS, optimizer="sgd", momentum=0.0, weight_decay=0.0, lr=1.0, head_lr=1.0, warmup=0.0)
        train_step(Training(state, data, options, replace(CPU, precision=precision)), *batch())
        gradients.append(before - torch.cat([p.detach().flatten() for p in state.network.parameters()]))
        assert all(p.dtype == torch.float32 for p in state.network.parameters())
    # Far from 0 is all that three digits allow here: norms over eight images of one pixel magnify every rounding.
    assert F.cosine_similarity(*gradients, dim=0) > 0.8


@pytest.mark.slow
def test_a_compiled_step_is_the_eager_one(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(resnet.BLOCKS, 18, (resnet.BasicBlock, (1, 1, 1, 1)))  # compiled in half the time
    options = replace(OPTIONS, optimizer="sgd", lr=1e-2, head_lr=1e-2)
    states, compiled_data = (double_state(options), double_state(options)), compile_step(data)
    for _ in range(2):
        train_step(Training(states[0], data, options, CPU), *batch())
        train_step(Training(states[1], compiled_data, options, CPU), *batch())
    assert states[0].metrics.loss.item() == pytest.approx(states[1].metrics.loss.item(), rel=1e-5)
    for eager, compiled in zip(states[0].network.parameters(), states[1].network.parameters(), strict=True):
        torch.testing.assert_close(eager, compiled, rtol=1e-3, atol=1e-5)  # fused loops add up in another order


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_head_on_cached_features_learns_as_on_images(data: TrainingData, ema: float | None) -> None:
    """Every stage frozen and augmentation off: the two ways give the same weights and the same metrics."""
    options = replace(OPTIONS, freeze=5, epochs=3, ema=ema)
    augmented = cast(AugmentedDataset, cast(Any, data.train).dataset)
    augmented.augmentation = replace(augmented.augmentation, level="none")
    states = fresh_state(options), fresh_state(options)
    on_images = run(states[0], data, options)[1]
    kept = cache_features(data, ordered_loader(augmented, 8, 0), fresh_state(options).network, CPU)
    rows = run(states[1], kept, options)[1]
    for ours, theirs in zip(rows, on_images, strict=True):
        for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "objective", "grad_norm"):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-4), name
    for ours, theirs in zip(
        states[1].network.state_dict().values(), states[0].network.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_waiting_for_a_slow_loader_is_counted_and_reported(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    class Slow:
        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            for _ in range(2):
                advance(1.5)
                yield batch()

    def two_seconds_a_batch() -> TrainState:
        state = fresh_state()
        state.network.register_forward_pre_hook(lambda *_: advance(2.0))
        return state

    rows = run(two_seconds_a_batch(), replace(data, train=Slow()), OPTIONS, SlowLoadingWarning())[1]
    assert [row.wait_seconds for row in rows] == [3.0, 3.0]
    assert [row.seconds for row in rows] == [3.0 + 2.0 * (2 + len(data.val))] * 2
    words = " ".join(capsys.readouterr().err.split())
    assert "23% of the epoch went by waiting for images" in words
    assert words.count("waiting for images") == 1
    quick = run(two_seconds_a_batch(), replace(data, train=[batch(), batch()]))[1]
    assert [row.wait_seconds for row in quick] == [0.0, 0.0]


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_micro_batches_change_nothing_but_batch_norm(data: TrainingData, parts: int) -> None:
    # All norms frozen: their statistics are the one thing that sees how a batch is cut.
    weights = torch.tensor([1.0, 3.0])
    images, labels = batch()
    gradients: list[list[torch.Tensor]] = []
    for accumulate in (1, parts):
        options = replace(OPTIONS, accumulate=accumulate, freeze=5, optimizer="sgd", momentum=0.0, lr=1.0, head_lr=1.0)
        state = fresh_state(options)
        before = [p.clone() for p in state.network.fc.parameters()]
        state.network.eval()
        train_step(Training(state, replace(data, class_weights=weights), options, CPU), images, labels)
        gradients.append([b - a for b, a in zip(before, state.network.fc.parameters(), strict=True)])
        assert state.metrics.images == 8
    for whole, cut in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, cut, rtol=1e-4, atol=1e-6)


def test_processes_synchronize_in_the_last_micro_batch_alone(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronized: list[bool] = []
    off: list[nn.Module] = []

    @contextmanager
    def no_sync(replica: nn.Module) -> Iterator[None]:
        off.append(replica)
        yield
        off.pop()

    monkeypatch.setattr(loop, "no_sync", no_sync)
    options = replace(OPTIONS, accumulate=3)
    state = fresh_state(options)
    state.network.fc.bias.register_post_accumulate_grad_hook(lambda _: synchronized.append(not off))
    train_step(Training(state, data, options, CPU), *batch())
    assert synchronized == [False, False, True]


def test_gradients_are_clipped_to_the_norm_asked_for(data: TrainingData) -> None:
    options = replace(
        OPTIONS, clip_grad=0.01, optimizer="sgd", momentum=0.0, weight_decay=0.0, lr=1.0, head_lr=1.0, warmup=0.0
    )
    state = fresh_state(options)
    before = [p.detach().clone() for p in state.network.parameters()]
    train_step(Training(state, data, options, CPU), *batch())
    moved = torch.stack([(a - b).norm() for a, b in zip(before, state.network.parameters(), strict=True)]).norm()
    assert moved.item() == pytest.approx(0.01, rel=1e-3)
    assert state.metrics.grad_norm > 0.01


class Rows(Callback):
    """Keeps each epoch's metrics."""

    def __init__(self) -> None:
        self.rows: list[EpochMetrics] = []

    def on_epoch_end(self, training: Training, metrics: EpochMetrics, best: bool) -> None:
        self.rows.append(metrics)


def run(
    state: TrainState, data: TrainingData, options: TrainOptions = OPTIONS, *others: Callback
) -> tuple[str, list[EpochMetrics]]:
    """Fit; return why it ended and each epoch's metrics."""
    rows = Rows()
    return fit(Training(state, data, options, CPU, (rows, *others))), rows.rows


def test_a_network_learns_to_tell_two_colors_apart(data: TrainingData) -> None:
    options = replace(OPTIONS, epochs=10, lr=3e-3, head_lr=3e-3)
    why, rows = run(fresh_state(options), data, options)
    assert why == "finished"
    assert [row.epoch for row in rows] == list(range(1, 11))
    assert rows[-1].train_loss < rows[0].train_loss
    assert rows[-1].val_accuracy >= 0.9
    assert {row.skipped_steps for row in rows} == {0}


def test_validation_metrics_are_those_of_the_whole_split(data: TrainingData) -> None:
    state = fresh_state()
    means = validate(Training(state, data, OPTIONS, CPU), SILENT)
    images = torch.cat([images for images, _ in data.val])
    labels = torch.cat([labels for _, labels in data.val])
    with torch.no_grad():
        logits = state.network.eval()(PREPROCESS.normalize(images))
    assert means.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert means.accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())


def test_a_validation_split_that_has_gone_bad_is_reported(data: TrainingData) -> None:
    nothing = [(images[:0], labels[:0]) for images, labels in data.val]
    with pytest.raises(UserError, match="every image of the validation split has gone bad"):
        validate(Training(fresh_state(), replace(data, val=nothing), OPTIONS, CPU), SILENT)


def test_a_batch_without_a_sample_counts_as_a_step_and_changes_nothing(data: TrainingData) -> None:
    images, labels = batch()
    options = replace(OPTIONS, epochs=1, optimizer="sgd", weight_decay=0.0)
    alone, beside = fresh_state(options), fresh_state(options)
    run(alone, replace(data, train=[(images, labels)]), options)
    run(beside, replace(data, train=[(images, labels), (images[:0], labels[:0])]), options)
    assert (alone.step, beside.step) == (1, 2)
    for ours, theirs in zip(beside.network.parameters(), alone.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_metrics_of_an_epoch_are_its_own(data: TrainingData) -> None:
    state = fresh_state()
    run(state, data)
    assert (state.epoch, state.metrics.images, state.metrics.steps, state.metrics.finite_steps) == (2, 16, 2, 2)


def test_progress_counts_every_image_of_both_splits(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, int]] = []
    advanced: list[int] = []

    @contextmanager
    def progress(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        shown.append((title, total))
        yield advanced.append

    monkeypatch.setattr(loop, "progress", progress)
    run(fresh_state(), data, OPTIONS)
    assert [total for _, total in shown] == [16 + 10] * 2  # of 20 images, two whole batches of 8
    assert advanced == [8, 8, 4, 4, 2] * 2
    assert [title.split(",")[0] for title, _ in shown] == ["epoch 1/2", "epoch 2/2"]


def test_training_loss_is_the_plain_one_and_the_objective_the_smoothed(data: TrainingData) -> None:
    options = replace(OPTIONS, label_smoothing=0.3, epochs=1)
    _, (row,) = run(fresh_state(options), data, options)
    assert row.objective != pytest.approx(row.train_loss, rel=1e-5)
    options = replace(OPTIONS, label_smoothing=0.0, epochs=1)
    _, (row,) = run(fresh_state(options), data, options)
    assert row.objective == pytest.approx(row.train_loss, rel=1e-6)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_metrics_to_the_last_digit(data: TrainingData) -> None:
    options = replace(OPTIONS, ema=0.9, accumulate=2)

    def figures() -> Iterator[tuple[float, ...]]:
        for row in run(fresh_state(options), data, options)[1]:
            yield (row.train_loss, row.val_loss, row.train_accuracy, row.val_accuracy, row.grad_norm, row.lr)

    assert list(figures()) == list(figures())


def test_patience_ends_a_run_that_gets_no_better(data: TrainingData) -> None:
    options = replace(OPTIONS, epochs=10, early_stopping=2, lr=1e-12, head_lr=1e-12, ema=None)
    state = fresh_state(options)
    state.best_loss = 0.0  # nothing can be better
    why, rows = run(state, data, options)
    assert (why, len(rows)) == ("early stopping", 2)


def test_a_loss_that_is_not_finite_stops_with_advice(data: TrainingData) -> None:
    state = fresh_state()
    with torch.no_grad():
        state.network.fc.weight.fill_(float("nan"))
    with pytest.raises(UserError, match=r"no longer a number in epoch 1.*--lr"):
        run(state, data)


def test_the_moving_average_is_what_is_validated_and_saved(data: TrainingData) -> None:
    options = replace(OPTIONS, ema=0.9)
    state = fresh_state(options)
    _, rows = run(state, data, options)
    assert state.eval_network is state.average is not None
    assert not torch.equal(state.average.fc.weight, fresh_state(options).network.fc.weight)
    loss = validate(Training(state, data, options, CPU), SILENT).loss
    assert loss == pytest.approx(rows[-1].val_loss)
    assert loss != pytest.approx(validate(Training(replace(state, average=None), data, options, CPU), SILENT).loss)


class StopAfterAnEpoch(Callback):
    def on_epoch_end(self, training: Training, metrics: EpochMetrics, best: bool) -> None:
        raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_restored_state_continues_to_the_same_bits(data: TrainingData, optimizer: str) -> None:
    options = replace(OPTIONS, optimizer=optimizer, ema=0.9, schedule="plateau", epochs=3)
    straight = fresh_state(options)
    _, expected = run(straight, data, options)

    first = fresh_state(options)
    with pytest.raises(KeyboardInterrupt):
        fit(Training(first, data, options, CPU, [StopAfterAnEpoch()]))
    second = fresh_state(options, seed=99)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    _, rows = run(second, data, options)
    assert [row.val_loss for row in rows] == [row.val_loss for row in expected[1:]]
    for ours, theirs in zip(second.network.state_dict().values(), straight.network.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
