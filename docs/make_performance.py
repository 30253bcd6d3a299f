"""Write the tables of the performance page from the benchmark's output, so that no number is typed in.

.venv/bin/resnet50 bench --full --json docs/bench/NAME.json    (on each machine)
.venv/bin/python docs/make_performance.py

The accuracies with each fast setting come from docs/bench/accuracy.csv, which docs/make_accuracy.py writes.

The table of docs/bench/NAME.json goes between `<!-- bench:NAME -->` and `<!-- end -->`; `bench:NAME:ablation` stands
for the table of the step's settings, each changed alone.
"""

import json
import re
from pathlib import Path

import pandas as pd

from resnet50.bench.results import format_number

DOCS = Path(__file__).parent
MARKED = re.compile(r"(<!-- bench:([\w.-]+?)(:ablation)? -->\n).*?(<!-- end -->)", re.DOTALL)
ACCURACY = re.compile(r"(<!-- accuracy -->\n).*?(<!-- end -->)", re.DOTALL)
ABLATION = re.compile(r"step_with(out)?_")


def page(text, folder):
    """Return the page with every marked table updated from the files in the folder."""

    def table(match):
        opening, name, ablation, closing = match.groups()
        return f"{opening}{(ablation_table if ablation else machine_table)(folder, name)}{closing}"

    return ACCURACY.sub(lambda match: match[1] + accuracy_table(folder) + match[2], MARKED.sub(table, text))


def read(folder, name):
    """Return the rows of a benchmark and its machine; None if it has not been run."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None, None
    machine = path.with_suffix(".machine.json")
    return json.loads(path.read_text(encoding="utf-8")), json.loads(machine.read_text(encoding="utf-8"))


def machine_table(folder, name):
    """Return the description of a machine and the table of its rows, without the ablation."""
    rows, machine = read(folder, name)
    if rows is None:
        return "\nNot measured yet.\n\n"
    versions = ", ".join(f"{package} {format_number or '–'}" for package, format_number in machine["versions"].items())
    lines = [
        "",
        f"{machine['cpu']} ({', '.join(machine['features'])}), {machine['gpu'] or 'no GPU'}, {machine['cores']} cores; "
        f"{versions}.",
        "",
        "| row | candidate | baseline | ratio [90%] | limit | of limit |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if not ABLATION.match(row["name"]):
            unit = row["unit"]
            limit = "" if row["limit"] is None else f"{format_number(row['limit'])} {unit}"
            share = "" if row["limit"] is None else f"{row['share_of_limit']:.0%}"
            lines.append(
                f"| `{row['name']}` | {format_number(row['ours'])} {unit} "
                f"| {format_number(row['baseline'])} {unit} ({row['baseline_name']}) "
                f"| {interval(row)} | {limit} | {share} |"
            )
    return "\n".join([*lines, "", ""])


def ablation_table(folder, name):
    """Return the table of the step's settings, each changed alone."""
    rows, _ = read(folder, name)
    rows = [row for row in rows or [] if ABLATION.match(row["name"])]
    if not rows:
        return "\nNot measured yet.\n\n"
    lines = ["", "| changed | images/s | on automatic settings | ratio [90%] |", "| --- | --- | --- | --- |"]
    for row in rows:
        changed = row["name"].removeprefix("step_").replace("_", " ")
        rates = f"{format_number(row['ours'])} | {format_number(row['baseline'])}"
        lines.append(f"| {changed} | {rates} | {interval(row)} |")
    return "\n".join([*lines, "", ""])


def accuracy_table(folder):
    """Return the table of test accuracies: each seed, their mean and their standard deviation."""
    path = folder / "accuracy.csv"
    if not path.exists():
        return "\nNot measured yet.\n\n"
    rows = pd.read_csv(path)
    lines = ["", f"| trained with | seeds 0, 1, 2: accuracy on {rows['images'][0]} images | mean ± deviation |"]
    lines.append("| --- | --- | --- |")
    for variant, runs in rows.groupby("variant", sort=False)["accuracy"]:
        each = ", ".join(f"{100 * accuracy:.1f}" for accuracy in runs)
        lines.append(f"| {variant} | {each} | {100 * runs.mean():.1f} ± {100 * runs.std():.1f}% |")
    return "\n".join([*lines, "", ""])


def interval(row):
    """Format a ratio with its interval."""
    return f"{row['ratio']:.2f} [{row['ratio_low']:.2f}–{row['ratio_high']:.2f}]"


if __name__ == "__main__":
    path = DOCS / "performance.md"
    path.write_text(page(path.read_text(encoding="utf-8"), DOCS / "bench"), encoding="utf-8")
