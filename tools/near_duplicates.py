"""Measure how well near-duplicates are found: recall and precision on real images, time and memory on a million hashes.

    python tools/near_duplicates.py IMAGES [--bases 300] [--side 0]
    python tools/near_duplicates.py --hashes 1000000

IMAGES is a folder of images of which no two show the same. Some are transformed; for each kind of transform, all images
and the transformed ones are searched. A pair is right if it joins a copy with the image that it was made from.
"""

import argparse
import functools
import io
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from resnet50.etl.decode import DecodedImage, decode_image
from resnet50.etl.near_duplicates.find import find_near_duplicates
from resnet50.etl.near_duplicates.hashing import SIDE, thumbnail
from resnet50.etl.near_duplicates.search import find_candidates
from resnet50.etl.store import shrink

Random = np.random.Generator
Transform = Callable[[Image.Image, Random], Image.Image]


def resize(image: Image.Image, random: Random, smallest: float = 0.25, largest: float = 4.0) -> Image.Image:
    factor = np.exp(random.uniform(np.log(smallest), np.log(largest)))
    filters = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, filters[random.integers(3)])


def crop(image: Image.Image, random: Random) -> Image.Image:
    """Keep 85% to 100% of the area, half of the time exactly 85%, cut from one side or from several."""
    area = 0.85 if random.random() < 0.5 else random.uniform(0.85, 1)
    width = [area, np.sqrt(area), 1.0, random.uniform(area, 1)][random.integers(4)]
    height = area / width
    left, top = ((1 - side) * [0.0, random.random(), 1.0][random.integers(3)] for side in (width, height))
    corners = (left * image.width, top * image.height, (left + width) * image.width, (top + height) * image.height)
    return image.crop([round(corner) for corner in corners])


def brighten(image: Image.Image, random: Random) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(random.choice([0.7, 1.3, random.uniform(0.7, 1.3)]))


def mirror(image: Image.Image, random: Random) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def everything(image: Image.Image, random: Random) -> Image.Image:
    image = brighten(crop(image, random), random)
    return resize(mirror(image, random) if random.random() < 0.5 else image, random, 0.25, 2)


TRANSFORMS: dict[str, Transform] = {
    "recompressed": lambda image, random: image,
    "resized": resize,
    "cropped": crop,
    "brighter or darker": brighten,
    "mirrored": mirror,
    "all of these": everything,
}


def encode(image: Image.Image, random: Random) -> bytes:
    """Compress an image: JPEG or WebP of any quality from 20 to 95."""
    content = io.BytesIO()
    image.save(content, ("JPEG", "JPEG", "WEBP")[random.integers(3)], quality=int(random.integers(20, 96)))
    return content.getvalue()


def measure(images: Path, bases: int, side: int) -> None:
    """Print recall and precision for each kind of transform."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = write_originals(images, folder, side)
        originals = read(files)
        chosen = sorted(random.choice(len(files), min(bases, len(files)), replace=False).tolist())
        alone = pairs_of(files, originals)
        print(f"{len(files):,} images, {len(chosen):,} of them transformed; {len(alone):,} pairs among the originals")
        print(f"{'transform':20} {'recall':>8} {'precision':>10} {'missed':>8} {'wrong':>6} {'seconds':>8}")
        for name, transform in TRANSFORMS.items():
            copies = write_copies(
                [files[index] for index in chosen], folder / name.replace(" ", "-"), transform, random
            )
            everything = originals + read(copies)
            start = time.perf_counter()
            pairs = pairs_of(files + copies, everything) - alone
            seconds = time.perf_counter() - start
            made = {(index, len(files) + copy) for copy, index in enumerate(chosen)}
            right = len(pairs & made)
            recall, precision = right / len(made), right / max(1, len(pairs))
            counts = f"{len(made) - right:8} {len(pairs - made):6} {seconds:8.1f}"
            print(f"{name:20} {recall:8.1%} {precision:10.1%} {counts}", flush=True)


def write_originals(images: Path, folder: Path, side: int) -> list[Path]:
    """Return the images; with a side, copies of them that fit into a square of that side."""
    files = sorted(path for path in images.rglob("*") if path.is_file())
    if side == 0:
        return files
    (folder / "small").mkdir()
    for number, file in enumerate(files):
        image = Image.open(file).convert("RGB")
        image.thumbnail((side, side))
        image.save(folder / "small" / f"{number:07}.png")
    return sorted((folder / "small").iterdir())


def write_copies(files: list[Path], folder: Path, transform: Transform, random: Random) -> list[Path]:
    folder.mkdir()
    copies: list[Path] = []
    for number, file in enumerate(files):
        copies.append(folder / f"{number:07}.img")
        copies[-1].write_bytes(encode(transform(Image.open(file).convert("RGB"), random), random))
    return copies


def read(files: list[Path]) -> list[bytes]:
    """Return the thumbnails of files, as `prepare` makes them."""
    return [thumbnail(load(file).pixels) for file in files]


@functools.lru_cache(20_000)
def load(file: Path) -> DecodedImage:
    decoded = decode_image(file, 256)
    return DecodedImage(shrink(decoded, 256), decoded.width, decoded.height)


def pairs_of(files: list[Path], thumbnails: list[bytes]) -> set[tuple[int, int]]:
    return {pair[:2] for pair in find_near_duplicates(thumbnails, lambda index: load(files[index]))}


def measure_search(count: int) -> None:
    """Print time and memory of the search for candidates among synthetic thumbnails, of which 1% are cropped copies."""
    thumbnails = synthetic(count, np.random.default_rng(0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, busy = time.perf_counter(), time.process_time()
    found = find_candidates(thumbnails)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    ends = np.sort(np.column_stack([found.image, found.other]), axis=1)
    copies = count // 100
    made = np.isin(ends[:, 0] * count + ends[:, 1], np.arange(copies) * count + np.arange(count - copies, count))
    right = len(np.unique(ends[made], axis=0))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{count:,} hashes: {seconds:,.0f} s, {busy:,.0f} s of a core")
    print(f"peak memory {peak / 2**20:.2f} GiB, {before / 2**20:.2f} GiB before")
    print(f"{len(ends):,} candidates; {right / copies:.1%} of {copies:,} cropped copies among them")


def synthetic(count: int, random: Random, scenes: int = 1000) -> np.ndarray:
    """Return thumbnails with the spectrum of natural images, each a variation of one of a thousand scenes.

    The last hundredth are crops of the first, of 85% of the area.
    """
    prototypes = fields(scenes, random)
    thumbnails = np.empty((count, SIDE, SIDE), np.uint8)
    copies = count // 100
    originals = np.empty((0, 2 * SIDE, 2 * SIDE), np.float32)
    for start in range(0, count - copies, 10_000):
        size = min(10_000, count - copies - start)
        images = prototypes[random.integers(scenes, size=size)] + fields(size, random)
        thumbnails[start : start + size] = to_thumbnails(images, (0, 1), (0, 1))
        originals = np.concatenate([originals, images[: copies - len(originals)]])
    for start in range(0, copies, 100):
        width = random.uniform(0.85, 1)
        left, top = random.uniform(0, 1 - width), random.uniform(0, 1 - 0.85 / width)
        place = slice(count - copies + start, min(count, count - copies + start + 100))
        part = originals[start : start + 100]
        thumbnails[place] = to_thumbnails(part, (left, left + width), (top, top + 0.85 / width))
    return thumbnails


def fields(count: int, random: Random) -> np.ndarray:
    """Return random fields of 32×32 whose amplitudes fall as 1/frequency."""
    side = 2 * SIDE
    frequency = np.hypot(*np.mgrid[:side, :side])
    waves = np.cos(np.pi * np.outer(np.arange(side), (np.arange(side) + 0.5) / side)).astype(np.float32)
    amplitudes = random.standard_normal((count, side, side), dtype=np.float32) / np.maximum(frequency, 1)
    return waves.T @ amplitudes.astype(np.float32) @ waves


def to_thumbnails(images: np.ndarray, across: tuple[float, float], down: tuple[float, float]) -> np.ndarray:
    """Average a crop of each image to the size of a thumbnail, in gray levels from 0 to 255."""
    small = averages(images.shape[1], *down) @ images @ averages(images.shape[2], *across).T
    return (128 + 20 * small).clip(0, 255).astype(np.uint8)


def averages(side: int, start: float, stop: float) -> np.ndarray:
    edges = np.linspace(start, stop, SIDE + 1)[:, np.newaxis] * side
    covered = (edges - np.arange(side)).clip(0, 1)
    return (np.diff(covered, axis=0) / np.diff(edges, axis=0)).astype(np.float32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("--bases", type=int, default=300, help="images that are transformed")
    parser.add_argument("--side", type=int, default=0, help="shrink the images to this many pixels first")
    parser.add_argument("--hashes", type=int, help="measure the search among this many synthetic thumbnails instead")
    arguments = parser.parse_args()
    if arguments.hashes:
        measure_search(arguments.hashes)
    elif arguments.images:
        measure(arguments.images, arguments.bases, arguments.side)
    else:
        parser.error("name a folder of images, or give --hashes")
