"""Our side of training as `resnet50 train` sets it up, for every row that needs it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from resnet50.etl.prepared import PreparedDataset, load_prepared
from resnet50.options import TrainOptions
from resnet50.runtime.cpu import available_cores
from resnet50.runtime.device import Device, resolve_device, tune_allocator
from resnet50.training.loop import TrainingData
from resnet50.training.setup.compile import compile_step, decide_compile
from resnet50.training.setup.data import load_data
from resnet50.training.setup.resolve import choose_preprocess, resolve

RUN_SECONDS = 3 * 3600.0
"""Length of the run that `auto` decides for: a compile has the time to pay for itself, where it ever does."""


@dataclass(frozen=True)
class Settings:
    """What a training step or an epoch needs besides the network."""

    options: TrainOptions
    device: Device
    dataset: PreparedDataset
    data: TrainingData


def set_up(dataset: str, *, keeps_memory: bool = True, **choices: Any) -> Settings:
    """Decide everything as `resnet50 train` does for a run of hours, and open the data.

    Args:
        dataset: a prepared dataset.
        keeps_memory: whether freed memory is kept for the next step.
        choices: options of `TrainOptions`; the others stay at their defaults.
    """
    if keeps_memory:
        tune_allocator()
    options = TrainOptions(dataset=Path(dataset), out=Path("unused"), weights="none", epochs=1000, **choices)
    device = resolve_device(options.device, options.precision)
    torch.set_num_threads(options.threads or available_cores())
    options, _ = resolve(options, None, device)
    prepared = load_prepared(options.dataset)
    data = load_data(options, prepared, choose_preprocess(options, None), device)
    compiled, _ = decide_compile(options, device, RUN_SECONDS)
    return Settings(options, device, prepared, compile_step(data) if compiled else data)
