"""Which table has the labels, and which of its columns: one layout for each kind."""

import json
from pathlib import Path

import pytest

from tests.etl.layouts.kind import REFUSED, RIGHT_OR_ASKED, Fill, Kind, Kinds, class_of, labeled, name_of, stem_of
from tests.etl.layouts.layout import Layout

KINDS = Kinds()


@KINDS.add()
def class_folders_beside_a_table_of_licenses(layout: Layout) -> None:
    rows = labeled(layout, "photos/{label}/{n}.jpg")
    layout.table(
        "licenses.csv",
        ["file", "license"],
        [(name_of(path), ("CC0", "CC-BY")[n % 2]) for n, (path, _) in enumerate(rows)],
    )


@KINDS.add()
def class_folders_beside_our_own_predictions(layout: Layout) -> None:
    rows = labeled(layout, "photos/{label}/{n}.jpg")
    predictions = [(path, class_of(n + (n % 5 == 0)), 0.9) for n, (path, _) in enumerate(rows)]
    layout.table("predictions.csv", ["path", "prediction", "probability"], predictions)


@KINDS.add(*RIGHT_OR_ASKED)
def a_label_column_beside_folders_of_something_else(layout: Layout) -> None:
    rows: list[tuple[str, str]] = []
    for n in range(24):
        layout.image(f"images/camera_{n % 2}/{n}.jpg", class_of(n // 2))
        rows.append((f"{n}.jpg", class_of(n // 2)))
    layout.table("labels.csv", ["image", "label"], rows)


@KINDS.add()
def a_table_for_each_split(layout: Layout) -> None:
    for split, count in (("Train", 18), ("Test", 6)):
        rows = labeled(layout, split + "/{n:05d}.png", count, split.lower())
        layout.table(f"{split}.csv", ["Width", "ClassId", "Path"], [(30, label, path) for path, label in rows])


@KINDS.add()
def metadata_csv_in_each_split(layout: Layout) -> None:
    for folder, split, count in (("train", "train", 18), ("validation", "val", 6), ("test", "test", 6)):
        rows = labeled(layout, folder + "/{n:04d}.png", count, split)
        layout.table(f"{folder}/metadata.csv", ["file_name", "label"], [(name_of(path), label) for path, label in rows])


@KINDS.add()
def metadata_jsonl_in_each_split(layout: Layout) -> None:
    for folder, count in (("train", 18), ("test", 6)):
        rows = labeled(layout, folder + "/{n:04d}.png", count, folder)
        lines = [json.dumps({"file_name": name_of(path), "label": label}) for path, label in rows]
        layout.text(f"{folder}/metadata.jsonl", "\n".join(lines) + "\n")


@KINDS.add()
def a_sample_submission_that_names_the_target(layout: Layout) -> None:
    rows = labeled(layout, "train/{n}.jpg")
    table = [(stem_of(path), ("north", "south")[n // 3 % 2], label) for n, (path, label) in enumerate(rows)]
    layout.table("train.csv", ["image", "site", "animal"], table)
    for n in range(100, 104):
        layout.image(f"test/{n}.jpg")
    layout.table("sample_submission.csv", ["image", "animal"], [(n, "cat") for n in range(100, 104)])


@KINDS.add()
def a_sample_submission_with_a_column_for_each_class(layout: Layout) -> None:
    rows = labeled(layout, "train/{n}.jpg")
    table = [(stem_of(path), ("north", "south", "west")[n // 3 % 3], label) for n, (path, label) in enumerate(rows)]
    layout.table("train.csv", ["image", "site", "animal"], table)
    for n in range(100, 104):
        layout.image(f"test/{n}.jpg")
    layout.table("sample_submission.csv", ["image", "cat", "dog", "owl"], [(n, 0.3, 0.3, 0.4) for n in range(100, 104)])


def label_column(column: str) -> Fill:
    def fill(layout: Layout) -> None:
        rows = labeled(layout, "images/{n}.jpg", 24)
        table = [(stem_of(path), ("a", "b")[n // 5 % 2], label, n // 2) for n, (path, label) in enumerate(rows)]
        layout.table("train.csv", ["image_id", "view", column, "visit"], table)

    return fill


for column in ("dx", "classname", "class_id", "ClassId", "choice", "level", "diagnosis", "Finding Labels", "tags"):
    KINDS[f"a label column called {column}"] = Kind(label_column(column))


@KINDS.add()
def annotations_of_val_in_a_text_file(layout: Layout) -> None:
    labeled(layout, "train/{label}/images/{label}_{n}.JPEG", split="train")
    rows = labeled(layout, "val/images/val_{n}.JPEG", 6, "val")
    layout.text(
        "val/val_annotations.txt", "".join(f"{name_of(path)}\t{label}\t0\t32\t44\t62\n" for path, label in rows)
    )
    for n in range(6):
        layout.image(f"test/images/test_{n}.JPEG")


@KINDS.add()
def images_labels_and_splits_joined_by_a_number(layout: Layout) -> None:
    files: dict[str, list[str]] = {"images": [], "image_class_labels": [], "train_test_split": []}
    for n in range(1, 25):
        label, train = ("001.Albatross", "002.Auklet")[n % 2], n % 3 != 0
        layout.image(f"images/{label}/{n}.jpg", label, "train" if train else "test")
        for lines, value in zip(files.values(), (f"{label}/{n}.jpg", n % 2 + 1, int(train)), strict=True):
            lines.append(f"{n} {value}\n")
    files["classes"] = ["1 001.Albatross\n", "2 002.Auklet\n"]
    for name, lines in files.items():
        layout.text(f"{name}.txt", "".join(lines))


@KINDS.add()
def lists_of_paths_for_each_split(layout: Layout) -> None:
    for split, first in (("train", 0), ("test", 1)):
        rows = labeled(layout, f"images/{{label}}/{first}{{n}}.jpg", 18 - 12 * first, split)
        layout.text(f"meta/{split}.txt", "".join(f"{label}/{stem_of(path)}\n" for path, label in rows))
    layout.text("meta/classes.txt", "cat\ndog\nowl\n")


@KINDS.add()
def lists_of_paths_and_classes(layout: Layout) -> None:
    for split, count in (("train", 18), ("val", 6)):
        rows = labeled(layout, "jpg/" + split + "_{n}.jpg", count, split, lambda n: str(n % 3))
        layout.text(f"{split}_list.txt", "".join(f"{path} {label}\n" for path, label in rows))


@KINDS.add(*REFUSED, said=("header",))
def a_table_without_a_header(layout: Layout) -> None:
    rows = labeled(layout, "images/{n}.jpg")
    layout.table("labels.csv", None, [(name_of(path), label) for path, label in rows])
    layout.refused = True


@KINDS.add(said=("102",))
def one_malformed_row_in_two_hundred(layout: Layout) -> None:
    rows = labeled(layout, "images/{n}.jpg", 200)
    lines = [f"{name_of(path)},{label},plain" for path, label in rows]
    lines[100] += ", and more"
    layout.text("labels.csv", "\n".join(["image,label,title", *lines]) + "\n")


@KINDS.add(*REFUSED, said=("malformed|fields|rows",))
def malformed_rows_above_one_percent(layout: Layout) -> None:
    rows = labeled(layout, "images/{n}.jpg", 40)
    lines = [
        f"{name_of(path)},{label},plain" + (", and more" if n % 10 == 3 else "") for n, (path, label) in enumerate(rows)
    ]
    layout.text("labels.csv", "\n".join(["image,label,title", *lines]) + "\n")
    layout.refused = True


def split_column(column: str, values: dict[str, str]) -> Fill:
    def fill(layout: Layout) -> None:
        rows: list[tuple[str, str, str]] = []
        for n in range(30):
            value = list(values)[0 if n % 5 < 3 else 1 + n // 5 % (len(values) - 1)]
            layout.image(f"images/{n}.jpg", class_of(n), values[value])
            rows.append((f"{n}.jpg", class_of(n), value))
        layout.table("labels.csv", ["image", "label", column], rows)

    return fill


for column, values in (
    ("split", {"train": "train", "validation": "val", "test": "test"}),
    ("Usage", {"Training": "train", "Test": "test"}),
    ("is_valid", {"False": "train", "True": "val"}),
):
    KINDS[f"a split column called {column}"] = Kind(split_column(column, values))


@KINDS.add()
def lists_of_images_and_annotations_in_json(layout: Layout) -> None:
    number = 0
    for split, count in (("train", 18), ("val", 6)):
        images, annotations = [], []
        for path, label in labeled(layout, split + "/{n}.jpg", count, split):
            number += 1
            images.append({"id": number, "file_name": path})
            annotations.append({"image_id": number, "category_id": ["cat", "dog", "owl"].index(label) + 1})
        categories = [{"id": k + 1, "name": label} for k, label in enumerate(("cat", "dog", "owl"))]
        layout.text(
            f"{split}.json", json.dumps({"images": images, "annotations": annotations, "categories": categories})
        )


@pytest.mark.parametrize("name", KINDS)
def test_kind_of_source_is_understood(name: str, tmp_path: Path) -> None:
    KINDS[name].check(tmp_path)
