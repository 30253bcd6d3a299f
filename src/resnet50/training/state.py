"""Everything that changes while a network trains: what a checkpoint holds and a resume brings back."""

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
from resnet50.options import TrainOptions
from resnet50.runtime.device import Device
from resnet50.training.metrics import MetricAccumulator
from resnet50.training.optim import Schedule, freeze_stages, make_optimizer, make_schedule, update_average


@dataclass(kw_only=True)
class Counters:
    """How far a training is, as plain values. What is declared here is what a checkpoint has of it."""

    epoch: int = 0
    """Epochs completed."""
    step: int = 0
    """Optimizer steps taken."""
    best_loss: float = math.inf
    best_epoch: int = 0
    epochs_since_best: int = 0
    accumulation_steps: int = 1
    """Micro-batches that a batch, or a process's shard of it, is cut into: as asked, or as memory allows."""
    rollbacks: int = 0
    """Times that training returned to an earlier checkpoint; each halves the learning rate."""
    budget: float | None = None
    """Seconds that the whole command may take, over all its starts."""
    most_steps: int = 0
    """With a budget, the steps after which it is not used any further."""
    step_seconds: float = 0.0
    """With a budget, what a step took when it was last measured."""
    epoch_end_seconds: float = 0.0
    """What the end of an epoch took then: validation, and all that is written."""
    seconds: float = 0.0
    """Time spent in completed epochs."""
    epoch_seconds: float = 0.0
    """Time spent in the current epoch, before an interruption too."""
    epoch_waited: float = 0.0
    """Of that, the time spent waiting for batches."""
    rows: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    """The completed epochs' metrics: the rows of `metrics.csv`."""
    events: list[str] = field(default_factory=list[str])
    """What happened unasked: resumed, rolled back, cut batches smaller."""

    def out_of_patience(self, patience: int | None) -> bool:
        """Return whether validation has not improved for `patience` epochs."""
        return patience is not None and self.epochs_since_best >= patience

    def take_validation_loss(self, val_loss: float) -> bool:
        """Return whether an epoch's validation loss is the lowest so far, and remember it."""
        if val_loss < self.best_loss:
            self.best_loss, self.best_epoch, self.epochs_since_best = val_loss, self.epoch, 0
            return True
        self.epochs_since_best += 1
        return False

    def forget_best(self) -> None:
        """Let the next epoch be the best so far."""
        self.best_loss, self.best_epoch, self.epochs_since_best = math.inf, 0, 0


@dataclass(kw_only=True)
class TrainState(Counters):
    """Everything that changes while a network trains: what a checkpoint holds.

    Attributes:
        network: what is trained.
        replica: what training steps run: the network itself, or its `DistributedDataParallel`.
        average: exponential moving average of the network, if there is one.
        optimizer: with its state.
        schedule: of the learning rate.
        scaler: of the loss, for fp16.
        metrics: sums of the current epoch.
        bad_steps: consecutive steps, up to the last, without a finite gradient; on the device.
    """

    network: ResNet
    replica: nn.Module
    average: ResNet | None
    optimizer: Optimizer
    schedule: Schedule
    scaler: GradScaler
    metrics: MetricAccumulator
    bad_steps: Tensor

    @property
    def eval_network(self) -> ResNet:
        """Return the network that is validated and saved: the moving average where there is one."""
        return self.network if self.average is None else self.average

    def learning_rate_factor(self) -> float:
        """Return the learning rate of the next step as a share of its peak."""
        return self.schedule.factor(self.step) / 2**self.rollbacks

    def update_average(self, decay: float | None) -> None:
        """Move the average toward the network, if there is one."""
        if self.average is not None and decay is not None:
            update_average(self.average, self.network, decay, self.step)

    def end_epoch(self, val_loss: float, row: dict[str, float]) -> bool:
        """Count an epoch and keep its metrics; return whether it is the best so far."""
        self.epoch += 1
        self.rows.append(row)
        self.seconds += self.epoch_seconds
        self.epoch_seconds = self.epoch_waited = 0.0
        self.schedule.take_validation_loss(val_loss)
        return self.take_validation_loss(val_loss)

    def state_dict(self) -> dict[str, Any]:
        """Return everything as tensors (not copies) and plain values."""
        return {
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": dataclasses.asdict(self.schedule),
            "scaler": self.scaler.state_dict(),
            "metrics": dict(vars(self.metrics)),
            "bad_steps": self.bad_steps,
            "counters": {counter.name: getattr(self, counter.name) for counter in dataclasses.fields(Counters)},
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take back what `state_dict` returned, into a state built with the same options."""
        self.network.load_state_dict(saved["network"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        lay_out_like_weights(self.optimizer)
        as_tuples = {
            "milestones": tuple(saved["schedule"]["milestones"]),
            "replans": [tuple(replan) for replan in saved["schedule"].get("replans", [])],
        }
        self.schedule = Schedule(**saved["schedule"] | as_tuples)
        self.scaler.load_state_dict(saved["scaler"])
        device = self.bad_steps.device
        self.metrics = MetricAccumulator(**{name: tensor.to(device) for name, tensor in saved["metrics"].items()})
        self.bad_steps = saved["bad_steps"].to(device)
        for counter in dataclasses.fields(Counters):
            if counter.name in saved["counters"]:  # an older checkpoint lacks newer ones
                setattr(self, counter.name, copy.deepcopy(saved["counters"][counter.name]))


def lay_out_like_weights(optimizer: Optimizer) -> None:
    """Give an optimizer's state the memory layout of its weights, which fused kernels read side by side."""
    for weight, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                values[name] = torch.empty_like(weight).copy_(value)


def replicate(network: ResNet, options: TrainOptions, device: Device) -> nn.Module:
    """Wrap the network for several processes: they average gradients, and rank 0's batch norm counts."""
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
        average=None if not options.ema else copy.deepcopy(network).requires_grad_(False),
        optimizer=make_optimizer(network, options),
        schedule=make_schedule(options, steps_per_epoch),
        accumulation_steps=options.accumulate,
        scaler=GradScaler(device.torch_device.type, enabled=device.precision == "fp16"),
        metrics=MetricAccumulator.zeros(device.torch_device),
        bad_steps=torch.zeros((), dtype=torch.int32, device=device.torch_device),
    )
