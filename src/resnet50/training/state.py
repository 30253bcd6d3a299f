"""Everything a training run depends on besides its options: what a checkpoint holds and a resume brings back."""

import copy
import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from resnet50.model.resnet import ResNet
from resnet50.options.config import TrainOptions
from resnet50.runtime.device import Device
from resnet50.runtime.distributed import Distributed
from resnet50.training.optim import Schedule, freeze_stages, make_optimizer, make_schedule


@dataclass
class MetricAccumulator:
    """Running sums of an epoch, kept on the device so that no step waits for a number to come back.

    A step whose loss is no number counts in none of them, one whose gradient is not finite in neither of the last two.
    """

    objective: Tensor
    steps: Tensor
    loss: Tensor
    correct: Tensor
    images: Tensor
    grad_norm: Tensor
    norms: Tensor

    @classmethod
    def zeros(cls, device: torch.device) -> "MetricAccumulator":
        """Start an epoch. Sums are in float64, which mps lacks."""
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return cls(*(torch.zeros((), dtype=dtype, device=device) for _ in dataclasses.fields(cls)))

    def of_all(self, dist: Distributed) -> "MetricAccumulator":
        """Return the sums over all processes; steps are counted once, as every process takes part in each."""
        values = dist.all_reduce_sum(torch.stack(list(vars(self).values())))
        names = [field.name for field in dataclasses.fields(self)]
        counted_by_all = torch.tensor([name in ("steps", "grad_norm", "norms") for name in names], device=values.device)
        return MetricAccumulator(*torch.where(counted_by_all, values / dist.world_size, values).unbind())

    def share(self, dist: Distributed) -> "MetricAccumulator":
        """Undo `of_all`: the first process takes the sums, the others begin at zero."""
        if dist.is_main:
            return self
        zero = torch.zeros_like(self.loss)
        return dataclasses.replace(self, objective=zero, loss=zero, correct=zero, images=zero)


@dataclass
class TrainState:
    """Weights, optimizer, schedule, scaler, running average, counters, metric sums, best, patience, what happened."""

    network: ResNet
    replica: nn.Module
    """What training steps run: the network, or its replica in this process, which adds up gradients with the others."""
    average: ResNet | None
    optimizer: Optimizer
    schedule: Schedule
    scaler: GradScaler
    sums: MetricAccumulator
    bad_steps: Tensor
    """Steps in a row, up to the last, whose gradient was not finite; on the device."""
    epoch: int = 0
    """Epochs completed."""
    step: int = 0
    """Optimizer steps taken."""
    best_loss: float = math.inf
    best_epoch: int = 0
    epochs_since_best: int = 0
    parts: int = 1
    """Parts that a batch, or a process's share of it, is cut into: as asked, or as memory has it."""
    rollbacks: int = 0
    """Times that training went back to a checkpoint; each halves the learning rate."""
    seconds: float = 0.0
    """Time spent in epochs that are done."""
    epoch_seconds: float = 0.0
    """Time spent in the epoch at hand before it was interrupted; its own time comes on top."""
    epoch_waited: float = 0.0
    """Of that, the time spent waiting for batches."""
    rows: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    """The epochs' numbers: the rows of `metrics.csv`."""
    events: list[str] = field(default_factory=list[str])
    """What happened on the way that did not have to: resumed, went back, cut batches, left an image out."""
    skipped_samples: dict[str, list[int]] = field(default_factory=lambda: {"train": [], "val": []})
    """Rows of each split whose image could not be read, and that training goes on without."""

    @property
    def network_to_keep(self) -> ResNet:
        """Return the network that is validated and saved: the running average where there is one."""
        return self.network if self.average is None else self.average

    def take_validation_loss(self, val_loss: float) -> bool:
        """Take in an epoch's validation loss; return whether it is the best so far."""
        self.schedule.take_validation_loss(val_loss)
        if val_loss < self.best_loss:
            self.best_loss, self.best_epoch, self.epochs_since_best = val_loss, self.epoch, 0
            return True
        self.epochs_since_best += 1
        return False

    def forget_best(self) -> None:
        """Let the next epoch be the best so far."""
        self.best_loss, self.best_epoch, self.epochs_since_best = math.inf, 0, 0

    def end_epoch(self, row: dict[str, float]) -> None:
        """Keep an epoch's numbers, and begin to count the next one's time."""
        self.rows.append(row)
        self.seconds += self.epoch_seconds
        self.epoch_seconds = self.epoch_waited = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return all of it as tensors (not copies) and plain values."""
        return {
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": dataclasses.asdict(self.schedule),
            "scaler": self.scaler.state_dict(),
            "sums": dict(vars(self.sums)),
            "bad_steps": self.bad_steps,
            "counters": {name: getattr(self, name) for name in COUNTERS},
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take back what `state_dict` returned, into a state built with the same options."""
        self.network.load_state_dict(saved["network"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        lay_out_like_weights(self.optimizer)
        milestones = tuple(saved["schedule"]["milestones"])
        self.schedule = Schedule(**saved["schedule"] | {"milestones": milestones})
        self.scaler.load_state_dict(saved["scaler"])
        self.sums = MetricAccumulator(
            **{name: tensor.to(self.bad_steps.device) for name, tensor in saved["sums"].items()}
        )
        self.bad_steps = saved["bad_steps"].to(self.bad_steps.device)
        for name in COUNTERS:
            setattr(self, name, copy.deepcopy(saved["counters"][name]))


COUNTERS = (
    "epoch", "step", "best_loss", "best_epoch", "epochs_since_best", "parts", "rollbacks", "seconds", "epoch_seconds",
    "epoch_waited", "rows", "events", "skipped_samples",
)  # fmt: skip


def lay_out_like_weights(optimizer: Optimizer) -> None:
    """Give an optimizer's state the memory layout of its weights: fused kernels go through both side by side."""
    for weight, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                values[name] = torch.empty_like(weight).copy_(value)


def replicate(network: ResNet, options: TrainOptions, device: Device) -> nn.Module:
    """Return the network as a process among others trains it: gradients are averaged, statistics are the first's."""
    if device.dist.world_size == 1:
        return network
    if options.sync_bn:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # in place; weights and buffers stay the same tensors
    return DistributedDataParallel(
        network, device_ids=[device.torch_device] if device.torch_device.type == "cuda" else None
    )


def start_state(network: ResNet, options: TrainOptions, device: Device, steps_per_epoch: int) -> TrainState:
    """Put a network on its device and build everything that trains it."""
    network = network.to(device.torch_device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    freeze_stages(network, options.freeze)
    return TrainState(
        network=network,
        replica=replicate(network, options, device),
        average=None if options.ema is None else copy.deepcopy(network).requires_grad_(False),
        optimizer=make_optimizer(network, options),
        schedule=make_schedule(options, steps_per_epoch),
        parts=options.accumulate,
        scaler=GradScaler(device.torch_device.type, enabled=device.precision == "fp16"),
        sums=MetricAccumulator.zeros(device.torch_device),
        bad_steps=torch.zeros((), dtype=torch.int32, device=device.torch_device),
    )
