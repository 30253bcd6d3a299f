"""When the loss diverges: back to the last good checkpoint, with half the learning rate."""

from pathlib import Path
from typing import Any

from resnet50.runtime.errors import UserError
from resnet50.training.callbacks.checkpoints import CheckpointCallback
from resnet50.training.callbacks.recorder import Recorder
from resnet50.training.loop import fit
from resnet50.training.recovery.checkpoint import intact_checkpoints
from resnet50.training.recovery.guards import Diverged, record_event
from resnet50.training.recovery.resume import restore
from resnet50.training.training import Training

MAX_ROLLBACKS = 2
"""Times that training rolls back and tries again with half the learning rate."""


def fit_with_recovery(training: Training, recorder: Recorder, checkpoints: CheckpointCallback) -> str:
    """Fit; roll back where the loss or gradient is no longer finite. Return why training ended."""
    while True:
        try:
            return fit(training)
        except Diverged as divergence:
            roll_back(training, divergence, recorder, checkpoints)


def roll_back(training: Training, divergence: Diverged, recorder: Recorder, checkpoints: CheckpointCallback) -> None:
    """Return to the newest checkpoint with finite gradients, with half the learning rate.

    Raises:
        UserError: that has been tried often enough, or there is no such checkpoint.
    """
    state, dist = training.state, training.device.dist
    if state.rollbacks >= MAX_ROLLBACKS:
        raise UserError(f"{divergence}; going back with half the learning rate was tried {MAX_ROLLBACKS} times")
    checkpoints.checkpoints.finish()
    saved = dist.on_main(lambda: last_good_checkpoint(checkpoints.checkpoints.folder))
    if saved is None:
        raise divergence
    step, best_epoch = state.step, state.best_epoch
    rollbacks, events, accumulation_steps = state.rollbacks + 1, state.events, state.accumulation_steps
    restore(training, saved)
    state.rollbacks, state.events, state.accumulation_steps = rollbacks, events, accumulation_steps
    if best_epoch > state.epoch:  # the weights in `model.safetensors` are of an epoch that is undone
        state.forget_best()
    reason = str(divergence).partition(":")[0]
    record_event(
        state, f"{reason} (step {step}): back to step {state.step}, with 1/{2**rollbacks} of the learning rate"
    )
    recorder.write_metrics(state.rows)
    checkpoints.write(training, wait=True)  # so that a resume goes the same way


def last_good_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the newest intact checkpoint from a time when gradients were finite."""
    return next((saved for saved in intact_checkpoints(folder) if not saved["state"]["bad_steps"].item()), None)
