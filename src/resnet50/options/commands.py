"""From the options of a verb back to the command line, or the call in Python, that gives them."""

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from resnet50.options.fields import fields_of, flag
from resnet50.options.groups import Options
from resnet50.options.validation import validated


def command(verb: str, options: Options, changes: Mapping[str, Any]) -> str:
    """Return the complete command of some options with a few changed: one line, quoted for a shell.

    Args:
        verb: of the command line.
        options: those that are not at their defaults are written out.
        changes: values by the names of options.
    """
    changed = dataclasses.replace(options, **changes)
    positional: list[str] = []
    flags: list[str] = []
    for field in fields_of(type(options)):
        value = getattr(changed, field.name)
        if field.metadata["positional"]:
            positional += words_of(value)
        elif isinstance(value, bool) and value != field.default:
            flags.append(flag(field.name) if value else flag("no_" + field.name))
        elif value != field.default:
            flags += [flag(field.name), *(words_of(value) or ["null"])]
    if any(word.startswith("-") for word in positional):
        return shlex.join(["resnet50", verb, *flags, "--", *positional])
    return shlex.join(["resnet50", verb, *positional, *flags])


def call(verb: str, options: Options, changes: Mapping[str, Any], shown: Mapping[str, str]) -> str:
    """Return the complete call of a function of the same name as a verb, with a few options changed.

    Args:
        verb: of the command line.
        options: those that are not at their defaults are written out.
        changes: values by the names of options.
        shown: what to write for some options in place of their value.
    """
    changed = dataclasses.replace(options, **validated(type(options), changes))
    arguments: list[str] = []
    for field in fields_of(type(options)):
        value = getattr(changed, field.name)
        if value != field.default:
            text = repr(str(value) if isinstance(value, Path) else value)
            text = text if field.name in changes else shown.get(field.name, text)
            arguments.append(text if field.metadata["positional"] or field.name == "out" else f"{field.name}={text}")
    return f"resnet50.{verb}({', '.join(arguments)})"


def words_of(value: Any) -> list[str]:
    """Return a value as it is typed: a word, several for a tuple, none for None."""
    if value is None:
        return []
    return [str(item) for item in cast(tuple[object, ...], value)] if isinstance(value, tuple) else [str(value)]
