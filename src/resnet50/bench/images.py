"""Synthetic JPEGs for the benchmark: reproducible, with different bytes in every file."""

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

DISTINCT = 36
"""Number of different images; further files are copies with different bytes in a comment."""

CLASSES = 4

IMAGENET_SIZE, MEGAPIXEL_SIZE = (500, 375), (1155, 866)
"""Width and height in pixels: ImageNet's average, and one million pixels."""


def make_table(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Write `count` JPEGs of width×height to `folder`/images, and `table.csv` (image_id, label); return its path."""
    (folder / "images").mkdir(parents=True)
    originals = [encode(make_noise_image(size, seed)) for seed in range(min(count, DISTINCT))]
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image_id", "label"])
        for number in range(count):
            original = number % DISTINCT  # copies keep their label, or the audit would find them contradictory
            (folder / "images" / f"{number:06d}.jpg").write_bytes(with_comment(originals[original], number))
            rows.writerow([f"{number:06d}", f"class{original % CLASSES}"])
    return folder / "table.csv"


def make_noise_image(size: tuple[int, int], seed: int) -> Image.Image:
    """Return an RGB image of width×height with structures of all sizes, weaker the finer, like natural images."""
    width, height = size
    rng = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((3, 60), (8, 40), (24, 25), (70, 12), (200, 8)):
        coarse = rng.normal(0.0, strength, (max(1, cells * height // width), cells, 3))
        coarse = 0.7 * coarse.mean(axis=2, keepdims=True) * 3**0.5 + 0.3 * coarse  # colors vary less than brightness
        levels = Image.fromarray(np.clip(coarse + 128, 0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        pixels += np.asarray(levels, np.float32) - 128
    pixels += rng.normal(0.0, 3.0, (height, width, 1))  # sensor noise
    return Image.fromarray(np.clip(pixels + 118, 0, 255).astype(np.uint8))


def encode(image: Image.Image) -> bytes:
    """Encode as a JPEG of quality 90 with 4:2:0 chroma subsampling, like a camera."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, subsampling="4:2:0")
    return file.getvalue()


def with_comment(jpeg: bytes, number: int) -> bytes:
    """Insert a comment segment after the first marker of a JPEG: other bytes, same pixels."""
    comment = f"{number:08d}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
