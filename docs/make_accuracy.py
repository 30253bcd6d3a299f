"""Train with each fast setting on and off, with three seeds, and write the test accuracies to docs/bench/accuracy.csv.

    .venv/bin/python docs/make_accuracy.py DATASET FOLDER_FOR_RUNS

DATASET is the demo's (demo/dataset). Existing runs are not repeated. docs/make_performance.py makes the table.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import torch

from resnet50.runtime.device import choose_precision

RECIPE = [
    *("--image-size", "96", "--eval-size", "128", "--resize-mode", "squash", "--crop-scale", "0.7"),
    *("--flips", "both", "--ema", "0.99", "--epochs", "3"),
]
VARIANTS = {
    "automatic settings": [],
    "from the files, not the store": ["--no-store"],
    "fp32, not bf16": ["--precision", "fp32"],
    "compiled": ["--compile", "on"],
}
SEEDS = (0, 1, 2)


def main(dataset, folder):
    """Train and evaluate every variant; update the file after each run."""
    variants = dict(VARIANTS)
    if choose_precision(torch.device("cpu"))[0] == "fp32":
        del variants["fp32, not bf16"]  # automatic precision is fp32 on this machine
    rows = []
    for seed in SEEDS:
        for number, (variant, options) in enumerate(variants.items()):
            run = folder / f"{number}-{seed}"
            if not (run / "evaluation" / "test.json").exists():
                train = ["train", dataset, "--out", run, "--overwrite", "--seed", str(seed), *RECIPE, *options]
                for arguments in (train, ["evaluate", run, "--split", "test"]):
                    subprocess.run([sys.executable, "-m", "resnet50", *arguments], check=True)
            metrics = json.loads((run / "evaluation" / "test.json").read_text())
            rows.append({"variant": variant, "seed": seed, **{key: metrics[key] for key in ("images", "accuracy")}})
            with (Path(__file__).parent / "bench" / "accuracy.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
