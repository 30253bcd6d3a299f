"""What happens to a photo between decoding and the network: `Preprocess` when measuring, `Augmentation` when training.

Both hand over uint8, 3×H×W; `Preprocess.normalize` turns a batch of that into the network's input on the device.
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from resnet50.config import Augment, Flips, ResizeMode
from resnet50.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """From an RGB image to the network's input: the one preprocessing, saved inside every model file.

    Attributes:
        size: side of the square the network sees, in pixels.
        resize: side the photo is first scaled to: its shorter side for crop, unused for squash and pad.
        resize_mode: crop: scale the shorter side to `resize`, cut out the centre (torchvision's `Resize` and
            `CenterCrop`); squash: scale to the square, whatever the photo's shape; pad: scale the longer side to
            `size`, fill the rest with black.
        interpolation: bilinear or bicubic, antialiased.
        mean: mean of each channel of RGB in 0–1, ImageNet's by default.
        std: standard deviation of each channel.
    """

    size: int = 224
    resize: int = 256
    resize_mode: ResizeMode = "crop"
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        """Raise a UserError for values that make no preprocessing."""
        if self.size < 32:
            raise UserError(f"image size {self.size} is too small: the network needs at least 32 pixels")
        if self.resize < self.size:
            raise UserError(f"resize {self.resize} is smaller than the crop of {self.size} pixels")
        if self.resize_mode not in get_args(ResizeMode):
            raise UserError(f"resize mode {self.resize_mode!r} is none of {', '.join(get_args(ResizeMode))}")
        if self.interpolation not in get_args(Interpolation):
            raise UserError(f"interpolation {self.interpolation!r} is none of {', '.join(get_args(Interpolation))}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise UserError("mean and std need three values each, std above zero")

    def __call__(self, image: Image.Image) -> Tensor:
        """Map an RGB image of any size to uint8, 3×size×size."""
        mode = InterpolationMode(self.interpolation)
        if self.resize_mode == "crop":
            image = centre(scale(image, [self.resize], mode), self.size)
        elif self.resize_mode == "squash":
            image = scale(image, [self.size, self.size], mode)
        else:
            image = pad_to_square(image, self.size, mode)
        return tv.pil_to_tensor(image)

    def normalize(self, images: Tensor) -> Tensor:
        """Map uint8 images, N×3×H×W, to float32 with the training data's mean 0 and deviation 1, on their device."""
        mean = torch.tensor(self.mean, device=images.device).view(3, 1, 1) * 255.0
        std = torch.tensor(self.std, device=images.device).view(3, 1, 1) * 255.0
        return (images.float() - mean) / std

    def resized(self, size: int) -> "Preprocess":
        """Return the same preprocessing for another input size, with the same share of the photo in its crop."""
        return dataclasses.replace(self, size=size, resize=max(size, round(self.resize * size / self.size)))

    def to_json(self) -> str:
        """Return all fields as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Preprocess":
        """Read what `to_json` wrote; a UserError when it is anything else."""
        try:
            values = cast(dict[str, Any], json.loads(text))
            values["mean"], values["std"] = tuple(values["mean"]), tuple(values["std"])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"this is no description of a preprocessing: {text[:200]!r}") from error


def scale(image: Image.Image, size: list[int], mode: InterpolationMode) -> Image.Image:
    """Resize to [height, width], or the shorter side to [side]."""
    return cast(Image.Image, tv.resize(cast(Tensor, image), size, mode))  # typed for tensors, works on either


def centre(image: Image.Image, size: int) -> Image.Image:
    """Cut out the central square; sides shorter than it are padded with black."""
    return cast(Image.Image, tv.center_crop(cast(Tensor, image), [size, size]))


def pad_to_square(image: Image.Image, size: int, mode: InterpolationMode) -> Image.Image:
    """Scale the longer side to `size` and centre the image on a black square."""
    factor = size / max(image.size)
    width, height = (max(1, round(side * factor)) for side in image.size)
    square = Image.new("RGB", (size, size))
    square.paste(scale(image, [height, width], mode), ((size - width) // 2, (size - height) // 2))
    return square


def sample_rng(seed: int, epoch: int, row: int) -> np.random.Generator:
    """Return the random numbers of one sample: a pure function of counters, whoever draws them and when."""
    return np.random.Generator(
        np.random.Philox(key=np.random.SeedSequence([seed, epoch, row]).generate_state(2, np.uint64))
    )


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes that leave a photo's class as it is, so that the network learns what doesn't matter.

    Attributes:
        preprocess: gives size and interpolation; with `level` none it is all that happens.
        level: none; light: random resized crop and flips; standard: and brightness, contrast, saturation and a
            rectangle blanked out in one image of four (Zhong et al. 2017, arXiv 1708.04896).
        crop_scale: smallest share of the photo's area that the crop keeps; its aspect ratio lies in 3/4 to 4/3
            (Szegedy et al. 2014, arXiv 1409.4842, section 6).
        flips: horizontal, both (mirror and upside down, each with probability 1/2) or none.
    """

    preprocess: Preprocess
    level: Augment = "light"
    crop_scale: float = 0.35
    flips: Flips = "horizontal"

    def __post_init__(self) -> None:
        """Raise a UserError for a crop scale outside (0, 1]."""
        if not 0 < self.crop_scale <= 1:
            raise UserError(f"--crop-scale {self.crop_scale} must lie above 0 and at most at 1")

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Tensor:
        """Map an RGB image to uint8, 3×size×size, by the random numbers of `rng` alone."""
        if self.level == "none":
            return self.preprocess(image)
        top, left, height, width = crop_box(rng, image.height, image.width, self.crop_scale)
        size = self.preprocess.size
        image = image.resize(
            (size, size),
            Image.Resampling[self.preprocess.interpolation.upper()],
            box=(left, top, left + width, top + height),
        )
        mirror, upside_down = rng.random(2) < 0.5
        if mirror and self.flips != "none":
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if upside_down and self.flips == "both":
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        if self.level == "light":
            return tv.pil_to_tensor(image)
        return erase(jitter(tv.pil_to_tensor(image), rng), rng, self.preprocess.mean)


def crop_box(rng: np.random.Generator, height: int, width: int, smallest: float) -> tuple[int, int, int, int]:
    """Draw (top, left, height, width) as torchvision's `RandomResizedCrop` does; the whole image if nothing fits."""
    for _ in range(10):
        area = height * width * rng.uniform(smallest, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(rng.integers(0, height - crop_height + 1))
            left = int(rng.integers(0, width - crop_width + 1))
            return top, left, crop_height, crop_width
    return 0, 0, height, width


def jitter(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Change brightness, contrast and saturation, each by a factor from 0.7 to 1.3."""
    brightness, contrast, saturation = rng.uniform(0.7, 1.3, size=3)
    image = tv.adjust_brightness(image, brightness)
    image = tv.adjust_contrast(image, contrast)
    return tv.adjust_saturation(image, saturation)


def erase(image: Tensor, rng: np.random.Generator, fill: tuple[float, float, float]) -> Tensor:
    """With probability 1/4, fill a rectangle of 2–20 % of the image with the mean colour."""
    if rng.random() >= 0.25:
        return image
    _, height, width = image.shape
    share, ratio = rng.uniform(0.02, 0.2), math.exp(rng.uniform(math.log(1 / 3), math.log(3)))
    box_height = min(height, round(math.sqrt(share * height * width * ratio)))
    box_width = min(width, round(math.sqrt(share * height * width / ratio)))
    top = int(rng.integers(0, height - box_height + 1))
    left = int(rng.integers(0, width - box_width + 1))
    colour = (torch.tensor(fill) * 255).round().to(torch.uint8).view(3, 1, 1)
    return tv.erase(image, top, left, box_height, box_width, colour)
