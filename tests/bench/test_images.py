"""Made photos: the same every time, the size of real ones, each a file of its own."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from resnet50.bench.images import DISTINCT, IMAGENET_SIZE, encode, make_noise_image, make_table, with_comment
from resnet50.etl.decode import decode


def test_pictures_are_the_same_every_time_and_differ_from_each_other() -> None:
    first, again, other = (np.asarray(make_noise_image((80, 60), seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 10


def test_a_photo_is_as_large_as_imagenet_s() -> None:
    for seed in range(3):
        photo = encode(make_noise_image(IMAGENET_SIZE, seed))
        assert decode(photo).size == IMAGENET_SIZE
        assert 40_000 < len(photo) < 80_000


def test_a_comment_changes_bytes_and_no_pixels() -> None:
    photo = encode(make_noise_image((80, 60), 0))
    one, two = with_comment(photo, 1), with_comment(photo, 2)
    assert len({photo, one, two}) == 3
    assert np.array_equal(np.asarray(decode(photo)), np.asarray(decode(two)))


def test_a_table_has_a_file_of_its_own_for_every_row_and_one_label_for_equal_pixels(tmp_path: Path) -> None:
    count = DISTINCT + 5
    table = pd.read_csv(make_table(tmp_path / "photos", count, (64, 48)), dtype=str)
    files = [tmp_path / "photos" / "images" / f"{name}.jpg" for name in table["image_id"]]
    assert len({hashlib.sha256(file.read_bytes()).hexdigest() for file in files}) == count
    assert len(set(table["label"])) > 1
    pixels = [Image.open(file).convert("RGB").tobytes() for file in files]
    assert len(set(pixels)) == DISTINCT
    assert table.groupby(pixels)["label"].nunique().max() == 1
