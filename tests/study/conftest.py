"""A study in miniature."""

from pathlib import Path

import pytest

from resnet50.etl.prepared import load_prepared
from resnet50.runtime.device import resolve_device
from resnet50.study.lab import Lab, Plan


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep studies that a test opens from taking more threads than the tests have: the others would wait in turns."""
    monkeypatch.setattr("resnet50.study.lab.available_cores", lambda: 1)


@pytest.fixture
def tiny_plan() -> Plan:
    """Return a plan that takes seconds."""
    return Plan(size=32, images=32, epochs=2, seeds=2, looked_at=8, draws=2, grid=3)


@pytest.fixture
def lab(prepared: Path, tmp_path: Path, tiny_plan: Plan) -> Lab:
    """Return a lab on the prepared cats and dogs, without a trained run."""
    (tmp_path / "study").mkdir()
    return Lab(tmp_path / "study", load_prepared(prepared), (), tiny_plan, resolve_device("cpu", "fp32"), 0)
