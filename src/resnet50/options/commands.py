"""From the options of a verb back to the command line that gives them."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any, cast

from resnet50.options.fields import fields_of, flag
from resnet50.options.groups import Options


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


def words_of(value: Any) -> list[str]:
    """Return a value as it is typed: a word, several for a tuple, none for None."""
    if value is None:
        return []
    return [str(item) for item in cast(tuple[object, ...], value)] if isinstance(value, tuple) else [str(value)]
