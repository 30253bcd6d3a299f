"""Write the typed keywords of the Python functions from the options, for editors and type checkers.

.venv/bin/python tools/make_keywords.py > src/resnet50/options/keywords.py
"""

import sys
import textwrap
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from resnet50.options import EvaluateOptions, PrepareOptions, TrainOptions, fields_of
from resnet50.options.fields import REQUIRED, Field, annotations_of
from resnet50.runtime.errors import in_python

INTRODUCTION = '''\
"""The keyword arguments of `prepare`, `train` and `evaluate`, as an editor completes and a type checker checks them.

Written by tools/make_keywords.py from the options of each verb: change those, then run it.
"""

import os
from typing import Literal, TypedDict

StrPath = str | os.PathLike[str]
"""A path, or an object that stands for one: a `Dataset`, a `Run`."""
'''

VERBS = {
    PrepareOptions: ("prepare", {"source", "out"}),
    TrainOptions: ("train", {"dataset", "out"}),
    EvaluateOptions: ("evaluate", {"run", "split"}),
}
"""Each verb's function, and the parameters that it names itself."""

ALSO_PATHS = {"weights"}
"""Options that are text because they can be a path or a name."""


def keywords() -> str:
    """Return the module."""
    return "\n\n".join([INTRODUCTION, *(typed_dict(options, *verb) for options, verb in VERBS.items())])


def typed_dict(options: type, verb: str, named: set[str]) -> str:
    """Return the class that has a verb's options as keys."""
    annotations = annotations_of(options)
    lines = [f"class {verb.capitalize()}Keywords(TypedDict, total=False):", f'    """Options of `{verb}`."""', ""]
    for field in fields_of(options):
        if field.name not in named:
            lines += [f"    {field.name}: {annotation_of(field, annotations[field.name])}", docstring(field)]
    return "\n".join(lines) + "\n"


def annotation_of(field: Field, annotation: Any) -> str:
    """Return an option's type as source text."""
    return "StrPath" if field.name in ALSO_PATHS else source_of(annotation)


def source_of(annotation: Any) -> str:
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(source_of(part) for part in get_args(annotation))
    if get_origin(annotation) is Literal:
        return f"Literal[{', '.join(quoted(choice) for choice in get_args(annotation))}]"
    return {NoneType: "None", Path: "StrPath"}.get(annotation) or annotation.__name__


def quoted(value: Any) -> str:
    """Return a value as source text, in double quotes."""
    return f'"{value}"' if isinstance(value, str) else str(value)


def docstring(field: Field) -> str:
    """Return an option's help text with its default and range."""
    text, limits = in_python(field.metadata["help"]), str(field.metadata["range"])
    if field.default is not REQUIRED and field.default is not None:
        text += f" Default: {quoted(field.default)}."
    if limits:
        text += f" Must be {limits}."
    wrapped = textwrap.wrap(f'"""{text}"""', 115)
    closing = [] if len(wrapped) == 1 else ['"""']
    wrapped[-1] = wrapped[-1] if not closing else wrapped[-1].removesuffix('"""')
    return textwrap.indent("\n".join(wrapped + closing) + "\n", "    ").rstrip()


if __name__ == "__main__":
    sys.stdout.write(keywords())
