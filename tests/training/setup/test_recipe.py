"""The rule that decides size, length, rates and averaging."""

import pandas as pd
import pytest

from resnet50.options import TrainOptions
from resnet50.options.build import from_values
from resnet50.training.setup import recipe
from resnet50.training.setup.recipe import average_decay, peak_rate, size_for_time, useful_size, usual_epochs


def rate(optimizer: str, batch_size: int) -> float:
    values = {"dataset": "d", "out": "r", "optimizer": optimizer, "batch_size": batch_size}
    return peak_rate(from_values(TrainOptions, values), fine_tuning=True)


def test_rates_grow_with_the_batch() -> None:
    assert rate("sgd", 256) == pytest.approx(8 * rate("sgd", 32))
    assert rate("adamw", 128) == pytest.approx(2 * rate("adamw", 32))


@pytest.mark.parametrize(("sides", "size"), [([(48, 64)], 96), ([(300, 300), (20, 20), (300, 400)], 224)])
def test_small_images_are_not_enlarged_far(sides: list[tuple[int, int]], size: int) -> None:
    assert useful_size(pd.DataFrame(sides, columns=["width", "height"])) == size


def test_more_time_goes_into_larger_images() -> None:
    def epoch_seconds(size: int) -> float:
        return 10 * (size / 96) ** 2

    times = [1, recipe.FEWEST_EPOCHS * epoch_seconds(128), 1e6]
    assert [size_for_time(224, time, epoch_seconds) for time in times] == [96, 128, 224]
    assert size_for_time(160, 1e6, epoch_seconds) == 160


def test_few_images_are_seen_more_often() -> None:
    assert usual_epochs(1000) == recipe.EPOCHS
    assert usual_epochs(20) == 15
    assert usual_epochs(1) == recipe.MOST_EPOCHS


def test_the_average_looks_back_on_a_share_of_the_run() -> None:
    assert average_decay(500) == pytest.approx(1 - 1 / (recipe.AVERAGED_SHARE * 500))
    assert average_decay(1) == 0.5  # a run of one step, too
