import numpy as np
import pytest
from PIL import Image

from resnet50.etl.near_duplicates.find import find_near_duplicates
from resnet50.etl.near_duplicates.hashing import thumbnail
from tests.etl.near_duplicates.conftest import Transform, decoded, draw_scene


def pairs_of(images: list[Image.Image]) -> dict[tuple[int, int], bool]:
    """Return whether each pair of near-duplicates is mirrored."""
    pixels = decoded(images)
    found = find_near_duplicates([thumbnail(image.pixels) for image in pixels], pixels.__getitem__)
    return {(pair.first, pair.second): pair.mirrored for pair in found}


def test_transformed_images_are_found_and_no_others(scenes: list[Image.Image], transform: Transform) -> None:
    copied = range(0, len(scenes), 4)
    found = pairs_of(scenes + [transform(scenes[index]) for index in copied])
    assert set(found) == {(index, len(scenes) + copy) for copy, index in enumerate(copied)}


def test_mirror_images_are_named_as_such(scenes: list[Image.Image]) -> None:
    found = pairs_of([*scenes[:5], scenes[1].transpose(Image.Transpose.FLIP_LEFT_RIGHT), scenes[2]])
    assert found == {(1, 5): True, (2, 6): False}


def test_images_that_agree_in_their_coarse_structure_only_are_no_pair() -> None:
    coarse = np.asarray(draw_scene(100).resize((8, 6)).resize((320, 240), Image.Resampling.BICUBIC), float)
    detail = [np.asarray(draw_scene(seed), float) - 128 for seed in range(6)]
    assert pairs_of([Image.fromarray((coarse + 0.2 * each).clip(0, 255).astype(np.uint8)) for each in detail]) == {}


@pytest.mark.parametrize("color", [0, 128, 255])
def test_images_of_one_color_are_no_near_duplicates(color: int) -> None:
    assert pairs_of([Image.new("RGB", (40 + number, 40), (color,) * 3) for number in range(4)]) == {}


def test_pairs_that_follow_from_others_are_left_out(scenes: list[Image.Image]) -> None:
    assert len(pairs_of([scenes[0]] * 6)) == 5
