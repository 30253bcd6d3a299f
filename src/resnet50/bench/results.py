"""Results: rows of numbers, printed as text and a table, and written as JSON."""

import dataclasses
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from resnet50.bench.rounds import Rounds, ratio_of_pairs
from resnet50.bench.rows import Row
from resnet50.runtime.console import console, say


@dataclass(frozen=True)
class Measurement:
    """The result of a row.

    Attributes:
        name: of the row.
        candidate: median over the rounds, in `unit`; "ours" in the JSON file.
        baseline: likewise.
        baseline_name: description of the baseline.
        ratio: speed of the candidate relative to the baseline; geometric mean over the rounds.
        ratio_low: lower end of its 90% interval.
        ratio_high: upper end.
        limit: the machine's limit, in `unit`; None if none was measured.
        share_of_limit: fraction of the limit that the candidate reaches.
        unit: images/s, s or MB.
        rounds: number of rounds.
    """

    name: str
    candidate: float
    baseline: float
    baseline_name: str
    ratio: float
    ratio_low: float
    ratio_high: float
    limit: float | None
    share_of_limit: float | None
    unit: str
    rounds: int

    def to_json(self) -> dict[str, Any]:
        """Return the row of the JSON file."""
        return {"ours" if name == "candidate" else name: value for name, value in dataclasses.asdict(self).items()}


def summarize(row: Row, rounds: Rounds) -> Measurement:
    """Compute the result of a row from its rounds."""
    candidate, baseline = statistics.median(rounds.candidate), statistics.median(rounds.baseline)
    limit = limit_of(row, rounds)
    if row.unit != "images/s":
        ratio, share = ratio_of_pairs(rounds.baseline, rounds.candidate), None if limit is None else limit / candidate
    else:
        ratio, share = ratio_of_pairs(rounds.candidate, rounds.baseline), None if limit is None else candidate / limit
    return Measurement(
        name=row.name,
        candidate=five_digits(candidate),
        baseline=five_digits(baseline),
        baseline_name=row.baseline_name,
        ratio=five_digits(ratio.mean),
        ratio_low=five_digits(ratio.low),
        ratio_high=five_digits(ratio.high),
        limit=None if limit is None else five_digits(limit),
        share_of_limit=None if share is None else five_digits(share),
        unit=row.unit,
        rounds=len(rounds.candidate),
    )


def limit_of(row: Row, rounds: Rounds) -> float | None:
    """Return the best of the limit's rounds, or the baseline's median if that is the limit."""
    if row.limited_by_baseline:
        return statistics.median(rounds.baseline)
    if not rounds.limit:
        return None
    return min(rounds.limit) if row.unit != "images/s" else max(rounds.limit)


def five_digits(number: float) -> float:
    """Round to five significant digits, more than any time measurement has."""
    return float(f"{number:.5g}")


def write(path: Path, results: list[Measurement], machine: dict[str, Any]) -> None:
    for target, content in ((path, [result.to_json() for result in results]), (machine_file(path), machine)):
        target.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def machine_file(path: Path) -> Path:
    return path.with_suffix(".machine.json")


def summary_line(result: Measurement) -> str:
    """Return a row as a sentence, to print as soon as it is measured."""
    share = "" if result.share_of_limit is None else f", {result.share_of_limit:.0%} of the machine's limit"
    interval = f"{result.ratio_low:.2f}–{result.ratio_high:.2f}"
    if result.unit == "MB":
        return f"{result.name}: {result.candidate:,.0f} MB, {result.baseline:,.0f} MB is {result.baseline_name}"
    return (
        f"{result.name}: {format_number(result.candidate)} {result.unit}, "
        f"{result.ratio:.2f} [{interval}] times as fast as {result.baseline_name}{share}"
    )


def format_number(value: float) -> str:
    """Format a rate or seconds for people."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def show(results: list[Measurement], rows: list[Row]) -> None:
    """Print the table, and the meaning of its rows."""
    title = "images/s, or seconds and megabytes where marked s and MB"
    table = Table(
        "row",
        "candidate",
        "baseline",
        "ratio",
        "90%",
        "limit",
        "of limit",
        title=title,
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.columns[0].overflow = "fold"  # a truncated name would be useless
    for column in table.columns[1:]:
        column.no_wrap, column.justify = True, "right"
    for result in results:
        unit = "" if result.unit == "images/s" else f" {result.unit}"
        limit = "" if result.limit is None else format_number(result.limit) + unit
        share = "" if result.share_of_limit is None else f"{result.share_of_limit:.0%}"
        sides = format_number(result.candidate) + unit, format_number(result.baseline) + unit
        interval = f"{result.ratio_low:.2f}–{result.ratio_high:.2f}"
        table.add_row(result.name, *sides, f"{result.ratio:.2f}", interval, limit, share)
    console.print(table, soft_wrap=False)
    measured = {result.name for result in results}
    for row in rows:
        if row.name in measured:
            say(f"{row.name}: {row.meaning}; baseline: {row.baseline_name}")
