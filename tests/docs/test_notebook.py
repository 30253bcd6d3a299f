"""The example notebook is made from its script, and runs."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NARROW

EXAMPLES = Path(__file__).parents[2] / "examples"
NARROWED = f"\nfrom resnet50.model import resnet; resnet.WIDTHS = {NARROW}"
"""A cell that makes networks narrow, as those of this process are."""


@pytest.fixture(scope="module")
def maker() -> dict[str, Any]:
    """Return the functions of the script that makes the notebook."""
    return runpy.run_path(str(EXAMPLES / "make_quickstart.py"))


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    """Return the notebook as it is in the repository."""
    return json.loads((EXAMPLES / "quickstart.ipynb").read_text(encoding="utf-8"))


def test_the_notebook_is_made_from_its_script(maker: dict[str, Any], committed: dict[str, Any]) -> None:
    made = maker["notebook"]((EXAMPLES / "quickstart.py").read_text(encoding="utf-8"))
    sources = [(cell["cell_type"], "".join(cell["source"])) for cell in committed["cells"]]
    assert sources == [(cell.cell_type, cell.source) for cell in made.cells], (
        "run: .venv/bin/python examples/make_quickstart.py"
    )


def test_the_committed_notebook_has_its_outputs(committed: dict[str, Any]) -> None:
    shown = [output for cell in committed["cells"] for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 3
    assert not [output for output in shown if output["output_type"] == "error"]


@pytest.mark.slow
def test_the_notebook_runs(maker: dict[str, Any], tmp_path: Path) -> None:
    book = maker["notebook"]((EXAMPLES / "quickstart.py").read_text(encoding="utf-8"))
    book.cells.insert(0, maker["cell"](NARROWED, "narrowed"))
    maker["execute"](book, tmp_path)  # raises the first error of a cell
    outputs = {cell.source.splitlines()[-1]: cell.outputs for cell in book.cells if cell.cell_type == "code"}
    assert "image/png" in outputs["data.show(9)"][0]["data"]
    assert "finished" in outputs["run"][0]["data"]["text/html"]
    (choices,) = outputs["    print(error.choices)"]
    assert choices["text"] == "({'label_column': 'ripe'}, {'label_column': 'fruit'})\n"
    assert (tmp_path / "quickstart" / "dataset" / "source.parquet").is_file()
