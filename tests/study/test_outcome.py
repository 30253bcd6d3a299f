"""How criteria and values become outcomes."""

import pytest

from resnet50.study.outcome import agree, decide


def test_two_criteria_leave_room_for_no_answer() -> None:
    assert decide(seen=True, not_seen=True) == "seen"
    assert decide(seen=False, not_seen=True) == "not seen"
    assert decide(seen=False, not_seen=False) == "undecided"
    assert decide(seen=False) == "not seen"


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ([0.1, 0.2], "seen"),
        ([-0.1, 0.0], "not seen"),
        ([-0.1, 0.2], "undecided"),
        ([float("nan"), 0.2], "undecided"),
        ([True, True], "seen"),
        ([False], "not seen"),
        ([], "undecided"),
    ],
)
def test_values_have_to_agree(values: list[float], outcome: str) -> None:
    assert agree(values) == outcome


def test_the_threshold_itself_is_not_above() -> None:
    assert agree([0.5], above=0.5) == "not seen"
