"""Options checked, and what they leave open decided, with a sentence on each choice."""

import dataclasses
import re

import torch

from resnet50.data.transforms import Preprocess
from resnet50.etl.prepared import PreparedDataset
from resnet50.etl.store import open_store
from resnet50.model.resnet import STAGES
from resnet50.model.weights import PretrainedWeights
from resnet50.options import TrainOptions
from resnet50.runtime.console import say, warn
from resnet50.runtime.cpu import available_cores
from resnet50.runtime.device import Device
from resnet50.runtime.distributed import launched_processes
from resnet50.runtime.errors import UserError
from resnet50.training.optim import parse_milestones, parse_plan
from resnet50.training.recovery.run_folder import check_run_folder
from resnet50.training.setup.recipe import HEAD_ALONE, WEIGHT_DECAYS, peak_rate


def check(options: TrainOptions) -> None:
    """Raise a UserError for options that don't go together, before anything is read or written."""
    check_together(options)
    parse_milestones(options.milestones)
    if budget_seconds(options) is not None and options.plan is not None:
        raise UserError("--budget plans the steps anew, --plan repeats an earlier plan: leave one of the two out")
    if options.plan is not None:
        parse_plan(options.plan)
    check_run_folder(options)


def check_together(options: TrainOptions) -> None:
    """Raise a UserError for options that don't go together, or don't work with several processes."""
    if options.batch_size != "auto":
        check_batch(options)
    if launched_processes().world_size > 1 and options.freeze == len(STAGES):
        raise UserError("with every stage frozen the head trains in seconds: start one process, without torchrun")
    if launched_processes().world_size > 1 and options.observe:
        raise UserError("--observe works in a single process: start one, without torchrun, or leave it out")
    if options.freeze == len(STAGES) and options.skip_bad:
        raise UserError("--skip-bad needs a stage that learns: with every stage frozen features are computed once")
    if options.observe and options.freeze == len(STAGES):
        raise UserError("--observe has nothing to probe with every stage frozen: lower --freeze, or leave it out")


def check_batch(options: TrainOptions, images: int | None = None) -> None:
    """Raise a UserError for a batch that can't be cut as asked. A split with fewer images is a single batch."""
    world_size, batch = launched_processes().world_size, min(options.batch, images or options.batch)
    if world_size > batch:
        raise UserError(f"a batch of {batch} images is not enough for {world_size} processes")
    if options.accumulate > batch // world_size:
        shard = f"a batch of {batch}" if world_size == 1 else f"a process's {batch // world_size} images of a batch"
        raise UserError(f"--accumulate {options.accumulate}: {shard} can't be cut into more micro-batches")
    if normed_together(options) == 1 and (options.image_size or 224) <= 32 and options.freeze < len(STAGES):
        raise UserError("batch norm can't learn from a single image of 32 pixels: raise --batch-size or --image-size")


def normed_together(options: TrainOptions) -> int:
    """Return the smallest number of images that batch norm sees at a time."""
    world_size = 1 if options.sync_bn else launched_processes().world_size
    return max(1, options.batch // world_size // options.accumulate)


def resolve(
    options: TrainOptions, pretrained: PretrainedWeights | None, device: Device
) -> tuple[TrainOptions, list[str]]:
    """Replace everything left open by concrete values; return the options and a sentence on each choice."""
    lr = options.lr or peak_rate(options, fine_tuning=pretrained is not None)
    head_lr = options.head_lr or (HEAD_ALONE * lr if options.freeze == len(STAGES) else lr)
    cores = available_cores()
    store = options.store and open_store(options.dataset) is not None
    frozen = options.freeze == len(STAGES)
    # Next to a GPU, every core may load. On a CPU, training is slower than one process that decodes, and cropping a
    # batch from the store takes a hundredth of a step.
    workers = min(16, cores) if device.torch_device.type != "cpu" else 0 if store else 1
    resolved = dataclasses.replace(
        options,
        dataset=options.dataset.absolute(),  # so that the run can be evaluated from any folder
        weights="none" if pretrained is None else pretrained.source,
        variant=options.variant or (pretrained.variant if pretrained else "v1.5"),
        eval_size=options.eval_size or options.side,
        store=store,
        augment="none" if frozen else options.augment,
        resize_mode=options.resize_mode or (pretrained.preprocess.resize_mode if pretrained else "crop"),
        workers=workers if options.workers is None else options.workers,
        lr=lr,
        head_lr=head_lr,
        weight_decay=WEIGHT_DECAYS[options.optimizer] if options.weight_decay is None else options.weight_decay,
        device=str(device.torch_device),
        precision=device.precision,
        threads=options.threads or torch.get_num_threads(),  # that were chosen for this process
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


def choose_preprocess(options: TrainOptions, pretrained: PretrainedWeights | None, bit_depth: int | None) -> Preprocess:
    """Return the preprocessing of validation and everything after it: that of the weights, for this run's data.

    Published weights come with a crop that cuts an eighth of the image away; fine-tuned networks do better without.

    Raises:
        UserError: a crop is asked for, but images are squashed or padded.
    """
    assert options.eval_size is not None and options.resize_mode is not None  # resolved
    if options.eval_crop < 1 and options.resize_mode != "crop":
        raise UserError(f"--eval-crop needs --resize-mode crop: {options.resize_mode} keeps the whole image")
    own = pretrained.preprocess if pretrained else Preprocess()
    return dataclasses.replace(
        own,
        size=options.eval_size,
        resize=max(options.eval_size, round(options.eval_size / options.eval_crop)),
        resize_mode=options.resize_mode,
        bit_depth=bit_depth,
    )


def budget_seconds(options: TrainOptions) -> float | None:
    """Return the budget in seconds, if there is one."""
    return None if options.budget is None else parse_duration(options.budget, "--budget")


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
    """Warn of classes without images in a split, and of batch norm over single images."""
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
