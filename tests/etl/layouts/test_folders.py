"""Which folder holds the images, and which level of folders is the class: one layout for each kind."""

import unicodedata
from pathlib import Path

import pytest

from tests.etl.layouts.kind import ASKED, RIGHT_OR_ASKED, Fill, Kind, Kinds, class_of, labeled, name_of, stem_of
from tests.etl.layouts.layout import Layout

KINDS = Kinds()


# --- which folder holds the images ---


@KINDS.add()
def unlabeled_test_images_of_the_same_names(layout: Layout) -> None:
    rows = labeled(layout, "train/{n}.png")
    for n in range(18):
        layout.image(f"test/{n}.png")
    layout.table("labels.csv", ["id", "label"], [(stem_of(path), label) for path, label in rows])


@KINDS.add(*RIGHT_OR_ASKED, said=("without an image|missing",))
def mostly_complete_folder_beside_one_complete_by_accident(layout: Layout) -> None:
    rows = labeled(layout, "images/{n}.png", 28)
    for n in range(40):
        layout.image(f"test/{n}.png")
    rows += [(f"{n}.png", class_of(n)) for n in (28, 29)]
    layout.table("train.csv", ["id", "label"], [(stem_of(path), label) for path, label in rows])


@KINDS.add()
def parts_of_one_folder(layout: Layout) -> None:
    rows: list[tuple[str, str]] = []
    for n in range(18):
        rows.append((f"ISIC_{n:04d}", class_of(n)))
        layout.image(f"images_part_{n % 2 + 1}/ISIC_{n:04d}.jpg", class_of(n))
    layout.table("metadata.csv", ["image_id", "dx"], rows)


@KINDS.add(said=("twin|identical|same (bytes|content|images)|cop(y|ies)",))
def byte_identical_twin_folder(layout: Layout) -> None:
    rows = labeled(layout, "images/{n}.png")
    for path, _ in rows:
        layout.copy(path, f"archive/{path}")
    layout.table("labels.csv", ["image", "label"], [(name_of(path), label) for path, label in rows])


@KINDS.add(said=("twin|identical|same (bytes|content|images)|cop(y|ies)",))
def byte_identical_twin_of_class_folders(layout: Layout) -> None:
    for path, _ in labeled(layout, "cells/{label}/{n}.png"):
        layout.copy(path, f"cells/{path}")


@KINDS.add(*ASKED)
def two_folders_of_the_same_names_and_other_content(layout: Layout) -> None:
    rows = labeled(layout, "left/{n}.png")
    layout.others = [{layout.image(f"right/{n}.png"): (label, "") for n, (_, label) in enumerate(rows)}]
    layout.table("labels.csv", ["image", "label"], [(name_of(path), label) for path, label in rows])


@KINDS.add()
def masks_of_the_same_names(layout: Layout) -> None:
    rows = labeled(layout, "images/{n}.png")
    for n in range(18):
        layout.image(f"masks/{n}.png", mode="1")
    layout.table("labels.csv", ["image", "label"], [(name_of(path), label) for path, label in rows])


def paths_in_the_table(cell: str) -> Fill:
    def fill(layout: Layout) -> None:
        rows = labeled(layout, "images/photo_{n}.jpg")
        layout.table(
            "labels.csv", ["image", "label"], [(cell.format(name=name_of(path)), label) for path, label in rows]
        )

    return fill


for title, cell in {
    "absolute paths": "/home/me/data/images/{name}",
    "paths of a Windows computer": "C:\\Users\\me\\images\\{name}",
    "paths of a notebook": "../input/pets/images/{name}",
    "URLs": "https://example.com/v2/images/{name}?w=640",
    "uploaded files": "/data/upload/7/3f2a91bc-{name}",
    "local files of a labeling server": "/data/local-files/?d=images/{name}",
    "a bucket": "gs://pets/images/{name}",
}.items():
    KINDS[title] = Kind(paths_in_the_table(cell))


@KINDS.add(said=("unicode|accent|NFC|normal",))
def names_in_another_unicode_form(layout: Layout) -> None:
    rows: list[tuple[str, str]] = []
    for n in range(18):
        name = f"pâté_{n}.png"
        layout.image(f"images/{unicodedata.normalize('NFD', name)}", class_of(n))
        rows.append((unicodedata.normalize("NFC", name), class_of(n)))
    layout.table("labels.csv", ["image", "label"], rows)


@KINDS.add(said=(r"\bcase\b",))
def names_in_another_letter_case(layout: Layout) -> None:
    rows = labeled(layout, "images/img_{n}.jpg")
    layout.table("labels.csv", ["image", "label"], [(name_of(path).upper(), label) for path, label in rows])


# --- which level is the class ---


@KINDS.add(said=("pred",))
def wrapped_splits_and_unlabeled_images(layout: Layout) -> None:
    labeled(layout, "seg_train/seg_train/{label}/{n}.jpg", split="train")
    labeled(layout, "seg_test/seg_test/{label}/1{n}.jpg", 6, split="test")
    for n in range(6):
        layout.image(f"seg_pred/seg_pred/2{n}.jpg")


@KINDS.add(said=("test",))
def class_folders_beside_a_flat_test_folder(layout: Layout) -> None:
    labeled(layout, "train/{label}/{n}.jpg")
    for n in range(6):
        layout.image(f"test/{n}.jpg")


def splits_called(folders: dict[str, str]) -> Fill:
    def fill(layout: Layout) -> None:
        for order, (folder, split) in enumerate(folders.items()):
            labeled(layout, folder + f"/{{label}}/{order}{{n}}.jpg", 18 if split == "train" else 6, split)

    return fill


for folders in (
    {"train": "train", "valid": "val", "test": "test"},
    {"Training": "train", "Testing": "test"},
    {"TRAIN": "train", "VALIDATION": "val"},
    {"training_set": "train", "test_set": "test"},
    {"asl_alphabet_train": "train", "asl_alphabet_test": "test"},
):
    KINDS[f"splits called {', '.join(folders)}"] = Kind(splits_called(folders))


@KINDS.add()
def a_class_called_train(layout: Layout) -> None:
    labeled(layout, "vehicles/{label}/{n}.jpg", 24, label=lambda n: ("bus", "car", "train", "ship")[n % 4])


@KINDS.add()
def classes_called_with_and_without_mask(layout: Layout) -> None:
    labeled(layout, "{label}/{n}.jpg", label=lambda n: ("with_mask", "without_mask")[n % 2])


@KINDS.add(*RIGHT_OR_ASKED)
def label_folders_below_patients(layout: Layout) -> None:
    for n in range(36):
        layout.image(f"{8863 + n // 6}/{n % 2}/{n}_class{n % 2}.png", str(n % 2))


@KINDS.add(*RIGHT_OR_ASKED)
def label_folders_below_folds(layout: Layout) -> None:
    for n in range(36):
        layout.image(f"fold{n // 12 + 1}/{class_of(n)}/{n}.png", class_of(n))


@KINDS.add(*ASKED)
def classes_in_families(layout: Layout) -> None:
    families = {"cat": "felines", "lynx": "felines", "dog": "canines", "wolf": "canines"}
    other: dict[int, tuple[str, str]] = {}
    for n in range(24):
        label = sorted(families)[n % 4]
        other[layout.image(f"{families[label]}/{label}/{n}.png", label)] = (families[label], "")
    layout.others = [other]


@KINDS.add(*ASKED)
def renderings_of_the_same_images(layout: Layout) -> None:
    labeled(layout, "color/{label}/{n}.jpg")
    other = {layout.image(f"grayscale/{class_of(n)}/{n}.jpg", mode="L"): (class_of(n), "") for n in range(18)}
    layout.others = [other]


@KINDS.add()
def images_and_masks_below_each_class(layout: Layout) -> None:
    for path, _ in labeled(layout, "{label}/images/{label}-{n}.png"):
        layout.image(path.replace("/images/", "/masks/"), mode="1")


@KINDS.add(*RIGHT_OR_ASKED)
def masks_beside_each_image(layout: Layout) -> None:
    for path, _ in labeled(layout, "{label}/{label} ({n}).png"):
        layout.image(path.replace(".png", "_mask.png"), mode="1")


@KINDS.add()
def what_systems_leave_behind(layout: Layout) -> None:
    for path, label in labeled(layout, "{label}/{n}.jpg"):
        layout.image(f"{label}/@eaDir/{name_of(path)}/SYNOPHOTO_THUMB_M.jpg")
        layout.text(f"__MACOSX/{label}/._{name_of(path)}", b"\0\5\x16\7" * 20)
        layout.image(f"{label}/.ipynb_checkpoints/{stem_of(path)}-checkpoint.jpg")
        layout.image(f"$RECYCLE.BIN/S-1-5-21/$R{name_of(path)}")
        layout.text(f"{label}/Thumbs.db", b"\xd0\xcf\x11\xe0" * 20)


@pytest.mark.parametrize("name", KINDS)
def test_kind_of_source_is_understood(name: str, tmp_path: Path) -> None:
    KINDS[name].check(tmp_path)
