"""The reading of the inside: what a run's record of its layers says (`--observe`). One small function per rule.

As in `reading`, a rule is a pure function of the numbers, and its thresholds are the constants below. The table is that
of `observed/layers.csv`: columns epoch (0: the look before the first step), layer, quantity, value.
"""

import numpy as np
import pandas as pd

from resnet50.evaluation.diagnosis import Diagnosis
from resnet50.runtime.stats import number, percent

VANISHING = 1e-3
"""Gradient norm of the first convolution over that of the last layers below which the signal is lost on its way. In a
sound network both are of one order of magnitude; three orders are more than the sizes of the layers explain."""

LAST_LAYERS = 3
"""Layers at the end that the first one is held against: their median, because the head's own gradient varies much."""

DEAD = 0.1
"""Share of a block's output channels that are zero everywhere which is worth naming. A few are usual: a batch doesn't
show everything that a channel is there for."""

MOSTLY_DEAD = 0.5
"""Share of a block's output channels that are zero everywhere from which the block has lost most of its room."""

LARGE_UPDATE = 1e-1
"""Size of a step's change over the size of the weight above which a step replaces what was learned. The rule of thumb
is 1e-3; two orders above, ten steps rewrite the layer."""

SMALL_UPDATE = 1e-6
"""Size of a step's change over the size of the weight below which a layer stands still: three orders under the rule of
thumb, so that a thousand steps move it by a thousandth."""

IDLE = 0.01
"""‖F(x)‖/‖x‖ below which a block passes on what came in: one part in a hundred, less than its noise in a batch."""

SWAMPED = 10.0
"""‖F(x)‖/‖x‖ above which the shortcut no longer carries the input past the block, and the block acts as a plain one."""

DRIFT = 0.25
"""Relative change of the norms' running variances over the last epoch, as the median over the norms, from which the
statistics used after training are not those of the features: a quarter of the variance is an eighth of the scale.
Single norms move more by chance, so the median counts."""


def read_inside(layers: pd.DataFrame) -> list[Diagnosis]:
    """Read the record of a run's layers.

    Args:
        layers: as in `observed/layers.csv`. Frozen layers have no gradients, and rules on them stay silent.

    Returns:
        Findings in the order they are best read; one good finding when no rule found anything, none for an empty table.
    """
    if layers.empty:
        return []
    findings = [
        not_finite(layers),
        vanishing_gradients(layers),
        updates_large(layers),
        updates_small(layers),
        dead_channels(layers),
        residuals_idle(layers),
        residuals_swamping(layers),
        statistics_drifting(layers),
    ]
    found = [finding for finding in findings if finding is not None]
    return found or [sound(layers)]


def by_epoch(layers: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Return one quantity: a row per epoch, a column per layer in the network's order, NaN where not finite."""
    rows = layers[layers["quantity"] == quantity]
    values = rows["value"].where(np.isfinite(rows["value"]))
    table = rows.assign(value=values).pivot_table(index="epoch", columns="layer", values="value", dropna=False)
    return table.reindex(columns=list(dict.fromkeys(rows["layer"])))


def last_values(layers: pd.DataFrame, quantity: str) -> pd.Series:
    """Return one quantity in the last epoch by layer, only what is finite; empty if it wasn't recorded then."""
    rows = layers[layers["epoch"] == layers["epoch"].max()]
    table = by_epoch(rows, quantity)
    return table.iloc[-1].dropna() if len(table) else pd.Series(dtype=np.float64)


def last_gradients(layers: pd.DataFrame) -> pd.Series:
    """Return the gradient norms of convolutions and the classifier in the last epoch: the layers with updates."""
    gradients = last_values(layers, "gradient_norm")
    steps = set(layers.loc[layers["quantity"] == "update_ratio", "layer"])
    return gradients[[name for name in gradients.index if name in steps]]


def later_updates(layers: pd.DataFrame) -> pd.DataFrame:
    """Return the update ratios after the first epoch, in which a warm-up and a new head are not yet the rule."""
    return by_epoch(layers[layers["epoch"] > 1], "update_ratio")


def named(names: list[str]) -> str:
    """Return up to three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def last_epoch(layers: pd.DataFrame) -> int:
    """Return the number of the last epoch."""
    return int(layers["epoch"].max())


def not_finite(layers: pd.DataFrame) -> Diagnosis | None:
    """Not finite: a value of the last epoch is no finite number; the other rules leave such values out."""
    rows = layers[layers["epoch"] == layers["epoch"].max()]
    broken = list(dict.fromkeys(rows.loc[~np.isfinite(rows["value"]), "layer"]))
    if not broken:
        return None
    return Diagnosis(
        "values_not_finite",
        "warning",
        f"In epoch {last_epoch(layers)} what was seen of {named(broken)} is not a finite number. A few steps with "
        "gradients beyond bounds are usual under fp16, which leaves them out; otherwise training broke down.",
        "Without fp16: --precision bf16 or fp32; else a lower --lr, or --clip-grad 1.",
    )


def vanishing_gradients(layers: pd.DataFrame) -> Diagnosis | None:
    """Vanishing: in the last epoch, the first layer's gradient norm is below VANISHING times the last layers'.

    The last layers' is the median of LAST_LAYERS convolutions and the classifier; layers that are frozen don't count.
    """
    gradients = last_gradients(layers)
    if len(gradients) <= LAST_LAYERS:
        return None
    first, last = float(gradients.iloc[0]), float(gradients.iloc[-LAST_LAYERS:].median())
    if not first < VANISHING * last:
        return None
    return Diagnosis(
        "gradients_vanish",
        "warning",
        f"The gradient fades on its way to the front: in epoch {last_epoch(layers)} its norm is {number(first)} at "
        f"{gradients.index[0]}, against {number(last)} at the last layers. The first layers hardly learn.",
        "A network with shortcuts (--shortcuts B) and norms, or a smaller --depth.",
    )


def updates_large(layers: pd.DataFrame) -> Diagnosis | None:
    """Updates too large: after the first epoch, a layer's update ratio is above LARGE_UPDATE in any epoch."""
    updates = later_updates(layers)
    peaks = updates.max()
    peaks = peaks[peaks > LARGE_UPDATE].sort_values(ascending=False, kind="stable")
    if peaks.empty:
        return None
    top = peaks.index[0]
    return Diagnosis(
        "updates_large",
        "warning",
        f"Steps are large against the weights they change: {number(peaks.iloc[0])} of the weight a step at {top} in "
        f"epoch {updates[top].idxmax()}, where 0.001 is usual. It concerns {named(list(peaks.index))}.",
        "A third of the learning rate (--lr, --head-lr), or --clip-grad 1.",
    )


def updates_small(layers: pd.DataFrame) -> Diagnosis | None:
    """Updates too small: after the first epoch, a layer's update ratio is below SMALL_UPDATE in every epoch.

    In every one, because a schedule may end at a rate of nearly zero, and should.
    """
    peaks = later_updates(layers).max()
    peaks = peaks[peaks < SMALL_UPDATE]
    if peaks.empty:
        return None
    return Diagnosis(
        "updates_small",
        "warning",
        f"Some layers stand still without being frozen: after the first epoch no epoch's steps change "
        f"{named(list(peaks.index))} by more than {number(peaks.max())} of the weight, where 0.001 is usual.",
        "A larger learning rate (--lr), or leave these layers out of the work with --freeze.",
    )


def dead_channels(layers: pd.DataFrame) -> Diagnosis | None:
    """Dead channels: in the last epoch, a block's share is at least DEAD (note), MOSTLY_DEAD (warning)."""
    dead = last_values(layers, "dead_channels")
    dead = dead[dead >= DEAD].sort_values(ascending=False, kind="stable")
    if dead.empty:
        return None
    return Diagnosis(
        "dead_channels",
        "warning" if dead.iloc[0] >= MOSTLY_DEAD else "note",
        f"In epoch {last_epoch(layers)}, {percent(dead.iloc[0])} of the output channels of {dead.index[0]} are zero at "
        f"every position of every image of a batch. At least {percent(DEAD)} are so in {named(list(dead.index))}.",
        "A lower --lr, which kills fewer; if the network does well, a smaller --depth has room enough.",
    )


def residuals_idle(layers: pd.DataFrame) -> Diagnosis | None:
    """Idle: in the last epoch, a block's residual ratio is below IDLE."""
    ratios = last_values(layers, "residual_ratio")
    ratios = ratios[ratios < IDLE]
    if ratios.empty:
        return None
    total = layers.loc[layers["quantity"] == "residual_ratio", "layer"].nunique()
    return Diagnosis(
        "residuals_idle",
        "note",
        f"{len(ratios)} of {total} blocks pass on what comes in: in epoch {last_epoch(layers)} the residual of "
        f"{named(list(ratios.index))} is less than {percent(IDLE)} of the shortcut.",
        "More epochs (--epochs), in which they may join in; else a smaller --depth does the same for less.",
    )


def residuals_swamping(layers: pd.DataFrame) -> Diagnosis | None:
    """Swamping: in the last epoch, a block's residual ratio is above SWAMPED."""
    ratios = last_values(layers, "residual_ratio")
    ratios = ratios[ratios > SWAMPED].sort_values(ascending=False, kind="stable")
    if ratios.empty:
        return None
    return Diagnosis(
        "residuals_swamp",
        "warning",
        f"In epoch {last_epoch(layers)} the residual of {ratios.index[0]} is {number(ratios.iloc[0])} times what comes "
        f"through its shortcut. Above {number(SWAMPED)} times, {named(list(ratios.index))} no longer add to their "
        "input but replace it.",
        "A lower --lr, or start every block as the identity: --zero-gamma.",
    )


def statistics_drifting(layers: pd.DataFrame) -> Diagnosis | None:
    """Drifting: the median of the running variances' change over the last epoch, not the first, is above DRIFT."""
    drift = last_values(layers, "running_var_drift")
    if drift.empty or last_epoch(layers) < 2 or not drift.median() > DRIFT:
        return None
    return Diagnosis(
        "statistics_drift",
        "note",
        f"The norms' statistics still move: over epoch {last_epoch(layers)} the running variances changed by "
        f"{percent(drift.median())} (median over {len(drift)} norms), most at {drift.idxmax()}. Validation uses them, "
        "and so may look worse than the weights are.",
        "A schedule that ends near zero (--schedule onecycle), a lower --lr, or more epochs (--epochs).",
    )


def sound(layers: pd.DataFrame) -> Diagnosis:
    """Sound: no other rule found anything; the text gives the numbers that were judged and are there."""
    parts: list[str] = []
    gradients, updates = last_gradients(layers), later_updates(layers)
    if len(gradients) > LAST_LAYERS:
        last = gradients.iloc[-LAST_LAYERS:].median()
        parts.append(f"the gradient norm is {number(gradients.iloc[0])} at the front and {number(last)} at the end")
    if updates.size:
        parts.append(
            f"a step changes a layer's weights by {number(float(np.nanmedian(updates.to_numpy())))} of their size"
        )
    ratios, dead = last_values(layers, "residual_ratio"), last_values(layers, "dead_channels")
    if len(ratios):
        parts.append(f"residuals are {number(ratios.min())} to {number(ratios.max())} of their shortcuts")
    if len(dead):
        most = percent(dead.max())
        parts.append(f"no block has more than {most} dead channels" if dead.max() > 0 else "no channel is dead")
    text = f"Nothing is out of order inside, as of epoch {last_epoch(layers)}"
    return Diagnosis("inside_sound", "good", f"{text}: {'; '.join(parts)}." if parts else f"{text}.")
