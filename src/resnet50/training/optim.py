"""What moves the weights: parameter groups, optimizer, learning-rate schedule, moving average."""

import math
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from resnet50.model.resnet import STAGES, ResNet
from resnet50.options import ScheduleName, TrainOptions
from resnet50.runtime.errors import UserError


def freeze_stages(network: ResNet, count: int) -> None:
    """Freeze the first `count` of the five stages: their weights, and the statistics of their batch norms."""
    if not 0 <= count <= len(STAGES):
        raise UserError(f"--freeze {count}: the network has {len(STAGES)} stages before its head ({', '.join(STAGES)})")
    for name in STAGES[:count]:
        for module in network.stage(name):
            module.requires_grad_(False)


def train_mode(network: ResNet) -> None:
    """Switch to training mode, except for frozen batch norms, whose statistics would still move."""
    network.train()
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)) and not module.weight.requires_grad:
            module.eval()


def make_optimizer(network: ResNet, options: TrainOptions) -> Optimizer:
    """Build the optimizer over backbone and head. Weights decay; norms and biases do not.

    Every group keeps its `peak_lr`, which `set_learning_rate` multiplies by the schedule's factor.
    """
    assert options.lr is not None and options.head_lr is not None and options.weight_decay is not None  # resolved
    groups: list[dict[str, object]] = []
    for part, peak_lr in (("backbone", options.lr), ("head", options.head_lr)):
        parameters = [
            parameter
            for name, parameter in network.named_parameters()
            if parameter.requires_grad and name.startswith("fc.") == (part == "head")
        ]
        weights = [parameter for parameter in parameters if parameter.ndim > 1]
        norms_and_biases = [parameter for parameter in parameters if parameter.ndim <= 1]
        for chosen, decay in ((weights, options.weight_decay), (norms_and_biases, 0.0)):
            if chosen:
                groups.append({"params": chosen, "name": part, "lr": 0.0, "peak_lr": peak_lr, "weight_decay": decay})
    # Fused kernels update all tensors in one pass. mps has none.
    fused = next(network.parameters()).device.type in ("cpu", "cuda")
    if options.optimizer == "sgd":
        optimizer = SGD(groups, lr=0.0, momentum=options.momentum, nesterov=options.momentum > 0, fused=fused)
        if options.momentum > 0:  # zeros, should the very first step be skipped
            for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer
    return (AdamW if options.optimizer == "adamw" else Adam)(groups, lr=0.0, fused=fused)


def set_learning_rate(optimizer: Optimizer, factor: float) -> None:
    """Set every group's rate to its peak times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


@dataclass
class Schedule:
    """The learning rate as a share of its peak: a function of the step, and for plateau of the validation losses.

    Attributes:
        name: constant; step: ×decay every `step_epochs`; multistep: ×decay at `milestones`; cosine: half a cosine
            from the peak to zero (Loshchilov & Hutter 2016, arXiv 1608.03983); onecycle: up from 1/25 and down to
            1/250,000 by cosines (Smith & Topin 2017, arXiv 1708.07120); plateau: ×decay when the validation loss
            has not improved for `patience` epochs.
        steps: optimizer steps in the whole run, as planned at its start.
        steps_per_epoch: optimizer steps in an epoch.
        warmup_steps: steps of the rise, linear but for onecycle.
        milestones: shares of the run.
        replans: (step, total) for each time that a budget changed the total from a step on. What is left of the
            schedule is stretched or squeezed to fit.
        falls: how often plateau has reduced the rate; with `best` and `waiting`, its whole state.
    """

    name: ScheduleName
    steps: int
    steps_per_epoch: int
    warmup_steps: int
    milestones: tuple[float, ...]
    step_epochs: int
    decay: float
    patience: int
    replans: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    falls: int = 0
    best: float = math.inf
    waiting: int = 0

    @property
    def total_steps(self) -> int:
        """Return the optimizer steps in the whole run, by the last plan."""
        return self.replans[-1][1] if self.replans else self.steps

    @property
    def epochs(self) -> int:
        """Return the epochs in the whole run; the last may be a part of one."""
        return math.ceil(self.total_steps / self.steps_per_epoch)

    def factor(self, step: int) -> float:
        """Return the share of the peak rate for the step with this number, counted from 0."""
        place = self.place(step)
        if place < self.warmup_steps:
            if self.name == "onecycle":
                return cosine(1 / 25, 1.0, place / self.warmup_steps)
            return (place + 1) / self.warmup_steps
        progress = (place - self.warmup_steps) / max(1, self.steps - self.warmup_steps - 1)
        if self.name == "onecycle":
            return cosine(1.0, 1 / 25e4, min(1.0, progress))
        if self.name == "cosine":
            return cosine(1.0, 0.0, (place - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
        if self.name == "step":
            return self.decay ** (step // (self.step_epochs * self.steps_per_epoch))
        if self.name == "multistep":
            return self.decay ** sum(place >= share * self.steps for share in self.milestones)
        return self.decay**self.falls

    def place(self, step: int) -> float:
        """Return where a step stands in the run as it was planned at its start."""
        start, place, total = 0, 0.0, self.steps
        for since, new_total in self.replans:
            if since > step:
                break
            place += (self.steps - place) * (since - start) / max(1, total - start)
            start, total = since, new_total
        return place + (self.steps - place) * (step - start) / max(1, total - start)

    def replan(self, step: int, total_steps: int) -> None:
        """Change how many steps the run has, from a step on."""
        if self.replans and self.replans[-1][0] == step:
            self.replans.pop()
        self.replans.append((step, total_steps))

    def take_validation_loss(self, val_loss: float) -> None:
        """Take an epoch's validation loss, which only plateau uses."""
        if self.name != "plateau":
            return
        if val_loss < self.best:
            self.best, self.waiting = val_loss, 0
        else:
            self.waiting += 1
        if self.waiting > self.patience:
            self.falls, self.waiting = self.falls + 1, 0


def cosine(start: float, end: float, share: float) -> float:
    """Go from `start` to `end` along half a cosine as `share` goes from 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def make_schedule(options: TrainOptions, steps_per_epoch: int) -> Schedule:
    """Build the schedule of a run of `options.epochs` epochs, or of `options.plan`."""
    assert options.plan is not None or options.epochs is not None  # resolved
    plan = parse_plan(options.plan) if options.plan is not None else [(0, (options.epochs or 0) * steps_per_epoch)]
    steps = plan[0][1]
    return Schedule(
        name=options.schedule,
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        warmup_steps=round(options.warmup * steps),
        milestones=parse_milestones(options.milestones),
        step_epochs=options.step_epochs,
        decay=options.decay_factor,
        patience=options.plateau_patience,
        replans=plan[1:],
    )


def parse_milestones(text: str) -> tuple[float, ...]:
    """Read '0.6,0.85'; a UserError for anything but shares of the run."""
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--milestones {text!r}: give shares of the run, as 0.6,0.85") from error
    if not all(0 < share < 1 for share in shares):
        raise UserError(f"--milestones {text!r}: every share must lie between 0 and 1")
    return shares


def parse_plan(text: str) -> list[tuple[int, int]]:
    """Read '0:820,82:790': 820 steps in all, and from step 82 on 790. A UserError for anything else."""
    try:
        plan = [(int(step), int(total)) for step, total in (part.split(":") for part in text.split(","))]
    except ValueError as error:
        raise UserError(f"--plan {text!r}: give steps and the total from there on, as 0:820,82:790") from error
    steps, totals = zip(*plan, strict=True)
    if steps[0] != 0 or list(steps) != sorted(set(steps)) or totals[0] < 1:
        raise UserError(f"--plan {text!r}: the steps must begin at 0 and rise")
    if any(total < step for step, total in plan) or any(s > t for s, t in zip(steps[1:], totals, strict=False)):
        raise UserError(f"--plan {text!r}: a total is already passed where it is planned or changed")
    return plan


def format_plan(schedule: Schedule) -> str:
    """Return a schedule's totals as `--plan` takes them."""
    return ",".join(f"{step}:{total}" for step, total in [(0, schedule.steps), *schedule.replans])


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the running average of weights and batch-norm statistics toward the network.

    Early on the decay is only (1 + step) / (10 + step), so that the average of a short run is not dominated by its
    starting point. Averaging: Polyak & Juditsky 1992; as used here: Tarvainen & Valpola 2017,
    arXiv 1703.01780.
    """
    decay = min(decay, (1 + step) / (10 + step))
    ours = [tensor for tensor in average.state_dict().values() if tensor.is_floating_point()]
    theirs = [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]
    torch._foreach_lerp_(ours, theirs, 1 - decay)  # pyright: ignore
