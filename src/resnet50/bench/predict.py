"""`resnet50 predict` on a folder of JPEGs: its rate against the engine's own, and how its memory grows."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from resnet50.bench.images import DISTINCT, IMAGENET_SIZE, encode, make_noise_image
from resnet50.bench.rounds import Workload
from resnet50.bench.rows import Row, Scratch, Side, Sides
from resnet50.options import Depth, PredictOptions, command
from resnet50.runtime.errors import UserError

COUNT, COUNT_IN_FULL = 2_000, 20_000

CLASSES, SIZE = 1000, 224

SAMPLE_SECONDS = 0.1
"""Time between two looks at the memory."""


def rows() -> list[Row]:
    what = "files of 500×375 pixels: list, decode, classify, write all 1,000 probabilities of each"
    return [
        Row(
            "predict_files",
            "predict",
            what,
            "the same engine on batches in memory",
            rate_sides,
            limited_by_baseline=True,
        ),
        Row(
            "predict_memory",
            "predict",
            f"peak memory of all processes over {what}",
            "the peak over the first 1,000 files",
            memory_sides,
            unit="MB",
            in_full_only=True,
        ),
    ]


def rate_sides(scratch: Scratch) -> Sides:
    return Sides(
        Side("resnet50.bench.predict:candidate", settings(scratch)),
        Side("resnet50.bench.inference:candidate", {"engine": "auto", "batch": 32, "device": "auto"}),
    )


def memory_sides(scratch: Scratch) -> Sides:
    function = "resnet50.bench.predict:memory"
    return Sides(Side(function, settings(scratch), "whole"), Side(function, settings(scratch), "first"))


def settings(scratch: Scratch) -> dict[str, object]:
    return {"folder": str(scratch.folder / "predict"), "count": COUNT_IN_FULL if scratch.full else COUNT}


def candidate(folder: str, count: int, depth: Depth = 50, size: int = SIZE) -> dict[str, Workload]:
    """Return a workload that runs `predict`, each time into a new file."""
    from resnet50.inference.predict import predict

    options = make_input(Path(folder), count, depth, size)

    def once() -> float:
        start = time.perf_counter()
        predict(options)
        return count / (time.perf_counter() - start)

    once()
    return {"round": once}


def memory(folder: str, count: int, depth: Depth = 50, size: int = SIZE) -> dict[str, Workload]:
    """Return workloads for the peak memory of `resnet50 predict` in MB: over all images, and over the first part.

    One run yields both: every second call starts it.
    """
    options = make_input(Path(folder), count, depth, size)
    peaks: dict[str, float] = {}

    def peak(name: str) -> float:
        if name not in peaks:
            peaks.update(zip(("first", "whole"), peaks_of(options), strict=True))
        return peaks.pop(name)

    return {"whole": lambda: peak("whole"), "first": lambda: peak("first")}


def make_input(folder: Path, count: int, depth: Depth, size: int) -> PredictOptions:
    """Write a model and `count` JPEGs, of which few are distinct; return the options that classify them."""
    import torch

    from resnet50.data.transforms import Preprocess
    from resnet50.model.file import Model, save_model
    from resnet50.model.resnet import ResNet

    images, model = folder / "images", folder / "model.safetensors"
    if not model.exists():
        images.mkdir(parents=True)
        originals = [encode(make_noise_image(IMAGENET_SIZE, seed)) for seed in range(min(count, DISTINCT))]
        for number in range(count):
            path, original = images / f"{number:06d}.jpg", images / f"{number % DISTINCT:06d}.jpg"
            if number < DISTINCT:
                path.write_bytes(originals[number])
            else:
                link_or_copy(original, path)
        torch.manual_seed(0)
        classes = tuple(f"class{number}" for number in range(CLASSES))
        save_model(Model(ResNet(depth, CLASSES).eval(), classes, Preprocess().resized(size)), model)
    return PredictOptions(run=model, images=(str(images),), out=folder / "p.csv", overwrite=True)


def link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # this disk has no hard links, or no more of one file
        shutil.copyfile(source, target)


def peaks_of(options: PredictOptions) -> tuple[float, float]:
    """Run `resnet50 predict`; return its peak memory until the first part is written, and that of the whole run, in MB.

    A part has about 1,000 images.
    """
    assert options.out is not None
    words = shlex.split(command("predict", options, {}))[1:]
    first = whole = 0.0
    with subprocess.Popen([sys.executable, "-m", "resnet50", *words], stdout=subprocess.DEVNULL) as process:  # noqa: S603
        while process.poll() is None:
            begun = any(Path(f"{options.out}.parts").glob("*.safetensors"))
            whole = max(whole, sum(map(memory_of, family(process.pid))))
            first = first if begun else whole
            time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise UserError(f"resnet50 predict failed with exit code {process.returncode}")
    return first, whole


def family(process: int) -> Iterator[int]:
    """Yield a process and all that it has started."""
    yield process
    with contextlib.suppress(OSError):  # it has ended
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            for child in children.read_text().split():
                yield from family(int(child))


def memory_of(process: int) -> float:
    """Return a process's memory in MB; what it shares with others counts in part. 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError as error:
        if not Path("/proc/self/smaps_rollup").exists():
            raise UserError("the memory of processes is measured on Linux only") from error
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines.splitlines() if line.startswith("Pss:")), 0.0)
