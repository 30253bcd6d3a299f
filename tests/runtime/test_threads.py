"""How many threads are chosen, by what a small block takes with them."""

import pytest
import torch

from resnet50.runtime import threads
from resnet50.runtime.threads import choose_threads, measured_rates, small_block


@pytest.fixture(autouse=True)
def _nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ({8: 100.0, 7: 90.0, 4: 60.0, 1: 20.0}, 8),
        ({8: 10.0, 7: 80.0, 4: 60.0, 1: 20.0}, 7),  # another program uses one core
        ({8: 2.0, 7: 2.0, 4: 5.0, 1: 20.0}, 1),
        ({8: 10.0, 7: 12.0, 4: 11.0, 1: 9.0}, 8),  # within the noise
    ],
)
def test_the_fastest_number_of_threads_is_chosen(
    rates: dict[int, float], chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: 8)
    monkeypatch.setattr(threads, "measured_rates", lambda candidates, work: {c: rates[c] for c in candidates})
    found, why = choose_threads()
    assert found == chosen
    assert (f"{chosen} of 8 threads" in why) == (chosen < 8)


def test_the_number_that_the_environment_gives_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert choose_threads() == (3, "")


def test_a_single_core_needs_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: 1)
    monkeypatch.delattr(threads, "measured_rates")
    assert choose_threads() == (1, "")


def test_measuring_leaves_threads_and_random_numbers_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "ROUND_SECONDS", 0.001)
    torch.manual_seed(3)
    before, expected = torch.get_num_threads(), torch.rand(2)
    torch.manual_seed(3)
    rates = measured_rates([2, 1], small_block())
    assert torch.get_num_threads() == before
    assert torch.equal(torch.rand(2), expected)
    assert set(rates) == {1, 2} and min(rates.values()) > 0
