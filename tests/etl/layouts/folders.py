"""Layouts whose labels are the names of folders."""

from tests.etl.layouts.draws import CLASSES, SPLIT_FOLDERS, SUFFIXES, Draw, class_names, one_of, sometimes, stems
from tests.etl.layouts.layout import Layout

UNSPLIT = (("", ""),)
BELOW_SPLIT = ("{split}", "{split}", "{split}/{split}", "{split}/images", "data/{split}")
BELOW_CLASS = ("", "", "", "", "images/", "{label}_clip_{clip}/")


def class_folders(draw: Draw) -> Layout:
    """Class folders, also below folders of splits, and what lies beside them."""
    layout, classes = Layout(), class_names(draw)
    name, suffix = stems(draw), one_of(draw, SUFFIXES)
    splits = one_of(draw, (UNSPLIT, UNSPLIT, *SPLIT_FOLDERS))
    home, below = one_of(draw, BELOW_SPLIT), one_of(draw, BELOW_CLASS)
    restart = sometimes(draw, 3)  # the same file names in every class and split
    number = 0
    for folder, split in splits:
        base = f"{home.format(split=folder)}/" if folder else ""
        for label in classes:
            number = 0 if restart else number
            for _ in range(8 if split in ("", "train") else 3):
                number += 1
                inner = below.format(label=label, clip=number // 4)
                layout.image(f"{base}{label}/{inner}{name(number)}{suffix}", label, split)
    if sometimes(draw, 4):
        add_twin(draw, layout)
    beside = one_of(draw, ("", "", "unlabeled", "dummy class", "notes", "licenses", "predictions", "submission"))
    if beside:
        add_beside(draw, layout, beside, suffix)
    return layout


def add_twin(draw: Draw, layout: Layout) -> None:
    """Copy all images, byte by byte, into a folder below."""
    folder = one_of(draw, ("copy/", "data/natural_images/", "dataset/"))
    for path in list(layout.numbers):
        layout.copy(path, folder + path)


def add_beside(draw: Draw, layout: Layout, what: str, suffix: str) -> None:
    """Add what lies beside class folders, and is not of the classes."""
    images = sorted(layout.numbers)
    has_test = any(split == "test" for _, split in layout.truth.values())
    if what in ("unlabeled", "submission"):
        folder = one_of(draw, ("pred" if has_test else "test", "seg_pred/seg_pred", "unlabeled", "test_images"))
        ids = [f"{9000 + number}{suffix}" for number in range(6)]
        for file in ids:
            layout.image(f"{folder}/{file}")
        if what == "submission":
            label = sorted(label for label, _ in layout.truth.values())[0]
            layout.table("sample_submission.csv", ["file", "species"], [(file, label) for file in ids])
    elif what == "dummy class":  # for loaders that want class folders everywhere
        if not has_test and any(split for _, split in layout.truth.values()):
            for number in range(6):
                layout.image(f"test/unknown/{9000 + number}{suffix}")
    elif what == "notes":
        layout.image(f"{one_of(draw, ('docs', 'docs/figures'))}/figure1.png")
        layout.text("README.md", "# Images\n")
    elif what == "licenses":
        layout.table(
            "licenses.csv", ["file", "license"], [(path, ("CC0", "CC-BY")[n % 2]) for n, path in enumerate(images)]
        )
    else:
        labels = sorted({label for label, _ in layout.truth.values()})
        rows = [(path, labels[n % len(labels)], f"0.{n % 90 + 10}") for n, path in enumerate(images)]
        layout.table("predictions.csv", ["path", "prediction", "probability"], rows)


def grouped_folders(draw: Draw) -> Layout:
    """Class folders below others that are no classes: patients, years, folds, sites, parts."""
    layout, classes = Layout(), class_names(draw)
    name, suffix = stems(draw), one_of(draw, SUFFIXES)
    above = one_of(draw, ("patient", "year", "fold", "site", "part"))
    names = {
        "patient": [str(8863 + number) for number in range(6)],
        "year": ["2019", "2020", "2021"],
        "fold": ["fold1", "fold2", "fold3"],
        "site": ["Rome", "Oslo"],
        "part": ["part_1", "part_2", "part_3"],
    }[above]
    number = 0
    for group, folder in enumerate(names):
        # Every patient has some of the classes; the others have all.
        here = (
            classes if above != "patient" or len(classes) == 2 else [c for n, c in enumerate(classes) if n != group % 3]
        )
        for label in here:
            for _ in range(3):
                number += 1
                layout.image(f"{folder}/{label}/{name(number)}{suffix}", label)
    return layout


def renderings(draw: Draw) -> Layout:
    """The same images several times with other pixels: which are meant is to be asked."""
    layout, classes = Layout(), class_names(draw)
    name, suffix = stems(draw), one_of(draw, SUFFIXES)
    kinds = one_of(
        draw, (("color", "grayscale"), ("color", "grayscale", "segmented"), ("raw", "enhanced"), ("256", "512"))
    )
    readings: list[dict[int, tuple[str, str]]] = []
    for kind in kinds:
        reading: dict[int, tuple[str, str]] = {}
        for order, label in enumerate(classes):
            for number in range(8):
                path = f"{kind}/{label}/{name(order * 8 + number)}{suffix}"
                reading[layout.image(path, mode="L" if kind == "grayscale" else "RGB")] = (label, "")
        readings.append(reading)
    layout.truth, *layout.others = readings
    return layout


def two_levels(draw: Draw) -> Layout:
    """Two levels of folders that may both be the class: which is meant is to be asked."""
    layout, suffix, other = Layout(), one_of(draw, SUFFIXES), dict[int, tuple[str, str]]()
    families = one_of(
        draw,
        (
            {"felines": ("cat", "lynx"), "canines": ("dog", "wolf")},
            {"cat": ("sitting", "standing"), "dog": ("sitting", "standing")},
            {"D": ("CD", "UD"), "P": ("CP", "UP"), "W": ("CW", "UW")},
        ),
    )
    number = 0
    for family, members in families.items():
        for label in members:
            for _ in range(8):
                number += 1
                other[layout.image(f"{family}/{label}/{number}{suffix}", label)] = (family, "")
    pairs = {n: (f"{other[n][0]}/{label}", "") for n, (label, _) in layout.truth.items()}
    layout.others = [other, pairs]
    return layout


def with_masks(draw: Draw) -> Layout:
    """Class folders, and masks of the same names: beside each image, or in folders of their own."""
    layout, classes = Layout(), one_of(draw, CLASSES)
    where = one_of(draw, ("below the class", "a folder of class folders", "suffix", "ground truth"))
    split = one_of(draw, ("", "train/")) if where != "below the class" else ""
    number = 0
    for label in classes:
        for _ in range(8):
            number += 1
            if where == "below the class":
                layout.image(f"{label}/images/{label}-{number}.png", label)
                layout.image(f"{label}/masks/{label}-{number}.png", mode="1")
            elif where == "a folder of class folders":
                layout.image(f"images/{split}{label}/{number}.png", label)
                layout.image(f"masks/{split}{label}/{number}.png", mode="1")
            elif where == "suffix":
                layout.image(f"{split}{label}/{label} ({number}).png", label)
                layout.image(f"{split}{label}/{label} ({number})_mask.png", mode="1")
            else:
                layout.image(f"{split}{label}/{number:03d}.png", label)
                layout.image(f"ground_truth/{label}/{number:03d}_mask.png", mode="1")
    return layout
