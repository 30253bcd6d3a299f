"""What every kind of layout draws from: class names, splits, names of files and folders."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
T = TypeVar("T")

CLASSES: tuple[tuple[str, ...], ...] = (
    ("cat", "dog", "owl"),
    ("NORMAL", "PNEUMONIA"),
    ("0", "1", "2"),
    ("benign", "malignant"),
    ("Apple___scab", "Apple___healthy", "Corn_(maize)___rust_"),
    ("001.ak47", "002.flag", "003.dog"),
    ("n01440764", "n01443537", "n01484850"),
    ("Black-grass", "Shepherds Purse", "Fat Hen"),
    ("été", "hiver"),
    ("yes", "no"),
    ("c0", "c1", "c2"),
    ("A", "B", "del", "nothing"),
    ("Adenocarcinoma, left", "Carcinoma; right"),
)
"""Names of classes, as columns and folders have them."""

MISLEADING: tuple[tuple[str, ...], ...] = (
    ("bus", "car", "train"),
    ("with_mask", "without_mask"),
    ("training_fake", "training_real"),
    ("valid", "invalid"),
    ("test_strip", "swab"),
    ("image", "text"),
)
"""Names of classes that look like a split, a mask or a folder of images."""

SPLIT_FOLDERS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("train", "train"), ("test", "test")),
    (("train", "train"), ("val", "val"), ("test", "test")),
    (("train", "train"), ("valid", "val"), ("test", "test")),
    (("train", "train"), ("val", "val")),
    (("Training", "train"), ("Testing", "test")),
    (("TRAIN", "train"), ("VALIDATION", "val"), ("TEST", "test")),
    (("seg_train", "train"), ("seg_test", "test")),
    (("training_set", "train"), ("test_set", "test")),
    (("asl_alphabet_train", "train"), ("asl_alphabet_test", "test")),
)
"""Folders of published splits, and the splits."""

SUFFIXES = (".png", ".jpg", ".png", ".JPG", ".jpeg", ".bmp", ".webp", ".tif")


def one_of(draw: Draw, options: Sequence[T]) -> T:
    """Draw one; the first is the simplest."""
    return draw(st.sampled_from(list(options)))


def sometimes(draw: Draw, one_in: int) -> bool:
    """Draw True one time in so many."""
    return draw(st.sampled_from([False] * (one_in - 1) + [True]))


def class_names(draw: Draw) -> tuple[str, ...]:
    """Draw the names of two to four classes; rarely misleading ones."""
    return one_of(draw, MISLEADING if sometimes(draw, 12) else CLASSES)


def stems(draw: Draw) -> Callable[[int], str]:
    """Draw how files are named, given a number that no other image has."""
    return one_of(
        draw,
        (
            lambda n: f"{n:04d}",
            lambda n: f"img_{n}",
            lambda n: str(n * 7),
            lambda n: f"ISIC_{24306 + n:07d}",
            lambda n: f"{n * 2654435761 % 2**32:08x}",
            lambda n: f"photo ({n})",
            lambda n: f"p{n // 4}_v{n % 4}.rf.{n * 48271 % 2**31:07x}",
        ),
    )


def mixed(classes: Sequence[str], n: int) -> str:
    """Return the class of image n: in no simple order, and each about as often."""
    return classes[(7 * n + n // 5) % len(classes)]
