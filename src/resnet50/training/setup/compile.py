"""`torch.compile` for the training step, where it pays for itself within the run."""

import dataclasses
import shutil

import torch

from resnet50.options import TrainOptions
from resnet50.runtime.console import duration
from resnet50.runtime.device import Device
from resnet50.runtime.errors import UserError
from resnet50.training.training import TrainingData

COMPILE_SECONDS = 60.0
"""Time to compile the forward and backward pass of a ResNet-50, roughly."""

COMPILE_GAIN = 0.15
"""Share of a step's time on a GPU that compiling saves, roughly: norms, activations and sums are fused."""


def needs_timing(options: TrainOptions, device: Device) -> bool:
    """Return whether the decision depends on how long the run will be."""
    return options.compile == "auto" and device.torch_device.type == "cuda"


def decide_compile(options: TrainOptions, device: Device, run_seconds: float) -> tuple[bool, str]:
    """Return whether to compile the step, and why.

    Args:
        options: with `compile` as asked for.
        device: of the step.
        run_seconds: duration of the run without compiling; used only where `needs_timing` says so.

    Raises:
        UserError: asked for, but there is no C compiler.
    """
    if options.compile == "off":
        return False, "as asked"
    if options.compile == "on":
        if not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
            raise UserError("--compile on needs a C++ compiler (g++ or clang++): install one, or use --compile off")
        return True, "as asked"
    if device.torch_device.type != "cuda":
        return False, f"on {device.torch_device.type} a step that keeps its memory is as fast without"
    saved = COMPILE_GAIN * run_seconds
    text = f"it takes about {duration(COMPILE_SECONDS)} and saves about {duration(saved)} of {duration(run_seconds)}"
    return saved > COMPILE_SECONDS, text


def compile_step(data: TrainingData) -> TrainingData:
    """Return the data with a compiled forward pass for training steps; validation, of other shapes, stays eager."""
    return dataclasses.replace(data, compiled=torch.compile(data.forward))
