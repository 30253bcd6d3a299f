"""A training epoch with everything in it, against the training step alone."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from resnet50.bench.clock import repeated
from resnet50.bench.rounds import Workload
from resnet50.bench.rows import Row, Scratch, Side, Sides

BATCHES, BATCHES_IN_FULL = 10, 40

ALONE_SECONDS = 8.0
"""Length of a round of steps alone: about that of an epoch's, so that noise hits both alike."""


def rows() -> list[Row]:
    """Return the row of the epoch."""
    return [
        Row(
            "epoch",
            "epoch",
            "a training epoch of batches of 32 at 128 pixels: loading from the pixel store, augmentation, steps, "
            "metrics, CSV and TensorBoard",
            "our step alone, on one fixed batch",
            sides,
            limited_by_baseline=True,
        )
    ]


def sides(scratch: Scratch) -> Sides:
    """Return both sides, in one process, as they need the same settings."""
    settings: dict[str, Any] = {
        "dataset": scratch.prepared(),
        "out": str(scratch.folder / "epoch"),
        "batches": BATCHES_IN_FULL if scratch.full else BATCHES,
        "size": 128,
        "batch": 32,
    }
    whole, alone = (Side("resnet50.bench.epoch:ours", settings, workload) for workload in ("epoch", "step"))
    return Sides(whole, alone)


def ours(dataset: str, out: str, batches: int, size: int, batch: int, **choices: Any) -> dict[str, Workload]:
    """Train on the first images of a dataset again and again, or on one fixed batch.

    Args:
        dataset: a prepared dataset.
        out: folder for what a run writes down.
        batches: of an epoch; fewer where the dataset has fewer.
        size: side of the images in pixels.
        batch: images in a batch.
        choices: further settings of `set_up`.
    """
    from resnet50.bench.ours import set_up
    from resnet50.bench.step import fixed_batch
    from resnet50.training.callbacks.callback import Callback
    from resnet50.training.callbacks.recorder import Recorder
    from resnet50.training.loop import fit, train_step
    from resnet50.training.metrics import EpochMetrics
    from resnet50.training.optim import train_mode
    from resnet50.training.setup.data import build_network
    from resnet50.training.state import start_state
    from resnet50.training.training import Training

    settings = set_up(dataset, image_size=size, batch_size=batch, **choices)
    data, options, device = settings.data, settings.options, settings.device
    data.order.rows = min(data.order.rows, batches * batch)
    state = start_state(build_network(options, settings.dataset, None), options, device, steps_per_epoch=1000)
    training = Training(state, data, options, device)
    recorder, seconds = Recorder(Path(out), settings.dataset.classes, training), [0.0]

    class Timing(Callback):
        """Writes all that a run writes but the weights, whose size has nothing to do with how long an epoch is."""

        def on_epoch_end(self, training: Training, metrics: EpochMetrics, best: bool) -> None:
            del best
            start = time.perf_counter()
            recorder.write_metrics(training.state.rows)
            recorder.write_events(metrics)
            images = training.data.order.epoch_samples
            seconds[0] = images / metrics.images_per_second + time.perf_counter() - start

    def epoch() -> float:
        # Validation is no part of what is measured: the training loop times the steps itself.
        state.step = state.epoch * len(data.order)  # the steps alone have moved it
        one_more = dataclasses.replace(options, epochs=state.epoch + 1)
        fit(Training(state, data, one_more, device, (Timing(),)))
        return data.order.epoch_samples / seconds[0]

    images, labels = fixed_batch(batch, size)
    labels %= len(settings.dataset.classes)

    def step() -> None:
        train_step(training, images, labels)

    epoch()
    train_mode(state.network)
    alone = repeated(step, batch, device.torch_device, ALONE_SECONDS)

    def steps() -> float:
        train_mode(state.network)  # the epoch before ended with a validation
        return alone()

    return {"epoch": epoch, "step": steps}
