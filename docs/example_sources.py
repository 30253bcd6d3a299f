"""Small sources of every kind that docs/own-data.md explains: each function writes one, with images of noise."""

import io
import json

import numpy as np
from PIL import Image


def image(number, bits=8):
    """Return the content of a PNG of noise, gray if it has more than 8 bits."""
    noise = np.random.default_rng(number)
    pixels = noise.integers(0, 2**bits, (24, 24), np.uint16) if bits > 8 else noise.integers(0, 256, (24, 24, 3), "u1")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def write(folder, files):
    """Write files below a folder: a number is an image of its own."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            path.write_bytes(image(content) if isinstance(content, int) else content)


def table(header, rows):
    """Return a CSV."""
    return "".join(line + "\n" for line in (header, *rows))


def pets(folder):
    """A table with two columns that might be the labels."""
    names = ("Tom,cat", "Rex,dog", "Tom,dog", "Kit,cat")
    write(folder, {f"images/{n}.png": n for n in range(4)})
    write(folder, {"pets.csv": table("image,name,kind", (f"{n}.png,{names[n]}" for n in range(4)))})


def seg(folder):
    """Wrapped splits, and images without labels."""
    for split, start in (("train", 0), ("test", 100)):
        files = {f"seg_{split}/seg_{split}/{('cats', 'dogs')[n % 2]}/{n}.png": n for n in range(start, start + 26)}
        write(folder, files)
    write(folder, {f"seg_pred/seg_pred/{n}.png": n for n in range(200, 210)})


def slides(folder):
    """Label folders below patients."""
    files = {f"{8863 + n % 6}/{n % 2}/{n}.png": n for n in range(60)}
    write(folder, files | {f"{8863 + n % 6}/{1 - n % 2}/{n}.png": n for n in range(60, 90)})


def zoo(folder):
    """Class folders in a wrapper, with the copy that some archives unpack to, and what systems leave behind."""
    for around in ("animals", "animals/animals"):
        write(folder, {f"{around}/raw-img/{('cane', 'gatto')[n % 2]}/{n}.png": n for n in range(30)})
    write(folder, {"__MACOSX/animals/._0.png": 900, "animals/raw-img/cane/.thumbnails/0.png": 901})


def leaves(folder):
    """Two renderings of the same images."""
    for rendering, start in (("color", 0), ("grayscale", 100)):
        write(folder, {f"{rendering}/{('healthy', 'rust')[n % 2]}/{n}.png": start + n for n in range(30)})


def fruit(folder):
    """Varieties below kinds."""
    kinds = ("apple/braeburn", "apple/gala", "pear/conference", "pear/williams")
    write(folder, {f"{kinds[n % 4]}/{n}.png": n for n in range(40)})


def signs(folder):
    """A table for each split."""
    for split, start, count in (("Train", 0, 40), ("Test", 100, 20)):
        rows = [f"{split}/{n}.png,{n % 3}" for n in range(start, start + count)]
        write(folder, {f"{split}.csv": table("Path,ClassId", rows)})
        write(folder, {f"{split}/{n}.png": n for n in range(start, start + count)})


def plants(folder):
    """One-hot columns that a sample submission names, and test images of the same names without labels."""
    hot = ("1,0,0", "0,1,0", "0,0,1")
    write(folder, {"train.csv": table("image_id,healthy,rust,scab", (f"Train_{n},{hot[n % 3]}" for n in range(30)))})
    sample = table("image_id,healthy,rust,scab", (f"Test_{n},0.3,0.3,0.4" for n in range(10)))
    write(folder, {"sample_submission.csv": sample})
    write(
        folder, {f"images/Train_{n}.png": n for n in range(30)} | {f"images/Test_{n}.png": 100 + n for n in range(10)}
    )


def birds(folder):
    """Lists in text files, joined by a number."""
    names = [f"{1 + n % 2:03}.{('Albatross', 'Auklet')[n % 2]}/{n}.png" for n in range(40)]
    write(folder, {f"images/{name}": n for n, name in enumerate(names)})
    for name, line in (
        ("images.txt", lambda n: names[n]),
        ("image_class_labels.txt", lambda n: 1 + n % 2),
        ("train_test_split.txt", lambda n: int(n % 4 < 3)),
    ):
        write(folder, {name: "".join(f"{n + 1} {line(n)}\n" for n in range(40))})
    write(folder, {"classes.txt": "1 001.Albatross\n2 002.Auklet\n"})


def cats_and_dogs(folder):
    """Labels in the names of the files."""
    write(folder, {f"train/{('cat', 'dog')[n % 2]}.{n}.png": n for n in range(40)})


def cassava(folder):
    """Numbers for classes, and their names in a JSON file."""
    write(folder, {"train.csv": table("image_id,label", (f"{n}.png,{n % 3}" for n in range(30)))})
    write(folder, {"classes.json": json.dumps({"0": "blight", "1": "mosaic", "2": "healthy"})})
    write(folder, {f"images/{n}.png": n for n in range(30)})


def licenses(folder):
    """Class folders beside a table that merely lists the images."""
    names = [f"{('daisy', 'tulip')[n % 2]}/{n}.png" for n in range(30)]
    write(folder, {name: n for n, name in enumerate(names)})
    write(
        folder,
        {"licenses.csv": table("file,license,year", (f"{name},CC0,{2010 + n % 9}" for n, name in enumerate(names)))},
    )


def apples(folder):
    """Several labels per image."""
    labels = ("healthy", "rust", "scab", "rust scab")
    write(folder, {"train.csv": table("image,labels", (f"{n}.png,{labels[n % 4]}" for n in range(40)))})
    write(folder, {f"images/{n}.png": n for n in range(40)})


def scores(folder):
    """A number per image."""
    write(folder, {"train.csv": table("image,score", (f"{n}.png,{n * 0.37:.2f}" for n in range(40)))})
    write(folder, {f"images/{n}.png": n for n in range(40)})


def headless(folder):
    """A table without a line of column names."""
    write(folder, {"train.csv": "".join(f"{n}.png,{('cat', 'dog')[n % 2]}\n" for n in range(30))})
    write(folder, {f"images/{n}.png": n for n in range(30)})


def unquoted(folder):
    """A table with a comma too many in one row."""
    rows = [f"{n}.png,{('shirt', 'skirt')[n % 2]},{'blue, long' if n == 6 else 'blue'}" for n in range(150)]
    write(folder, {"styles.csv": table("id,label,name", rows)} | {f"images/{n}.png": n for n in range(150)})


def eyes(folder):
    """Two images of each patient, whose names say so."""
    rows = [f"{n // 2}_{('left', 'right')[n % 2]},{n // 2 % 3}" for n in range(60)]
    write(folder, {"trainLabels.csv": table("image,level", rows)})
    write(folder, {f"train/{row.partition(',')[0]}.png": n for n, row in enumerate(rows)})


def faces(folder):
    """Pixels in one cell, with a published split."""
    noise = np.random.default_rng(0)
    usage = ("Training", "Training", "Training", "PublicTest", "PrivateTest")
    rows = [f"{n % 3},{' '.join(map(str, noise.integers(0, 256, 48 * 48)))},{usage[n % 5]}" for n in range(90)]
    write(folder, {"fer2013.csv": table("emotion,pixels,Usage", rows)})


def packed(folder):
    """A table whose images are still in an archive."""
    write(folder, {"labels.csv": table("id,label", (f"{n},{('car', 'ship')[n % 2]}" for n in range(30)))})
    write(folder, {"train.7z": b"7z\xbc\xaf\x27\x1c" + bytes(100)})


def cells(folder):
    """12 bits in files of 16."""
    write(folder, {f"{('healthy', 'sick')[n % 2]}/{n}.png": image(n, bits=12) for n in range(40)})


SOURCES = {
    "pets": pets,
    "seg": seg,
    "zoo": zoo,
    "slides": slides,
    "leaves": leaves,
    "fruit": fruit,
    "licenses": licenses,
    "signs": signs,
    "plants": plants,
    "birds": birds,
    "cats-and-dogs": cats_and_dogs,
    "cassava": cassava,
    "apples": apples,
    "scores": scores,
    "headless": headless,
    "unquoted": unquoted,
    "eyes": eyes,
    "faces": faces,
    "packed": packed,
    "cells": cells,
}


def write_sources(folder):
    """Write all of them below a folder."""
    for name, make in SOURCES.items():
        make(folder / name)
