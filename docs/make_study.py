"""Insert figures, readings and numbers of finished studies into the pages of the course.

.venv/bin/python docs/make_study.py solar=STUDY clothing=STUDY
"""

import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import yaml

from resnet50.runtime.console import duration
from resnet50.study.experiment import Experiment, Observation
from resnet50.study.lab import Plan, read_table
from resnet50.study.page import OUTCOMES, cell
from resnet50.study.run import COURSE, load

PAGES = Path(__file__).parent / "study"

NAMES = {"solar": "The demo's solar cells", "clothing": "The clothing images"}


def main(arguments: list[str]) -> None:
    """Fill every page, and the overview."""
    studies = {name: Path(folder) for name, folder in (argument.split("=", 1) for argument in arguments)}
    for name in COURSE:
        page = PAGES / f"{name}.md"
        text = page.read_text(encoding="utf-8")
        for data, study in finished(studies, name).items():
            text = fill(text, f"study:{data}:{name}", shown(load(name), data, study))
        page.write_text(text, encoding="utf-8")
    index = PAGES / "README.md"
    text = fill(index.read_text(encoding="utf-8"), "study:overview", overview(studies))
    index.write_text(fill(text, "study:conditions", conditions(studies)), encoding="utf-8")


def finished(studies: dict[str, Path], name: str) -> dict[str, Path]:
    """Return the studies that contain an experiment."""
    return {data: study for data, study in studies.items() if (study / f"{name}.csv").is_file()}


def fill(text: str, mark: str, content: str) -> str:
    """Insert content between a mark and the next end mark."""
    pattern = rf"(<!-- {re.escape(mark)} -->\n).*?(<!-- end -->)"
    filled, count = re.subn(pattern, lambda match: f"{match[1]}\n{content}\n\n{match[2]}", text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{mark} occurs {count} times")
    return filled


def shown(experiment: Experiment, data: str, study: Path) -> str:
    """Return an experiment's figure, reading and numbers as Markdown; copy the figure to the pages."""
    figure = PAGES / "figures" / f"{data}-{experiment.name}.svg"
    figure.parent.mkdir(exist_ok=True)
    shutil.copyfile(study / f"{experiment.name}.svg", figure)
    table = read_table(study / f"{experiment.name}.csv")
    about = yaml.safe_load((study / "study.yaml").read_text(encoding="utf-8"))
    lines = [
        f"![{experiment.page.title}: {NAMES[data]}](figures/{figure.name})",
        "",
        experiment.page.caption,
        "",
        experiment.setting(Plan(**about["plan"])),
        "",
    ]
    lines += [f"- **{OUTCOMES[seen.outcome]}**: {escape(seen.text)}" for seen in experiment.read(table)]
    return "\n".join([*lines, "", *markdown(experiment.summarize(table))])


def markdown(numbers: pd.DataFrame) -> list[str]:
    """Return a table as Markdown."""
    head = [str(column).replace("_", " ") for column in numbers.columns]
    rows = [[escape(cell(value)) for value in row] for row in numbers.itertuples(index=False)]
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]


def escape(text: str) -> str:
    """Escape what Markdown would interpret."""
    return re.sub(r"([|*_<$])", r"\\\1", text)


def overview(studies: dict[str, Path]) -> str:
    """Return a table of all rules and their outcomes on each dataset."""
    lines = ["| experiment | rule | " + " | ".join(NAMES[data] for data in studies) + " |"]
    lines.append("| --- | --- |" + " --- |" * len(studies))
    for name in COURSE:
        having = finished(studies, name)
        readings = [
            load(name).read(read_table(study / f"{name}.csv")) if data in having else []
            for data, study in studies.items()
        ]
        for rule in dict.fromkeys(seen.rule for reading in readings for seen in reading if seen.outcome != "note"):
            cells = [outcomes(reading, rule) for reading in readings]
            lines.append(f"| [{name}]({name}.md) | {rule.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def outcomes(reading: list[Observation], rule: str) -> str:
    """Return a rule's outcome; one per network, separated by slashes, where it was applied to several."""
    return " / ".join(OUTCOMES[seen.outcome] for seen in reading if seen.rule == rule)


def conditions(studies: dict[str, Path]) -> str:
    """Return the studies' devices and durations."""
    lines: list[str] = []
    for data, study in studies.items():
        about = yaml.safe_load((study / "study.yaml").read_text(encoding="utf-8"))
        seconds = yaml.safe_load((study / "seconds.json").read_text(encoding="utf-8"))
        each = ", ".join(f"{name} {duration(seconds[name])}" for name in COURSE if name in seconds)
        lines.append(
            f"- {NAMES[data]}: {about['effort']} effort, seed {about['seed']}, {about['precision']} on "
            f"{about['device']}, {duration(sum(seconds.values()))} in all ({each})."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
