"""DecodedImage-like JPEGs for the benchmark: made on the spot, the same ones every time, each with bytes of its own."""

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

DISTINCT = 36
"""Different pictures; further files are copies whose bytes differ in a comment."""

CLASSES = 4

IMAGENET_SIZE, MEGAPIXEL_SIZE = (500, 375), (1155, 866)
"""Width and height in pixels: as ImageNet's are on average, and a million pixels."""


def make_table(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Write `count` JPEGs of width×height to `folder`/images, and `table.csv` (image_id, label); return the table."""
    (folder / "images").mkdir(parents=True)
    originals = [encode(make_noise_image(size, seed)) for seed in range(min(count, DISTINCT))]
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image_id", "label"])
        for number in range(count):
            original = number % DISTINCT  # copies keep their label: the audit would object to two
            (folder / "images" / f"{number:06d}.jpg").write_bytes(with_comment(originals[original], number))
            rows.writerow([f"{number:06d}", f"class{original % CLASSES}"])
    return folder / "table.csv"


def make_noise_image(size: tuple[int, int], seed: int) -> Image.Image:
    """Return an RGB picture of width×height: structures of every size, weaker the finer, as natural images have."""
    width, height = size
    rng = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((3, 60), (8, 40), (24, 25), (70, 12), (200, 8)):
        coarse = rng.normal(0.0, strength, (max(1, cells * height // width), cells, 3))
        coarse = 0.7 * coarse.mean(axis=2, keepdims=True) * 3**0.5 + 0.3 * coarse  # colors vary less than brightness
        levels = Image.fromarray(np.clip(coarse + 128, 0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        pixels += np.asarray(levels, np.float32) - 128
    pixels += rng.normal(0.0, 3.0, (height, width, 1))  # the sensor's noise
    return Image.fromarray(np.clip(pixels + 118, 0, 255).astype(np.uint8))


def encode(picture: Image.Image) -> bytes:
    """Return the picture as a JPEG of quality 90 with halved color resolution, as cameras write it."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90, subsampling="4:2:0")
    return file.getvalue()


def with_comment(jpeg: bytes, number: int) -> bytes:
    """Return the same JPEG with a comment segment after its first marker: other bytes, equal pixels."""
    comment = f"{number:08d}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
