"""CPU cores available to a process, whatever the machine has."""

import os
from io import StringIO

import pytest

from resnet50.runtime import cpu


@pytest.mark.parametrize(
    ("limit", "expected"), [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("nonsense", 8)]
)
def test_container_limit_caps_the_cores(limit: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(cpu, "open", lambda *args, **kwargs: StringIO(limit), raising=False)
    assert cpu.available_cores() == expected


def test_affinity_caps_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_file(*args: object, **kwargs: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    monkeypatch.setattr(cpu, "open", no_file, raising=False)
    assert cpu.available_cores() == 2


def test_processes_of_a_job_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(cpu, "open", lambda *args, **kwargs: StringIO("max 100000"), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert cpu.available_cores() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert cpu.available_cores() == 1
