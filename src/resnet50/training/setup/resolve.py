"""What a training run leaves open, decided: options checked and made concrete, with a sentence on each choice."""

import dataclasses
import re

from resnet50.data.transforms import Preprocess
from resnet50.etl.prepared import PreparedDataset
from resnet50.etl.store import open_store
from resnet50.model.resnet import STAGES
from resnet50.model.weights import PretrainedWeights
from resnet50.options.config import TrainOptions
from resnet50.runtime.console import duration, say, warn
from resnet50.runtime.cpu import available_cores
from resnet50.runtime.device import Device
from resnet50.runtime.distributed import launched_processes
from resnet50.runtime.errors import UserError
from resnet50.training.loop import Training, TrainingData
from resnet50.training.optim import PEAK_RATES, WEIGHT_DECAYS, parse_milestones
from resnet50.training.recovery.run_folder import (
    check_run_folder,
)
from resnet50.training.setup.budget import measure_epoch
from resnet50.training.setup.compile import decide_compile, needs_timing
from resnet50.training.setup.data import build_network
from resnet50.training.state import start_state


def check(options: TrainOptions) -> None:
    """Raise a UserError for options that don't go together, before anything is read or written."""
    check_together(options)
    parse_milestones(options.milestones)
    if options.budget is not None:
        parse_duration(options.budget, "--budget")
    check_run_folder(options)


def check_together(options: TrainOptions) -> None:
    """Raise a UserError for options that don't go together, or not with several processes."""
    if options.batch_size != "auto":
        check_batch(options)
    if launched_processes().world_size > 1 and options.freeze == len(STAGES):
        raise UserError("with every stage frozen a head trains in seconds: start one process, without torchrun")
    if launched_processes().world_size > 1 and options.observe:
        raise UserError("--observe looks into one process: start one, without torchrun, or leave it out")
    if options.freeze == len(STAGES) and options.skip_bad:
        raise UserError("--skip-bad needs a stage that learns: with every stage frozen features are computed once")
    if options.observe and options.freeze == len(STAGES):
        raise UserError("--observe has nothing to look at with every stage frozen: lower --freeze, or leave it out")


def check_batch(options: TrainOptions, images: int | None = None) -> None:
    """Raise a UserError for a batch that can't be cut as asked; fewer images than one are all of it."""
    world_size, batch = launched_processes().world_size, min(options.batch, images or options.batch)
    if world_size > batch:
        raise UserError(f"a batch of {batch} images is not enough for {world_size} processes")
    if options.accumulate > batch // world_size:
        share = f"a batch of {batch}" if world_size == 1 else f"a process's {batch // world_size} images of a batch"
        raise UserError(f"--accumulate {options.accumulate}: {share} can't be cut into more parts")
    if normed_together(options) == 1 and options.image_size <= 32 and options.freeze < len(STAGES):
        raise UserError("batch norm can't learn from a single image of 32 pixels: raise --batch-size or --image-size")


def normed_together(options: TrainOptions) -> int:
    """Return how many images batch norm sees at a time, where it sees fewest."""
    world_size = 1 if options.sync_bn else launched_processes().world_size
    return max(1, options.batch // world_size // options.accumulate)


def resolve(
    options: TrainOptions, pretrained: PretrainedWeights | None, device: Device
) -> tuple[TrainOptions, list[str]]:
    """Replace everything left to us by concrete values; return the options and a sentence on each choice."""
    rate, head_rate = default_rates(options, fine_tuning=pretrained is not None)
    lr = rate if options.lr is None else options.lr
    head_lr = options.head_lr if options.head_lr is not None else head_rate * lr / rate
    cores = available_cores()
    store = options.store and open_store(options.dataset) is not None
    frozen = options.freeze == len(STAGES)
    # Beside a GPU every core may load. A CPU that trains is slower than one process that decodes, and cutting a batch
    # from the store takes it a hundredth of a step.
    workers = min(16, cores) if device.torch_device.type != "cpu" else 0 if store else 1
    resolved = dataclasses.replace(
        options,
        dataset=options.dataset.absolute(),  # so that the run is evaluated from wherever
        weights="none" if pretrained is None else pretrained.source,
        variant=options.variant or (pretrained.variant if pretrained else "v1.5"),
        eval_size=options.eval_size or options.image_size,
        store=store,
        augment="none" if frozen else options.augment,
        resize_mode=options.resize_mode or (pretrained.preprocess.resize_mode if pretrained else "crop"),
        workers=workers if options.workers is None else options.workers,
        lr=lr,
        head_lr=head_lr,
        weight_decay=WEIGHT_DECAYS[options.optimizer] if options.weight_decay is None else options.weight_decay,
        device=str(device.torch_device),
        precision=device.precision,
        threads=options.threads or cores,
    )
    start = f"fine-tuning from {pretrained.source}" if pretrained else "training from scratch"
    decisions = [
        f"device {device.torch_device}, precision {device.precision}: {device.why}",
        f"{start}: ResNet-{resolved.depth} {resolved.variant}, {resolved.optimizer}, "
        f"learning rate {lr:g} (head {head_lr:g}), weight decay {resolved.weight_decay:g}",
    ]
    if frozen:
        decisions.append(
            "every stage is frozen: features are computed once, without augmentation, for the head to train on"
        )
    if pretrained and resolved.variant != pretrained.variant:
        warn(f"these weights belong to the {pretrained.variant} variant: with {resolved.variant} they start out worse")
    return resolved, decisions


def default_rates(options: TrainOptions, *, fine_tuning: bool) -> tuple[float, float]:
    """Return good peak rates of backbone and head for the optimizer and the batch size.

    They grow with the batch: linearly for SGD (Goyal et al. 2017, arXiv 1706.02677), by its square root for Adam and
    AdamW (Malladi et al. 2022, arXiv 2205.10287).
    """
    rate, head_rate = PEAK_RATES[options.optimizer, fine_tuning]
    growth = options.batch / 32
    growth = growth if options.optimizer == "sgd" else growth**0.5
    return rate * growth, head_rate * growth


def choose_preprocess(options: TrainOptions, pretrained: PretrainedWeights | None) -> Preprocess:
    """Return the preprocessing of validation and everything after it: the weights' own, at this run's size."""
    assert options.eval_size is not None and options.resize_mode is not None  # resolved
    own = pretrained.preprocess if pretrained else Preprocess()
    return dataclasses.replace(own, resize_mode=options.resize_mode).resized(options.eval_size)


def plan(
    options: TrainOptions,
    dataset: PreparedDataset,
    pretrained: PretrainedWeights | None,
    data: TrainingData,
    device: Device,
) -> tuple[TrainOptions, list[str]]:
    """Decide what depends on how long an epoch takes: how many fit the budget, and whether compiling pays."""
    epoch_seconds, decisions = 0.0, list[str]()
    if options.budget is not None or needs_timing(options, device):
        say("measuring a few steps, to see how long an epoch takes")
        spare = start_state(build_network(options, dataset, pretrained), options, device, len(data.order))
        epoch_seconds = measure_epoch(Training(spare, data, options, device))
    if options.budget is not None:
        epochs = epochs_within(options.budget, epoch_seconds)
        decisions.append(f"{epochs} epochs of about {duration(epoch_seconds)} each: what fits into {options.budget}")
        options = dataclasses.replace(options, epochs=epochs, budget=None)
    compiled, why = decide_compile(options, device, epoch_seconds * options.epochs)
    decisions.append(f"the step is {'compiled' if compiled else 'not compiled'}: {why}")
    return dataclasses.replace(options, compile="on" if compiled else "off"), decisions


def epochs_within(budget: str, epoch_seconds: float) -> int:
    """Return how many epochs fit into the budget; at least one, with a warning if even that is too much."""
    seconds = parse_duration(budget, "--budget")
    if epoch_seconds > seconds:
        warn(f"one epoch takes about {duration(epoch_seconds)}, more than the budget of {budget}")
    return max(1, int(seconds / epoch_seconds))


def parse_duration(text: str, option: str) -> float:
    """Read 90s, 5m, 1h30m, or plain seconds; return seconds. The error names the option."""
    match = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", text.strip())
    try:
        seconds = (
            sum(float(n) * unit for n, unit in zip(match.groups(), (3600, 60, 1), strict=True) if n) if match else 0
        )
    except ValueError:
        seconds = 0
    if seconds <= 0:
        raise UserError(f"{option} {text!r}: give a time as 90s, 5m or 1h30m")
    return seconds


def warn_of_odd_data(options: TrainOptions, dataset: PreparedDataset) -> None:
    """Warn of what makes training pointless or impossible to judge: classes without images, a batch of one."""
    for name in ("train", "val"):
        there = set(dataset.split(name)["label"].unique())
        absent = [label for label in dataset.classes if label not in there]
        if absent:
            can = "can't be learned" if name == "train" else "is not validated"
            warn(f"no image in the {name} split, so it {can}: {', '.join(absent[:10])}{' …' * (len(absent) > 10)}")
    if normed_together(options) == 1:
        warn("batch norm sees one image at a time: choose a larger --batch-size, or a smaller --accumulate")
    if options.freeze > 0:
        frozen = ", ".join(STAGES[: options.freeze])
        say(f"frozen, batch norm included: {frozen}")
