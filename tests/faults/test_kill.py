"""A training that is killed again and again ends with the same bits as one that was left alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from resnet50 import cli
from tests.conftest import TINY
from tests.faults.killing import PHASES, Killed, kill_and_resume, same_results

CASES = {
    "adamw": ["--optimizer=adamw", "--workers=0", "--no-store"],
    "sgd, 2 workers": ["--optimizer=sgd", "--workers=2"],
    "adamw, 2 workers, running average, cut batches, observed": [
        "--optimizer=adamw", "--workers=2", "--ema=0.9", "--accumulate=2", "--observe",
    ],
    "sgd, running average, plateau": ["--optimizer=sgd", "--workers=0", "--ema=0.9", "--schedule=plateau"],
}  # fmt: skip


def command(dataset: Path, run: Path, flags: list[str], epochs: int) -> list[str]:
    """Return the command line of a training of some seconds."""
    tiny = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items() if name != "workers"]
    given = [*tiny, *flags, f"--epochs={epochs}", "--batch-size=4", "--checkpoint-minutes=0.005"]
    return ["train", str(dataset), "--out", str(run), *given]


def check(dataset: Path, folder: Path, flags: list[str], *, kills: int, epochs: int, within: float) -> Killed:
    """Train once without and once with kills, and compare; return how often it was killed in what."""
    alone, killed = folder / "alone", folder / "killed"
    assert cli.run(command(dataset, alone, flags, epochs)) == 0
    result = kill_and_resume(command(dataset, killed, flags, epochs), killed, kills, seed=0, within=within)
    assert sum(result.phases.values()) == kills, result
    assert same_results(killed, alone) == []
    if "--observe" in flags:
        for name in ("layers.csv", "samples.parquet"):
            assert (killed / "observed" / name).read_bytes() == (alone / "observed" / name).read_bytes()
    return result


@pytest.mark.slow
def test_three_kills_change_no_bit(prepared: Path, tmp_path: Path) -> None:
    check(prepared, tmp_path, CASES["adamw"], kills=3, epochs=8, within=0.3)


@pytest.mark.faults
@pytest.mark.parametrize("case", CASES)
def test_twenty_kills_change_no_bit(
    prepared: Path, tmp_path: Path, case: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("tries", 20)
    result = check(prepared, tmp_path, CASES[case], kills=20, epochs=60, within=0.5)
    assert all(result.phases[phase] for phase in PHASES), result.phases
