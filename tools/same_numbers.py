"""Show that two versions of the project compute the same numbers.

    python tools/same_numbers.py record before.json   # in a checkout of the earlier version
    python tools/same_numbers.py record after.json    # in a checkout of the later one
    python tools/same_numbers.py compare before.json after.json

`record` makes seeded images and runs the command line on them: it prepares, trains (two depths, both optimizers, with
and without the average, accumulation, `--observe` and loader processes, and once with an interruption), evaluates and
predicts. It writes hashes of weights, pixels and tables. It uses nothing but the command line, so it runs on any
version. `compare` wants everything identical except for what `evaluate` writes, which follows the inference engine:
there, probabilities may differ by `TOLERANCE`.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from safetensors.numpy import load_file

SOURCE = Path(__file__).resolve().parents[1] / "src"
CLASSES = ("circle", "cross", "stripes")
IMAGES_PER_CLASS = 44
TIMES = ["images_per_second", "wait_seconds", "seconds"]
"""Columns of `metrics.csv` that differ from run to run."""

TOLERANCE = 0.02
"""Difference of a probability that bf16 and folded batch norms account for."""

COMMON = ["--weights", "none", "--epochs", "2", "--batch-size", "16", "--seed", "3", "--threads", "2"]
SMALL = [*COMMON, "--depth", "18", "--image-size", "64"]
LARGE = [*COMMON, "--depth", "50", "--image-size", "96"]
RUNS: dict[str, list[str]] = {
    "r18-adamw-ema": [*SMALL, "--ema", "0.9", "--workers", "0"],
    "r18-adamw-ema-observed": [*SMALL, "--ema", "0.9", "--workers", "2", "--observe"],
    "r18-resumed": [*SMALL, "--ema", "0.9", "--workers", "0"],
    "r18-sgd-accumulated": [
        *SMALL, "--optimizer", "sgd", "--accumulate", "2", "--label-smoothing", "0.1", "--class-weights", "balanced",
        "--augment", "standard", "--workers", "2", "--clip-grad", "1",
    ],
    "r18-fp32-files": [*SMALL, "--precision", "fp32", "--no-store", "--workers", "1", "--schedule", "cosine"],
    "r18-frozen": [*SMALL, "--freeze", "5"],
    "r50-sgd-observed": [*LARGE, "--optimizer", "sgd", "--observe", "--workers", "0"],
    "r50-adamw": [*LARGE, "--zero-gamma", "--schedule", "plateau", "--workers", "2"],
}  # fmt: skip


def main() -> None:
    """Record or compare."""
    if len(sys.argv) == 3 and sys.argv[1] == "record":
        with tempfile.TemporaryDirectory() as folder:
            numbers = record(Path(folder))
        Path(sys.argv[2]).write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    elif len(sys.argv) == 4 and sys.argv[1] == "compare":
        before, after = (json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[2:])
        differing = list(differences(before, after))
        print("\n".join(differing) or f"all {len(before)} groups of numbers are the same")
        sys.exit(bool(differing))
    else:
        sys.exit(__doc__)


def record(folder: Path) -> dict[str, Any]:
    """Run every command in a folder and return what came of each."""
    make_images(folder / "source")
    resnet50(folder, "prepare", "source/table.csv", "--images", "source/images", "--out", "dataset")
    numbers: dict[str, Any] = {"prepare": prepared(folder)}
    for name, options in RUNS.items():
        command = ["train", "dataset", "--out", name, *options]
        if name == "r18-resumed":
            interrupt(folder, command, folder / name / "checkpoints")
            command = ["train", "--resume", name]
        resnet50(folder, *command)
        numbers[f"train {name}"] = trained(folder / name)
    assert numbers["train r18-resumed"] == numbers["train r18-adamw-ema"], "a resumed run differs from a whole one"
    for name in RUNS:
        for precision in ("fp32", "auto"):
            resnet50(folder, "evaluate", name, "--split", "test", "--precision", precision)
            numbers[f"evaluate {name} {precision}"] = evaluated(folder / name / "evaluation")
    for engine in ("torch", "openvino"):
        for name in ("r18-adamw-ema", "r50-adamw"):
            out = f"{name}-{engine}.csv"
            resnet50(folder, "predict", name, "source/images", "--out", out, "--engine", engine)
            numbers[f"predict {name} {engine}"] = text_hash(folder / out)
    return numbers


def make_images(folder: Path) -> None:
    """Write three classes of noisy shapes as JPEG files of several sizes, and their table."""
    rng = np.random.default_rng(11)
    (folder / "images").mkdir(parents=True)
    rows: list[dict[str, str]] = []
    for number in range(IMAGES_PER_CLASS * len(CLASSES)):
        label = CLASSES[number % len(CLASSES)]
        height, width = rng.integers(72, 160, 2)
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        shape = {
            "circle": (x**2 + y**2 < 0.4),
            "cross": (abs(x) < 0.2) | (abs(y) < 0.2),
            "stripes": np.sin(12 * x + rng.uniform(0, 6)) > 0,
        }[label]
        pixels = 90 * shape[..., None] * rng.uniform(0.4, 1, 3) + rng.uniform(20, 120, 3) + rng.normal(0, 12, (1, 1, 3))
        pixels = pixels + rng.normal(0, 10, (height, width, 1))
        name = f"{number:04d}"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{name}.jpg", quality=92)
        rows.append({"id": name, "label": label})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)


def resnet50(folder: Path, *arguments: str) -> None:
    """Run one command in the folder, and stop with its output if it fails."""
    print("resnet50", *arguments, flush=True)
    done = subprocess.run(
        command(arguments), cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def interrupt(folder: Path, arguments: list[str], checkpoints: Path) -> None:
    """Start a training and end it by SIGTERM as soon as it has written a checkpoint."""
    process = subprocess.Popen(command(arguments), cwd=folder, env=environment(), stdout=subprocess.DEVNULL)
    while process.poll() is None and not list(checkpoints.glob("*.safetensors")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 75, "the training was over before it could be interrupted"


def command(arguments: list[str] | tuple[str, ...]) -> list[str]:
    """Return the command line of this checkout."""
    return [sys.executable, "-m", "resnet50", *arguments]


def environment() -> dict[str, str]:
    """Return an environment in which this checkout is the one that is imported."""
    return {**os.environ, "PYTHONPATH": str(SOURCE), "CUDA_VISIBLE_DEVICES": ""}


def prepared(folder: Path) -> dict[str, Any]:
    """Return what `prepare` has made, without the folder's name."""
    dataset = folder / "dataset"
    manifest = pd.read_parquet(dataset / "manifest.parquet")
    table = manifest.to_csv(index=False).replace(str(folder.resolve()), "FOLDER")
    description = (dataset / "dataset.yaml").read_text(encoding="utf-8")
    fingerprint = next(line for line in description.splitlines() if line.startswith("fingerprint:"))
    store = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(dataset.rglob("*.bin"))))
    return {
        "columns": list(manifest.columns),
        "manifest": hashlib.sha256(table.encode()).hexdigest(),
        "fingerprint": fingerprint,
        "store": store.hexdigest(),
        "audit": json.loads(
            (dataset / "audit.json").read_text(encoding="utf-8").replace(str(folder.resolve()), "FOLDER")
        ),
    }


def trained(run: Path) -> dict[str, Any]:
    """Return the hashes of a run's weights and tables."""
    observed = sorted((run / "observed").glob("*")) if (run / "observed").is_dir() else []
    tables = {path.name: text_hash(path) for path in observed if path.suffix == ".csv"}
    tables |= {path.name: frame_hash(pd.read_parquet(path)) for path in observed if path.suffix == ".parquet"}
    return {
        "model": weights_hash(run / "model.safetensors"),
        "last": weights_hash(run / "last.safetensors"),
        "metrics": pd.read_csv(run / "metrics.csv", dtype=str).drop(columns=TIMES).to_dict("list"),
        "observed": tables,
    }


def evaluated(folder: Path) -> dict[str, Any]:
    """Return the metrics and probabilities of an evaluation."""
    table = pd.read_csv(folder / "test.csv")
    columns = [name for name in table.columns if name.startswith("p_")]
    return {
        "ids": frame_hash(table[["image_id", "label"]].astype(str)),
        "keys": sorted(json.loads((folder / "test.json").read_text(encoding="utf-8"))),
        "probabilities": table[columns].to_numpy().round(6).tolist(),
    }


def weights_hash(path: Path) -> str:
    """Return a hash of names, shapes, types and bits of all tensors in a file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()


def frame_hash(table: pd.DataFrame) -> str:
    """Return a hash of a table's columns and cells."""
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()


def text_hash(path: Path) -> str:
    """Return a hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return a line for each group of numbers that is not the same."""
    lines: list[str] = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if name.startswith("evaluate ") and old and new:
            p, q = np.array(old.pop("probabilities")), np.array(new.pop("probabilities"))
            largest = abs(p - q).max() if p.shape == q.shape else np.inf
            print(f"{name}: probabilities differ by at most {largest:.1e}")
            if not largest <= TOLERANCE:  # NaN differs too
                lines.append(f"{name}: probabilities differ by {largest:.1e}")
        if old != new:
            keys = (
                sorted(key for key in {**(old or {}), **(new or {})} if (old or {}).get(key) != (new or {}).get(key))
                if isinstance(old, dict) or isinstance(new, dict)
                else []
            )
            lines.append(f"{name}: differs {', '.join(keys)}")
    return lines


if __name__ == "__main__":
    main()
