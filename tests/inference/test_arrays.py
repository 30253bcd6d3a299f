"""Arrays and tensors as images: the pixels that were meant, or a question."""

import re
from typing import Any

import numpy as np
import pytest
import torch

from resnet50.inference.arrays import from_array, from_tensor
from resnet50.runtime.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80, 4), dtype=np.uint8)


def test_channels_are_gray_rgb_or_rgb_and_alpha() -> None:
    gray = np.repeat(PIXELS[..., :1], 3, axis=2)
    assert np.array_equal(from_array(PIXELS[..., 0]), gray)
    assert np.array_equal(from_array(PIXELS[..., :1]), gray)
    assert np.array_equal(from_array(PIXELS[..., :3]), PIXELS[..., :3])
    opaque = np.dstack([PIXELS[..., :3], np.full((60, 80), 255, np.uint8)])
    assert np.array_equal(from_array(opaque), PIXELS[..., :3])
    transparent = np.dstack([PIXELS[..., :3], np.zeros((60, 80), np.uint8)])
    assert np.asarray(from_array(transparent)).min() == 255  # on white, as from a file


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_from_0_to_1_are_the_levels_they_came_from(dtype: Any) -> None:
    assert np.array_equal(from_array((PIXELS[..., :3] / 255).astype(dtype)), PIXELS[..., :3])
    overshot = (PIXELS[..., :3] / 255 + np.where(PIXELS[..., :3] == 255, 1e-3, 0)).astype(dtype)
    assert np.array_equal(from_array(overshot), PIXELS[..., :3])


def test_a_mask_is_black_and_white() -> None:
    mask = PIXELS[..., 0] > 99
    assert np.array_equal(np.asarray(from_array(mask))[..., 0], 255 * mask)


def test_tensors_have_their_channels_first() -> None:
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    expected = np.asarray(from_array(PIXELS))
    assert np.array_equal(from_tensor(tensor), expected)
    assert np.array_equal(from_tensor(tensor.float().div(255).requires_grad_()), expected)
    assert np.array_equal(from_tensor(tensor[0]), from_array(PIXELS[..., 0]))
    assert np.array_equal(from_tensor(tensor[:1]), from_array(PIXELS[..., 0]))
    low = from_tensor(tensor[:3].to(torch.bfloat16).div(255))
    assert np.abs(np.asarray(low).astype(int) - PIXELS[..., :3]).max() <= 1


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (PIXELS.transpose(2, 0, 1), "an array of shape 4×60×80 is not one image: .*array.transpose(1, 2, 0)"),
        (PIXELS[..., :2], "must be H×W×C with 1, 3 or 4 channels"),
        (PIXELS[0], "80×4 is too narrow .*row by row"),
        (PIXELS[:0], "0×80×4 has no pixels"),
        (PIXELS[0, 0], "of shape 4"),
        (PIXELS.astype(np.int64), "not int64: give array.astype('uint8') if its values are 0–255"),
        (PIXELS.astype(np.uint16) * 257, "not uint16"),
        (PIXELS.astype(complex), "not complex128"),
        (PIXELS.astype(np.float32), "from 0 to 1, not 0 to 255: divide by 255"),
        (PIXELS * 257.0, "scale to 0–1"),
        (PIXELS / 127.5 - 1, "before they were normalized"),
        (np.where(PIXELS == 7, np.nan, 0.5), "replace what is not finite"),
        (np.ma.masked_less(PIXELS, 9), "fill the masked"),
    ],
)
def test_an_array_that_can_be_read_two_ways_is_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(").replace(")", r"\)")):
        from_array(array)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.from_numpy(PIXELS), "a tensor of shape 60×80×4 is not one image.*tensor.permute(2, 0, 1)"),
        (torch.zeros(3, 9, 9).to_sparse(), "tensor.to_dense()"),
        (torch.zeros(3, 9, 9, device="meta"), "has a shape but no pixels"),
        (torch.zeros(3, 9, 9, dtype=torch.int32), "give tensor.to(torch.uint8)"),
        (torch.randn(3, 9, 9), "before they were normalized"),
    ],
)
def test_a_tensor_that_can_be_read_two_ways_is_refused(tensor: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message).replace(r"\.\*", ".*")):
        from_tensor(tensor)
