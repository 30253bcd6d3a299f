"""The readings of several split folders as one: train/, val/ and test/ with class folders in each."""

import re
from collections.abc import Iterable

from resnet50.etl.source.class_folders import ANY_CLASS, FolderReading, excluding, joined_choices
from resnet50.etl.source.tree import split_folder
from resnet50.etl.source.words import PARTS, SPLIT_WORDS, normalized, shorten, words_of


def joined_splits(
    inner: dict[str, list[FolderReading]], published: bool, choice: dict[str, str], notes: list[str]
) -> list[FolderReading]:
    """Join the readings of each split folder: the likeliest of all, then the next of all."""
    most = max(len(readings) for readings in inner.values())
    ways: list[FolderReading] = []
    for at in range(most):
        label: dict[int, str] = {}
        split: dict[int, str] = {}
        picked: dict[str, str] = {}
        level = ""
        for name, readings in inner.items():
            reading = readings[min(at, len(readings) - 1)]
            label |= reading.label
            split |= dict.fromkeys(reading.label, name) if published else {}
            level = level or reading.level
            picked = picked or generalized(reading.choice, name)
            notes += [note for note in reading.notes if note not in notes]
        option = joined_choices(choice, picked if most > 1 or not choice else {})
        ways.append(FolderReading(label, split, level, option, tuple(notes)))
    return ways


def generalized(choice: dict[str, str], split: str) -> dict[str, str]:
    """Make a pattern for one split's folders fit the other splits'."""
    return {name: value.replace(re.escape(split) + "/", "[^/]+/", 1) for name, value in choice.items()}


def other_names(way: FolderReading, inner: dict[str, list[FolderReading]], above: str) -> list[FolderReading]:
    """Return the readings of splits that both have classes which the other lacks: with the shorter names, and as it is.

    normal_T2_N0 may mean the class that is called normal in another split; [] if there is no such question. Where names
    don't begin alike, the second reading is the training images alone.
    """
    classes = [set(readings[0].label.values()) for readings in inner.values()]
    apart = [
        (one, other) for one in classes for other in classes if plain(one) - plain(other) and plain(other) - plain(one)
    ]
    if not apart:
        return []
    pattern = way.choice.get("label_pattern", "")
    short = sorted(min(apart[0], key=lambda names: sum(map(len, names))), key=lambda name: (-len(name), name))
    began = {name: next((start for start in short if name.startswith(start)), "") for name in way.label.values()}
    if not all(began.values()) or not pattern.endswith(ANY_CLASS):
        held_out = [name for name in inner if split_folder(name) != "train"]
        aside = excluding(held_out, above)
        return [way, FolderReading(way.label, {}, f"{way.level}, without {shorten(held_out)}", aside, way.notes)]
    said = {"label_pattern": pattern.removesuffix(ANY_CLASS) + f"({'|'.join(map(re.escape, short))})[^/]*/"}
    label = {number: began[name] for number, name in way.label.items()}
    return [FolderReading(label, way.published, f"{shorten(sorted(short))}, as names begin", said, way.notes), way]


def plain(names: Iterable[str]) -> set[str]:
    return {normalized(name) for name in names}


def own_words(name: str) -> frozenset[str]:
    """Return the words of a split folder's name that say neither the split nor a part of it."""
    return frozenset(w for w in words_of(name) if w not in SPLIT_WORDS and w not in PARTS and not w.isdigit())
