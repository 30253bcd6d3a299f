"""Images with detail at every scale, as photographs have, and copies of them."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from resnet50.etl.decode import DecodedImage

Transform = Callable[[Image.Image], Image.Image]

TRANSFORMS: dict[str, Transform] = {
    "recompressed": lambda image: image,
    "enlarged": lambda image: image.resize((image.width * 4, image.height * 4), Image.Resampling.BICUBIC),
    "reduced": lambda image: image.resize((image.width // 4, image.height // 4), Image.Resampling.BILINEAR),
    "cut on one side": lambda image: image.crop((0, 0, int(image.width * 0.86), image.height)),
    "cut all around": lambda image: image.crop(
        (int(image.width * 0.03), int(image.height * 0.04), int(image.width * 0.97), int(image.height * 0.96))
    ),
    "cut in a corner": lambda image: image.crop((int(image.width * 0.07), 0, image.width, int(image.height * 0.93))),
    "brighter": lambda image: image.point(lambda value: min(255, value * 1.3)),
    "darker": lambda image: image.point(lambda value: value * 0.7),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}
"""What must be found, at its limits."""


def draw_scene(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    """Return an image whose amplitudes fall as 1/frequency, as those of photographs do."""
    rng = np.random.default_rng(seed)
    side = 320
    frequency = np.maximum(np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None]), 1 / side)
    waves = np.fft.ifft2(np.fft.fft2(rng.standard_normal((3, side, side))) / frequency).real
    pixels = 128 + 40 * waves / waves.std()
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)[:height, :width])


def compress(image: Image.Image, quality: int = 40) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(content).convert("RGB")


@pytest.fixture(scope="session")
def scenes() -> list[Image.Image]:
    return [draw_scene(seed) for seed in range(40)]


@pytest.fixture(params=TRANSFORMS)
def transform(request: pytest.FixtureRequest) -> Transform:
    """Return one transform after the other; each ends with a compression."""
    return lambda image: compress(TRANSFORMS[request.param](image))


def decoded(images: list[Image.Image]) -> list[DecodedImage]:
    return [DecodedImage.from_pil(image) for image in images]
