"""The numbers of the recipes page are what its script measured."""

import runpy
from pathlib import Path

import pandas as pd
import pytest

from resnet50.training.setup import recipe

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = runpy.run_path(str(DOCS / "make_recipes.py"))


def test_the_tables_are_what_their_script_writes() -> None:
    text = (DOCS / "recipes.md").read_text(encoding="utf-8")
    assert SCRIPT["page"](text, DOCS / "recipes") == text, "run: .venv/bin/python docs/make_recipes.py"


def test_differences_are_paired_by_seed() -> None:
    rows = [("base", 0, 0.5, 1.0), ("base", 1, 0.9, 2.0), ("other", 0, 0.6, 1.1), ("other", 1, 0.96, 2.3)]
    runs = pd.DataFrame(rows, columns=["recipe", "seed", "accuracy", "log_loss"])
    runs = runs.assign(cpu="bf16", comparison="c", data="d", share=1.0)
    found = SCRIPT["differences"](runs, "recipe", "base", "c").loc[("other", "d")]
    assert found["points"] == pytest.approx(8) and found["points_error"] == pytest.approx(2)
    assert found["nats"] == pytest.approx(0.2) and found["pairs"] == 2


def test_other_kinds_of_cpu_are_not_compared() -> None:
    rows = [("base", "bf16", 0.5), ("other", "fp32", 0.6)]
    runs = pd.DataFrame(rows, columns=["recipe", "cpu", "accuracy"])
    runs = runs.assign(comparison="c", data="d", share=1.0, seed=0, log_loss=1.0)
    assert SCRIPT["differences"](runs, "recipe", "base", "c").empty


def test_the_page_states_the_rule() -> None:
    text = (DOCS / "recipes.md").read_text(encoding="utf-8")
    constants = (recipe.FEWEST_EPOCHS, recipe.MOST_EPOCHS, recipe.EPOCHS, recipe.FEWEST_STEPS)
    stated = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(any(f" {constant} " in line for line in stated) for constant in constants)
    assert ", ".join(map(str, recipe.SIZES)) in text
