"""Estimates a study's duration before it starts."""

import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from resnet50.model.resnet import ResNet
from resnet50.study.lab import QUICK, Lab, Plan
from resnet50.study.small import BATCH_SIZE
from resnet50.training.setup.resolve import parse_duration

REFERENCE_RATE = 200.0
"""Images/s of `rate` on the machine where `QUICK_SECONDS` were measured: two cores with AVX-512 and bf16."""

QUICK_SECONDS = {
    "anatomy": 314.0,
    "degradation": 170.0,
    "gradients": 67.0,
    "increments": 42.0,
    "ensemble": 90.0,
    "features": 29.0,
    "dynamics": 70.0,
    "landscape": 101.0,
    "resolution": 16.0,
}
"""Seconds of each experiment there at quick effort, in this order; a training counts with the first that uses it."""

PROBING = ("increments", "ensemble", "features", "resolution")
"""Experiments that probe trained runs; the others train small networks of their own."""


def estimate(lab: Lab, names: Sequence[str]) -> float:
    """Return about how many seconds experiments will take here, within a factor of two."""
    pace = REFERENCE_RATE / rate(lab)
    seconds = sum(QUICK_SECONDS[name] * pace * work(name, lab.plan) / work(name, QUICK) for name in names)
    if set(names) & {*PROBING, "dynamics"} and not lab.given:
        seconds += 2 * parse_duration(lab.plan.run_budget, "--budget")
    return seconds


def work(name: str, plan: Plan) -> int:
    """Return a number proportional to an experiment's work: probing trained runs, or small trainings."""
    if name in PROBING:
        return plan.looked_at * plan.draws * (plan.run_size**2 + plan.scratch_size**2)
    return plan.images * plan.epochs * plan.seeds * plan.size**2


def rate(lab: Lab) -> float:
    """Return the images/s of a few training steps of a ResNet-50 on images of 32 pixels."""
    network = lab.to_device(ResNet(50, 10))
    images = torch.zeros(BATCH_SIZE, 3, 32, 32, device=lab.device.torch_device)
    labels = torch.zeros(BATCH_SIZE, dtype=torch.long, device=lab.device.torch_device)
    steps = 4
    start = 0.0
    for step in range(steps + 2):
        if step == 2:  # after a warm-up
            start = time.perf_counter()
        with lab.device.autocast():
            logits = network(images).float()
        F.cross_entropy(logits, labels).backward()
        float(network.fc.weight.grad.sum())  # pyright: ignore[reportOptionalMemberAccess]  # waits for the device
    return steps * BATCH_SIZE / (time.perf_counter() - start)
