"""The numbers of the performance page are what the benchmark wrote."""

import dataclasses
import json
import re
import runpy
from pathlib import Path

from resnet50.bench.results import Measurement, write
from resnet50.bench.run import all_rows

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = runpy.run_path(str(DOCS / "make_performance.py"))

STEP = Measurement("step", 12.5, 3.75, "torchvision", 3.333, 3.25, 3.421, 17.2, 0.7267, "images/s", 5)
MACHINE = {"cpu": "Fast 9000", "features": ["avx2"], "gpu": None, "cores": 2, "versions": {"torch": "9.9"}}


def test_the_tables_are_what_their_script_writes() -> None:
    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert SCRIPT["page"](text, DOCS / "bench") == text, "run: .venv/bin/python docs/make_performance.py"


def test_every_saved_benchmark_is_on_the_page() -> None:
    marked = re.findall(r"<!-- bench:([\w.-]+)", (DOCS / "performance.md").read_text(encoding="utf-8"))
    kept = {path.stem for path in (DOCS / "bench").glob("*.json") if not path.name.endswith(".machine.json")}
    assert kept <= set(marked)


def test_the_page_explains_every_row() -> None:
    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    for row in all_rows():
        if not row.in_full_only:
            assert f"`{row.name}`" in text or f"`{row.name[row.name.rindex('_') :]}`" in text


def test_a_table_names_the_machine_it_was_measured_on(tmp_path: Path) -> None:
    alone = dataclasses.replace(STEP, name="step_without_bf16", ratio=0.4, limit=None, share_of_limit=None)
    write(tmp_path / "mine.json", [STEP, alone], MACHINE)
    text = "a\n<!-- bench:mine -->\nold\n<!-- end -->\nb\n<!-- bench:mine:ablation -->\n<!-- end -->\nc\n"
    once = SCRIPT["page"](text, tmp_path)
    assert "| `step` | 12.5 images/s | 3.75 images/s (torchvision) | 3.33 [3.25–3.42] | 17.2 images/s | 73% |" in once
    assert "| without bf16 | 12.5 | 3.75 | 0.40 [3.25–3.42] |" in once
    assert "Fast 9000" in once
    assert "old" not in once
    assert [line for line in once.splitlines() if line in ("a", "b", "c")] == ["a", "b", "c"]
    assert SCRIPT["page"](once, tmp_path) == once


def test_a_missing_measurement_is_called_missing(tmp_path: Path) -> None:
    assert "Not measured yet." in SCRIPT["page"]("<!-- bench:absent -->\n<!-- end -->\n", tmp_path)
    (tmp_path / "old.json").write_text(json.dumps([]), encoding="utf-8")
    (tmp_path / "old.machine.json").write_text(json.dumps(MACHINE), encoding="utf-8")
    assert "Not measured yet." in SCRIPT["page"]("<!-- bench:old:ablation -->\n<!-- end -->\n", tmp_path)


def test_accuracies_are_listed_by_seed_with_mean_and_deviation(tmp_path: Path) -> None:
    rows = ["variant,seed,images,accuracy", "auto,0,100,0.80", "auto,1,100,0.84", "fp32,0,100,0.90", "fp32,1,100,0.90"]
    (tmp_path / "accuracy.csv").write_text("\n".join(rows), encoding="utf-8")
    table = SCRIPT["page"]("<!-- accuracy -->\n<!-- end -->\n", tmp_path)
    assert "accuracy on 100 images" in table
    assert "| auto | 80.0, 84.0 | 82.0 ± 2.8% |" in table
    assert "| fp32 | 90.0, 90.0 | 90.0 ± 0.0% |" in table
