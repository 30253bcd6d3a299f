"""Diagnose the layers by what `--observe` recorded: gradients, updates, residuals, dead channels, statistics.

The table is that of `observed/layers.csv`: columns epoch (0: the probe before the first step), layer, quantity, value.
"""

import numpy as np
import pandas as pd

from resnet50.evaluation.diagnostics.diagnosis import Diagnosis
from resnet50.runtime.stats import number, percent

VANISHING = 1e-3
"""Gradient norm of the first convolution over that of the last layers below which the gradient has vanished. In a sound
network both have the same order of magnitude; three orders are more than the sizes of the layers explain."""

LAST_LAYERS = 3
"""Last layers that the first is compared with: their median, because the head's own gradient varies widely."""

DEAD = 0.1
"""Share of dead output channels in a block that is worth naming. A few are normal: a batch doesn't show everything that
a channel responds to."""

MOSTLY_DEAD = 0.5
"""Share of dead output channels from which a block has lost most of its capacity."""

LARGE_UPDATE = 1e-1
"""Norm of an update over the norm of the weight above which a step overwrites what was learned. The rule of thumb is
1e-3; two orders above, ten steps rewrite the layer."""

SMALL_UPDATE = 1e-6
"""Norm of an update over the norm of the weight below which a layer stands still: three orders under the rule of thumb,
so that a thousand steps move it by a thousandth."""

IDLE = 0.01
"""‖F(x)‖/‖x‖ below which a block merely passes its input on: one part in a hundred, less than its noise in a batch."""

SWAMPED = 10.0
"""‖F(x)‖/‖x‖ above which the shortcut no longer carries the input past the block: it acts like a plain block."""

DRIFT = 0.25
"""Relative change of the norms' running variances over the last epoch, as the median over the norms, from which the
statistics used in validation are not those of the features: a quarter of the variance is an eighth of the scale.
Single norms move more by chance, so the median counts."""


def diagnose_layers(layers: pd.DataFrame) -> list[Diagnosis]:
    """Apply the rules about layers to what a run recorded.

    Args:
        layers: As in `observed/layers.csv`. Frozen layers have no gradients, and rules about those stay silent.

    Returns:
        Diagnoses in the order in which they are best read; a single good one if no rule speaks; none for an empty
        table.
    """
    if layers.empty:
        return []
    diagnoses = [
        not_finite(layers),
        vanishing_gradients(layers),
        updates_large(layers),
        updates_small(layers),
        dead_channels(layers),
        residuals_idle(layers),
        residuals_swamping(layers),
        statistics_drifting(layers),
    ]
    return [diagnosis for diagnosis in diagnoses if diagnosis is not None] or [sound(layers)]


def by_epoch(layers: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Pivot one quantity: a row per epoch, a column per layer in the network's order, NaN where not finite."""
    rows = layers[layers["quantity"] == quantity]
    values = rows["value"].where(np.isfinite(rows["value"]))
    table = rows.assign(value=values).pivot_table(index="epoch", columns="layer", values="value", dropna=False)
    return table.reindex(columns=list(dict.fromkeys(rows["layer"])))


def last_values(layers: pd.DataFrame, quantity: str) -> pd.Series:
    """Take one quantity in the last epoch by layer, finite values only; empty if it wasn't recorded."""
    rows = layers[layers["epoch"] == layers["epoch"].max()]
    table = by_epoch(rows, quantity)
    return table.iloc[-1].dropna() if len(table) else pd.Series(dtype=np.float64)


def last_gradients(layers: pd.DataFrame) -> pd.Series:
    """Take the last epoch's gradient norms of convolutions and classifier: the layers that have updates."""
    gradients = last_values(layers, "gradient_norm")
    steps = set(layers.loc[layers["quantity"] == "update_ratio", "layer"])
    return gradients[[name for name in gradients.index if name in steps]]


def later_updates(layers: pd.DataFrame) -> pd.DataFrame:
    """Take the update ratios after the first epoch, which warmup and a new head distort."""
    return by_epoch(layers[layers["epoch"] > 1], "update_ratio")


def named(names: list[str]) -> str:
    """List up to three names and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def last_epoch(layers: pd.DataFrame) -> int:
    return int(layers["epoch"].max())


def not_finite(layers: pd.DataFrame) -> Diagnosis | None:
    """Not finite: a value of the last epoch is not finite; the other rules ignore such values."""
    rows = layers[layers["epoch"] == layers["epoch"].max()]
    broken = list(dict.fromkeys(rows.loc[~np.isfinite(rows["value"]), "layer"]))
    if not broken:
        return None
    return Diagnosis(
        "values_not_finite",
        "warning",
        f"In epoch {last_epoch(layers)} values of {named(broken)} are not finite. Under fp16 a few steps whose "
        "gradients overflow are normal, and are skipped; otherwise training diverged.",
        "Under fp16, --precision bf16 or fp32; otherwise a lower --lr, or --clip-grad 1.",
    )


def vanishing_gradients(layers: pd.DataFrame) -> Diagnosis | None:
    """Vanishing: in the last epoch, the first layer's gradient norm is below VANISHING times the last layers'.

    The last layers' norm is the median of the last LAST_LAYERS layers that have updates; frozen layers don't count.
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
        f"The gradient vanishes toward the first layers: in epoch {last_epoch(layers)} its norm is {number(first)} at "
        f"{gradients.index[0]}, against {number(last)} in the last layers. The first layers hardly learn.",
        "Use shortcuts (--shortcuts B), or a smaller --depth.",
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
        f"Updates are large relative to the weights: {number(peaks.iloc[0])} of the weight norm per step at {top} in "
        f"epoch {updates[top].idxmax()}, where 0.001 is usual. Affected: {named(list(peaks.index))}.",
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
        f"Some layers stand still although they are not frozen: after the first epoch, no epoch's updates of "
        f"{named(list(peaks.index))} exceed {number(peaks.max())} of the weight norm, where 0.001 is usual.",
        "A larger learning rate (--lr); or freeze these layers (--freeze).",
    )


def dead_channels(layers: pd.DataFrame) -> Diagnosis | None:
    """Dead channels: in the last epoch, a block's share is at least DEAD (note) or MOSTLY_DEAD (warning)."""
    dead = last_values(layers, "dead_channels")
    dead = dead[dead >= DEAD].sort_values(ascending=False, kind="stable")
    if dead.empty:
        return None
    return Diagnosis(
        "dead_channels",
        "warning" if dead.iloc[0] >= MOSTLY_DEAD else "note",
        f"In epoch {last_epoch(layers)}, {percent(dead.iloc[0])} of the output channels of {dead.index[0]} are zero at "
        f"every position of every image in a batch. Blocks with at least {percent(DEAD)}: {named(list(dead.index))}.",
        "A lower --lr, which kills fewer; if the network does well anyway, a smaller --depth is enough.",
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
        f"{len(ratios)} of {total} blocks merely pass their input on: in epoch {last_epoch(layers)} the residual of "
        f"{named(list(ratios.index))} is less than {percent(IDLE)} of the shortcut.",
        "More epochs (--epochs), which may activate them; otherwise a smaller --depth does the same for less.",
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
        f"In epoch {last_epoch(layers)} the residual of {ratios.index[0]} is {number(ratios.iloc[0])} times its "
        f"shortcut. Above {number(SWAMPED)} times, a block replaces its input instead of adding to it: "
        f"{named(list(ratios.index))}.",
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
        f"The batch norm statistics still drift: over epoch {last_epoch(layers)} the running variances changed by "
        f"{percent(drift.median())} (median over {len(drift)} norms), most at {drift.idxmax()}. Validation uses them, "
        "so it may look worse than the weights are.",
        "A schedule that ends near zero (--schedule onecycle), a lower --lr, or more epochs (--epochs).",
    )


def sound(layers: pd.DataFrame) -> Diagnosis:
    """Sound: no other rule speaks; the text gives the numbers that were judged."""
    parts: list[str] = []
    gradients, updates = last_gradients(layers), later_updates(layers)
    if len(gradients) > LAST_LAYERS:
        last = gradients.iloc[-LAST_LAYERS:].median()
        parts.append(
            f"the gradient norm is {number(gradients.iloc[0])} in the first layer and {number(last)} in the last"
        )
    if updates.size:
        parts.append(
            f"a step changes a layer's weights by {number(float(np.nanmedian(updates.to_numpy())))} of their norm"
        )
    ratios, dead = last_values(layers, "residual_ratio"), last_values(layers, "dead_channels")
    if len(ratios):
        parts.append(f"residuals are {number(ratios.min())} to {number(ratios.max())} of their shortcuts")
    if len(dead):
        most = percent(dead.max())
        parts.append(f"no block has more than {most} dead channels" if dead.max() > 0 else "no channel is dead")
    text = f"Nothing unusual inside the network as of epoch {last_epoch(layers)}"
    return Diagnosis("inside_sound", "good", f"{text}: {'; '.join(parts)}." if parts else f"{text}.")
