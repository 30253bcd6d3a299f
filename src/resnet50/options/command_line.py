"""From the words of a command line to the options of a verb, and `--help`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from resnet50.options.build import from_values
from resnet50.options.fields import REQUIRED, Field, annotations_of, fields_of, flag, name_of, section_of
from resnet50.options.groups import Options
from resnet50.options.validation import validated
from resnet50.options.yaml_files import read_yaml
from resnet50.runtime.errors import UserError, nearest

Verb = TypeVar("Verb", bound=Options)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are `UserError`s."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


class WideHelp(argparse.HelpFormatter):
    """Help texts beside their options on a terminal of 110 columns."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)


def from_arguments(options: type[Verb], arguments: Sequence[str], prog: str) -> Verb:
    """Read a command line: flags over the file that `--config` names, over the defaults.

    Raises:
        UserError: an unknown flag or key, a value of another type or out of range, something required that is missing.
    """
    namespace, unknown = parser_for(options, prog).parse_known_args(list(arguments))
    for word in unknown:
        if word != "--":
            raise UserError(unknown_argument(word, options))
    values = vars(namespace)
    config = values.pop("config", None)
    values = validated(options, values)
    if config is not None:
        values = read_yaml(Path(config), options) | values
    return from_values(options, values, f" See {prog} --help")


def unknown_argument(word: str, options: type) -> str:
    """Say that a word means nothing here, with the nearest flag."""
    name = word.split("=", maxsplit=1)[0]
    positionals = {flag(field.name): name_of(field) for field in fields_of(options) if field.metadata["positional"]}
    if name in positionals:
        return f"{name} is no option: give {positionals[name]} without it"
    flags = [flag(field.name) for field in fields_of(options) if not field.metadata["positional"]]
    return f"unknown option or argument {name}{nearest(name, flags)}"


def parser_for(options: type, prog: str) -> Parser:
    """Build the command line of a verb: its positionals, a flag for each other option, `--config`.

    All values are taken as text, and what isn't given is left out: `validated` reads the text, the dataclass has the
    defaults. Nothing is required here, for a config file may hold it.
    """
    fields, annotations = fields_of(options), annotations_of(options)
    needed = [field for field in fields if field.metadata["positional"] or field.default is REQUIRED]
    words = [name_of(f) if f.metadata["positional"] else f"{name_of(f)} {f.name.upper()}" for f in needed]
    parser = Parser(
        prog=prog,
        usage=f"{prog} {' '.join([*words, '[options]'])}",
        description=options.__doc__,
        formatter_class=WideHelp,
        argument_default=argparse.SUPPRESS,
        add_help=False,
    )
    titles = dict.fromkeys(section_of(options, field.name) for field in fields)
    sections = {title: parser.add_argument_group(title) for title in titles}
    for field in fields:
        add_option(sections[section_of(options, field.name)], field, annotations[field.name])
    general = parser.add_argument_group("General")
    general.add_argument("--config", metavar="FILE", help="YAML file with options; flags override it.")
    general.add_argument("-h", "--help", action="help", help="Show this help and exit.")
    return parser


def add_option(section: Any, field: Field, annotation: Any) -> None:
    """Add one option to its section."""
    text = f"{field.metadata['help']}{default_text(field)}".replace("%", "%%")
    if field.metadata["positional"]:
        many = get_origin(annotation) is tuple
        section.add_argument(field.name, nargs="*" if many else "?", metavar=field.name.upper(), help=text)
    elif annotation is bool:
        section.add_argument(flag(field.name), action=argparse.BooleanOptionalAction, help=text)
    else:
        section.add_argument(flag(field.name), metavar=metavar(annotation), help=text)


def default_text(field: Field) -> str:
    """Say what an option is when it is left out; nothing if its help text does."""
    if field.default is REQUIRED:
        return "" if field.metadata["positional"] else " Required."
    if field.default in (None, ()):
        return ""
    return f" Default: {show_default(field)}."


def show_default(field: Field) -> str:
    """Return a default as it is typed; on or off for a switch."""
    return {True: "on", False: "off"}[field.default] if isinstance(field.default, bool) else str(field.default)


def metavar(annotation: Any) -> str:
    """Return the placeholder of a value in the help text."""
    if get_origin(annotation) in (Union, UnionType):
        return "|".join(metavar(part) for part in get_args(annotation) if part is not NoneType)
    if get_origin(annotation) is Literal:
        choices = ",".join(map(str, get_args(annotation)))
        return f"{{{choices}}}" if "," in choices else choices
    return {int: "N", float: "X", Path: "PATH"}.get(annotation, "TEXT")
