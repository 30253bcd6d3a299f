"""Options made concrete."""

from pathlib import Path

import pytest

from resnet50.data.transforms import Preprocess
from resnet50.model.weights import PretrainedWeights
from resnet50.options import ResizeMode, TrainOptions
from resnet50.runtime.errors import UserError
from resnet50.training.setup.resolve import choose_preprocess

WEIGHTS = PretrainedWeights("weights", "0", {}, "v1.5", Preprocess(resize=256, interpolation="bicubic"))
"""Published weights that were evaluated on seven eighths of the shorter side."""


@pytest.mark.parametrize(("eval_crop", "resize"), [(1.0, 160), (0.875, 183), (0.5, 320)])
def test_evaluation_keeps_the_asked_share_of_the_shorter_side(eval_crop: float, resize: int) -> None:
    options = TrainOptions(dataset=Path("d"), out=Path("o"), eval_size=160, eval_crop=eval_crop, resize_mode="crop")
    assert choose_preprocess(options, WEIGHTS, None) == Preprocess(size=160, resize=resize, interpolation="bicubic")


def test_evaluation_keeps_the_whole_shorter_side_by_default() -> None:
    options = TrainOptions(dataset=Path("d"), out=Path("o"), eval_size=224, resize_mode="crop")
    assert choose_preprocess(options, None, 12) == Preprocess(size=224, resize=224, bit_depth=12)


@pytest.mark.parametrize("resize_mode", ["squash", "pad"])
def test_a_crop_of_an_image_that_is_kept_whole_is_refused(resize_mode: ResizeMode) -> None:
    options = TrainOptions(dataset=Path("d"), out=Path("o"), eval_size=64, eval_crop=0.875, resize_mode=resize_mode)
    with pytest.raises(UserError, match=rf"--eval-crop needs --resize-mode crop: {resize_mode} keeps the whole image"):
        choose_preprocess(options, None, None)
