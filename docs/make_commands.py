"""Write the command reference from the options themselves, so that it can't go stale.

.venv/bin/python docs/make_commands.py > docs/commands.md
"""

import dataclasses
import sys
from types import NoneType
from typing import Literal, get_args, get_origin, get_type_hints

from resnet50.cli import VERBS
from resnet50.options.config import flag, name_type

INTRODUCTION = """\
# Commands

<!-- Written by docs/make_commands.py: change the help texts in src/resnet50/config.py, then run it. -->

Every option is declared once, in `src/resnet50/config.py`, and has the same name everywhere: `--batch-size 64` on the
command line is `batch_size: 64` in a YAML file (`--config FILE`, flags go over it) and `batch_size=64` in Python.
`resnet50 COMMAND --help` shows the same on the screen. A switch is turned off with `no-` in front: `--no-overwrite`.

Exit codes: 0 done; 2 something in the input can be mended, and one line says what; 1 a bug, with its traceback; 75
training stopped before its end because a signal or `--max-time` asked for it, and `--resume` goes on; 130 Ctrl-C, after
which `--resume` goes on too."""

EXAMPLES = {
    "prepare": (
        "resnet50 prepare photos/train.csv --out dataset",
        "Writes `dataset.yaml`, `manifest.parquet`, `audit.json` and the pixel store `pixels/`. The whole story: "
        "[own-data.md](own-data.md).",
    ),
    "check": (
        "resnet50 check dataset --images",
        "Says what is sound; exits with 2 and names what is not.",
    ),
    "train": (
        "resnet50 train dataset --out run",
        "Writes the run folder: [architecture.md](architecture.md#a-run) shows it. What the words mean: "
        "[concepts.md](concepts.md).",
    ),
    "evaluate": (
        "resnet50 evaluate run --split test",
        "Writes `evaluation/SPLIT.json`, `evaluation/SPLIT.csv` and `report.html` into the run folder.",
    ),
    "predict": (
        "resnet50 predict run photos/new --out predictions.csv",
        "Reads files, folders (to the bottom) and globs; the preprocessing comes from the model file.",
    ),
    "model": (
        "resnet50 model --depth 101 --image-size 256",
        "Prints a table of the network's stages; needs no data.",
    ),
    "study": (
        "resnet50 study all demo/dataset --out study",
        "Writes `STUDY/NAME.csv`, `NAME.svg` and `index.html`. What each experiment asks: [the "
        "course](study/README.md).",
    ),
    "bench": (
        "resnet50 bench --json bench.json",
        "Writes `bench.json` and `bench.machine.json`. What each row means: [performance.md](performance.md).",
    ),
}


def values(annotation):
    """Say which values an option takes."""
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    if NoneType in get_args(annotation) and len(kinds) == 1:
        return values(kinds[0])
    if get_origin(annotation) is Literal:
        return " ".join(f"`{value}`" for value in get_args(annotation))
    return "paths" if get_origin(annotation) is tuple else name_type(annotation)


def default(field):
    """Say what an option is when it is left out."""
    if field.default is dataclasses.MISSING:
        return "required"
    if field.default is None or field.default == ():
        return ""
    return "off" if field.default is False else f"`{field.default}`"


def section(verb, options):
    """Return a verb's section."""
    example, result = EXAMPLES[verb]
    types = get_type_hints(options)
    lines = [f"## resnet50 {verb}", "", options.__doc__, "", "```", example, "```", "", result, ""]
    lines += ["| option | values | default | meaning |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(options):
        name = field.name.upper() if field.metadata["positional"] else flag(field.name)
        kind = "switch" if types[field.name] is bool else values(types[field.name])
        meaning = field.metadata["help"].replace("|", "\\|")
        lines.append(f"| `{name}` | {kind} | {default(field)} | {meaning} |")
    return "\n".join(lines)


def reference():
    """Return the whole page."""
    return "\n\n".join([INTRODUCTION, *[section(verb, options) for verb, (options, _) in VERBS.items()]]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
