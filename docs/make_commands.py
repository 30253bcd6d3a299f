"""Write the command reference from the options themselves, so that it can't go stale.

.venv/bin/python docs/make_commands.py > docs/commands.md
"""

import sys
from itertools import groupby
from types import NoneType
from typing import Literal, get_args, get_origin

from resnet50.cli import VERBS
from resnet50.options.command_line import show_default
from resnet50.options.fields import REQUIRED, annotations_of, fields_of, name_of, section_of
from resnet50.options.validation import describe

INTRODUCTION = """\
# Commands

<!-- Written by docs/make_commands.py: change the help texts in src/resnet50/options/, then run it. -->

Every option is declared once, in `src/resnet50/options/`, and has the same name everywhere: `--batch-size 64` on the
command line is `batch_size: 64` in a YAML file (`--config FILE`, which flags override) and `batch_size=64` in Python.
A value means the same in all three: `lr: 1e-3` is a number, `compile: on` the word, `lr: null` left out.
`resnet50 COMMAND --help` prints this reference. To turn a switch off, put `no-` in front: `--no-overwrite`.

Exit codes: 0: success; 2: an error in the input, described in one line; 1: a bug, with its traceback; 3: `predict` has
written everything but the images that can't be read, which a table lists; 75: training stopped early because a signal
or `--max-time` asked for it, and `--resume` continues it; 130: Ctrl-C, after which `--resume` continues too."""

EXAMPLES = {
    "prepare": (
        "resnet50 prepare competition/train.csv --out dataset",
        "Writes `dataset.yaml`, `manifest.parquet`, `audit.json` and the pixel store `pixels/`. In detail: "
        "[own-data.md](own-data.md).",
    ),
    "check": (
        "resnet50 check dataset --images",
        "Lists what is intact; exits with 2 and names what is not.",
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
        "resnet50 predict run images/new --out predictions.csv",
        "Reads files, folders (recursively) and globs; the preprocessing comes from the model file. Lists unreadable "
        "images in `predictions.errors.csv`. In detail: [own-data.md](own-data.md#predict-many-files).",
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


def values(field, annotation):
    """Say which values an option takes."""
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    if annotation is bool:
        return "switch"
    if NoneType in get_args(annotation) and len(kinds) == 1:
        return values(field, kinds[0])
    if get_origin(annotation) is Literal:
        return " ".join(f"`{value}`" for value in get_args(annotation))
    limits = str(field.metadata["range"])
    return f"{describe(annotation)}, {limits}" if limits else describe(annotation)


def default(field):
    """Say what an option is when it is left out."""
    if field.default is REQUIRED:
        return "required"
    if field.default is None or field.default == ():
        return ""
    return show_default(field) if isinstance(field.default, bool) else f"`{field.default}`"


def section(verb, options):
    """Return a verb's section, with a table for each group of options."""
    example, result = EXAMPLES[verb]
    annotations = annotations_of(options)
    lines = [f"## resnet50 {verb}", "", options.__doc__, "", "```", example, "```", "", result]
    for title, fields in groupby(fields_of(options), lambda field: section_of(options, field.name)):
        lines += ["", f"**{title}**", "", "| option | values | default | meaning |", "| --- | --- | --- | --- |"]
        for field in fields:
            meaning = field.metadata["help"].replace("|", "\\|")
            kind = values(field, annotations[field.name])
            lines.append(f"| `{name_of(field)}` | {kind} | {default(field)} | {meaning} |")
    return "\n".join(lines)


def reference():
    """Return the whole page."""
    return "\n\n".join([INTRODUCTION, *[section(verb, options) for verb, (options, _) in VERBS.items()]]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
