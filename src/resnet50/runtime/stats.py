"""Statistics of shares, and how numbers are written."""

import math
from collections.abc import Sequence


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the interval of a share at z standard errors (Wilson 1927, JASA 22, 209–212); (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, center - reach), min(1.0, center + reach)


def standard_error(p: float, n: int) -> float:
    """Return the standard error of a share p of n images."""
    return math.sqrt(max(0.0, p * (1 - p)) / n)


def round_size(size: float) -> int:
    """Return an image size as a multiple of 32, the network's total stride."""
    return 32 * round(size / 32)


def listed(items: Sequence[str], conjunction: str = "or") -> str:
    """Return the non-empty items as a list in words."""
    kept = [item for item in items if item]
    if not kept:
        return ""
    return kept[0] if len(kept) == 1 else f"{', '.join(kept[:-1])} {conjunction} {kept[-1]}"


def percent(share: float) -> str:
    """Return a share as percent with one decimal."""
    return f"{100 * share:.1f}%"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points."""
    return f"{100 * difference:.1f} points"


def loss(value: float) -> str:
    """Return a loss with three decimals, large ones with three digits."""
    return f"{value:.3f}" if value < 100 else f"{value:.3g}"


def number(value: float) -> str:
    """Return a number with three significant digits."""
    return f"{value:.3g}"
