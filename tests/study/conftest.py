"""A study in miniature."""

from pathlib import Path

import pytest

from resnet50.etl.prepared import load_prepared
from resnet50.runtime.device import resolve_device
from resnet50.study.lab import Lab, Plan


@pytest.fixture
def tiny_plan() -> Plan:
    """Return a plan that takes seconds."""
    return Plan(size=32, images=32, epochs=2, seeds=2, looked_at=8, draws=2, grid=3)


@pytest.fixture
def lab(prepared: Path, tmp_path: Path, tiny_plan: Plan) -> Lab:
    """Return a lab on the prepared cats and dogs, without a trained run."""
    (tmp_path / "study").mkdir()
    return Lab(tmp_path / "study", load_prepared(prepared), (), tiny_plan, resolve_device("cpu", "fp32"), 0)
