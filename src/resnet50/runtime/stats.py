"""Intervals and standard errors of proportions; the number formats of messages and reports."""

import math
from collections.abc import Sequence


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Compute the Wilson score interval of a proportion at `z` standard errors; (0, 1) for n = 0.

    Wilson 1927, JASA 22, 209–212.
    """
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half_width = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, center - half_width), min(1.0, center + half_width)


def standard_error(p: float, n: int) -> float:
    """Compute the standard error of a proportion p measured on n images."""
    return math.sqrt(max(0.0, p * (1 - p)) / n)


def round_size(size: float) -> int:
    """Round an image size to a multiple of 32, the network's total stride."""
    return 32 * round(size / 32)


def listed(items: Sequence[str], conjunction: str = "or") -> str:
    """Join the non-empty items as in a sentence: "a, b or c"."""
    kept = [item for item in items if item]
    if not kept:
        return ""
    return kept[0] if len(kept) == 1 else f"{', '.join(kept[:-1])} {conjunction} {kept[-1]}"


def percent(share: float) -> str:
    """Format a share with one decimal: 0.807 is "80.7%"."""
    return f"{100 * share:.1f}%"


def points(difference: float) -> str:
    """Format a difference of shares in percentage points."""
    return f"{100 * difference:.1f} points"


def loss(value: float) -> str:
    """Format a loss with three decimals, or with three digits from 100 on."""
    return f"{value:.3f}" if value < 100 else f"{value:.3g}"


def number(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:.3g}"
