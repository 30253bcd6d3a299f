"""`resnet50 train`: from options, or from a checkpoint, to a run folder."""

import dataclasses
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from resnet50.etl.prepared import load_prepared
from resnet50.options import TrainOptions
from resnet50.runtime.clock import command_start
from resnet50.runtime.console import RankLog, rank_zero_output, say
from resnet50.runtime.device import resolve_device
from resnet50.runtime.distributed import Distributed, process_group
from resnet50.runtime.errors import Stopped, UserError
from resnet50.training.budget import SPENT_FILE, BudgetClock, spent_before
from resnet50.training.callbacks.budget import BudgetCallback
from resnet50.training.callbacks.checkpoints import CheckpointCallback
from resnet50.training.callbacks.recorder import Recorder
from resnet50.training.callbacks.signals import StopOnRequest
from resnet50.training.recovery.checkpoint import Checkpoints
from resnet50.training.recovery.preemption import StopRequest
from resnet50.training.recovery.resume import options_after_restart, resume_run
from resnet50.training.recovery.rollback import fit_with_recovery
from resnet50.training.recovery.run_folder import (
    CHECKPOINTS,
    RunStatus,
    clear_run_folder,
    fixed_options,
    locked,
    write_config,
)
from resnet50.training.setup.build import build_run, configure_torch
from resnet50.training.setup.resolve import check, parse_duration
from resnet50.training.timer import SlowLoadingWarning
from resnet50.training.training import Training


def train(options: TrainOptions) -> Path:
    """Train a network on a prepared dataset, or continue a run that was interrupted; return the run folder.

    Raises:
        UserError: an option or input that can't be used.
        KeyboardInterrupt: Ctrl-C, after everything learned so far is on disk.
        Stopped: the time is up or another process asked for it; likewise.
    """
    start = command_start()
    stop = StopRequest(None if options.max_time is None else parse_duration(options.max_time, "--max-time"))
    what_next = f"continue with `resnet50 train --resume {options.out}`"
    try:
        with process_group(what_next) as dist, rank_zero_output(dist.rank) as log:
            options = options_after_restart(options, dist)
            clock = BudgetClock(start, spent_before(options.out) if options.resume else 0.0)
            train_process(options, dist, stop, log, clock)
    except Stopped as reason:
        raise Stopped(f"{reason}: {what_next}") from reason
    return options.out


def train_process(
    options: TrainOptions, dist: Distributed, stop: StopRequest, log: RankLog, clock: BudgetClock
) -> None:
    """Train as one of the processes, of which the main one owns the run folder."""
    dist.on_main(lambda: check(options))
    dataset = load_prepared(options.dataset)
    device = resolve_device(options.device, options.precision, dist)
    if options.sync_bn and device.torch_device.type != "cuda":
        raise UserError("--sync-bn needs a GPU for each process: leave it out")
    configure_torch(options, device)
    built = build_run(options, dataset, device, clock) if options.resume is None else None
    with locked(options.out) if dist.is_main else nullcontext(), stop.listening():
        # No option can be wrong from here on.
        training, about = built or resume_run(options, dataset, device)
        if dist.is_main:
            if built:
                clear_run_folder(training.options)
            write_config(training.planned_options())
        dist.barrier()
        log.to_file(options.out / "logs")
        identity = {"fingerprint": dataset.fingerprint, "options": fixed_options(training.options), "about": about}
        run(training, dataset.classes, identity, stop, clock)


def run(
    training: Training, classes: tuple[str, ...], identity: dict[str, Any], stop: StopRequest, clock: BudgetClock
) -> None:
    """Train to the end, or until something asks to stop, and fill the run folder on the way."""
    options, is_main = training.options, training.device.dist.is_main
    recorder = Recorder(options.out, classes, training)
    files = Checkpoints(options.out / CHECKPOINTS, options.checkpoint_minutes, options.keep)
    checkpoints = CheckpointCallback(files, identity)
    callbacks = (*training.callbacks, recorder, SlowLoadingWarning(), StopOnRequest(stop), checkpoints)
    if training.state.budget is not None:
        callbacks = (*callbacks, BudgetCallback(clock, options.out))
    training = dataclasses.replace(training, callbacks=callbacks)
    training.data.on_wait.append(lambda: training.emit("on_wait"))
    images, val_images = training.data.order.epoch_samples, training.data.val_order.rows
    say(f"training on {images:,} images an epoch, validating on {val_images:,}")
    with RunStatus(training, identity["about"]) as status, files, recorder:
        recorder.write_metrics(training.state.rows)
        status.write("not yet")
        if training.state.step == 0:  # to resume from, or roll back to, in the first epoch
            checkpoints.write(training)
        ended = fit_with_recovery(training, recorder, checkpoints)
        files.finish()
        recorder.finish(training)
        status.write(ended)
    if is_main:  # only now: a run that ends before it is called finished can be resumed
        shutil.rmtree(files.folder, ignore_errors=True)
        (options.out / SPENT_FILE).unlink(missing_ok=True)
