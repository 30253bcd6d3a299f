"""Cores that a process may use, whatever the machine has."""

import os
from io import StringIO

import pytest

from resnet50.runtime import cpu as cores


@pytest.mark.parametrize(
    ("limit", "expected"), [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("nonsense", 8)]
)
def test_a_containers_limit_counts(limit: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "open", lambda *args, **kwargs: StringIO(limit), raising=False)
    assert cores.available_cores() == expected


def test_affinity_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_file(*args: object, **kwargs: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    monkeypatch.setattr(cores, "open", no_file, raising=False)
    assert cores.available_cores() == 2


def test_processes_that_work_together_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "open", lambda *args, **kwargs: StringIO("max 100000"), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert cores.available_cores() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert cores.available_cores() == 1
