"""The demo begins as its Makefile has it: the solar cells, from their package to a prepared dataset."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from resnet50.cli import run
from resnet50.etl.prepared import load_prepared

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_demo_prepares_its_solar_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(
        [sys.executable, str(ROOT / "examples" / "solar_cells.py"), "demo/solar-cells"], check=True, capture_output=True
    )
    recipe = re.search(r"resnet50 (prepare .*)", (ROOT / "Makefile").read_text())
    assert recipe
    assert run([*shlex.split(recipe[1]), "--no-store"]) == 0
    dataset = load_prepared(tmp_path / "demo" / "dataset")
    assert len(dataset.manifest) == 2624
    assert dataset.classes == ("defective", "functional")
