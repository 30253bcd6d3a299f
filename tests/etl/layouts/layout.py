"""A layout: files, the truth about its images, and a judge of what `prepare` makes of it."""

import contextlib
import csv
import functools
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from resnet50.etl.prepare import prepare
from resnet50.options import PrepareOptions, from_values
from resnet50.runtime.errors import UserError

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".bmp": "BMP",
    ".ppm": "PPM",
    ".webp": "WEBP",
}
SIDE = 8

Labels = dict[int, tuple[str, str]]
"""Label and published split ("" for none) of every labeled image, by the image's number."""


@functools.cache
def pixels(number: int) -> np.ndarray:
    """Return the pixels of image `number`: noise, so that no two images are near-duplicates."""
    return np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def gray(number: int) -> np.ndarray:
    """Return the first channel of image `number` as a gray image's three."""
    return np.repeat(pixels(number)[..., :1], 3, axis=2)


@functools.cache
def encoded(number: int, suffix: str, mode: str) -> bytes:
    """Return image `number` as the bytes of a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels(number)).convert(mode).save(buffer, FORMATS[suffix.lower()])
    return buffer.getvalue()


def digest(array: np.ndarray) -> str:
    """Return a digest of pixels, by which an image that came out of a table is known again."""
    return hashlib.sha1(np.ascontiguousarray(array).tobytes()).hexdigest()


@dataclass
class Layout:
    """Files below a source folder, and what is true about them.

    Attributes:
        files: content of each file by its path below the source.
        numbers: of the files that are images.
        truth: the labeled images.
        others: readings that are right too if they are chosen; with any, only a question is right.
        refused: the layout is no single-label classification as it stands: only exit 2 is right.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    truth: Labels = field(default_factory=dict)
    others: list[Labels] = field(default_factory=list)
    refused: bool = False

    def image(self, path: str, label: str | None = None, split: str = "", *, mode: str = "RGB") -> int:
        """Add an image of its own; with a label it is part of the truth."""
        number = self.next_number()
        self.numbers[path] = number
        self.files[path] = encoded(number, Path(path).suffix, mode)
        if label is not None:
            self.truth[number] = (label, split)
        return number

    def inside(self, label: str, split: str = "") -> np.ndarray:
        """Return the pixels of an image that is only inside a table."""
        number = self.next_number()
        self.numbers[f"<pixels {number}>"] = number
        self.truth[number] = (label, split)
        return pixels(number)

    def next_number(self) -> int:
        """Return the number of the next image."""
        return max(self.numbers.values(), default=0) + 1

    def copy(self, path: str, to: str) -> None:
        """Add a byte-identical twin of a file."""
        self.files[to] = self.files[path]
        if path in self.numbers:
            self.numbers[to] = self.numbers[path]

    def text(self, path: str, content: str | bytes) -> None:
        """Add a file that is no image."""
        self.files[path] = content.encode() if isinstance(content, str) else content

    def table(self, path: str, header: Sequence[str] | None, rows: Iterable[Sequence[object]], sep: str = ",") -> None:
        """Add a table."""
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, delimiter=sep, lineterminator="\n")
        writer.writerows([header] if header else [])
        writer.writerows(rows)
        self.text(path, buffer.getvalue())

    def wrapped(self, prefix: str) -> "Layout":
        """Return the layout below another folder."""
        files = {prefix + path: content for path, content in self.files.items()}
        numbers = {path if path.startswith("<") else prefix + path: n for path, n in self.numbers.items()}
        return Layout(files, numbers, self.truth, self.others, self.refused)

    def write(self, folder: Path) -> None:
        """Write the files below a folder."""
        made: set[Path] = set()
        for name, content in self.files.items():
            path = folder / name
            if path.parent not in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.add(path.parent)
            path.write_bytes(content)

    def __repr__(self) -> str:
        """Return the tree and the tables, for a failing example."""
        lines = ["Layout:"]
        for path, content in sorted(self.files.items()):
            number = self.numbers.get(path)
            label = self.truth.get(number) if number is not None else None
            shown = "" if number is not None or b"\0" in content else content[:300].decode(errors="replace")
            lines.append(f"  {path}  {'' if number is None else f'#{number} {label or ()}'}  {shown!r}")
        lines += [f"  also right, if chosen: {other}" for other in self.others]
        return "\n".join(lines) + ("\n  to be refused" if self.refused else "")


@dataclass(frozen=True)
class Outcome:
    """What became of a layout: `right`, `asked`, `stopped`, `refused`, `misled` or `WRONG`, and why.

    It is `misled` where a question has answers, and none of them is right.

    Attributes:
        said: everything that was printed, the error too.
        found: label and split of every image that came out, by its number; of the right answer where one was asked for.
    """

    word: str
    why: str
    said: str = ""
    found: Labels = field(default_factory=dict)


def run(layout: Layout, folder: Path, options: Mapping[str, Any] | None = None) -> Outcome:
    """Prepare a layout as a newcomer would, and judge what comes out; if there is a question, try its answers."""
    source = folder / "source"
    layout.write(source)
    given = options or {}
    error, said = attempt(source, folder / "out", given)
    if error is None:
        found = labels_in(layout, source, folder / "out")
        faults = best(layout, found, said)
        if layout.refused:
            faults = "accepted as single-label data"
        elif layout.others and not faults:
            faults = "another reading is as good: chosen without a question"
        return Outcome("WRONG" if faults else "right", faults, said, found)
    said += f"error: {error}"
    if layout.refused or not error.choices:
        return Outcome("refused" if layout.refused else "stopped", str(error), said)
    tried: list[str] = []
    for number, choice in enumerate(error.choices):
        out = folder / f"answer-{number}"
        again, _ = attempt(source, out, {**given, **choice})
        found = {} if again else labels_in(layout, source, out)
        faults = f"stops: {again}" if again else best(layout, found, "")
        if not faults:
            return Outcome("asked", f"{choice} is right", said, found)
        tried.append(f"{choice}: {faults}")
    return Outcome("misled", "no choice is right: " + "; ".join(tried), said)


def attempt(source: Path, out: Path, options: Mapping[str, Any]) -> tuple[UserError | None, str]:
    """Run `prepare`; return its error, and everything it printed."""
    said = io.StringIO()
    values = {"source": str(source), "out": str(out), "store": False, **options}
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            prepare(from_values(PrepareOptions, values))
        except UserError as error:
            return error, said.getvalue()
    return None, said.getvalue()


def labels_in(layout: Layout, source: Path, out: Path) -> Labels:
    """Return label and split of every image of a dataset, by its number."""
    manifest = pd.read_parquet(out / "manifest.parquet", columns=["path", "label", "split"])
    numbers = [number_of(layout, source, path) for path in manifest["path"]]
    return dict(zip(numbers, zip(manifest["label"], manifest["split"], strict=True), strict=True))


def best(layout: Layout, found: Labels, said: str) -> str:
    """Return the faults against the reading that fits best; "" if one fits."""
    return min((compare(truth, found, said) for truth in (layout.truth, *layout.others)), key=len)


def number_of(layout: Layout, source: Path, path: str) -> int:
    """Return the number of the image in a file; 0 for one that is not of the layout."""
    inside = path.removeprefix(f"{source}/")
    if inside in layout.numbers:
        return layout.numbers[inside]
    inside_tables = [number for name, number in layout.numbers.items() if name.startswith("<")]
    known = {digest(shown): number for number in inside_tables for shown in (pixels(number), gray(number))}
    with Image.open(path) as image:
        return known.get(digest(np.asarray(image.convert("RGB"))), 0)


LOST = "left out|not used|lost|ignored|skipped|missing|unlabeled|no label|without a"
"""What a warning of images that are not in the dataset says."""


def compare(truth: Labels, found: Labels, said: str) -> str:
    """Return what is wrong with labels and splits, in words; "" if nothing is."""
    faults: list[str] = []
    extra, missing = sorted(found.keys() - truth.keys()), sorted(truth.keys() - found.keys())
    both = sorted(found.keys() & truth.keys())
    if extra:
        faults.append(f"{len(extra)} images that have no label, such as {extra[0]} as {found[extra[0]][0]}")
    pairs = {(found[number][0], truth[number][0]) for number in both}
    if not len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}):
        faults.append(f"wrong labels: {sorted(pairs)}")
    if missing and not warned(said, LOST):
        faults.append(f"{len(missing)} of {len(truth)} images lost without a warning, such as {missing[0]}")
    moved = [number for number in both if split_is_wrong(truth, number, found[number][1])]
    if moved and not warned(said, "published"):
        faults.append(f"{len(moved)} images moved from the published split without a warning")
    if not both:
        faults.append("nothing came out")
    return "; ".join(faults)


def split_is_wrong(truth: Labels, number: int, split: str) -> bool:
    """Return whether an image is on another side than it was published on; val may be cut from train."""
    published = truth[number][1]
    if published in ("", split):
        return False
    has_val = any(one == "val" for _, one in truth.values())
    return has_val or "test" in (published, split)


def warned(said: str, words: str) -> bool:
    """Return whether a warning was printed with one of the words in it."""
    return re.search(rf"(?i)warning:.*({words})", said) is not None
