"""Every check of a single option: its type, its choices, its range.

The command line and YAML files give text, Python gives values; all three are read and checked here, when the dataclass
of a verb is made.
"""

import os
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from resnet50.options.fields import Field, annotations_of, fields_of, name_of
from resnet50.runtime.errors import UserError, nearest

BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def validated(options: type, values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return values by their options' names as the types that the options have.

    Raises:
        UserError: a name that is no option, a value of another type or out of range; `where` says where it stands.
    """
    fields = {field.name: field for field in fields_of(options)}
    for name in values:
        if name not in fields:
            raise UserError(f"unknown key {name!r}{where and f' in {where}'}{nearest(str(name), fields)}")
    annotations = annotations_of(options)
    try:
        return {name: validated_value(fields[name], annotations[name], value) for name, value in values.items()}
    except UserError as error:
        raise UserError(f"{where}: {error}" if where else str(error)) from error


def validated_value(field: Field, annotation: Any, value: Any) -> Any:
    """Return one option's value as the type it has; a UserError names the option, and what it takes."""
    try:
        value = convert(value, annotation)
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"{name_of(field)} {str(value)!r}: expected {describe(annotation)}") from error
    if isinstance(value, int | float) and value not in field.metadata["range"]:
        raise UserError(f"{name_of(field)} {value}: must be {field.metadata['range']}")
    return value


def convert(value: Any, annotation: Any) -> Any:
    """Return a value, or the text of one, as what an annotation says.

    Raises:
        TypeError, ValueError, KeyError: it can't be read as that.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return convert_to_one_of(value, arguments)
    if origin is Literal:
        return {str(choice): choice for choice in arguments}[value if isinstance(value, str) else repr(value)]
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError
        return tuple(convert(item, arguments[0]) for item in value)
    return CONVERTERS[annotation](value)


def convert_to_one_of(value: Any, annotations: tuple[Any, ...]) -> Any:
    """Return a value as the first of several types that it can be read as; null goes before text."""
    for annotation in sorted(annotations, key=lambda annotation: annotation is not NoneType):
        try:
            return convert(value, annotation)
        except (TypeError, ValueError, KeyError):
            continue
    raise ValueError


def to_none(value: Any) -> None:
    """Read null; the command line and YAML write it so."""
    if value is not None and value != "null":
        raise ValueError


def to_bool(value: Any) -> bool:
    """Read a truth value, in YAML's words too."""
    return BOOLEANS[str(value).lower()]


def to_int(value: Any) -> int:
    """Read a whole number; 3.0 is none, nor is true."""
    if isinstance(value, bool) or not isinstance(value, Integral | str):
        raise TypeError
    return int(value)


def to_float(value: Any) -> float:
    """Read a number, in YAML's spelling of infinity too."""
    if isinstance(value, bool) or not isinstance(value, Real | str):
        raise TypeError
    return float(value.replace(".inf", "inf") if isinstance(value, str) else value)


CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    NoneType: to_none, bool: to_bool, int: to_int, float: to_float, str: os.fspath, Path: Path
}  # fmt: skip


def describe(annotation: Any) -> str:
    """Say what values a type has, in a person's words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (Union, UnionType):
        return " or ".join(describe(part) for part in arguments if part is not NoneType)
    if origin is tuple:
        return f"a list of {describe(arguments[0])}"
    return {int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}.get(annotation, "text")
