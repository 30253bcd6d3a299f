"""The run folder: who owns it, what may be done with one that exists, its `config.yaml` and its `run.json`."""

import dataclasses
import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from filelock import FileLock, Timeout

from resnet50.options import TrainOptions, flag, plain_values, write_yaml
from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.console import duration, say, warn
from resnet50.runtime.errors import Stopped, UserError
from resnet50.runtime.provenance import write_json
from resnet50.training.recovery.checkpoint import list_checkpoints
from resnet50.training.recovery.preemption import INTERRUPTED
from resnet50.training.training import Training

CONFIG, RUN_JSON, LOCK, CHECKPOINTS = "config.yaml", "run.json", ".lock", "checkpoints"

CHANGEABLE = {
    "dataset", "out", "workers", "device", "threads", "accumulate", "max_time", "checkpoint_minutes", "keep",
    "skip_bad", "resume", "overwrite",
}  # fmt: skip
"""Options that may differ in a resumed run: where it runs, and into how many micro-batches a batch is cut if memory ran
out. The dataset must be the same one, wherever it is now."""

DONE = ("finished", "early stopping")


def check_run_folder(options: TrainOptions) -> None:
    """Raise a UserError unless the run folder is free, may be overwritten, or holds the run that is to be resumed."""
    out = options.out
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give a folder for the run")
    if options.resume is not None:
        check_resumable(options)
    elif out.is_dir() and any(path.name != LOCK for path in out.iterdir()):
        if not options.overwrite:
            raise UserError(f"{out} already holds {what_is_in(out)}, or add --overwrite")
        if not (out / CONFIG).is_file():
            raise UserError(f"{out} holds something that is not a training run: --overwrite won't delete it")


def what_is_in(out: Path) -> str:
    """Say what a folder holds, and what can be done instead of overwriting it."""
    if not (out / CONFIG).is_file():
        return "something: choose another folder"
    about = read_run_json(out)
    if about.get("stopped") in DONE:
        return "a finished run: choose another folder"
    if not list_checkpoints(out / CHECKPOINTS):
        return "a run without a checkpoint to resume from: choose another folder"
    done = about.get("epochs_done", 0)
    return (
        f"an unfinished run ({done} epochs done): continue with `resnet50 train --resume {out}`, choose another folder"
    )


def check_resumable(options: TrainOptions) -> None:
    """Raise a UserError unless the folder holds an unfinished run."""
    if options.out != options.resume:
        raise UserError(f"--resume {options.resume} continues in that folder: leave out --out")
    if read_run_json(options.out).get("stopped") in DONE:
        raise UserError(f"{options.out} is a finished run: there is nothing to resume")


def fixed_options(options: TrainOptions) -> dict[str, Any]:
    """Return the options that must not differ in a resumed run, as JSON has them."""
    return {name: value for name, value in plain_values(options).items() if name not in CHANGEABLE}


def check_fixed_options(options: TrainOptions, before: dict[str, Any]) -> None:
    """Raise a UserError for a fixed option whose value is not the one before."""
    for name, value in fixed_options(options).items():
        if value != before[name]:
            raise UserError(f"{flag(name)} {value} can't be changed in a resumed run: {options.out} has {before[name]}")


def read_run_json(out: Path) -> dict[str, Any]:
    """Return `run.json`; an empty dictionary if it is missing or not valid."""
    try:
        about = json.loads((out / RUN_JSON).read_bytes())
    except (OSError, ValueError):
        return {}
    return cast(dict[str, Any], about) if isinstance(about, dict) else {}


@contextmanager
def locked(out: Path) -> Generator[None]:
    """Lock the run folder until the end of the block; a UserError if another process has it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        # The system's own lock: a dead process does not keep it.
        lock = FileLock(out / LOCK, timeout=0, fallback_to_soft=False)
        lock.acquire()
    except Timeout as error:
        raise UserError(f"another process is training in {out}: wait for it, or choose another folder") from error
    except OSError as error:
        raise UserError(f"{out} can't be written to ({error.strerror}): choose another folder") from error
    try:
        yield
    finally:
        lock.release()


def clear_run_folder(options: TrainOptions) -> None:
    """Remove what an earlier run left behind."""
    check_run_folder(options)
    for path in options.out.iterdir():
        if path.name != LOCK:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def write_config(options: TrainOptions) -> None:
    """Write `config.yaml`; a resumed run writes it again, with what was changed."""
    lasting = dataclasses.replace(options, dataset=options.dataset.absolute(), resume=None)
    with atomic_write(options.out / CONFIG) as partial:
        write_yaml(lasting, partial)


class RunStatus:
    """`run.json` while a run goes on: what it depends on, how far it has got, and in the end why it stopped."""

    def __init__(self, training: Training, about: dict[str, Any]) -> None:
        self.training, self.about, self.stopped = training, about, "failed"

    def __enter__(self) -> "RunStatus":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write why the run stopped. An error must not be hidden by another, as of a full disk."""
        if error is not None:
            interrupted = isinstance(error, KeyboardInterrupt)
            stopped = INTERRUPTED if interrupted else str(error) if isinstance(error, Stopped) else "failed"
            try:
                self.write(stopped)
            except UserError as another:
                warn(str(another))
        say(self.closing_message())

    def write(self, stopped: str) -> None:
        """Write `run.json`, in the main process."""
        self.stopped = stopped
        if not self.training.device.dist.is_main:
            return
        state = self.training.state
        progress = {
            "epochs_done": state.epoch,
            "best_epoch": state.best_epoch,
            "stopped": stopped,
            "seconds": round(state.seconds + state.epoch_seconds, 1),
            "events": state.events + self.training.data.skipped.events,
        }
        write_json(self.about | progress, self.training.options.out / RUN_JSON)

    def closing_message(self) -> str:
        """Return the sentence that ends a run: why it stopped and where its best weights are."""
        options, state = self.training.options, self.training.state
        epochs = state.schedule.epochs
        how = "stopped early" if self.stopped == "early stopping" else self.stopped
        text = f"{how} after {state.epoch} of {epochs} epochs in {duration(state.seconds + state.epoch_seconds)}"
        if self.stopped not in DONE:
            text += f"; continue with `resnet50 train --resume {options.out}`"
        if state.best_epoch:
            weights = "the best weights" if self.stopped in DONE else "the best weights so far"
            text += f"; {weights}, of epoch {state.best_epoch}, are in {options.out / 'model.safetensors'}"
        return text
