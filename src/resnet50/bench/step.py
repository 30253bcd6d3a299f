"""The training step: against torchvision's default set-up, and with each automatic setting changed alone."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from resnet50.bench.clock import repeated, seconds_of
from resnet50.bench.limits import matrix_limit
from resnet50.bench.rounds import Workload
from resnet50.bench.rows import Row, Scratch, Side, Sides
from resnet50.options import Depth
from resnet50.runtime.device import Device

TORCHVISION = "torchvision resnet50, eager fp32 NCHW, AdamW"

ABLATION: dict[str, tuple[str, dict[str, Any]]] = {
    "step_without_bf16": ("the precision is fp32", {"precision": "fp32"}),
    "step_without_channels_last": ("tensors are NCHW", {"channels_last": False}),
    "step_without_kept_memory": ("freed memory returns to the system", {"tuned_allocator": False}),
    "step_without_fused_optimizer": ("the optimizer updates tensor by tensor", {"fused": False}),
    "step_with_compile": ("the step is always compiled", {"compile": "on"}),
}
"""Changes to the automatic settings: a description, and arguments of `candidate`."""


def rows() -> list[Row]:
    """Return the rows of the step at two sizes, and one for each setting changed alone."""
    return [
        step_row("step", 224),
        step_row("step_128", 128),
        Row(
            "step_beside_a_busy_process",
            "step",
            "a training step of 32 images of 128 pixels on automatic settings, while another process keeps a core busy",
            "the same step alone",
            lambda scratch: Sides(
                candidate_side(scratch, 128)._replace(function="resnet50.bench.step:beside_a_busy_process"),
                candidate_side(scratch, 128),
            ),
        ),
        *[ablation_row(name, description, changed) for name, (description, changed) in ABLATION.items()],
        Row(
            "auto_precision",
            "step",
            "a training step of 8 images of 128 pixels with --precision auto",
            "the fastest precision by measurement",
            lambda scratch: Sides(*[precision_side(scratch, workload) for workload in ("auto", "fastest")]),
        ),
    ]


def step_row(name: str, size: int) -> Row:
    return Row(
        name,
        "step",
        f"a training step of 32 images of {size} pixels on automatic settings: forward, backward, optimizer, metrics",
        TORCHVISION,
        lambda scratch: Sides(
            candidate_side(scratch, size),
            Side("resnet50.bench.step:torchvision", {"size": size, "batch": 32}),
            matrix_limit(size, training=True),
        ),
    )


def ablation_row(name: str, description: str, changed: dict[str, Any]) -> Row:
    """Return a row that compares the candidate's step with itself, one setting changed."""
    return Row(
        name,
        "step",
        f"the step at 224 pixels as above, but {description}",
        "the candidate on automatic settings",
        lambda scratch: Sides(
            candidate_side(scratch, 224, **changed),
            candidate_side(scratch, 224),
            matrix_limit(224, training=True, precision=str(changed.get("precision", "auto"))),
        ),
        in_full_only=True,
    )


def candidate_side(scratch: Scratch, size: int, **changed: Any) -> Side:
    settings = {"dataset": scratch.prepared(), "size": size, "batch": 32, **changed}
    return Side("resnet50.bench.step:candidate", settings)


def precision_side(scratch: Scratch, workload: str) -> Side:
    """Return a side of `auto_precision`; both sides share a process."""
    settings = {"dataset": scratch.prepared(), "size": 128, "batch": 8}
    return Side("resnet50.bench.step:precisions", settings, workload)


def candidate(**settings: Any) -> dict[str, Workload]:
    """Return a workload of training steps on one batch; arguments as for `candidate_step`."""
    step, device = candidate_step(**settings)
    return {"round": repeated(step, settings["batch"], device)}


def beside_a_busy_process(**settings: Any) -> dict[str, Workload]:
    """Return the workload of `candidate`, with another process that keeps one core busy during its rounds."""
    alone = candidate(**settings)["round"]

    def beside() -> float:
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            return alone()
        finally:
            other.kill()
            other.wait()

    return {"round": beside}


def candidate_step(
    dataset: str,
    size: int,
    batch: int,
    depth: Depth = 50,
    *,
    channels_last: bool = True,
    fused: bool = True,
    **changes: Any,
) -> tuple[Callable[[], None], torch.device]:
    """Return a training step on a batch of noise, and its device; the dataset only determines the normalization.

    Args:
        dataset: a prepared dataset.
        size: side of the images in pixels.
        batch: batch size.
        depth: of the network.
        channels_last: memory format: channels last, as in `resnet50 train`, or NCHW.
        fused: whether the optimizer updates all tensors in one kernel.
        changes: further arguments of `set_up`.
    """
    from resnet50.bench.candidate import set_up
    from resnet50.model.resnet import ResNet
    from resnet50.training import loop
    from resnet50.training.optim import train_mode
    from resnet50.training.state import start_state
    from resnet50.training.training import Training

    settings = set_up(dataset, image_size=size, batch_size=batch, depth=depth, workers=0, **changes)
    state = start_state(ResNet(depth, 1000), settings.options, settings.device, steps_per_epoch=1000)
    for group in state.optimizer.param_groups:
        group["fused"] = fused
    if not channels_last:
        state.network.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        loop.to_device = keep_layout
    train_mode(state.network)
    training = Training(state, settings.data, settings.options, settings.device)
    images, labels = fixed_batch(batch, size)

    def step() -> None:
        loop.train_step(training, images, labels)

    return step, settings.device.torch_device


def keep_layout(images: Tensor, device: Device) -> Tensor:
    """Move images to the device without changing their memory format."""
    return images.to(device.torch_device)


def fixed_batch(batch: int, size: int) -> tuple[Tensor, Tensor]:
    """Return the same uint8 images (N×3×size×size) and labels (N, of 1000 classes) for both sides."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 1000, (batch,), generator=generator)


def torchvision(size: int, batch: int) -> dict[str, Workload]:
    """Return a workload of typical training steps: eager, fp32, NCHW, AdamW with its defaults."""
    from torchvision.models import resnet50

    from resnet50.runtime.device import choose_device

    device = choose_device("auto")
    network = resnet50().to(device).train()
    optimizer = torch.optim.AdamW(network.parameters())
    pixels, labels = fixed_batch(batch, size)
    images = pixels.float() / 127.5 - 1

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(images.to(device)), labels.to(device)).backward()
        optimizer.step()

    return {"round": repeated(step, batch, device)}


def precisions(**settings: Any) -> dict[str, Workload]:
    """Return workloads of steps with --precision auto, and with the precision that was fastest in three steps.

    A precision that takes three times as long as another in its first timed step is not timed again: emulated bf16
    takes more than ten times as long.
    """
    auto, device = candidate_step(**settings)
    steps = {
        precision: candidate_step(**settings, precision=precision)[0]
        for precision in ("fp32", "bf16", *(["fp16"] if device.type == "cuda" else []))
    }
    seconds: dict[str, float] = {}
    for precision, step in steps.items():
        step()
        seconds[precision] = seconds_of(step, device)
    competitive = [precision for precision in steps if seconds[precision] <= 3 * min(seconds.values())]
    for precision in competitive:
        seconds[precision] = sorted(seconds_of(steps[precision], device) for _ in range(3))[1]
    fastest = steps[min(competitive, key=lambda precision: seconds[precision])]
    return {
        "auto": repeated(auto, settings["batch"], device),
        "fastest": repeated(fastest, settings["batch"], device),
    }
