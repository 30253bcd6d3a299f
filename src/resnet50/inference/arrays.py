"""Arrays and tensors as images: H×W, or with 1, 3 or 4 channels; uint8, floats from 0 to 1, or booleans."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnet50.etl.decode import to_rgb
from resnet50.runtime.errors import UserError

CHANNELS = (1, 3, 4)
"""Gray, RGB, RGB and alpha."""

HALF_LEVEL = 0.5 / 255
"""How far a float may be outside 0–1: less than rounding to uint8 moves it. Resizing overshoots by as much."""

NARROWEST = max(CHANNELS) + 1
"""Narrowest H×W array, in pixels: a narrower one is a row of an H×W×C array that was taken apart."""


def is_one_image(pixels: np.ndarray | Tensor) -> bool:
    """Return whether an array or tensor is to be read as one image: it has fewer than four dimensions."""
    return pixels.ndim < 4


def from_tensor(tensor: Tensor) -> Image.Image:
    """Convert a tensor, H×W or C×H×W as torchvision has them, to an RGB image."""
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise UserError(f"a tensor that is an image must be dense, not {tensor.layout}: give tensor.to_dense()")
    if tensor.is_meta:
        raise UserError("a tensor on the device meta has a shape but no pixels")
    shape = tuple(tensor.shape)
    if len(shape) == 3:
        check_channels("a tensor", shape, shape[0], "C×H×W", shape[-1], "H×W×C: give tensor.permute(2, 0, 1)")
        tensor = tensor.permute(1, 2, 0)
    tensor = tensor.detach().cpu()
    return from_array((tensor.float() if tensor.is_floating_point() else tensor).numpy(), "a tensor")


def from_array(array: np.ndarray, name: str = "an array") -> Image.Image:
    """Convert an array, H×W or H×W×C, to an RGB image."""
    shape = array.shape
    if len(shape) == 3:
        check_channels(name, shape, shape[-1], "H×W×C", shape[0], "C×H×W: give array.transpose(1, 2, 0)")
    elif len(shape) != 2:
        raise UserError(f"{name} that is an image must be H×W or have channels, not of shape {show(shape)}")
    elif shape[1] < NARROWEST:
        raise UserError(
            f"{name} of shape {show(shape)} is too narrow for an H×W image: to classify one image of "
            "H×W×C, give it whole, not row by row"
        )
    if 0 in shape:
        raise UserError(f"{name} of shape {show(shape)} has no pixels")
    pixels = to_uint8(array, name)
    return to_rgb(Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels))


def check_channels(name: str, shape: Sequence[int], channels: int, layout: str, other: int, instead: str) -> None:
    """Raise a UserError unless an array has 1, 3 or 4 channels where its layout has them."""
    if channels not in CHANNELS:
        hint = f"this looks like {instead}" if other in CHANNELS else "many gray images are a list of one for each"
        raise UserError(
            f"{name} of shape {show(shape)} is not one image: it must be {layout} with 1, 3 or 4 channels; {hint}"
        )


def to_uint8(array: np.ndarray, name: str) -> np.ndarray:
    """Convert the values of an image; a UserError where what they mean can't be known."""
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise UserError("an array that is an image must have all its pixels: fill the masked ones with array.filled(0)")
    array = np.asarray(array)
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array * np.uint8(255)
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(
            f"{name} that is an image must be uint8, or float from 0 to 1, not {array.dtype}: give "
            f"{AS_UINT8[name]} if its values are 0–255, else scale them to that first"
        )
    low, high = float(array.min()), float(array.max())
    if not (low >= -HALF_LEVEL and high <= 1 + HALF_LEVEL):  # also for NaN
        raise UserError(f"{name} of floats must be from 0 to 1, not {low:.4g} to {high:.4g}: {advice(low, high)}")
    return np.rint(np.clip(array, 0, 1, dtype=np.float32) * np.float32(255)).astype(np.uint8)


AS_UINT8 = {"an array": "array.astype('uint8')", "a tensor": "tensor.to(torch.uint8)"}
"""How an integer type of 0–255 is converted."""


def advice(low: float, high: float) -> str:
    """Say what to do with floats that are not from 0 to 1."""
    if not np.isfinite([low, high]).all():
        return "replace what is not finite"
    if low < -HALF_LEVEL:
        return "give the pixels before they were normalized; the classifier does that itself"
    return "divide by 255" if high <= 255 else "scale to 0–1"


def show(shape: Sequence[int]) -> str:
    """Format a shape: 64×80×3."""
    return "×".join(map(str, shape)) or "()"
