"""What the names of files, arrays and columns say: the published split, and which files belong together."""

import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import NamedTuple

from resnet50.etl.source.words import SPLIT_NAMES

SPLIT_WORDS = SPLIT_NAMES | {"t10k": "test"}

SHARD = re.compile(r"-(\d{5})-of-(\d{5})(-[0-9a-f]+)?$")
"""The end of a shard's name, as Hugging Face writes it: train-00000-of-00002."""

WORD = re.compile(r"t10k|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
GLUED = re.compile(r"([xy])(train|test|valid|val)|(train|test|valid|val)([xy])")


class Meaning(NamedTuple):
    """What a name says.

    Attributes:
        split: train, val or test; "" where the name has no word for one.
        rest: the other words.
    """

    split: str
    rest: tuple[str, ...]


def words(text: str) -> list[str]:
    """Return the words of a name in lower case: X_train, fashion-mnist_test and TrainImages have two or three."""
    found: list[str] = []
    for word in (match.lower() for match in WORD.findall(text)):
        glued = GLUED.fullmatch(word)
        found += [part for part in glued.groups() if part] if glued else [word]
    return found


def meaning(text: str) -> Meaning:
    """Return the split that a name has a word for, and its other words."""
    named = words(text)
    splits = [SPLIT_WORDS[word] for word in named if word in SPLIT_WORDS]
    return Meaning(splits[-1] if splits else "", tuple(word for word in named if word not in SPLIT_WORDS))


def meaning_of_path(path: PurePath) -> Meaning:
    """Return the split that the file or the nearest folder names, and the words that all files of a set share.

    Args:
        path: relative to the source, since the folders around it say nothing about its content.
    """
    stem = SHARD.sub("", path.name.partition(".")[0])
    here = meaning(stem)
    folders = [meaning(folder) for folder in path.parent.parts]
    named = [found.split for found in (*folders, here) if found.split]
    above = tuple(word for folder in folders for word in folder.rest)
    own = here.rest if here.rest != above[-len(here.rest) :] else ()  # sign_mnist_train/sign_mnist_train.csv
    return Meaning(named[-1] if named else "", above + own)


def missing_shards(names: Iterable[str]) -> list[str]:
    """Return the names of shards that the names of the others tell of: 00000-of-00002 without 00001-of-00002."""
    present: dict[tuple[str, int], set[int]] = {}
    for name in names:
        stem = name.partition(".")[0]
        found = SHARD.search(stem)
        if found:
            present.setdefault((stem[: found.start()], int(found[2])), set()).add(int(found[1]))
    return [
        f"{stem}-{number:05}-of-{count:05}"
        for (stem, count), there in sorted(present.items())
        for number in range(count)
        if number not in there
    ]
