"""The options of `bench`."""

from dataclasses import dataclass
from pathlib import Path

from resnet50.options.fields import option
from resnet50.options.groups import Options


@dataclass(frozen=True, kw_only=True)
class BenchOptions(Options):
    """Measure the speed on this machine, against the usual way and against what the hardware allows."""

    section = "Benchmark"

    rows: tuple[str, ...] = option(
        "What to measure: step, epoch, loader, inference, predict, prepare, startup, or single rows. Left out: all.",
        (),
        positional=True,
    )
    json: Path | None = option("File to write the rows to; a description of the machine goes beside it.", None)
    dataset: Path | None = option(
        "Prepared dataset whose images the loaders and the epoch read. Left out: generated images.", None
    )
    rounds: int = option("Alternating rounds of each row.", 5, at_least=2)
    full: bool = option(
        "Measure more: each setting of the step by itself, 20,000 images to prepare and predict.", False
    )
