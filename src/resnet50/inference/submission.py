"""What goes into the columns of a competition's submission: labels, or the probability of a class."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from resnet50.etl.source.words import is_number
from resnet50.inference.template import Template
from resnet50.runtime.errors import UserError, nearest

LABELS, PROBABILITY = "labels", "probability:"
"""The values of --submit; the second is followed by a class."""

NEGATIVE_AND_POSITIVE = ({"0", "1"}, {"0.0", "1.0"}, {"false", "true"})
"""Pairs of classes of which a lone probability is always that of the second."""

TRUTH_VALUES = ("false", "true", "no", "yes")

BLANKS = ("nan", "na", "n/a", "null", "none")
"""Ways to write that a cell is empty."""

EXAMPLES = 3
"""Values of a sample that a message shows."""


class Column(NamedTuple):
    """What a column to predict gets.

    Attributes:
        name: of the column.
        of: index of the class whose probability it gets; None for the likeliest label.
    """

    name: str
    of: int | None


def decide_columns(template: Template, classes: tuple[str, ...], submit: str | None) -> list[Column]:
    """Decide what each column gets, by what the user says, its name and the sample's values.

    Several columns are named after classes and get their probabilities. A single one gets what `submit` says. Without
    it, a column of the name of a class gets that class's probability, one that holds labels gets labels, and one of
    fractions the probability of the positive of two classes called 0 and 1 or false and true.

    Raises:
        UserError: a column is no class, or what the only one asks for is not certain: `choices` has the readings.
    """
    if len(template.targets) > 1:
        if submit is not None:
            raise UserError(f"--submit is for a template with a single column to predict; {template.path} has several")
        return [Column(name, class_index(name, classes, template)) for name in template.targets]
    (name,) = template.targets
    if submit is not None:
        return [Column(name, as_asked(submit, template, classes))]
    return [Column(name, as_it_seems(template, classes))]


def class_index(name: str, classes: tuple[str, ...], template: Template) -> int:
    if name not in classes:
        raise UserError(
            f"{template.path}: column {name!r} is not a class of this network{nearest(name, classes)}; the classes are "
            f"{some(classes)}"
        )
    return classes.index(name)


def as_asked(submit: str, template: Template, classes: tuple[str, ...]) -> int | None:
    """Return what --submit says; a UserError if that can't be."""
    if submit == LABELS:
        if has_fractions(template) and not all(map(is_number, classes)):
            raise UserError(
                f"--submit labels: the sample's values are fractions ({examples(template)}), which stand for "
                "probabilities: give probability:CLASS"
            )
        return None
    name = submit.removeprefix(PROBABILITY)
    if not submit.startswith(PROBABILITY):
        raise UserError(f"--submit {submit!r}: give labels, or probability:CLASS")
    if name not in classes:
        raise UserError(
            f"--submit {submit!r}: {name!r} is not a class of this network{nearest(name, classes)}; the classes are "
            f"{some(classes)}"
        )
    return classes.index(name)


def as_it_seems(template: Template, classes: tuple[str, ...]) -> int | None:
    """Return what the only column asks for; a UserError with the choices if that is not certain."""
    (name,) = template.targets
    values, numbers = template.cells[name].str.strip(), template.numbers(name)
    values = values.mask(values.str.casefold().isin(BLANKS) & ~values.isin(classes), "")
    if has_fractions(template):
        if not numbers.dropna().between(0, 1).all():
            raise UserError(
                f"{template.path}: column {name!r} holds numbers such as {examples(template)}, neither labels "
                "nor probabilities: this network predicts classes"
            )
        certain = name if name in classes else positive_of(classes)
        if certain is None:
            raise ask(template, classes, "holds fractions ({}), but not of which class")
        return classes.index(certain)
    if name not in classes:
        return words_or_numbers(template, classes, values, numbers)
    if (values != "").any():
        raise ask(template, classes, "is named after a class, but holds no fractions ({})")
    return classes.index(name)


def words_or_numbers(
    template: Template, classes: tuple[str, ...], values: "pd.Series[str]", numbers: "pd.Series[float]"
) -> int | None:
    """Tell labels among values that are no fractions."""
    filled = values[values != ""]
    if filled.empty and len(classes) == 2:
        raise ask(template, classes, "is empty, for labels or for the probability of a class")
    if len(classes) == 2 and numbers.between(0, 1).any():
        raise ask(template, classes, "holds whole numbers ({}), which may be labels or probabilities")
    if filled.isin(classes).all():
        return None
    if numbers.notna().any():
        raise ask(template, classes, "holds numbers ({}) that are no classes of this network")
    if not stands_for_any(filled, classes):
        raise ask(template, classes, "holds labels ({}) that are no classes of this network")
    return None  # one word in all rows, which stands for any label


def stands_for_any(values: "pd.Series[str]", classes: tuple[str, ...]) -> bool:
    """Return whether values that are no classes are one word in all rows, in the place of any label."""
    words, names = set(values.str.casefold()), [name.casefold() for name in classes]
    if len(words) > 1:
        return False
    (word,) = words
    numbers_for_words = all(map(is_number, classes)) and any(map(str.isalnum, word))
    return word not in TRUTH_VALUES and not numbers_for_words and not nearest(word, names)


def ask(template: Template, classes: tuple[str, ...], why: str) -> UserError:
    """Return the question what the only column gets, with the choices, likeliest first."""
    (name,) = template.targets
    fractions = has_fractions(template)
    submits = [PROBABILITY + choice for choice in likeliest(name, classes)]
    if not fractions or all(map(is_number, classes)):
        submits.insert(0, LABELS)
    what = why.format(examples(template))
    options = f"{LABELS} or {PROBABILITY}CLASS" if LABELS in submits else f"{PROBABILITY}CLASS"
    return UserError(
        f"{template.path}: column {name!r} {what}: choose with --submit {options} (the classes are {some(classes)})",
        [{"submit": submit} for submit in submits],
    )


def likeliest(column: str, classes: Sequence[str]) -> list[str]:
    """Order classes by how likely a column asks for the probability of each: its name tells, else the last of two."""
    named = [name for name in classes if name.casefold() in column.casefold()]
    rest = [name for name in classes if name not in named]
    return [*sorted(named, key=len, reverse=True), *(reversed(rest) if len(classes) == 2 else rest)]


def positive_of(classes: tuple[str, ...]) -> str | None:
    """Return the positive of two classes that are a number or a truth value; None for others."""
    if len(classes) == 2 and {name.casefold() for name in classes} in NEGATIVE_AND_POSITIVE:
        return max(classes, key=str.casefold)
    return None


def has_fractions(template: Template) -> bool:
    """Return whether the only column holds a number that is no whole one."""
    numbers = template.numbers(template.targets[0]).dropna()
    return bool((numbers % 1 != 0).any())


def examples(template: Template) -> str:
    """Show a few of the sample's values."""
    values = template.cells[template.targets[0]].drop_duplicates()
    return some([repr(value) for value in values.head(EXAMPLES + 1)], EXAMPLES)


def some(names: Sequence[str], count: int = 10) -> str:
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")


def summary(columns: Sequence[Column], classes: tuple[str, ...]) -> list[str]:
    """Say what the columns got, a line for each kind."""
    if len(columns) == 1:
        (column,) = columns
        what = "the likeliest label" if column.of is None else f"the probability of {classes[column.of]!r}"
        return [f"column {column.name!r}: {what}"]
    lines = [f"columns {some([repr(column.name) for column in columns])}: the probability of the class of that name"]
    if without := [name for name in classes if name not in {column.name for column in columns}]:
        lines.append(f"the template has no column for {some(without)}")
    return lines
