"""Layouts whose table has several label columns, one for each class, or none that a classifier can be trained on."""

from tests.etl.layouts.draws import Draw, mixed, one_of, sometimes
from tests.etl.layouts.layout import Layout


def several_readings(draw: Draw) -> Layout:
    """A table of two label columns, or images in two folders: which is meant is to be asked."""
    layout = Layout()
    what = one_of(draw, ("columns", "folders"))
    first, second = ("oak", "ash", "elm"), ("leaf", "bark")
    rows: list[tuple[str, ...]] = []
    other: dict[int, tuple[str, str]] = {}
    for n in range(24):
        name = f"{n:04d}.png"
        a, b = first[n % 3], second[n // 3 % 2]
        layout.image(f"{'images' if what == 'columns' else 'scanner_a'}/{name}", a)
        if what == "columns":
            other[max(layout.truth)] = (b, "")
            rows.append((name, a, b))
        else:
            other[layout.image(f"scanner_b/{name}")] = (a, "")
            rows.append((name, a))
    layout.others = [other]
    layout.table("labels.csv", ["image", "tree", "part"] if what == "columns" else ["image", "label"], rows)
    return layout


def one_hot(draw: Draw) -> Layout:
    """A column for each class, 1 in one of them."""
    layout, classes = Layout(), one_of(draw, (("healthy", "rust", "scab"), ("MEL", "NV", "BCC", "AK"), ("a", "b")))
    if sometimes(draw, 3):
        classes = (*classes, "UNK")  # a class of no image
    number = one_of(draw, (int, float))
    real = [label for label in classes if label != "UNK"]
    rows: list[list[object]] = []
    for n in range(8 * len(real)):
        label = mixed(real, n)
        layout.image(f"images/Train_{n}.jpg", label)
        rows.append([f"Train_{n}", *(number(label == one) for one in classes)])
    layout.table("train.csv", ["image_id", *classes], rows)
    if sometimes(draw, 2):
        for n in range(5):
            layout.image(f"images/Test_{n}.jpg")
        share = f"{1 / len(classes):.2f}"
        layout.table(
            "sample_submission.csv", ["image_id", *classes], [[f"Test_{n}", *[share] * len(classes)] for n in range(5)]
        )
    return layout


def refused(draw: Draw) -> Layout:
    """What no single-label classifier can be trained on, or no honest reading is possible of."""
    what = one_of(draw, ("several labels", "a number", "boxes", "no header", "many malformed rows", "several ones"))
    layout = Layout(refused=True)
    pool = ("scab", "rust", "mildew", "healthy")
    lines: list[str] = []
    for n in range(40):
        layout.image(f"images/{n:04d}.jpg", "?")
        labels = [pool[n % 4], pool[(n + 1 + n // 4 % 2) % 4]][: 1 + n % 2]
        if what == "several labels":
            lines.append(f"{n:04d}.jpg,{' '.join(labels)}")
        elif what == "a number":
            lines.append(f"{n:04d}.jpg,{(n * 37 % 101) / 7:.4f}")
        elif what == "boxes":
            lines += [f"{n:04d}.jpg,{label}" for label in labels]
        elif what == "no header":
            lines.append(f"{n:04d}.jpg,{pool[n % 4]}")
        elif what == "many malformed rows":
            lines.append(f"{n:04d}.jpg,{pool[n % 4]}{',more,of,it' if n % 8 == 5 else ''}")
        else:
            lines.append(f"{n:04d}.jpg,{n % 2},{n // 2 % 2},{n // 4 % 2}")
    header = {"no header": [], "several ones": ["image,scab,rust,mildew"], "a number": ["image,score"]}.get(
        what, ["image,labels"]
    )
    layout.text("train.csv", "\n".join([*header, *lines]) + "\n")
    return layout
