"""`Preprocess` against torchvision; augmentation as a pure function of its random generator."""

import json

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms as reference

from resnet50.data.transforms import (
    Augmentation,
    Interpolation,
    Preprocess,
    crop_box,
    crop_pixels,
    erase,
    jitter,
    resize,
    sample_rng,
)
from resnet50.etl.decode import DecodedImage
from resnet50.etl.store import shrink
from resnet50.runtime.errors import UserError


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 256), (300, 40), (33, 700), (100, 100), (1, 1)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_crop_equals_torchvisions(size: tuple[int, int], interpolation: str) -> None:
    image = noise(*size)
    mode = reference.InterpolationMode(interpolation)
    expected = reference.Compose([reference.Resize(256, mode), reference.CenterCrop(224), reference.PILToTensor()])(
        image
    )
    assert torch.equal(Preprocess(interpolation=interpolation)(image), expected)


def test_squash_equals_torchvisions_resize() -> None:
    image = noise(300, 200)
    expected = reference.Compose([reference.Resize((224, 224)), reference.PILToTensor()])(image)
    assert torch.equal(Preprocess(resize_mode="squash")(image), expected)


def test_pad_keeps_the_whole_image_and_its_aspect_ratio() -> None:
    pixels = Preprocess(resize_mode="pad")(Image.new("RGB", (400, 200), "white"))
    assert pixels.shape == (3, 224, 224)
    assert (pixels[:, 56:168] == 255).all()
    assert (pixels[:, :56] == 0).all()
    assert (pixels[:, 168:] == 0).all()
    assert torch.equal(Preprocess(resize_mode="pad")(Image.new("RGB", (200, 400), "white")), pixels.transpose(1, 2))


def test_pad_keeps_a_line_of_an_image_however_thin() -> None:
    pixels = Preprocess(resize_mode="pad")(Image.new("RGB", (1000, 1), "white"))
    assert (pixels == 255).any(dim=2).sum(dim=1).tolist() == [1, 1, 1]


def test_normalize_equals_torchvisions() -> None:
    pixels = Preprocess()(noise(300, 300))
    expected = reference.Compose(
        [reference.ConvertImageDtype(torch.float32), reference.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    )(pixels)
    torch.testing.assert_close(Preprocess().normalize(pixels[None])[0], expected, rtol=0, atol=1e-6)


def test_json_round_trip_preserves_every_field() -> None:
    preprocess = Preprocess(size=96, resize=100, resize_mode="pad", interpolation="bicubic", mean=(0.1, 0.2, 0.3))
    assert Preprocess.from_json(preprocess.to_json()) == preprocess
    assert json.loads(preprocess.to_json())["size"] == 96


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"size": 224}', '{"mean": 1, "std": 2}', '{"sizes": 3}'])
def test_json_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not a description of a preprocessing"):
        Preprocess.from_json(text)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 16}, "at least 32 pixels"),
        ({"size": 300}, "smaller than the crop of 300"),
        ({"size": 8193, "resize": 8193}, "more than 8,192 pixels"),
        ({"resize_mode": "zoom"}, "resize mode 'zoom'"),
        ({"interpolation": "magic"}, "interpolation 'magic'"),
        ({"std": (1, 1, 0)}, "std above zero"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Preprocess(**wrong)


def test_resized_crop_keeps_its_fraction_of_the_image() -> None:
    assert Preprocess().resized(112) == Preprocess(size=112, resize=128)


@pytest.mark.parametrize("level", ["none", "light", "standard"])
def test_augmentation_depends_on_its_generator_alone(level: str) -> None:
    augmentation = Augmentation(preprocess=Preprocess(size=64, resize=73), level=level, flips="both")
    image = noise(120, 90)
    np.random.seed(1)  # noqa: NPY002  # the global state must not matter
    first = augmentation(image, sample_rng(0, 3, 7))
    torch.manual_seed(5)
    assert np.array_equal(first, augmentation(image, sample_rng(0, 3, 7)))
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    others = [augmentation(image, sample_rng(*key)) for key in ((1, 3, 7), (0, 4, 7), (0, 3, 8))]
    assert all(np.array_equal(first, other) == (level == "none") for other in others)


def test_augmentation_none_is_the_preprocessing() -> None:
    preprocess, image = Preprocess(), noise(300, 200)
    augmented = Augmentation(preprocess=preprocess, level="none")(image, sample_rng(0, 0, 0))
    assert np.array_equal(augmented, preprocess(image).permute(1, 2, 0))


@pytest.mark.parametrize(("flips", "horizontal", "vertical"), [("none", 0, 0), ("horizontal", 1, 0), ("both", 1, 1)])
def test_allowed_flips_occur_half_of_the_time(flips: str, horizontal: int, vertical: int) -> None:
    ramp = Image.fromarray(
        np.stack(np.broadcast_arrays(np.arange(64)[None] * 4, np.arange(64)[:, None] * 4, 0), axis=-1).astype(np.uint8)
    )
    augmentation = Augmentation(preprocess=Preprocess(size=32, resize=36), crop_scale=1.0, flips=flips)
    pixels = np.stack([augmentation(ramp, sample_rng(0, 0, row)) for row in range(200)])
    mirrored = (pixels[:, :, 0, 0] > pixels[:, :, -1, 0]).all(axis=1).mean()
    upside_down = (pixels[:, 0, :, 1] > pixels[:, -1, :, 1]).all(axis=1).mean()
    assert abs(mirrored - horizontal / 2) < 0.12
    assert abs(upside_down - vertical / 2) < 0.12


@pytest.mark.slow
@given(st.integers(1, 500), st.integers(1, 500), st.floats(0.05, 1.0), st.integers(0, 10**6))
@settings(deadline=None)
def test_crop_is_inside_the_image_and_large_enough(height: int, width: int, smallest: float, row: int) -> None:
    top, left, crop_height, crop_width = crop_box(sample_rng(0, 0, row), height, width, smallest)
    assert 0 <= top <= top + crop_height <= height
    assert 0 <= left <= left + crop_width <= width
    whole = (crop_height, crop_width) == (height, width)
    assert whole or (crop_height + 0.5) * (crop_width + 0.5) >= smallest * height * width - 1


def test_crops_have_torchvisions_distribution() -> None:
    actual = np.array([crop_box(sample_rng(0, 0, row), 300, 400, 0.2)[2:] for row in range(2000)])
    torch.manual_seed(0)
    image = torch.empty(3, 300, 400)
    expected = np.array(
        [reference.RandomResizedCrop.get_params(image, [0.2, 1.0], [3 / 4, 4 / 3])[2:] for _ in range(2000)]
    )
    for quantile in (0.1, 0.5, 0.9):
        assert np.allclose(np.quantile(actual, quantile, axis=0), np.quantile(expected, quantile, axis=0), atol=15)


def test_crops_have_every_shape_from_3_to_4_up_to_4_to_3() -> None:
    boxes = np.array([crop_box(sample_rng(0, 0, row), 4000, 4000, 0.2) for row in range(2000)])
    ratios, areas = boxes[:, 3] / boxes[:, 2], boxes[:, 2] * boxes[:, 3] / 4000**2
    assert (ratios.min(), ratios.max()) == (pytest.approx(3 / 4, abs=0.003), pytest.approx(4 / 3, abs=0.003))
    assert np.log(ratios[areas < 0.5]).mean() == pytest.approx(0, abs=0.02)
    assert areas.min() == pytest.approx(0.2, abs=0.003)
    assert areas.max() <= 1


def test_a_crop_may_be_a_single_pixel() -> None:
    assert {crop_box(sample_rng(0, 0, row), 2, 1, 0.3)[2:] for row in range(50)} == {(1, 1)}


def test_crops_lie_anywhere_in_the_image() -> None:
    boxes = np.array([crop_box(sample_rng(0, 0, row), 30, 40, 0.2) for row in range(3000)])
    for first, length, whole in ((boxes[:, 0], boxes[:, 2], 30), (boxes[:, 1], boxes[:, 3], 40)):
        small = length < 0.8 * whole
        assert first[small].min() == 0
        assert (first + length)[small].max() == whole
        assert (first / (whole - length + 1e-9))[small].mean() == pytest.approx(0.5, abs=0.03)


def test_an_image_too_long_for_a_crop_is_taken_whole_after_ten_tries() -> None:
    tries: list[int] = []

    class Counting(np.random.Generator):
        def random(self, size: int) -> np.ndarray:  # type: ignore[override]
            tries.append(size)
            return super().random(size)

    assert crop_box(Counting(np.random.Philox(0)), 1, 1000, 0.5) == (0, 0, 1, 1000)
    assert len(tries) == 10  # as in torchvision's RandomResizedCrop


def test_bicubic_overshoots_at_an_edge_and_bilinear_does_not() -> None:
    edge = flat((100,) * 3, (200,) * 3).permute(1, 2, 0).numpy()
    assert resize(edge, 64, "bilinear", None).max() == 200
    assert resize(edge, 64, "bicubic", None).max() > 200


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("width", [64, 70, 100, 128, 129, 160, 192, 300])
def test_no_pixel_is_skipped_however_much_an_image_shrinks(width: int, interpolation: Interpolation) -> None:
    for column in range(width):
        pixels = np.zeros((64, width, 3), np.uint8)
        pixels[:, column] = 255
        assert resize(pixels, 64, interpolation, None).any()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(64, 80), (64, 96), (96, 96), (110, 128), (40, 96)])
def test_every_pixel_counts_alike_on_a_side_that_shrinks(height: int, width: int, interpolation: Interpolation) -> None:
    columns = np.repeat(np.arange(width) % 2 * 255, 3).reshape(1, width, 3).astype(np.uint8)
    stripes = resize(np.repeat(columns, height, axis=0), 64, interpolation, None)
    assert abs(stripes.mean() - 127.5) < 2
    assert stripes.std() < 127.5 * 64 / width  # stripes of a pixel fade; without antialiasing they would stay


@pytest.mark.parametrize("size", [96, 128, 160])
def test_training_pixels_are_near_those_of_evaluation(size: int) -> None:
    image = noise(200, 180)
    evaluated = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)).astype(int)
    trained = resize(np.asarray(image), size, "bilinear", None).astype(int)
    skipping = cv2.resize(np.asarray(image), (size, size), interpolation=cv2.INTER_LINEAR).astype(int)
    assert np.abs(trained - evaluated).mean() < 0.7 * np.abs(skipping - evaluated).mean()


@pytest.mark.parametrize("level", ["none", "light", "standard"])
def test_augmentation_writes_into_the_given_array(level: str) -> None:
    augmentation = Augmentation(preprocess=Preprocess(size=32, resize=36), level=level, flips="both")
    for row in range(8):  # with and without a flip
        out = np.zeros((32, 32, 3), np.uint8)
        expected = augmentation(noise(90, 60), sample_rng(0, 0, row))
        assert np.shares_memory(augmentation(noise(90, 60), sample_rng(0, 0, row), out), out)
        assert np.array_equal(out, expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "most"), [((100, 80), 1), ((300, 200), 4), ((900, 700), 3)])
def test_random_crops_match_pillows(size: tuple[int, int], most: float, interpolation: str) -> None:
    coarse = noise(size[0] // 20, size[1] // 20)
    image = coarse.resize(size, Image.Resampling.BICUBIC)
    preprocess = Preprocess(size=128, resize=146, interpolation=interpolation)
    for row in range(10):
        actual = Augmentation(preprocess=preprocess, flips="none")(image, sample_rng(0, 0, row))
        top, left, height, width = crop_box(sample_rng(0, 0, row), image.height, image.width, 0.35)
        box = (left, top, left + width, top + height)
        expected = image.resize((128, 128), Image.Resampling[interpolation.upper()], box)
        assert np.abs(actual.astype(int) - np.asarray(expected)).mean() < most


def test_stored_image_gives_the_same_crop_as_its_file() -> None:
    image = noise(20, 15).resize((800, 600), Image.Resampling.BICUBIC)
    decoded = DecodedImage.from_pil(image)
    stored = decoded._replace(pixels=shrink(decoded, 256))
    augmentation = Augmentation(preprocess=Preprocess(size=96, resize=110), flips="both")
    for row in range(20):
        small, whole = (augmentation(source, sample_rng(0, 0, row)) for source in (stored, decoded))
        assert np.abs(small.astype(int) - whole).mean() < 3


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 256), st.integers(0, 10**6))
@settings(deadline=None)
def test_crop_of_a_tiny_stored_image_is_never_empty(height: int, width: int, side: int, row: int) -> None:
    decoded = DecodedImage(np.zeros((height, width, 3), np.uint8), width, height)
    stored = decoded._replace(pixels=shrink(decoded, side))
    rows, columns, _ = crop_pixels(stored, *crop_box(sample_rng(0, 0, row), height, width, 0.05)).shape
    assert 0 < rows <= stored.pixels.shape[0]
    assert 0 < columns <= stored.pixels.shape[1]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 100, 100), (slice(0, 4), slice(0, 4))),
        ((25, 50, 50, 25), (slice(1, 3), slice(2, 3))),
        ((99, 99, 1, 1), (slice(3, 4), slice(3, 4))),  # less than a stored pixel: the one it is in
        ((0, 0, 1, 1), (slice(0, 1), slice(0, 1))),
    ],
)
def test_a_crop_of_a_stored_image_is_its_part(box: tuple[int, int, int, int], expected: tuple[slice, slice]) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert np.array_equal(crop_pixels(DecodedImage(pixels, 100, 100), *box), pixels[expected])


def flat(*colors: tuple[int, int, int], size: int = 32) -> torch.Tensor:
    """Return an image, 3×size×size, of vertical stripes in these colors."""
    stripes = torch.tensor(colors, dtype=torch.uint8).repeat_interleave(size // len(colors), dim=0)
    return stripes.T[:, None].expand(3, size, size).contiguous()


def test_brightness_contrast_and_saturation_vary_by_up_to_three_tenths() -> None:
    factors: list[tuple[float, float, float]] = []
    for row in range(300):
        gray, stripes, color = (
            jitter(image, sample_rng(0, 0, row)).double()
            for image in (flat((128,) * 3), flat((96,) * 3, (160,) * 3), flat((110, 125, 150)))
        )
        brightness = gray.mean().item() / 128
        contrast = (stripes.max() - stripes.min()).item() / 64 / brightness
        saturation = (color[2] - color[0]).mean().item() / 40 / brightness / contrast
        factors.append((brightness, contrast, saturation))
    for kind in np.array(factors).T:
        assert kind.min() == pytest.approx(0.7, abs=0.05)  # pixels are whole numbers
        assert kind.max() == pytest.approx(1.3, abs=0.05)
        assert kind.mean() == pytest.approx(1.0, abs=0.04)
    assert np.abs(np.corrcoef(np.array(factors).T) - np.eye(3)).max() < 0.2


def test_erasing_fills_a_rectangle_of_one_image_in_four_with_the_mean() -> None:
    mean, image = (0.5, 0.25, 0.75), flat((0, 0, 0), size=60)
    boxes: list[tuple[int, int, int, int]] = []
    for row in range(2000):
        pixels = erase(image, sample_rng(0, 0, row), mean)
        if not torch.equal(pixels, image):
            rows, columns = (torch.nonzero((pixels[1] > 0).any(dim)).flatten() for dim in (1, 0))
            (top, bottom), (left, right) = ((int(at[0]), int(at[-1]) + 1) for at in (rows, columns))
            assert (pixels[:, top:bottom, left:right] == torch.tensor([128, 64, 191]).view(3, 1, 1)).all()
            assert int((pixels[1] > 0).sum()) == (bottom - top) * (right - left)
            boxes.append((top, bottom, left, right))
    assert len(boxes) / 2000 == pytest.approx(0.25, abs=0.03)
    top, bottom, left, right = np.array(boxes).T
    share, ratio = (bottom - top) * (right - left) / 3600, (bottom - top) / (right - left)
    assert (share.min(), share.max()) == (pytest.approx(0.02, abs=0.004), pytest.approx(0.2, abs=0.008))
    assert share.mean() == pytest.approx(0.11, abs=0.01)
    assert (ratio.min(), ratio.max()) == (pytest.approx(1 / 3, abs=0.05), pytest.approx(3, abs=0.4))
    assert np.log(ratio).mean() == pytest.approx(0, abs=0.1)
    assert (top.min(), left.min(), bottom.max(), right.max()) == (0, 0, 60, 60)


def test_random_numbers_of_a_sample_are_those_of_earlier_versions() -> None:
    assert sample_rng(seed=1, epoch=2, row=3).integers(0, 1000, 4).tolist() == [534, 413, 73, 991]


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.5])
def test_crop_scale_outside_0_to_1_is_refused(scale: float) -> None:
    with pytest.raises(UserError, match="crop-scale"):
        Augmentation(preprocess=Preprocess(), crop_scale=scale)
