"""Transforms between decoding and the network: `Preprocess` for evaluation, `Augmentation` for training.

Both return uint8 images; `Preprocess.normalize` turns a batch of them into the network's input on the device.
"""

import dataclasses
import json
import math
import operator
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from resnet50.etl.decode import DecodedImage
from resnet50.options import Augment, Flips, ResizeMode
from resnet50.runtime.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Interpolation = Literal["bilinear", "bicubic"]


MAX_SIZE = 8192
"""Limit on image sizes in pixels: a model file from a stranger must not exhaust the memory."""


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """The deterministic preprocessing from an RGB image to the network's input, saved in every model file.

    Attributes:
        size: side of the network's square input, in pixels.
        resize: for crop, the length to which an image's shorter side is scaled first; unused for squash and pad.
        resize_mode: crop: scale the shorter side to `resize`, crop the center (torchvision's `Resize` and
            `CenterCrop`); squash: scale to the square, ignoring the aspect ratio; pad: scale the longer side to `size`,
            fill the rest with black.
        interpolation: bilinear or bicubic, antialiased.
        mean: mean of each RGB channel, on a scale of 0–1; ImageNet's by default.
        std: standard deviation of each channel.
        bit_depth: bits that integers of more than 8 use in image files, see `resnet50.etl.decode.decode`; None: as
            their file says.

    Raises:
        UserError: a value is out of range.
    """

    size: int = 224
    resize: int = 256
    resize_mode: ResizeMode = "crop"
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    bit_depth: int | None = None

    def __post_init__(self) -> None:
        if max(self.size, self.resize) > MAX_SIZE:
            raise UserError(f"image size {self.size}, resize {self.resize}: more than {MAX_SIZE:,} pixels")
        if self.size < 32:
            raise UserError(f"image size {self.size} is too small: the network needs at least 32 pixels")
        if self.resize < self.size:
            raise UserError(f"resize {self.resize} is smaller than the crop of {self.size} pixels")
        if self.resize_mode not in get_args(ResizeMode):
            raise UserError(f"resize mode {self.resize_mode!r} is none of {', '.join(get_args(ResizeMode))}")
        if self.interpolation not in get_args(Interpolation):
            raise UserError(f"interpolation {self.interpolation!r} is none of {', '.join(get_args(Interpolation))}")
        if self.bit_depth is not None and not 8 <= self.bit_depth <= 16:
            raise UserError(f"bit depth {self.bit_depth}: must be from 8 to 16")
        numbers = (*self.mean, *self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0 or not all(map(math.isfinite, numbers)):
            raise UserError("mean and std need three finite values each, std above zero")

    def __call__(self, image: Image.Image) -> Tensor:
        """Map an RGB image of any size to a uint8 tensor, 3×size×size."""
        mode = InterpolationMode(self.interpolation)
        if self.resize_mode == "crop":
            image = center_crop(scale(image, [self.resize], mode), self.size)
        elif self.resize_mode == "squash":
            image = scale(image, [self.size, self.size], mode)
        else:
            image = pad_to_square(image, self.size, mode)
        return tv.pil_to_tensor(image)

    def normalize(self, images: Tensor) -> Tensor:
        """Normalize uint8 images, N×3×H×W, to float32 of the same shape: subtract `mean`, divide by `std`.

        The result is on the images' device, in channels-last memory.
        """
        count, _, height, width = images.shape
        # Rows of interleaved channels: one long vector operation each.
        rows = images.permute(0, 2, 3, 1).reshape(count, height, width * 3).float()
        scale = torch.tensor(self.std, device=images.device).mul_(255.0).reciprocal_()
        shift = torch.tensor(self.mean, device=images.device).mul_(-255.0).mul_(scale)
        torch.addcmul(shift.repeat(width), rows, scale.repeat(width), out=rows)
        return rows.view(count, height, width, 3).permute(0, 3, 1, 2)

    def resized(self, size: int) -> "Preprocess":
        """Return the same preprocessing for another input `size`; the crop keeps its fraction of the image."""
        return dataclasses.replace(self, size=size, resize=max(size, round(self.resize * size / self.size)))

    def to_json(self) -> str:
        """Serialize all fields to JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Preprocess":
        """Parse the `text` that `to_json` returned.

        Raises:
            UserError: the text is anything else.
        """
        try:
            values = cast(dict[str, Any], json.loads(text))
            for name in ("mean", "std"):
                values[name] = tuple(float(value) for value in cast(list[float], values[name]))
            for name in ("size", "resize"):  # 32.5 is not 32
                values[name] = operator.index(values[name])
            if values.get("bit_depth") is not None:
                values["bit_depth"] = operator.index(values["bit_depth"])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise UserError(f"not a description of a preprocessing: {text[:200]!r}") from error


def scale(image: Image.Image, size: list[int], mode: InterpolationMode) -> Image.Image:
    """Resize to [height, width], or the shorter side to [side]."""
    return cast(Image.Image, tv.resize(cast(Tensor, image), size, mode))  # typed for tensors only, but accepts images


def center_crop(image: Image.Image, size: int) -> Image.Image:
    """Crop the central square; sides shorter than it are padded with black."""
    return cast(Image.Image, tv.center_crop(cast(Tensor, image), [size, size]))


def pad_to_square(image: Image.Image, size: int, mode: InterpolationMode) -> Image.Image:
    """Scale the longer side to `size` and center the image on a black square."""
    factor = size / max(image.size)
    width, height = (max(1, round(side * factor)) for side in image.size)
    square = Image.new("RGB", (size, size))
    square.paste(scale(image, [height, width], mode), ((size - width) // 2, (size - height) // 2))
    return square


def sample_rng(seed: int, epoch: int, row: int) -> np.random.Generator:
    """Return the random generator of one sample: a pure function of counters, independent of workers and ranks.

    Philox (Salmon et al. 2011, doi 10.1145/2063384.2063405) maps a key and a counter to random bits. Drawing advances
    the counter's first word, so samples never share random numbers.
    """
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, epoch, row, 0]))


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random transforms that keep the class of an image.

    Attributes:
        preprocess: its size and interpolation are used; with level "none", it is applied instead of any augmentation.
        level: none; light: random resized crop and flips; standard: also brightness, contrast and saturation, and
            random erasing in one image of four (Zhong et al. 2017, arXiv 1708.04896).
        crop_scale: smallest fraction of an image's area that the crop keeps; its aspect ratio is in 3/4 to 4/3 (Szegedy
            et al. 2014, arXiv 1409.4842, section 6).
        flips: horizontal, both (horizontal and vertical, each with probability 1/2) or none.

    Raises:
        UserError: the crop scale is not in (0, 1].
    """

    preprocess: Preprocess
    level: Augment = "light"
    crop_scale: float = 0.35
    flips: Flips = "horizontal"

    def __post_init__(self) -> None:
        if not 0 < self.crop_scale <= 1:
            raise UserError(f"--crop-scale {self.crop_scale} must be above 0 and at most 1")

    def __call__(
        self, image: DecodedImage | Image.Image, rng: np.random.Generator, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Augment an RGB image; the result depends on the image and on the draws from `rng` alone.

        The crop is drawn in pixels of the full-size image, so that a stored image gives the same crop as its file.

        Args:
            image: at full size, or from the pixel store.
            rng: random generator of the sample, see `sample_rng`.
            out: array for the result, uint8, size×size×3; a new one by default.

        Returns:
            uint8, size×size×3.
        """
        if isinstance(image, Image.Image):
            image = DecodedImage.from_pil(image)
        if self.level == "none":
            return to_array(self.preprocess(Image.fromarray(image.pixels)), out)
        crop = crop_pixels(image, *crop_box(rng, image.height, image.width, self.crop_scale))
        flip = draw_flip(rng, self.flips)
        pixels = resize(crop, self.preprocess.size, self.preprocess.interpolation, out if flip is None else None)
        if flip is not None:
            pixels = cv2.flip(pixels, flip, dst=out)
        if self.level == "light":
            return pixels
        tensor = torch.from_numpy(pixels).permute(2, 0, 1)
        return to_array(erase(jitter(tensor, rng), rng, self.preprocess.mean), pixels)


def to_array(image: Tensor, out: np.ndarray | None) -> np.ndarray:
    """Copy an image (3×H×W) to an array, H×W×3; into `out` if given."""
    pixels = image.permute(1, 2, 0).numpy()
    if out is None:
        return pixels
    out[...] = pixels
    return out


def draw_flip(rng: np.random.Generator, flips: Flips) -> int | None:
    """Draw OpenCV's flip code: 1 horizontal, 0 vertical, -1 both, None neither."""
    horizontal, vertical = (rng.random(2) < 0.5).tolist()
    horizontal, vertical = horizontal and flips != "none", vertical and flips == "both"
    return {(True, False): 1, (False, True): 0, (True, True): -1}.get((horizontal, vertical))


def crop_box(rng: np.random.Generator, height: int, width: int, smallest: float) -> tuple[int, int, int, int]:
    """Draw (top, left, height, width) like torchvision's `RandomResizedCrop`; the whole image if nothing fits."""
    for _ in range(10):
        fraction, shape, down, right = rng.random(4).tolist()
        area = height * width * (smallest + fraction * (1 - smallest))
        ratio = (3 / 4) * (16 / 9) ** shape  # from 3/4 to 4/3, log-uniform
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(down * (height - crop_height + 1))
            left = int(right * (width - crop_width + 1))
            return top, left, crop_height, crop_width
    return 0, 0, height, width


def crop_pixels(image: DecodedImage, top: int, left: int, height: int, width: int) -> np.ndarray:
    """Return a view of the pixels in a box given in full-size pixels; at least one pixel."""
    rows, columns, _ = image.pixels.shape
    y, x = rows / image.height, columns / image.width
    first_row, first_column = min(round(top * y), rows - 1), min(round(left * x), columns - 1)
    last_row, last_column = round((top + height) * y), round((left + width) * x)
    return image.pixels[first_row : max(last_row, first_row + 1), first_column : max(last_column, first_column + 1)]


def resize(pixels: np.ndarray, size: int, interpolation: Interpolation, out: np.ndarray | None) -> np.ndarray:
    """Scale to size×size, into `out` if given.

    A side that shrinks is antialiased, as in evaluation: each result is the mean of its area. A side that grows is
    interpolated.
    """
    height, width = pixels.shape[:2]
    shrunk = (min(width, size), min(height, size))
    mode = cv2.INTER_LINEAR if interpolation == "bilinear" else cv2.INTER_CUBIC
    if shrunk == (size, size):
        return cv2.resize(pixels, shrunk, dst=out, interpolation=cv2.INTER_AREA)
    if shrunk != (width, height):  # OpenCV averages areas only where no side grows
        pixels = cv2.resize(pixels, shrunk, interpolation=cv2.INTER_AREA)
    return cv2.resize(pixels, (size, size), dst=out, interpolation=mode)


def jitter(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Scale brightness, contrast and saturation, each by a factor from 0.7 to 1.3."""
    brightness, contrast, saturation = rng.uniform(0.7, 1.3, size=3)
    image = tv.adjust_brightness(image, brightness)
    image = tv.adjust_contrast(image, contrast)
    return tv.adjust_saturation(image, saturation)


def erase(image: Tensor, rng: np.random.Generator, fill: tuple[float, float, float]) -> Tensor:
    """With probability 1/4, fill a rectangle of 2–20% of the area with the mean color."""
    if rng.random() >= 0.25:
        return image
    _, height, width = image.shape
    share, ratio = rng.uniform(0.02, 0.2), math.exp(rng.uniform(math.log(1 / 3), math.log(3)))
    box_height = min(height, round(math.sqrt(share * height * width * ratio)))
    box_width = min(width, round(math.sqrt(share * height * width / ratio)))
    top = int(rng.integers(0, height - box_height + 1))
    left = int(rng.integers(0, width - box_width + 1))
    color = (torch.tensor(fill) * 255).round().to(torch.uint8).view(3, 1, 1)
    return tv.erase(image, top, left, box_height, box_width, color)
