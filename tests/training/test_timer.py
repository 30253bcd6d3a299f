"""When a run says that it waits for images, and what it advises."""

from dataclasses import fields, replace
from types import SimpleNamespace
from typing import cast

import pytest

from resnet50.options import TrainOptions
from resnet50.training.metrics import EpochMetrics
from resnet50.training.optim import make_schedule
from resnet50.training.timer import SlowLoadingWarning, loading_advice
from resnet50.training.training import Training
from tests.training.conftest import OPTIONS

NOTHING = EpochMetrics(**dict.fromkeys((field.name for field in fields(EpochMetrics)), 0))


class Run:
    """As much of a training as the warning looks at."""

    def __init__(self, options: TrainOptions) -> None:
        self.options = options
        self.state = SimpleNamespace(schedule=make_schedule(options, 1))


@pytest.mark.parametrize(
    ("epochs", "epoch", "waited", "warned"),
    [
        (5, 2, 1.1, True),
        (5, 2, 1.0, False),  # a tenth is no more than a tenth
        (5, 1, 5.0, False),  # the loader starts up
        (5, 3, 5.0, False),  # once is enough
        (1, 1, 5.0, True),  # there is no second
    ],
)
def test_waiting_is_warned_of_once(
    epochs: int, epoch: int, waited: float, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    training = cast(Training, Run(replace(OPTIONS, epochs=epochs)))
    metrics = replace(NOTHING, epoch=epoch, wait_seconds=waited, seconds=10.0)
    SlowLoadingWarning().on_epoch_end(training, metrics, best=True)
    assert (f"{waited / 10:.0%} of the epoch went by waiting for images" in capsys.readouterr().err) == warned


@pytest.mark.parametrize(
    ("store", "augment", "named"),
    [
        (False, "standard", ["without --no-store", "--augment light", "than --workers 2"]),
        (True, "standard", ["--augment light", "than --workers 2"]),
        (True, "light", ["than --workers 2"]),
    ],
)
def test_advice_names_what_the_run_has_not_got_yet(store: bool, augment: str, named: list[str]) -> None:
    ways = loading_advice({"store": store, "augment": augment, "workers": 2}).split(", or ")
    assert len(ways) == len(named)
    assert all(words in way for words, way in zip(named, ways, strict=True))
