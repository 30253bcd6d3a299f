"""The rule that decides what the options leave open: size, length, rates and averaging.

It looks at the weights, the number and size of the images, the time and the device. `docs/recipes.md` has the
comparisons that it rests on.
"""

import math
from collections.abc import Callable

import pandas as pd

from resnet50.options import OptimizerName, TrainOptions

SIZES = (96, 128, 160, 192, 224)
"""Sizes that a budget chooses from. Published weights were trained at 224 pixels."""

ENLARGED = 2.0
"""How far the rule enlarges images whose shorter side is small: details do not become more, only larger."""

FEWEST_EPOCHS = 4
"""Passes that a size must leave time for; a smaller size leaves more."""

MOST_EPOCHS = 30
"""Passes after which fine-tuning gains nothing more; from scratch `MOST_EPOCHS_FROM_SCRATCH`."""

MOST_EPOCHS_FROM_SCRATCH = 300

EPOCHS = 10
"""Passes without a budget, for datasets that are not small."""

FEWEST_STEPS = 300
"""Steps without a budget: small datasets get more passes, but no more than `MOST_EPOCHS`."""

PEAK_RATES: dict[tuple[OptimizerName, bool], float] = {
    ("adamw", True): 3e-4,
    ("adam", True): 3e-4,
    ("sgd", True): 1e-2,
    ("adamw", False): 2e-3,
    ("adam", False): 1e-3,
    ("sgd", False): 1e-1,
}
"""Good peak learning rates at batch 32, by optimizer and whether weights are pretrained; the head's is the same."""

HEAD_ALONE = 10
"""How many times as fast a head learns where every stage is frozen: nothing that it looks at moves."""

WEIGHT_DECAYS: dict[OptimizerName, float] = {"adamw": 0.05, "adam": 0.0, "sgd": 1e-4}
"""Decoupled for AdamW (Loshchilov & Hutter 2017, arXiv 1711.05101), in the gradient for the others."""

AVERAGED_SHARE = 0.1
"""Share of the steps that the moving average of the weights looks back on."""


def peak_rate(options: TrainOptions, *, fine_tuning: bool) -> float:
    """Return a good peak learning rate for the optimizer and the batch size.

    It grows with the batch: linearly for SGD (Goyal et al. 2017, arXiv 1706.02677), by its square root for Adam and
    AdamW (Malladi et al. 2022, arXiv 2205.10287).
    """
    growth = options.batch / 32
    return PEAK_RATES[options.optimizer, fine_tuning] * (growth if options.optimizer == "sgd" else growth**0.5)


def average_decay(steps: int) -> float:
    """Return the decay of a moving average that looks back on a tenth of the steps."""
    return round(1 - 1 / max(2.0, AVERAGED_SHARE * steps), 5)


def useful_size(manifest: pd.DataFrame) -> int:
    """Return the largest size that shows the images something new: the first that enlarges half of them enough."""
    shorter = float(manifest[["width", "height"]].min(axis=1).median())
    return next((size for size in SIZES if size >= ENLARGED * shorter), SIZES[-1])


def size_for_time(largest: int, seconds: float, epoch_seconds: Callable[[int], float]) -> int:
    """Return the largest size at which enough passes fit into a time; the smallest where none does.

    Args:
        largest: that is useful.
        seconds: for training.
        epoch_seconds: that an epoch takes at a size.
    """
    fitting = [size for size in SIZES if size <= largest and FEWEST_EPOCHS * epoch_seconds(size) <= seconds]
    return max(fitting, default=SIZES[0])


def most_epochs(*, fine_tuning: bool) -> int:
    """Return the passes after which more time is of no use."""
    return MOST_EPOCHS if fine_tuning else MOST_EPOCHS_FROM_SCRATCH


def usual_epochs(steps_per_epoch: int) -> int:
    """Return the passes of a run without a budget."""
    return min(MOST_EPOCHS, max(EPOCHS, math.ceil(FEWEST_STEPS / steps_per_epoch)))
