"""Set-up of the candidate: training configured like `resnet50 train`, for all rows that need it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from resnet50.etl.prepared import PreparedDataset, load_prepared
from resnet50.options import TrainOptions
from resnet50.runtime.cpu import available_cores
from resnet50.runtime.device import Device, resolve_device, tune_allocator
from resnet50.training.setup.compile import compile_step, decide_compile
from resnet50.training.setup.data import load_data
from resnet50.training.setup.resolve import choose_preprocess, resolve
from resnet50.training.training import TrainingData

RUN_SECONDS = 3 * 3600.0
"""Assumed length of the run: long enough that a compilation can pay for itself."""


@dataclass(frozen=True)
class Settings:
    """Everything a training step or epoch needs except the network."""

    options: TrainOptions
    device: Device
    dataset: PreparedDataset
    data: TrainingData


def set_up(dataset: str, *, tuned_allocator: bool = True, **changes: Any) -> Settings:
    """Resolve the options as `resnet50 train` does for a run of hours, and open the data.

    Args:
        dataset: a prepared dataset.
        tuned_allocator: whether to keep freed memory for the next step.
        changes: options of `TrainOptions` that differ from the defaults.
    """
    if tuned_allocator:
        tune_allocator()
    options = TrainOptions(dataset=Path(dataset), out=Path("unused"), weights="none", epochs=1000, **changes)
    device = resolve_device(options.device, options.precision)
    torch.set_num_threads(options.threads or available_cores())
    options, _ = resolve(options, None, device)
    prepared = load_prepared(options.dataset)
    data = load_data(options, prepared, choose_preprocess(options, None, prepared.bit_depth), device)
    compiled, _ = decide_compile(options, device, RUN_SECONDS)
    return Settings(options, device, prepared, compile_step(data) if compiled else data)
