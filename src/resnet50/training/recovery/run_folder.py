"""The run folder: whose it is while training goes on, and what may be done with one that is there already."""

import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout

from resnet50.options.config import TrainOptions, flag, plain_values
from resnet50.runtime.errors import UserError
from resnet50.training.recovery.checkpoint import list_checkpoints

CONFIG, ABOUT, LOCK, CHECKPOINTS = "config.yaml", "run.json", ".lock", "checkpoints"

CHANGEABLE = {
    "dataset", "out", "workers", "device", "threads", "accumulate", "max_time", "checkpoint_minutes", "keep",
    "skip_bad", "resume", "overwrite",
}  # fmt: skip
"""Options that a resumed run may have other values of: where it runs, and into how many parts a batch is cut if memory
has run out. A dataset must be the same one, wherever it lies now."""

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
    """Say what a folder holds and what can be done instead of overwriting it."""
    if not (out / CONFIG).is_file():
        return "something: choose another folder"
    about = read_run_json(out)
    if about.get("stopped") in DONE:
        return "a finished run: choose another folder"
    if not list_checkpoints(out / CHECKPOINTS):
        return "a run without a checkpoint to go on from: choose another folder"
    done = about.get("epochs_done", 0)
    return f"an unfinished run ({done} epochs done): go on with `resnet50 train --resume {out}`, choose another folder"


def check_resumable(options: TrainOptions) -> None:
    """Raise a UserError unless the folder holds an unfinished run."""
    if options.out != options.resume:
        raise UserError(f"--resume {options.resume} goes on in that folder: leave out --out")
    if read_run_json(options.out).get("stopped") in DONE:
        raise UserError(f"{options.out} is a finished run: there is nothing to resume")


def fixed_options(options: TrainOptions) -> dict[str, Any]:
    """Return the options that a resumed run must have the same values of, as JSON has them."""
    return {name: value for name, value in plain_values(options).items() if name not in CHANGEABLE}


def check_fixed_options(options: TrainOptions, before: dict[str, Any]) -> None:
    """Raise a UserError for an option that a run can't be resumed with; `before` are those it was begun with."""
    for name, value in fixed_options(options).items():
        if value != before[name]:
            raise UserError(f"{flag(name)} {value} can't be resumed with: the run in {options.out} has {before[name]}")


def read_run_json(out: Path) -> dict[str, Any]:
    """Return `run.json`; nothing if it isn't there or no such thing."""
    try:
        about = json.loads((out / ABOUT).read_bytes())
    except (OSError, ValueError):
        return {}
    return cast(dict[str, Any], about) if isinstance(about, dict) else {}


@contextmanager
def locked(out: Path) -> Generator[None]:
    """Keep the run folder for this process until the end of the block; a UserError if another one has it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(
            out / LOCK, timeout=0, fallback_to_soft=False
        )  # the system's own, which a dead process does not keep
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
    """Remove what an earlier run left."""
    check_run_folder(options)
    for path in options.out.iterdir():
        if path.name != LOCK:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
