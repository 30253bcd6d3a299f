"""Layouts from the grammar: what `prepare` makes of them is right, or a question; never wrong in silence."""

import os
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.etl.layouts.grammar import layouts
from tests.etl.layouts.layout import Layout, run

COUNT = int(os.environ.get("LAYOUTS_N", "2000"))
"""Layouts that `make test-faults` generates."""

LEAST_UNDERSTOOD = 0.5
"""Share of the layouts that is right, or asked with a right answer, or refused as it should be."""


def never_wrong(count: int) -> Counter[str]:
    """Prepare so many layouts, the same ones each time; return how often each outcome came up.

    Raises:
        AssertionError: labels or images are wrong: with the smallest such layout that hypothesis has found.
    """
    outcomes = Counter[str]()

    @settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @given(layouts())
    def check(drawn: tuple[str, Layout]) -> None:
        kind, layout = drawn
        with tempfile.TemporaryDirectory(prefix="layout-") as folder:
            outcome = run(layout, Path(folder))
        outcomes[outcome.word] += 1
        assert outcome.word not in ("WRONG", "misled"), f"{kind}: {outcome.why}\n{outcome.said}"

    check()
    return outcomes


def understood(outcomes: Counter[str]) -> float:
    return 1 - outcomes["stopped"] / outcomes.total()


@pytest.mark.slow
def test_no_layout_is_read_wrongly_in_silence() -> None:
    assert understood(never_wrong(100)) >= LEAST_UNDERSTOOD


@pytest.mark.faults
def test_none_of_thousands_of_layouts_is_read_wrongly(record_property: Callable[[str, object], None]) -> None:
    record_property("tries", COUNT)
    assert understood(never_wrong(COUNT)) >= LEAST_UNDERSTOOD
