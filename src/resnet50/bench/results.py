"""What came out: rows of numbers, in words, as a table and as JSON."""

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
    """A row of the result, and of the JSON file.

    Attributes:
        name: of the row.
        ours: median over the rounds, in `unit`.
        baseline: likewise.
        baseline_name: what ours is compared with.
        ratio: how many times as fast ours is; geometric mean over the rounds.
        ratio_low: lower end of its 90 % interval.
        ratio_high: upper end.
        limit: what the machine allows, in `unit`; None where there is no such figure.
        share_of_limit: how much of that ours reaches.
        unit: images/s or s.
        rounds: how often both sides were measured.
    """

    name: str
    ours: float
    baseline: float
    baseline_name: str
    ratio: float
    ratio_low: float
    ratio_high: float
    limit: float | None
    share_of_limit: float | None
    unit: str
    rounds: int


def summarize(row: Row, rounds: Rounds) -> Measurement:
    """Turn what the rounds measured into a row of the result."""
    ours, baseline = statistics.median(rounds.ours), statistics.median(rounds.baseline)
    limit = limit_of(row, rounds)
    if row.unit == "s":
        ratio, share = ratio_of_pairs(rounds.baseline, rounds.ours), None if limit is None else limit / ours
    else:
        ratio, share = ratio_of_pairs(rounds.ours, rounds.baseline), None if limit is None else ours / limit
    return Measurement(
        name=row.name,
        ours=digits(ours),
        baseline=digits(baseline),
        baseline_name=row.baseline_name,
        ratio=digits(ratio.mean),
        ratio_low=digits(ratio.low),
        ratio_high=digits(ratio.high),
        limit=None if limit is None else digits(limit),
        share_of_limit=None if share is None else digits(share),
        unit=row.unit,
        rounds=len(rounds.ours),
    )


def limit_of(row: Row, rounds: Rounds) -> float | None:
    """Return the best that the limit's rounds reached, or the baseline's median where that is the limit."""
    if row.limited_by_baseline:
        return statistics.median(rounds.baseline)
    if not rounds.limit:
        return None
    return min(rounds.limit) if row.unit == "s" else max(rounds.limit)


def digits(number: float) -> float:
    """Round to five significant digits, more than any measurement of time holds."""
    return float(f"{number:.5g}")


def write(path: Path, results: list[Measurement], machine: dict[str, Any]) -> None:
    """Write the rows so far, and beside them what they were measured on."""
    for target, content in ((path, list(map(dataclasses.asdict, results))), (machine_file(path), machine)):
        target.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def machine_file(path: Path) -> Path:
    """Return where the description of the machine lies, for a file of rows."""
    return path.with_suffix(".machine.json")


def sentence(result: Measurement) -> str:
    """Return a row in words, as soon as it is there."""
    share = "" if result.share_of_limit is None else f", {result.share_of_limit:.0%} of the machine's limit"
    interval = f"{result.ratio_low:.2f}–{result.ratio_high:.2f}"
    return (
        f"{result.name}: {number(result.ours)} {result.unit}, {result.ratio:.2f} [{interval}] times as fast as "
        f"{result.baseline_name}{share}"
    )


def number(value: float) -> str:
    """Return a rate or seconds as a person reads it."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def show(results: list[Measurement], rows: list[Row]) -> None:
    """Print the table, and what its rows mean."""
    title = "images a second; seconds where an s stands"
    table = Table(
        "row",
        "ours",
        "baseline",
        "ratio",
        "90 %",
        "limit",
        "share",
        title=title,
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.columns[0].overflow = "fold"  # a name that is cut says nothing
    for column in table.columns[1:]:
        column.no_wrap, column.justify = True, "right"
    for result in results:
        unit = " s" if result.unit == "s" else ""
        limit = "" if result.limit is None else number(result.limit) + unit
        share = "" if result.share_of_limit is None else f"{result.share_of_limit:.0%}"
        sides = number(result.ours) + unit, number(result.baseline) + unit
        interval = f"{result.ratio_low:.2f}–{result.ratio_high:.2f}"
        table.add_row(result.name, *sides, f"{result.ratio:.2f}", interval, limit, share)
    console.print(table, soft_wrap=False)
    measured = {result.name for result in results}
    for row in rows:
        if row.name in measured:
            say(f"{row.name}: {row.meaning}; baseline: {row.baseline_name}")
