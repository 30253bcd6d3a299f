"""Layouts whose labels are in a table, in every way that a table names images."""

import io
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pandas as pd

from tests.etl.layouts.draws import SUFFIXES, Draw, class_names, mixed, one_of, sometimes, stems
from tests.etl.layouts.layout import Layout

ID_COLUMNS = (
    "image_id", "image", "id", "filename", "file_name", "path", "Image Index", "img", "id_code", "image_name",
)  # fmt: skip
LABEL_COLUMNS = (
    "label", "class", "dx", "breed", "classname", "class_id", "ClassId", "choice", "level", "diagnosis", "species",
    "target", "category", "cultivar", "tumor",
)  # fmt: skip
TABLES = (
    "train.csv",
    "labels.csv",
    "metadata.csv",
    "train_labels.csv",
    "trainLabels.csv",
    "data_entry.csv",
    "index.csv",
)
IMAGE_FOLDERS: tuple[Callable[[int], str], ...] = (
    lambda n: "images/",
    lambda n: "train/",
    lambda n: "train_images/",
    lambda n: "",
    lambda n: "jpeg/train/",
    lambda n: "train/train/",
    lambda n: f"images_part_{n % 2 + 1}/",
    lambda n: f"images_{n % 3 + 1:03d}/images/",
    lambda n: f"train/{n * 7 % 5}/{n * 3 % 7}/",
)
"""Folder of an image, given its number."""

SPLIT_COLUMNS: tuple[tuple[str, dict[str, str]], ...] = (
    ("split", {"train": "train", "val": "val", "test": "test"}),
    ("Usage", {"Training": "train", "Test": "test"}),
    ("subset", {"train": "train", "valid": "val"}),
    ("is_valid", {"False": "train", "True": "val"}),
    ("set", {"TRAIN": "train", "VALIDATION": "val", "TEST": "test"}),
)


@dataclass(frozen=True)
class Naming:
    """How a table names the file of an image.

    Attributes:
        cell: what the table has, given the path below the source.
        disk: what the path on disk is, given the path as the table's author knew it.
    """

    name: str
    cell: Callable[[str], str]
    disk: Callable[[str], str] = lambda path: path


def tail(path: str, parts: int = 1) -> str:
    return "/".join(path.split("/")[-parts:])


def decomposed(path: str) -> str:
    """Return a path as a Mac writes it."""
    return unicodedata.normalize("NFD", path)


NAMINGS = (
    Naming("stem", lambda path: PurePosixPath(path).stem),
    Naming("file", tail),
    Naming("path", lambda path: path),
    Naming("tail", lambda path: tail(path, 2)),
    Naming("absolute", lambda path: f"/kaggle/input/some-data-set/{path}"),
    Naming("above", lambda path: f"../input/some-data-set/{path}"),
    Naming("url", lambda path: f"https://images.example.com/v2/{path}?w=640&q=80"),
    Naming("upload", lambda path: f"/data/upload/7/3f2a91bc-{tail(path)}"),
    Naming("local files", lambda path: f"/data/local-files/?d={path}"),
    Naming("windows", lambda path: "C:\\data\\" + path.replace("/", "\\")),
    Naming("case", lambda path: tail(path).upper(), lambda path: path[: -len(tail(path))] + tail(path).lower()),
    Naming("unicode", tail, decomposed),
)

COLORS = ("red", "blue", "green")
EXTRAS: dict[str, Callable[[int], object]] = {
    "age": lambda n: 20 + n % 60,
    "sex": lambda n: ("male", "female", "")[n % 3],
    "width": lambda n: 600 + n,
    "url": lambda n: f"https://example.com/{n}",
    "patient_id": lambda n: f"P{n // 3:04d}",
    "fold": lambda n: n % 5,
    "notes": lambda n: f"the {n}th, taken in the morning",
    "date": lambda n: f"2021-03-{n % 28 + 1:02d}",
    "source": lambda n: "web",
    "color": lambda n: COLORS[n % 3],
}
"""Columns that are no labels, but look like some."""

EXTRA_SETS: tuple[tuple[str, ...], ...] = (
    (),
    (),
    ("age", "sex"),
    ("patient_id",),
    ("fold",),
    ("width", "url"),
    ("notes", "date"),
    ("source", "color"),
)


def one_table(draw: Draw) -> Layout:
    """One table with a label column, images in a folder, and what lies beside them."""
    layout, classes = Layout(), class_names(draw)
    suffix, stem = one_of(draw, SUFFIXES), stems(draw)
    folder, naming = one_of(draw, IMAGE_FOLDERS), one_of(draw, NAMINGS)
    split_column = one_of(draw, (None, None, None, *SPLIT_COLUMNS))
    extras = {name: EXTRAS[name] for name in one_of(draw, EXTRA_SETS)}
    header = [one_of(draw, ID_COLUMNS), one_of(draw, LABEL_COLUMNS), *extras]
    rows: list[list[object]] = []
    for n in range(8 * len(classes)):
        label = mixed(classes, n)
        published, split = split_of(split_column, n)
        name = f"é_{stem(n)}" if naming.name == "unicode" else stem(n)
        path = f"{folder(n)}{name}{suffix}"
        layout.image(naming.disk(path), label, split)
        rows.append(
            [naming.cell(path), label, *(make(n) for make in extras.values()), *([published] if split_column else [])]
        )
    header += [split_column[0]] if split_column else []
    if sometimes(draw, 6):
        rows += [[f"gone_{n}", classes[n % 2], *[""] * (len(header) - 2)] for n in range(2)]
    if sometimes(draw, 6):
        for n in range(3):
            layout.image(f"{folder(n)}unlisted_{n}{suffix}")
    add_beside_table(draw, layout, header, suffix, classes, naming)
    write_table(draw, layout, one_of(draw, TABLES), header, rows)
    return layout


def split_of(column: tuple[str, dict[str, str]] | None, n: int) -> tuple[str, str]:
    """Return what the split column has for image n, and the split it means."""
    if column is None:
        return "", ""
    values = list(column[1].items())
    return values[0] if n % 4 < 2 or len(values) == 1 else values[1 + n // 4 % (len(values) - 1)]


def add_beside_table(
    draw: Draw, layout: Layout, header: Sequence[str], suffix: str, classes: Sequence[str], naming: Naming
) -> None:
    """Add unlabeled images of a test, a twin of the folder, masks, thumbnails, another table."""
    what = one_of(draw, ("", "", "", "test", "test of the same names", "twin", "masks", "thumbnails", "depth", "boxes"))
    labeled = sorted(layout.numbers)
    if what.startswith("test"):
        ids = (
            [f"{90000 + n}" for n in range(5)] if what == "test" else [PurePosixPath(tail(p)).stem for p in labeled[:5]]
        )
        folder = one_of(draw, ("test", "test_images"))
        for one in ids:
            layout.image(f"{folder}/{one}{suffix}")
        layout.table("sample_submission.csv", list(header[:2]), [(one, classes[0]) for one in ids])
        if sometimes(draw, 2):
            layout.table("test.csv", [header[0]], [[one] for one in ids])
    for path in labeled:
        parent, _, name = path.rpartition("/")
        if what == "twin" and parent:
            layout.copy(path, f"copy/{path}")
        elif what == "masks":
            layout.image(f"masks/{PurePosixPath(name).stem}.png", mode="1")
        elif what == "depth":
            layout.image(f"{parent}/depth/{name}" if parent else f"depth/{name}", mode="L")
            layout.text(f"{path.rpartition('.')[0]}.json", "{}")
        elif what == "thumbnails":
            layout.image(f"thumbnails/{PurePosixPath(name).stem}_thumbnail.png")
    if what == "boxes":
        rows = [(PurePosixPath(path).name, 1, 2, 30, 40) for path in labeled[:6]]
        layout.table("boxes.csv", ["image", "x", "y", "w", "h"], rows)


def write_table(draw: Draw, layout: Layout, path: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table as it comes out of Excel, pandas or a database."""
    style = one_of(draw, ("plain", "plain", "index", "semicolons", "tabs", "bom", "sorted by label", "parquet"))
    if style == "index":
        header, rows = ["", *header], [[n, *row] for n, row in enumerate(rows)]
    if style == "sorted by label":
        rows = sorted(rows, key=lambda row: str(row[1]))
    if style == "parquet":
        buffer = io.BytesIO()
        pd.DataFrame([list(row) for row in rows], columns=list(header)).astype(str).to_parquet(buffer)
        layout.text(path.replace(".csv", ".parquet"), buffer.getvalue())
        return
    layout.table(path, header, rows, sep={"semicolons": ";", "tabs": "\t"}.get(style, ","))
    if style == "bom":
        layout.text(path, b"\xef\xbb\xbf" + layout.files[path])


def table_per_split(draw: Draw) -> Layout:
    """A table for each published split: at the top, or in the folder of the split."""
    layout, classes = Layout(), class_names(draw)
    inside, labels = sometimes(draw, 2), one_of(draw, ("label", "ClassId", "class"))
    splits = one_of(
        draw, ((("train", "train"), ("validation", "val"), ("test", "test")), (("Train", "train"), ("Test", "test")))
    )
    restart = sometimes(draw, 2)  # the same file names in every split
    naming = one_of(draw, NAMINGS[:3]) if not (restart and not inside) else NAMINGS[2]
    number = 0
    for folder, split in splits:
        rows: list[tuple[str, str]] = []
        number = 0 if restart else number
        for n in range((6 if split == "train" else 2) * len(classes)):
            number += 1
            path = f"{folder}/{number:05d}.png"
            layout.image(path, classes[n % len(classes)], split)
            cell = path.removeprefix(f"{folder}/") if inside and naming.name == "path" else naming.cell(path)
            rows.append((cell, classes[n % len(classes)]))
        layout.table(f"{folder}/metadata.csv" if inside else f"{folder}.csv", ["file_name", labels], rows)
    return layout


def table_and_folders(draw: Draw) -> Layout:
    """A label column, and folders of the same classes or of something else."""
    layout, classes = Layout(), class_names(draw)
    same, column = sometimes(draw, 2), one_of(draw, ("label", "class", "species"))
    base, naming = one_of(draw, ("images/", "train/", "train_images/")), one_of(draw, NAMINGS[:4])
    rows: list[tuple[str, str]] = []
    for n in range(8 * len(classes)):
        label = mixed(classes, n)
        path = f"{base}{label if same else f'camera_{n % 3}'}/{n:05d}.jpg"
        layout.image(path, label)
        rows.append((naming.cell(path), label))
    layout.table("train.csv", ["image_id", column], rows)
    return layout


def folder_and_file(draw: Draw) -> Layout:
    """The path of an image in two columns; the same file names in every folder."""
    layout, classes = Layout(), class_names(draw)
    home, columns = one_of(draw, ("", "flights/")), one_of(draw, (("folder", "file"), ("patient", "filename")))
    rows: list[tuple[str, str, str]] = []
    for n in range(8 * len(classes)):
        folder, file = f"flight_{n % 4}", f"{n // 4:04d}.jpg"
        layout.image(f"{home}{folder}/{file}", mixed(classes, n))
        rows.append((folder, file, mixed(classes, n)))
    layout.table("labels.csv", [*columns, "label"], rows)
    return layout
