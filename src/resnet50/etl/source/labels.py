"""What a column of labels holds: one class per image, several, or a number; one-hot columns; names beside numbers."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from resnet50.etl.source.words import is_number, shorten
from resnet50.runtime.errors import UserError

SEPARATORS = ("|", ";", ",", " ")
"""Between several labels of an image, in the order in which they are looked for."""

FEW_VALUES = 10
"""Fractions with at most as many different values may be classes: 0, 0.33, 0.67, 1."""

MIN_LISTED = 0.01
"""Share of the rows with a list of labels from which on a column has several per image."""

MANY_NUMBERS = 30
"""Whole numbers with at least as many different values may be measurements."""

IMAGES_PER_NUMBER = 5
"""Images per different whole number, below which numbers are measurements rather than classes."""


@dataclass(frozen=True)
class LabelKind:
    """What the values of a column are.

    Attributes:
        several: separator between several labels of an image, "json" for JSON lists; "" for one label each.
        number: whether the values are measurements.
        doubtful: whether they could be measurements as well as numbers of classes.
        reason: in words, for several labels and numbers.
    """

    several: str = ""
    number: bool = False
    doubtful: bool = False
    reason: str = ""


def kind_of_labels(values: pd.Series) -> LabelKind:
    """Tell whether a column has one class per image, several, or a number."""
    counts = values[values != ""].value_counts()
    if counts.empty:
        return LabelKind()
    names = [str(name) for name in counts.index]
    if all(is_number(name) for name in names[:1000]):
        return kind_of_numbers(names, int(counts.sum()))
    listed = [name for name in names if name.startswith("[") and name.endswith("]") and "," in name]
    if counts[listed].sum() > MIN_LISTED * counts.sum():
        return LabelKind(several="json", reason=f"such as {listed[0]}")
    for separator in SEPARATORS:
        several = [name for name in names if separator in name and not is_one_label(name, separator)]
        if several and are_combinations(names, counts, separator):
            return LabelKind(several=separator, reason=f"such as {several[0]!r}")
    return LabelKind()


def kind_of_numbers(names: Sequence[str], images: int) -> LabelKind:
    """Tell classes numbered 0, 1, 2 … from measurements."""
    fractional = [name for name in names if float(name) != int(float(name)) or "e" in name.lower()]
    if fractional and len(names) > FEW_VALUES:
        return LabelKind(number=True, reason=f"such as {fractional[0]}, {len(names):,} different ones")
    if len(names) >= MANY_NUMBERS and images < IMAGES_PER_NUMBER * len(names):
        # numbered identities: every one from the first to the last, or numbers with a fixed width
        numbers = sorted({int(float(name)) for name in names})
        consecutive = numbers[-1] - numbers[0] + 1 == len(numbers) and numbers[0] in (0, 1)
        if not consecutive:
            return LabelKind(number=True, doubtful=True, reason=f"{len(names):,} different ones of {images:,} images")
    return LabelKind()


def is_one_label(name: str, separator: str) -> bool:
    """Return whether a separator at the end or the start separates nothing."""
    return len([part for part in name.split(separator) if part.strip()]) < 2


def are_combinations(names: Sequence[str], counts: pd.Series, separator: str) -> bool:
    """Return whether values with a separator are several labels rather than names of several words.

    They are if their parts are mostly labels of their own, if the same parts turn up in several orders, or if few
    parts make up many values. Names such as 'golden retriever' do none of these.
    """
    alone = {name.strip() for name in names if separator not in name.strip()}
    split = {name: [part.strip() for part in name.split(separator) if part.strip()] for name in names}
    combined = {name: parts for name, parts in split.items() if len(parts) > 1}
    if any(len(set(parts)) < len(parts) for parts in combined.values()):  # 'a a': a name that repeats a word
        combined = {name: parts for name, parts in combined.items() if len(set(parts)) == len(parts)}
    if not combined:
        return False
    images = sum(int(counts[name]) for name in combined)
    known = sum(int(counts[name]) for name, parts in combined.items() if all(part in alone for part in parts))
    if 2 * known >= images:
        return True
    orders = Counter(frozenset(parts) for parts in combined.values())
    if any(count > 1 for count in orders.values()):
        return True
    used = Counter(part for parts in split.values() for part in parts)
    if separator in "|;":
        return any(used[part] > 1 for parts in combined.values() for part in parts)
    return len(names) >= 10 and 3 * len(used) <= len(names)


def check_single_label(values: pd.Series, what: str, combine: bool, named: bool) -> pd.Series:
    """Return the labels, one per image; with `combine`, each combination of several as one label.

    Args:
        values: "" where there is no label.
        what: the column, for messages.
        combine: --combine-labels.
        named: whether the user has named the column.

    Raises:
        UserError: several labels per image, or a number per image.
    """
    kind = kind_of_labels(values)
    if kind.several:
        if not combine:
            raise UserError(
                f"{what} has several labels per image ({kind.reason}), and this is a classifier with one label "
                "per image: add --combine-labels to make each combination a class, or make a column for one question"
            )
        return values.map({value: combined_label(value, kind.several) for value in values.unique()}).astype("str")
    if kind.number and not (kind.doubtful and named):
        way_out = "; if these numbers are classes, name the column with --label-column" if kind.doubtful else ""
        raise UserError(
            f"{what} has a number per image ({kind.reason}), not a class: predicting numbers is not supported; "
            f"make a column with a few classes from it, such as low and high{way_out}"
        )
    return values


def combined_label(value: str, separator: str) -> str:
    """Write several labels in one order: 'b|a' and 'a|b' are the same combination."""
    if separator == "json":
        parts = re.findall(r"'([^']*)'|\"([^\"]*)\"|([^\s,\[\]]+)", value)
        labels = ["".join(part) for part in parts]
    else:
        labels = [part.strip() for part in value.split(separator) if part.strip()]
    return "+".join(sorted(set(labels)))


ONES = frozenset({"1", "1.0", "True", "true"})
ZEROS_AND_ONES = ONES | {"0", "0.0", "False", "false", "-1", "-1.0"}
"""Cells of 0/1 columns; some write -1 for 0."""


def is_binary(values: pd.Series) -> bool:
    """Return whether every cell of a column is 0 or 1."""
    some = values.iloc[:1000]
    return bool(some.isin(ZEROS_AND_ONES).all() and values.isin(ZEROS_AND_ONES).all())


def one_hot_sums(table: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Return how many of some 0/1 columns are 1 in each row."""
    hot = sum(table[name].isin(ONES).astype("int64") for name in columns)
    return pd.Series(hot, index=table.index)


def labels_of_one_hot(table: pd.DataFrame, columns: Sequence[str], combine: bool) -> pd.Series:
    """Return the name of the column that is 1 in each row; with `combine`, of all that are.

    Raises:
        UserError: a cell other than 0 and 1, or rows with none or several 1s; the message counts them.
    """
    for name in columns:
        if not is_binary(table[name]):
            odd = table.loc[~table[name].isin(ZEROS_AND_ONES), name].iloc[0]
            raise UserError(f"--label-columns: column {name!r} holds {odd!r}, where 0 or 1 should be")
    sums = one_hot_sums(table, columns)
    several, none = int((sums > 1).sum()), int((sums == 0).sum())
    if several and not combine:
        raise UserError(
            f"columns {shorten(columns)} give several labels per image: {several:,} rows have several 1s, {none:,} "
            "have none; add --combine-labels to make each combination a class, or name columns "
            "that exclude each other with --label-columns"
        )
    if none and not combine:
        raise UserError(
            f"columns {shorten(columns)}: {none:,} rows have no 1, so they have no label; name all columns of classes "
            "with --label-columns, or add a column for the others"
        )
    hot = np.column_stack([table[name].isin(ONES).to_numpy() for name in columns])
    patterns, at = np.unique(hot, axis=0, return_inverse=True)
    names = ["+".join(name for name, one in zip(columns, pattern, strict=True) if one) for pattern in patterns]
    return pd.Series(np.array(names, dtype=object)[at.ravel()], index=table.index).astype("str")


def find_names(labels: set[str], files: Sequence[Path]) -> tuple[dict[str, str], Path] | None:
    """Find a JSON or YAML file that names every label: {"0": "cat", "1": "dog"}, or the other way round."""
    if not labels or not all(label.isdigit() for label in labels):
        return None
    for path in files:
        names = mapping_in(path)
        if names is not None and labels <= set(names) and len({names[label] for label in labels}) == len(labels):
            return {label: names[label] for label in labels}, path
    return None


def mapping_in(path: Path) -> dict[str, str] | None:
    """Return the mapping of numbers to names that a file holds, None if it holds none."""
    try:
        if path.stat().st_size > 1_000_000:
            return None
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".txt":
            return numbered_lines(text)
        content: Any = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    if not isinstance(content, dict):
        return None
    for inner in (content, *content.values()):
        if isinstance(inner, dict) and inner:  # a list of names has no numbers: counting from 0 or 1 would be a guess
            pairs = {str(key): str(value) for key, value in inner.items() if isinstance(value, str | int)}
            if len(pairs) == len(inner):
                inverse = {value: key for key, value in pairs.items()}
                if all(key.isdigit() for key in pairs) and not all(value.isdigit() for value in pairs.values()):
                    return pairs
                if all(key.isdigit() for key in inverse) and len(inverse) == len(pairs):
                    return inverse
    return None


def numbered_lines(text: str) -> dict[str, str] | None:
    """Return the names in lines such as '0 cat' or 'cat 0', by number."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for pattern, number, name in ((r"(\d+)[\s,:.]+(\D.*)", 1, 2), (r"(.*\D)[\s,:]+(\d+)", 2, 1)):
        found = [re.fullmatch(pattern, line) for line in lines]
        names = {match[number]: match[name].strip() for match in found if match}
        if lines and len(names) == len(lines):  # a number with two names is a list of images with their classes
            return names
    return None


def near_equal(labels: Sequence[str]) -> list[tuple[str, ...]]:
    """Return groups of labels that differ only in letter case, Unicode form, or blanks and dashes."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        key = re.sub(r"[\s_\-]+", " ", unicodedata.normalize("NFC", label).casefold()).strip()
        groups.setdefault(key, []).append(label)
    return [tuple(group) for group in groups.values() if len(group) > 1]
