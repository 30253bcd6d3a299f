"""The command line: one thin command per verb. What a verb does stands in its own room."""

import os
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import NoReturn

from resnet50.options import (
    BenchOptions,
    CheckOptions,
    EvaluateOptions,
    ModelOptions,
    PredictOptions,
    PrepareOptions,
    StudyOptions,
    TrainOptions,
    command,
    from_arguments,
)
from resnet50.runtime import console
from resnet50.runtime.clock import counting_from
from resnet50.runtime.errors import Incomplete, Stopped, UserError, nearest

VERBS: dict[str, tuple[type, str]] = {
    "prepare": (PrepareOptions, "resnet50.etl.prepare:prepare"),
    "check": (CheckOptions, "resnet50.etl.check:check"),
    "train": (TrainOptions, "resnet50.training.run:train"),
    "evaluate": (EvaluateOptions, "resnet50.evaluation.evaluate:evaluate"),
    "predict": (PredictOptions, "resnet50.inference.predict:predict"),
    "model": (ModelOptions, "resnet50.model.summary:show"),
    "study": (StudyOptions, "resnet50.study.run:study"),
    "bench": (BenchOptions, "resnet50.bench.run:bench"),
}
"""Each verb's options and the function that carries it out, imported only when it is called."""

LOADED = time.perf_counter()
"""When this module was loaded, which a new process does at once."""

MAX_COMMANDS = 6
"""Commands that are printed below an error, each of which chooses one reading of an ambiguous input."""

GRACE = 10.0
"""Seconds that the other processes give the first one to print an error about the options."""

USAGE, BUG, INCOMPLETE, GOES_ON, INTERRUPTED = 2, 1, 3, 75, 130
"""Exit codes: the user can mend it; it is ours to mend; done except for some items; stopped as asked, to be resumed
(EX_TEMPFAIL of sysexits.h); Ctrl-C, as shells have it."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0, or one of the codes above."""
    with counting_from(LOADED):
        sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Carry out one command and return its exit code."""
    verb, *rest = arguments or ["--help"]
    if verb in ("-h", "--help"):
        console.say(overview())
        return 0
    if verb == "--version":
        console.say(version("resnet50"))
        return 0
    try:
        dispatch(verb, rest)
    except UserError as error:
        console.errors.print(f"[red]error:[/red] {console.escape(str(error))}")
        for command_line in error.commands:
            console.errors.print(command_line, markup=False, highlight=False, soft_wrap=True)
        return USAGE
    except Incomplete as rest:
        console.errors.print(str(rest), markup=False)
        return INCOMPLETE
    except Stopped as asked:
        if os.environ.get("RANK", "0") == "0":  # of processes that stop together, one says so
            console.errors.print(str(asked), markup=False)
        return GOES_ON
    except KeyboardInterrupt:
        console.errors.print("interrupted")
        return INTERRUPTED
    except Exception:  # a bug: its traceback is what whoever mends it needs
        traceback.print_exc()
        return BUG
    return 0


def dispatch(verb: str, arguments: Sequence[str]) -> None:
    """Read a verb's options and call its function; a UserError says what is wrong with them."""
    if verb not in VERBS:
        raise UserError(f"there is no command {verb!r}{nearest(verb, VERBS)}: commands are {', '.join(VERBS)}")
    options, target = VERBS[verb]
    try:
        parsed = from_arguments(options, arguments, f"resnet50 {verb}")
    except UserError:
        if os.environ.get("RANK", "0") != "0":  # every process has the same options: the first says what is wrong,
            time.sleep(GRACE)  # and torchrun ends the others
            raise SystemExit(USAGE) from None
        raise
    module, function = target.split(":")
    try:
        getattr(import_module(module), function)(parsed)
    except UserError as error:
        error.commands = tuple(command(verb, parsed, choice) for choice in error.choices[:MAX_COMMANDS])
        raise


def overview() -> str:
    """Return what `resnet50 --help` says."""
    lines = ["usage: resnet50 COMMAND ... (resnet50 COMMAND --help for its options)", ""]
    lines += [f"  {verb:<10} {(options.__doc__ or '').splitlines()[0]}" for verb, (options, _) in VERBS.items()]
    return "\n".join(lines)
