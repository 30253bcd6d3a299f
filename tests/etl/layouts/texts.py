"""Layouts whose labels are in lists, in file names, or in JSON."""

import json

from tests.etl.layouts.draws import SPLIT_FOLDERS, Draw, class_names, one_of, sometimes
from tests.etl.layouts.layout import Layout


def lists(draw: Draw) -> Layout:
    """Text files with a line for each image: path and class, or ids and classes in files of their own."""
    style = one_of(draw, ("path and number", "annotations of val", "paths per split", "ids in three files"))
    return {
        "path and number": path_and_number,
        "annotations of val": annotations_of_val,
        "paths per split": paths_per_split,
        "ids in three files": ids_in_three_files,
    }[style](draw)


def path_and_number(draw: Draw) -> Layout:
    """`jpg/image_05145.jpg 76` in train_list.txt and val_list.txt."""
    layout, separator = Layout(), one_of(draw, (" ", "\t"))
    names = one_of(
        draw, (("train_list.txt", "val_list.txt"), ("train.txt", "val.txt"), ("labels/train.txt", "labels/test.txt"))
    )
    for name in names:
        split = "train" if "train" in name else "val" if "val" in name else "test"
        lines: list[str] = []
        for n in range(18 if split == "train" else 6):
            path = f"jpg/image_{(n if split == 'train' else 100 + n):05d}.jpg"
            layout.image(path, str(n % 3), split)
            lines.append(f"{path}{separator}{n % 3}")
        layout.text(name, "\n".join(lines) + "\n")
    return layout


def annotations_of_val(draw: Draw) -> Layout:
    """Class folders for training, a list for the images of val, and unlabeled ones of test."""
    layout, classes = Layout(), ("n01443537", "n01629819", "n01641577")
    below = one_of(draw, ("images/", ""))
    lines: list[str] = []
    for n in range(18):
        layout.image(f"train/{classes[n % 3]}/{below}{classes[n % 3]}_{n}.JPEG", classes[n % 3], "train")
    for n in range(6):
        layout.image(f"val/{below}val_{n}.JPEG", classes[n % 3], "val")
        lines.append(f"val_{n}.JPEG\t{classes[n % 3]}\t0\t32\t44\t62")
        layout.image(f"test/{below}test_{n}.JPEG")
    layout.text("val/val_annotations.txt", "\n".join(lines) + "\n")
    layout.text("wnids.txt", "\n".join(classes) + "\n")
    return layout


def paths_per_split(draw: Draw) -> Layout:
    """Class folders, and lists of the paths in each split."""
    layout, classes = Layout(), class_names(draw)
    suffix = one_of(draw, (".jpg", ""))
    listed: dict[str, list[str]] = {"train": [], "test": []}
    for label in classes:
        for n in range(8):
            split = "train" if n < 5 else "test"
            layout.image(f"images/{label}/{n + 1000}.jpg", label, split)
            listed[split].append(f"{label}/{n + 1000}{suffix}")
    for split, paths in listed.items():
        layout.text(f"meta/{split}.txt", "\n".join(paths) + "\n")
    layout.text("meta/classes.txt", "\n".join(classes) + "\n")
    return layout


def ids_in_three_files(draw: Draw) -> Layout:
    """images.txt, image_class_labels.txt and train_test_split.txt, joined by a number."""
    layout, classes = Layout(), ("001.Albatross", "002.Auklet", "003.Bunting")
    extras = sometimes(draw, 2)
    images, labels, splits = [], [], []
    for n in range(1, 25):
        k, train = n % 3, n % 4 != 0
        path = f"{classes[k]}/{classes[k][4:]}_{n:04d}.jpg"
        layout.image(f"images/{path}", classes[k], "train" if train else "test")
        images.append(f"{n} {path}")
        labels.append(f"{n} {k + 1}")
        splits.append(f"{n} {int(train)}")
    files = {"images": images, "image_class_labels": labels, "train_test_split": splits}
    if extras:
        files["bounding_boxes"] = [f"{n} 60.0 27.0 325.0 304.0" for n in range(1, 25)]
    files["classes"] = [f"{k + 1} {label}" for k, label in enumerate(classes)]
    for name, lines in files.items():
        layout.text(f"{name}.txt", "\n".join(lines) + "\n")
    return layout


def names(draw: Draw) -> Layout:
    """The class is a part of every file's name."""
    layout = Layout()
    style = one_of(draw, ("{label}.{n}.jpg", "{label}_{n}.jpg", "{label}{n}.jpg", "{n:04d}-{label}.jpg"))
    folder = one_of(draw, ("train/", "", "images/"))
    for n in range(24):
        label = ("cat", "dog", "horse")[n % 3]
        layout.image(folder + style.format(label=label, n=n // 3 + 1), label)
    if folder == "train/" and sometimes(draw, 2):
        for n in range(6):
            layout.image(f"test/{n + 1}.jpg")
    return layout


def coco(draw: Draw) -> Layout:
    """JSON with lists of images, annotations and categories."""
    layout, categories = Layout(), ("Abies alba", "Acer rubrum", "Anas crecca")
    splits = one_of(draw, (SPLIT_FOLDERS[3], (("train", ""),), SPLIT_FOLDERS[0]))
    several = sometimes(draw, 5)
    layout.refused = several
    number = 0
    for folder, split in splits:
        images, annotations = [], []
        for n in range(18 if folder == "train" else 6):
            number += 1
            file = f"{folder}/{n % 2}/{number:08x}.jpg"
            layout.image(file, categories[n % 3], split)
            images.append({"id": number, "file_name": file, "width": 8, "height": 8})
            annotations.append({"id": len(annotations), "image_id": number, "category_id": n % 3 + 5})
            if several and n % 2:
                annotations.append({"id": len(annotations), "image_id": number, "category_id": (n + 1) % 3 + 5})
        known = [{"id": k + 5, "name": name} for k, name in enumerate(categories)]
        layout.text(f"{folder}.json", json.dumps({"images": images, "annotations": annotations, "categories": known}))
    return layout
