"""The typed keywords of the Python functions are those of the options, and a type checker sees them."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_keywords_are_what_their_script_writes() -> None:
    written = runpy.run_path(str(ROOT / "tools" / "make_keywords.py"))["keywords"]()
    assert (ROOT / "src" / "resnet50" / "options" / "keywords.py").read_text(encoding="utf-8") == written, (
        "run: .venv/bin/python tools/make_keywords.py > src/resnet50/options/keywords.py"
    )


CORRECT = """
import pandas as pd
import resnet50 as rn

data = rn.prepare(pd.DataFrame(), "dataset", images="images", label_column="label", store_size=128)
run = rn.train(data, "run", epochs=5, batch_size="auto", lr=None, weights=rn.load_run("other"))
accuracy: float = run.evaluate("test", dataset=data).accuracy
again: rn.Run = rn.train(resume=run)
features = rn.load(run, engine="torch").features(["a.jpg"]).shape
network: int = rn.create_model("resnet18", weights="imagenet", num_classes=10).fc.out_features
"""


@pytest.mark.slow
def test_a_type_checker_accepts_what_is_right_and_names_what_is_wrong(tmp_path: Path) -> None:
    wrong = ["train(data, 'r', epocs=5)", "train(data, 'r', epochs='x')", "evaluate(run, 'tset')"]
    wrong += ["create_model('resnet51')", "prepare('t.csv')", "load(run, engine='tensorrt')"]
    lines = CORRECT.splitlines()
    (tmp_path / "snippet.py").write_text("\n".join([*lines, *(f"rn.{call}" for call in wrong)]))
    (tmp_path / "pyrightconfig.json").write_text(f'{{"extraPaths": ["{ROOT / "src"}"], "typeCheckingMode": "strict"}}')
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    faulty = {int(line.split("snippet.py:")[1].split(":")[0]) for line in told.splitlines() if "- error" in line}
    assert faulty == {len(lines) + number for number in range(1, len(wrong) + 1)}, told
