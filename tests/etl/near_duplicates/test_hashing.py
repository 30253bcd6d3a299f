import imagehash
import numpy as np
import pytest
import scipy.fft
from PIL import Image

from resnet50.etl.near_duplicates.hashing import (
    BITS,
    CROPS,
    MIRRORED,
    PAIRS,
    SIDE,
    WEIGHTS,
    cosines,
    crop_frequencies,
    hashes_of,
    is_flat,
    stack,
    thumbnail,
    whole_frequencies,
)
from tests.etl.near_duplicates.conftest import draw_scene

ZERO = np.zeros(len(PAIRS), np.float32)


def thumbnails_of(*images: Image.Image) -> np.ndarray:
    return stack([thumbnail(np.asarray(image)) for image in images])


def test_frequencies_of_the_whole_image_are_scipys_cosine_transform() -> None:
    small = thumbnails_of(draw_scene(0))
    smoothed = np.sinc(PAIRS / (2 * SIDE)).prod(axis=1)  # a pixel is the mean of its area
    expected = scipy.fft.dctn(small[0].astype(float), norm="ortho")[PAIRS[:, 0], PAIRS[:, 1]] * smoothed * WEIGHTS
    found = whole_frequencies(small)[0, 0]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


def test_signs_agree_with_imagehash_on_most_bits() -> None:
    image = draw_scene(1)
    signs = whole_frequencies(thumbnails_of(image))[0, 0] > 0
    reference = imagehash.phash(image).hash
    inside = (PAIRS < 8).all(axis=1) & (PAIRS.sum(axis=1) < 9)
    agreement = (signs[inside] == reference[PAIRS[inside, 0], PAIRS[inside, 1]]).mean()
    assert agreement > 0.9  # imagehash compares with the median, which is close to zero


def test_frequencies_of_a_crop_are_those_of_the_cropped_image() -> None:
    image = draw_scene(2, 320, 320)
    for index in (0, 7, len(CROPS) - 1):
        left, top, right, bottom = (round(320 * edge) for edge in CROPS[index])
        cropped = whole_frequencies(thumbnails_of(image.crop((left, top, right, bottom))))[0, 0]
        assert crop_frequencies(thumbnails_of(image))[0, index] @ cropped > 0.98


def test_mirrored_image_has_the_signs_of_odd_frequencies_changed() -> None:
    image = draw_scene(3)
    one, other = whole_frequencies(thumbnails_of(image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))[:, 0]
    np.testing.assert_allclose(one * MIRRORED, other, atol=1e-5)


def test_crops_leave_at_least_85_percent_of_the_image_along_both_sides_together() -> None:
    assert CROPS[0] == (0, 0, 1, 1)
    assert min(crop.right - crop.left + crop.bottom - crop.top for crop in CROPS) == pytest.approx(1.85)


def test_integrals_over_the_cells_add_up_to_the_integral_over_the_line() -> None:
    np.testing.assert_allclose(cosines(0.1, 0.95).sum(axis=1), [1, *[0] * (len(cosines(0, 1)) - 1)], atol=1e-12)


def test_hash_has_a_bit_for_each_low_frequency_above_the_mean() -> None:
    frequencies = np.linspace(-1, 1, len(PAIRS), dtype=np.float32)
    bits = f"{int(hashes_of(frequencies, ZERO)):064b}"
    assert bits[:BITS] == "".join("1" if value > 0 else "0" for value in frequencies[:BITS])
    assert set(bits[BITS:]) == {"0"}


def test_images_of_one_gray_are_flat_and_images_with_anything_in_them_are_not() -> None:
    gray = Image.new("RGB", (50, 30), (90, 90, 90))
    assert is_flat(thumbnails_of(gray, draw_scene(4))).tolist() == [True, False]


def test_images_narrower_than_a_thumbnail_have_one() -> None:
    assert len(thumbnail(np.zeros((1, 3, 3), np.uint8))) == SIDE * SIDE
