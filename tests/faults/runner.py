"""Runs `resnet50` with checkpoints as often as asked, and leaves marks that say what it is doing: for kills on purpose.

Usage: WIDTHS="8 16 32 64" python runner.py MARKS train DATASET --out RUN ...
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnet50.cli import main
from resnet50.model import resnet
from resnet50.training import loop
from resnet50.training.recovery import checkpoint


def marked(function: Callable[..., Any], mark: Path) -> Callable[..., Any]:
    """Let a file be there as long as a function runs."""

    def call(*args: Any, **kwargs: Any) -> Any:
        mark.touch()
        try:
            return function(*args, **kwargs)
        finally:
            mark.unlink(missing_ok=True)

    return call


def started(function: Callable[..., Any], mark: Path) -> Callable[..., Any]:
    """Leave a file once a function has been called."""

    def call(*args: Any, **kwargs: Any) -> Any:
        mark.touch()
        return function(*args, **kwargs)

    return call


if __name__ == "__main__":
    marks = Path(sys.argv[1])
    marks.mkdir(exist_ok=True)
    resnet.WIDTHS = tuple(map(int, os.environ["WIDTHS"].split()))
    checkpoint.LARGEST_SHARE = 1e9  # whatever they cost
    loop.validate = marked(loop.validate, marks / "validation")
    loop.train_step = started(loop.train_step, marks / "step")
    checkpoint.Checkpoints.write = marked(checkpoint.Checkpoints.write, marks / "writing")
    main(sys.argv[2:])
