"""What a label is, images inside tables, groups, and the options that choose: one layout for each kind."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.etl.layouts.embedded import png
from tests.etl.layouts.kind import (
    ASKED,
    REFUSED,
    RIGHT_OR_ASKED,
    Fill,
    Kind,
    Kinds,
    class_of,
    labeled,
    name_of,
    stem_of,
)
from tests.etl.layouts.layout import Layout

KINDS = Kinds()


# --- what a label is ---


def one_hot_rows(layout: Layout, hot: Callable[[int], tuple[int, ...]] = lambda n: (n % 3,)) -> None:
    rows = labeled(layout, "images/{n}.jpg")
    table = [(stem_of(path), *(int(k in hot(n)) for k in range(3))) for n, (path, _) in enumerate(rows)]
    layout.table("train.csv", ["image_id", "cat", "dog", "owl"], table)


@KINDS.add(*RIGHT_OR_ASKED)
def one_hot_columns(layout: Layout) -> None:
    one_hot_rows(layout)


@KINDS.add(label_columns="cat,dog,owl")
def one_hot_columns_as_asked(layout: Layout) -> None:
    one_hot_rows(layout)


@KINDS.add(*REFUSED, said=(r"\b5\b",), label_columns="cat,dog,owl")
def one_hot_columns_with_several_ones(layout: Layout) -> None:
    one_hot_rows(layout, lambda n: (n % 3, (n + 1) % 3) if n % 4 == 1 else (n % 3,))
    layout.refused = True


@KINDS.add(*RIGHT_OR_ASKED)
def labels_in_file_names(layout: Layout) -> None:
    labeled(layout, "train/{label}.{n}.jpg")


@KINDS.add(label_pattern=r"^(cat|dog|owl)\.")
def labels_in_file_names_as_asked(layout: Layout) -> None:
    labeled(layout, "train/{label}.{n}.jpg")


@KINDS.add(names={"0": "cat", "1": "dog", "2": "owl"})
def class_names_in_json_beside_ids(layout: Layout) -> None:
    rows = labeled(layout, "images/{n}.jpg", label=lambda n: str(n % 3))
    layout.table("train.csv", ["image_id", "label"], [(name_of(path), label) for path, label in rows])
    layout.text("label_map.json", json.dumps({"0": "cat", "1": "dog", "2": "owl"}))


def several_labels(separator: str) -> Fill:
    def fill(layout: Layout) -> None:
        rows = labeled(layout, "images/{n}.jpg", 36, label=lambda n: separator.join({class_of(n), class_of(n // 4)}))
        layout.table("train.csv", ["image", "labels"], [(name_of(path), label) for path, label in rows])
        layout.refused = True

    return fill


KINDS["several labels per image, spaces between"] = Kind(several_labels(" "), REFUSED, ("several labels",))
KINDS["several labels per image, bars between"] = Kind(several_labels("|"), REFUSED, ("several labels",))


@KINDS.add(combine_labels=True, names={"rust+scab": "rust scab", "scab+rust": "rust scab"})
def several_labels_combined_as_asked(layout: Layout) -> None:
    labels = ("scab", "rust", "rust scab")
    rows = labeled(layout, "images/{n}.jpg", 36, label=lambda n: labels[n % 3])
    layout.table("train.csv", ["image", "labels"], [(name_of(path), label) for path, label in rows])


@KINDS.add(*REFUSED, said=("number",))
def a_number_per_image(layout: Layout) -> None:
    rows = labeled(layout, "images/{n}.jpg", 40)
    layout.table(
        "train.csv",
        ["image", "score"],
        [(name_of(path), f"{n * 37 % 101 / 7:.4f}") for n, (path, _) in enumerate(rows)],
    )
    layout.refused = True


@KINDS.add(said=(r"Cat\b.*\bcat\b|\bcat\b.*Cat\b",))
def labels_that_differ_in_letter_case(layout: Layout) -> None:
    rows = labeled(layout, "images/{n}.jpg", 24, label=lambda n: ("Cat", "dog", "cat")[n % 3])
    layout.table("labels.csv", ["image", "label"], [(name_of(path), label) for path, label in rows])


@KINDS.add(said=("warning:.*(one|1|single|few)",))
def classes_of_one_image(layout: Layout) -> None:
    rows = labeled(layout, "images/{n}.jpg", 24, label=lambda n: class_of(n) if n < 20 else f"rare{n}")
    layout.table("labels.csv", ["image", "label"], [(name_of(path), label) for path, label in rows])


# --- images inside tables ---


def inside(layout: Layout, count: int = 18, split: str = "") -> list[tuple[np.ndarray, str]]:
    return [(layout.inside(str(n % 3), split), str(n % 3)) for n in range(count)]


@KINDS.add()
def pixels_in_columns(layout: Layout) -> None:
    header = ["label", *(f"pixel{n}" for n in range(64))]
    layout.table("train.csv", header, [(label, *pixels[..., 0].ravel()) for pixels, label in inside(layout)])


@KINDS.add()
def pixels_in_one_cell(layout: Layout) -> None:
    rows = [(label, " ".join(map(str, pixels[..., 0].ravel()))) for pixels, label in inside(layout)]
    layout.table("faces.csv", ["emotion", "pixels"], rows)


@KINDS.add()
def encoded_images_in_parquet(layout: Layout) -> None:
    for split, count in (("train", 18), ("test", 6)):
        rows = [
            {"image": {"bytes": png(pixels), "path": None}, "label": int(label)}
            for pixels, label in inside(layout, count, split)
        ]
        buffer = io.BytesIO()
        pd.DataFrame(rows).to_parquet(buffer)
        layout.text(f"data/{split}-00000-of-00001.parquet", buffer.getvalue())


@KINDS.add(*ASKED)
def encoded_images_with_two_label_columns(layout: Layout) -> None:
    rows: list[dict[str, object]] = []
    other: dict[int, tuple[str, str]] = {}
    for n, (pixels, label) in enumerate(inside(layout, 24)):
        other[n + 1] = (str(n // 3 % 2), "")
        image = {"bytes": png(pixels), "path": None}
        rows.append({"img": image, "fine_label": int(label), "coarse_label": n // 3 % 2})
    layout.others = [other]
    buffer = io.BytesIO()
    pd.DataFrame(rows).to_parquet(buffer)
    layout.text("data/train-00000-of-00001.parquet", buffer.getvalue())


@KINDS.add()
def arrays_in_npz(layout: Layout) -> None:
    arrays: dict[str, np.ndarray] = {}
    for split, count in (("train", 18), ("val", 6), ("test", 6)):
        rows = inside(layout, count, split)
        arrays[f"{split}_images"] = np.stack([pixels for pixels, _ in rows])
        arrays[f"{split}_labels"] = np.array([[int(label)] for _, label in rows], dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    layout.text("cells.npz", buffer.getvalue())


def sealed(name: str, content: bytes) -> Fill:
    def fill(layout: Layout) -> None:
        layout.text(name, content)
        layout.refused = True

    return fill


for file, content, word in (
    ("train.zip", b"PK\3\4" + b"\0" * 60, "unpack"),
    ("train.tar.gz", b"\x1f\x8b" + b"\0" * 60, "unpack"),
    ("imagelabels.mat", b"MATLAB 5.0 MAT-file" + b"\0" * 300, r"\.mat"),
    ("train-00000-of-00001.tfrecord", b"\x10\0\0\0" * 60, "TFRecord"),
    ("train_lmdb/data.mdb", b"\0" * 64, "LMDB"),
    ("labels.xlsx", b"PK\3\4" + b"\0" * 60, "xlsx|Excel"),
):
    KINDS[f"nothing but {file}"] = Kind(sealed(file, content), REFUSED, (word,))


# --- groups, and options that choose ---


@KINDS.add(said=(r"warning:.*patient_id", "--group-column"))
def patients_on_several_sides(layout: Layout) -> None:
    rows = labeled(layout, "images/{n}.jpg", 60)
    layout.table(
        "labels.csv",
        ["image", "label", "patient_id"],
        [(name_of(p), label, f"P{n // 3}") for n, (p, label) in enumerate(rows)],
    )


@KINDS.add(said=("--group-pattern",))
def patients_in_file_names(layout: Layout) -> None:
    rows = [(f"{n // 2 + 10}_{('left', 'right')[n % 2]}", class_of(n)) for n in range(60)]
    for name, label in rows:
        layout.image(f"images/{name}.jpg", label)
    layout.table("labels.csv", ["image", "label"], rows)


@KINDS.add(class_folders=True)
def class_folders_as_asked(layout: Layout) -> None:
    rows = labeled(layout, "{label}/{n}.jpg")
    layout.table(
        "labels.csv", ["image", "label"], [(name_of(path), ("x", "y")[n % 2]) for n, (path, _) in enumerate(rows)]
    )


@KINDS.add(exclude="*_mask.png")
def files_excluded_as_asked(layout: Layout) -> None:
    for path, _ in labeled(layout, "{label}/{n}.png"):
        layout.image(path.replace(".png", "_mask.png"), mode="1")


@KINDS.add(min_class_count=3, small_classes="drop", said=("rare",))
def small_classes_dropped_as_asked(layout: Layout) -> None:
    labeled(layout, "{label}/{n}.jpg")
    for n in range(2):
        layout.image(f"rare/{n}.jpg")


@KINDS.add(split="0/0/1")
def everything_in_the_test_split_as_asked(layout: Layout) -> None:
    labeled(layout, "{label}/{n}.jpg", split="test")


@pytest.mark.parametrize("name", KINDS)
def test_kind_of_source_is_understood(name: str, tmp_path: Path) -> None:
    KINDS[name].check(tmp_path)
