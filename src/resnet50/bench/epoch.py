"""A complete training epoch, compared with the training step alone."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from resnet50.bench.clock import repeated
from resnet50.bench.rounds import Workload
from resnet50.bench.rows import Row, Scratch, Side, Sides

BATCHES, BATCHES_IN_FULL = 10, 40

STEP_SECONDS = 8.0
"""Duration of a round of steps: about that of an epoch, so that noise affects both alike."""


def rows() -> list[Row]:
    return [
        Row(
            "epoch",
            "epoch",
            "a training epoch of batches of 32 at 128 pixels: loading from the pixel store, augmentation, steps, "
            "metrics, CSV and TensorBoard",
            "the candidate's step alone, on one fixed batch",
            sides,
            limited_by_baseline=True,
        )
    ]


def sides(scratch: Scratch) -> Sides:
    """Return both sides, in one process because they need the same settings."""
    settings: dict[str, Any] = {
        "dataset": scratch.prepared(),
        "out": str(scratch.folder / "epoch"),
        "batches": BATCHES_IN_FULL if scratch.full else BATCHES,
        "size": 128,
        "batch": 32,
    }
    full_epoch, step_alone = (
        Side("resnet50.bench.epoch:candidate", settings, workload) for workload in ("epoch", "step")
    )
    return Sides(full_epoch, step_alone)


def candidate(dataset: str, out: str, batches: int, size: int, batch: int, **changes: Any) -> dict[str, Workload]:
    """Return workloads that train on the first images of a dataset, or on one fixed batch.

    Args:
        dataset: a prepared dataset.
        out: folder for the files of a run.
        batches: per epoch, at most.
        size: side of the images in pixels.
        batch: batch size.
        changes: further arguments of `set_up`.
    """
    from resnet50.bench.candidate import set_up
    from resnet50.bench.step import fixed_batch
    from resnet50.training.callbacks.callback import Callback
    from resnet50.training.callbacks.recorder import Recorder
    from resnet50.training.loop import fit, train_step
    from resnet50.training.metrics import EpochMetrics
    from resnet50.training.optim import train_mode
    from resnet50.training.setup.data import build_network
    from resnet50.training.state import start_state
    from resnet50.training.training import Training

    settings = set_up(dataset, image_size=size, batch_size=batch, **changes)
    data, options, device = settings.data, settings.options, settings.device
    data.order.rows = min(data.order.rows, batches * batch)
    state = start_state(build_network(options, settings.dataset, None), options, device, steps_per_epoch=1000)
    training = Training(state, data, options, device)
    recorder, seconds = Recorder(Path(out), settings.dataset.classes, training), [0.0]

    class Timing(Callback):
        """Writes everything a run writes except the weights, whose size doesn't depend on the epoch's length."""

        def on_epoch_end(self, training: Training, metrics: EpochMetrics, best: bool) -> None:
            del best
            start = time.perf_counter()
            recorder.write_metrics(training.state.rows)
            recorder.write_events(metrics)
            images = training.data.order.epoch_samples
            seconds[0] = images / metrics.images_per_second + time.perf_counter() - start

    def epoch() -> float:
        # The training loop times its steps itself, so validation is not included.
        state.step = state.epoch * len(data.order)  # the workload of steps has advanced it
        one_more = dataclasses.replace(options, epochs=state.epoch + 1)
        fit(Training(state, data, one_more, device, (Timing(),)))
        return data.order.epoch_samples / seconds[0]

    images, labels = fixed_batch(batch, size)
    labels %= len(settings.dataset.classes)

    def step() -> None:
        train_step(training, images, labels)

    epoch()
    train_mode(state.network)
    step_alone = repeated(step, batch, device.torch_device, STEP_SECONDS)

    def steps() -> float:
        train_mode(state.network)  # the previous epoch ended in evaluation mode
        return step_alone()

    return {"epoch": epoch, "step": steps}
