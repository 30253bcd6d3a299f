"""Everything a training run depends on besides its options: what a resume must bring back."""

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from resnet50.config import TrainOptions
from resnet50.model.resnet import ResNet
from resnet50.training.machine import Machine
from resnet50.training.optim import Schedule, freeze_stages, make_optimizer, make_schedule


@dataclass
class MetricSums:
    """Running sums of an epoch, kept on the device so that no step waits for a number to come back."""

    objective: Tensor
    loss: Tensor
    correct: Tensor
    images: Tensor
    grad_norm: Tensor
    norms: Tensor

    @classmethod
    def zeros(cls, device: torch.device) -> "MetricSums":
        """Start an epoch. Sums are in float64, which mps lacks."""
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return cls(*(torch.zeros((), dtype=dtype, device=device) for _ in dataclasses.fields(cls)))


@dataclass
class TrainState:
    """Weights, optimiser, schedule, scaler, running average, counters, metric sums, best, patience."""

    network: ResNet
    average: ResNet | None
    optimizer: Optimizer
    schedule: Schedule
    scaler: GradScaler
    sums: MetricSums
    epoch: int = 0
    """Epochs completed."""
    step: int = 0
    """Optimiser steps taken."""
    best_loss: float = math.inf
    best_epoch: int = 0
    epochs_since_best: int = 0

    @property
    def network_to_keep(self) -> ResNet:
        """Return the network that is validated and saved: the running average where there is one."""
        return self.network if self.average is None else self.average

    def observe(self, val_loss: float) -> bool:
        """Take in an epoch's validation loss; return whether it is the best so far."""
        self.schedule.observe(val_loss)
        if val_loss < self.best_loss:
            self.best_loss, self.best_epoch, self.epochs_since_best = val_loss, self.epoch, 0
            return True
        self.epochs_since_best += 1
        return False

    def state_dict(self) -> dict[str, Any]:
        """Return all of it as tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": dataclasses.asdict(self.schedule),
            "scaler": self.scaler.state_dict(),
            "sums": {name: tensor.clone() for name, tensor in vars(self.sums).items()},
            "counters": {name: getattr(self, name) for name in COUNTERS},
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take back what `state_dict` returned, into a state built with the same options."""
        self.network.load_state_dict(saved["network"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule = Schedule(**saved["schedule"])
        self.scaler.load_state_dict(saved["scaler"])
        self.sums = MetricSums(**saved["sums"])
        for name in COUNTERS:
            setattr(self, name, saved["counters"][name])


COUNTERS = ("epoch", "step", "best_loss", "best_epoch", "epochs_since_best")


def start_state(network: ResNet, options: TrainOptions, machine: Machine, steps_per_epoch: int) -> TrainState:
    """Put a network on its device and build everything that trains it."""
    network = network.to(machine.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    freeze_stages(network, options.freeze)
    return TrainState(
        network=network,
        average=None if options.ema is None else copy.deepcopy(network).requires_grad_(False),
        optimizer=make_optimizer(network, options),
        schedule=make_schedule(options, steps_per_epoch),
        scaler=GradScaler(machine.device.type, enabled=machine.precision == "fp16"),
        sums=MetricSums.zeros(machine.device),
    )
