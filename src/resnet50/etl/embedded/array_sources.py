"""Arrays of images and their labels: which belong together, by their names and lengths."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from resnet50.etl.embedded.arrays import Array, ArrayPair, image_shape, label_name
from resnet50.etl.embedded.grouping import evidence_of, warnings_of, with_splits
from resnet50.etl.embedded.names import meaning, meaning_of_path
from resnet50.etl.embedded.pixels import Shape
from resnet50.etl.embedded.source import EmbeddedSource

IMAGE_WORDS = {"images", "image", "imgs", "img", "x", "data", "features", "pixels", "inputs"}
LABEL_WORDS = {"labels", "label", "y", "targets", "target", "classes", "class", "lbls", "lbl"}
MASK_WORDS = {"mask", "masks", "seg", "segmentation", "segmentations", "depth"}

KIND = "arrays"


class Named(NamedTuple):
    """An array, and what its name and the names around it say.

    Attributes:
        words: without those for its split and its role, so that images and their labels have the same.
        role: image, label or mask; "" if the name doesn't say.
    """

    array: Array
    split: str
    words: tuple[str, ...]
    role: str


def named(array: Array, root: Path) -> Named:
    """Read the names of the folders, the file and the array."""
    inside = array.path.relative_to(root)
    plain = PurePath(*(re.sub(r"[.-]?idx\d-?ubyte", "", part) or part for part in inside.parts))
    around = meaning_of_path(plain)
    member = "" if re.fullmatch(r"arr_\d+(\.npy)?", array.member) else array.member.removesuffix(".npy")
    own = meaning(member)
    role = role_of(own.rest if member else meaning(plain.name.partition(".")[0]).rest)
    roles = IMAGE_WORDS | LABEL_WORDS
    words = tuple(word for word in (*around.rest, *own.rest) if word not in roles)
    return Named(array, own.split or around.split, words, role)


def role_of(words: tuple[str, ...]) -> str:
    present = set(words)
    if present & MASK_WORDS:
        return "mask"
    if present & LABEL_WORDS:
        return "label"
    return "image" if present & IMAGE_WORDS else ""


def arrays_as_sources(arrays: Sequence[Array], root: Path, wanted: set[Path]) -> list[EmbeddedSource]:
    """Pair the images in some of the files with their labels, which any may have, and join the splits of a data set."""
    every = [named(array, root) for array in arrays]
    shaped = [(one, image_shape(one.array)) for one in every if one.role not in ("label", "mask")]
    images = [(one, shape) for one, shape in shaped if shape is not None]
    read = [(one, shape) for one, shape in images if one.array.path in wanted]
    groups: defaultdict[tuple[object, ...], list[tuple[Named, Shape]]] = defaultdict(list)
    for one, shape in read:
        groups[one.words, shape, one.array.path.suffix.lower()].append((one, shape))
    rest = [one for one in every if all(one is not other for other, _ in images) and one.role != "mask"]
    return [source_of(group, rest) for group in groups.values()]


def source_of(group: Sequence[tuple[Named, Shape]], others: Sequence[Named]) -> EmbeddedSource:
    pairs = [(ArrayPair(one.array, shape, labels_for(one, others)), one.split) for one, shape in group]
    labeled = [(pair, split) for pair, split in pairs if pair.labels]
    used = labeled or pairs
    unlabeled = [pair for pair, _ in pairs if all(pair is not other for other, _ in used)]
    files = with_splits(used)
    labels = dict.fromkeys(label_name(array, pair.labels) for pair, _ in used for array in pair.labels)
    shape = group[0][1]
    count = sum(pair.count for pair, _ in used)
    return EmbeddedSource(
        kind=KIND,
        files=files,
        count=count,
        shapes=(shape,),
        label_columns=tuple(labels),
        evidence=evidence_of(f"{count:,}", KIND, files, str(shape), tuple(labels), unlabeled),
        warnings=warnings_of(files),
    )


def labels_for(images: Named, others: Sequence[Named]) -> tuple[Array, ...]:
    """Return the arrays that could be the labels: as long as the images, of their split, and nearest by name."""
    fitting = [one for one in others if one.array.shape[0] == images.array.shape[0] and one.split == images.split]
    fitting = [one for one in fitting if one.role == "label"] or [one for one in fitting if not one.role]
    for near in (
        [one for one in fitting if one.array.path == images.array.path],
        [one for one in fitting if one.array.path.parent == images.array.path.parent and one.words == images.words],
        [one for one in fitting if one.words == images.words],
    ):
        same = [one for one in near if one.words == images.words]
        if near:
            return tuple(one.array for one in same or near)
    return ()
