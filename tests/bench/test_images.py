"""Synthetic images: reproducible, of realistic size, each with different bytes."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from resnet50.bench.images import DISTINCT, IMAGENET_SIZE, encode, make_noise_image, make_table, with_comment
from resnet50.etl.decode import decode


def test_images_are_reproducible_and_differ() -> None:
    first, again, other = (np.asarray(make_noise_image((80, 60), seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 10


def test_jpeg_is_as_large_as_imagenets_average() -> None:
    for seed in range(3):
        jpeg = encode(make_noise_image(IMAGENET_SIZE, seed))
        assert decode(jpeg).size == IMAGENET_SIZE
        assert 40_000 < len(jpeg) < 80_000


def test_comment_changes_bytes_and_no_pixels() -> None:
    jpeg = encode(make_noise_image((80, 60), 0))
    one, two = with_comment(jpeg, 1), with_comment(jpeg, 2)
    assert len({jpeg, one, two}) == 3
    assert np.array_equal(np.asarray(decode(jpeg)), np.asarray(decode(two)))


def test_table_has_distinct_files_and_one_label_for_equal_pixels(tmp_path: Path) -> None:
    count = DISTINCT + 5
    table = pd.read_csv(make_table(tmp_path / "made", count, (64, 48)), dtype=str)
    files = [tmp_path / "made" / "images" / f"{name}.jpg" for name in table["image_id"]]
    assert len({hashlib.sha256(file.read_bytes()).hexdigest() for file in files}) == count
    assert len(set(table["label"])) > 1
    pixels = [Image.open(file).convert("RGB").tobytes() for file in files]
    assert len(set(pixels)) == DISTINCT
    assert table.groupby(pixels)["label"].nunique().max() == 1
