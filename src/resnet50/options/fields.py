"""What an option is: a dataclass field with its help text and its range, shown in a section of `--help`."""

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any, get_type_hints

REQUIRED = dataclasses.MISSING
"""The default of an option that has none."""


@dataclass(frozen=True)
class Range:
    """The numbers that an option may have. NaN lies in no range that has a limit."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        limits = {name.replace("_", " "): limit for name, limit in dataclasses.asdict(self).items()}
        return " and ".join(f"{name} {limit}" for name, limit in limits.items() if limit is not None)


def option(
    help: str,
    default: Any = REQUIRED,
    *,
    positional: bool = False,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Any:
    """Declare one option; limits hold for numbers, not for `None` or a word such as "auto"."""
    limits = Range(at_least, above, at_most, below)
    return dataclasses.field(default=default, metadata={"help": help, "positional": positional, "range": limits})


Field = dataclasses.Field[Any]


@functools.cache
def fields_of(options: type) -> tuple[Field, ...]:
    """Return a verb's options section by section, in the order in which it names its groups.

    `dataclasses.fields` begins with the last base class.
    """
    sections = list(dict.fromkeys(getattr(base, "section", "") for base in options.__mro__))
    return tuple(sorted(dataclasses.fields(options), key=lambda field: sections.index(section_of(options, field.name))))


def section_of(options: type, name: str) -> str:
    """Return the section that an option is shown in: that of the first class to declare it."""
    declared_in = next(base for base in reversed(options.__mro__) if name in vars(base).get("__annotations__", {}))
    return str(getattr(declared_in, "section", "Options"))


annotations_of = functools.cache(get_type_hints)
"""The type of each option by its name."""


def flag(name: str) -> str:
    """Return an option's name as it is typed."""
    return "--" + name.replace("_", "-")


def name_of(field: Field) -> str:
    """Return what the command line calls an option: `DATASET`, `--batch-size`."""
    return field.name.upper() if field.metadata["positional"] else flag(field.name)
