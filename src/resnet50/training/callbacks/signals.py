"""Stops training when a signal or `--max-time` asks for it, with a checkpoint."""

from resnet50.runtime.errors import Stopped
from resnet50.training.callbacks.callback import Callback
from resnet50.training.recovery.preemption import INTERRUPTED, REASONS, StopRequest
from resnet50.training.training import Training


class StopOnRequest(Callback):
    """Looks after each step, and while there is none, whether training is to stop; several processes stop together."""

    def __init__(self, request: StopRequest) -> None:
        self.request = request

    def on_step_end(self, training: Training) -> None:
        """Stop if any process was asked to.

        Raises:
            KeyboardInterrupt: because of Ctrl-C.
            Stopped: because of another signal, or because the time is up.
        """
        dist = training.device.dist
        # A collective in each step would cost a thousand processes more than eight.
        if training.state.step % max(1, dist.world_size // 8):
            return
        reason = REASONS[dist.all_reduce_max(REASONS.index(self.request.reason))[0]]
        if reason is None:
            return
        training.emit("on_stop")
        if reason == INTERRUPTED:
            raise KeyboardInterrupt
        raise Stopped(reason)

    def on_validation_step_end(self, training: Training) -> None:
        """Do the same in a validation; several processes have shards of their own, and can't agree in between."""
        if training.device.dist.world_size == 1:
            self.on_step_end(training)

    def on_wait(self, training: Training) -> None:
        """Do the same while the loader has no batch: a disk may hang for hours."""
        self.on_validation_step_end(training)
