"""A grammar of layouts as hypothesis strategies: what public data sets look like once unpacked, with the truth.

A layout is a kind of source (class folders, a table, lists, names, JSON, pixels in a table), in the ways that kind is
found, below wrapping folders and among what isn't data: system folders, masks, thumbnails, unlabeled images, notes.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.etl.layouts import embedded, folders, label_columns, tables, texts
from tests.etl.layouts.draws import Draw, one_of, sometimes
from tests.etl.layouts.layout import Layout

KINDS: dict[str, tuple[int, Callable[[Draw], Layout]]] = {
    "class folders": (6, folders.class_folders),
    "folders above the classes": (2, folders.grouped_folders),
    "two levels of folders": (1, folders.two_levels),
    "several renderings": (1, folders.renderings),
    "masks beside the images": (2, folders.with_masks),
    "a table": (8, tables.one_table),
    "a table per split": (2, tables.table_per_split),
    "a table and folders": (2, tables.table_and_folders),
    "the path in two columns": (1, tables.folder_and_file),
    "a table of several readings": (1, label_columns.several_readings),
    "one-hot columns": (2, label_columns.one_hot),
    "refused tables": (2, label_columns.refused),
    "pixels in a table": (1, embedded.pixels_in_cells),
    "lists in text files": (2, texts.lists),
    "labels in file names": (1, texts.names),
    "images with annotations in JSON": (2, texts.coco),
}
"""The kinds of source, with their weights."""


@st.composite
def layouts(draw: Any) -> tuple[str, Layout]:
    """Return a layout and the name of its kind."""
    kind = draw(st.sampled_from([kind for kind, (weight, _) in KINDS.items() for _ in range(weight)]))
    layout = KINDS[kind][1](draw)
    add_junk(draw, layout)
    for wrapper in one_of(draw, WRAPPERS):
        layout = layout.wrapped(wrapper)
    return kind, layout


WRAPPERS: tuple[tuple[str, ...], ...] = (
    (),
    (),
    (),
    ("archive/",),
    ("pets/", "pets/"),
    ("Data Set (1)/",),
    ("v1.0/", "données/"),
)


def add_junk(draw: Draw, layout: Layout) -> None:
    """Add what a file server, an operating system or an editor leaves behind: never data."""
    images = sorted(path for path in layout.numbers if not path.startswith("<"))
    if not images or not sometimes(draw, 3):
        return
    some = images[:: max(1, len(images) // 3)]
    kind = one_of(draw, ("mac", "windows", "synology", "jupyter", "git", "trash"))
    for path in some:
        folder, _, name = path.rpartition("/")
        below = f"{folder}/" if folder else ""
        if kind == "mac":
            layout.text(f"{below}.DS_Store", b"\0\0\0\1Bud1")
            layout.text(f"__MACOSX/{below}._{name}", b"\0\5\x16\7" * 20)
        elif kind == "windows":
            layout.text(f"{below}Thumbs.db", b"\xd0\xcf\x11\xe0" * 20)
            layout.text(f"{below}desktop.ini", "[.ShellClassInfo]")
            layout.image(f"$RECYCLE.BIN/S-1-5-21/{name}")
        elif kind == "synology":
            layout.image(f"{below}@eaDir/{name}/SYNOPHOTO_THUMB_M.jpg")
        elif kind == "jupyter":
            stem, _, suffix = name.rpartition(".")
            layout.image(f"{below}.ipynb_checkpoints/{stem}-checkpoint.{suffix}")
        elif kind == "git":
            layout.text(".git/config", "[core]")
            layout.text(f"{below}.gitkeep", "")
        else:
            layout.image(f".Trash-1000/files/{name}")
