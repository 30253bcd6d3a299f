"""When a run writes a checkpoint: at the end of an epoch, every few minutes, and before it stops."""

import math
from typing import Any

from resnet50.training.callbacks.callback import Callback
from resnet50.training.callbacks.probe import TrainingProbe
from resnet50.training.metrics import EpochMetrics
from resnet50.training.recovery.checkpoint import Checkpoints
from resnet50.training.training import Training


class CheckpointCallback(Callback):
    """Writes everything that a resume needs. Among several processes the main one writes."""

    def __init__(self, checkpoints: Checkpoints, identity: dict[str, Any]) -> None:
        """Begin.

        Args:
            checkpoints: the files.
            identity: what a resume compares, or needs besides the state: fingerprint, options, run.json.
        """
        self.checkpoints, self.identity = checkpoints, identity

    def on_step_end(self, training: Training) -> None:
        """Write a checkpoint if it is time. Not among bad steps: those are what a rollback wants to undo."""
        dist = training.device.dist
        # A collective in each step would cost a thousand processes more than eight.
        if training.state.step % max(1, dist.world_size // 8):
            return
        due = dist.all_reduce_max(dist.is_main and self.checkpoints.due(epoch_end=False))[0]
        if due and not training.state.bad_steps.item():
            self.write(training)

    def on_validation_step_end(self, training: Training) -> None:
        """Do the same in a validation; several processes have shards of their own, and can't agree in between."""
        if training.device.dist.world_size == 1:
            self.on_step_end(training)

    def on_epoch_end(self, training: Training, metrics: EpochMetrics, best: bool) -> None:
        """Write a checkpoint if it is time and everything is finite."""
        del best
        dist = training.device.dist
        due = dist.all_reduce_max(dist.is_main and self.checkpoints.due(epoch_end=True))[0]
        finite = math.isfinite(metrics.objective) and math.isfinite(metrics.val_loss)
        if due and finite and not training.state.bad_steps.item():
            self.write(training)

    def on_stop(self, training: Training) -> None:
        """Write a checkpoint, and wait until it is on the disk."""
        self.write(training, wait=True)

    def write(self, training: Training, *, wait: bool = False) -> None:
        """Write everything that it takes to continue from here."""
        dist = training.device.dist
        metrics = training.state.metrics.all_reduce(dist)
        skipped = training.data.skipped.gather(dist)
        content = {
            "state": training.state.state_dict() | {"metrics": vars(metrics)},
            "skipped": skipped,
            "probe": None if (probe := probe_of(training)) is None else probe.state_dict(),
            "preprocess": training.data.preprocess.to_json(),
        }
        if dist.is_main:
            self.checkpoints.save(content | self.identity, wait=wait)


def probe_of(training: Training) -> TrainingProbe | None:
    """Return the probe among a training's callbacks, if there is one."""
    return next((callback for callback in training.callbacks if isinstance(callback, TrainingProbe)), None)
