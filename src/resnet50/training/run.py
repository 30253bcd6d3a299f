"""`resnet50 train`: from options to a run folder, step by step."""

import dataclasses
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from torch import Tensor

from resnet50 import config
from resnet50.config import TrainOptions, Variant, flag, write_yaml
from resnet50.console import duration, say, warn
from resnet50.cores import available_cores
from resnet50.data.dataset import AugmentedDataset, Dataset
from resnet50.data.loader import KeptBatches, evaluation_loader, ordered_loader, training_loader
from resnet50.data.transforms import Augmentation, Preprocess
from resnet50.errors import UserError
from resnet50.etl.prepared import PreparedDataset, load_prepared
from resnet50.etl.store import open_store
from resnet50.model.resnet import STAGES, ResNet
from resnet50.model.weights import PretrainedWeights, load_pretrained
from resnet50.model.weights import apply as apply_weights
from resnet50.training.compiling import compile_step, decide_compile, needs_timing
from resnet50.training.frozen import on_features
from resnet50.training.loop import TrainingData, fit, measure_epoch
from resnet50.training.machine import Machine, choose_machine, keep_memory
from resnet50.training.observe import Observer, looks_for
from resnet50.training.optim import PEAK_RATES, WEIGHT_DECAYS, parse_milestones
from resnet50.training.record import RunRecord, versions, write_json
from resnet50.training.state import TrainState, start_state


def train(options: TrainOptions) -> Path:
    """Train a network on a prepared dataset and return the run folder.

    Raises:
        UserError: an option or input that can't be used.
        KeyboardInterrupt: Ctrl-C, after everything learnt so far is on disk.
    """
    check(options)
    dataset = load_prepared(options.dataset)
    machine = choose_machine(options.device, options.precision)
    keep_memory()
    torch.set_num_threads(options.threads or available_cores())
    if options.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.use_deterministic_algorithms(True)
    pretrained = load_pretrained(options.weights, options.depth)
    options, decisions = resolve(options, pretrained, machine)
    preprocess = choose_preprocess(options, pretrained)
    data = load_data(options, dataset, preprocess, machine)
    if options.freeze == len(STAGES):
        data = freeze_features(options, dataset, pretrained, data, machine)
    options, more = plan(options, dataset, pretrained, data, machine)
    decisions += more
    state = start_state(build_network(options, dataset, pretrained), options, machine, len(data.order))
    if options.compile == "on":
        data = compile_step(data)
    for decision in decisions:
        say(decision)
    claim_run_folder(options)  # nothing that can be wrong with the options comes after this
    write_yaml(options, options.out / "config.yaml")
    about = describe(options, dataset, pretrained, machine, decisions, state.network)
    run(state, options, data, machine, about, dataset)
    return options.out


def run(
    state: TrainState,
    options: TrainOptions,
    data: TrainingData,
    machine: Machine,
    about: dict[str, Any],
    dataset: PreparedDataset,
) -> None:
    """Train with everything decided, and write the run folder as it goes."""
    observer = None
    if options.observe:
        steps = len(data.order)
        observer = Observer(state.network, data.order.rows, steps, machine.device, looks_for(steps))
    image_ids = dataset.split("train")["image_id"]
    write_json(about, options.out / "run.json")
    say(f"training {data.train_images:,} images an epoch, validating on {data.val_images:,}")
    start, stopped = time.perf_counter(), "failed"
    with RunRecord(options.out, dataset.classes, data.preprocess, observer, image_ids) as record:
        try:
            stopped = fit(state, data, options, machine, record.at_epoch_end, observer)
        except KeyboardInterrupt:
            stopped = "interrupted"
            record.save_last(state)
            raise
        finally:
            seconds = round(time.perf_counter() - start, 1)
            ending = {
                "epochs_done": state.epoch,
                "best_epoch": state.best_epoch,
                "stopped": stopped,
                "seconds": seconds,
            }
            write_json(about | ending, options.out / "run.json")
            say(last_words(options, ending))


def check(options: TrainOptions) -> None:
    """Raise a UserError for the first option that can't be, before anything is read or written."""
    for name, allowed in (
        ("depth", config.Depth), ("shortcuts", config.ShortcutKind), ("augment", config.Augment),
        ("flips", config.Flips), ("optimizer", config.OptimizerName), ("schedule", config.ScheduleName),
    ):  # fmt: skip
        if getattr(options, name) not in get_args(allowed):
            raise UserError(
                f"{flag(name)} {getattr(options, name)!r} is none of {', '.join(map(str, get_args(allowed)))}"
            )
    for name in ("epochs", "batch_size", "accumulate", "step_epochs", "early_stopping", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"{flag(name)} {value}: must be at least 1")
    for name in ("lr", "head_lr", "clip_grad"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise UserError(f"{flag(name)} {value}: must be above 0")
    for name in ("warmup", "label_smoothing", "momentum", "ema"):
        value = getattr(options, name)
        if value is not None and not 0 <= value < 1:
            raise UserError(f"{flag(name)} {value}: must be at least 0 and below 1")
    for name in ("workers", "weight_decay", "seed", "plateau_patience"):
        value = getattr(options, name)
        if value is not None and value < 0:
            raise UserError(f"{flag(name)} {value}: must not be negative")
    check_together(options)
    parse_milestones(options.milestones)
    if options.budget is not None:
        parse_duration(options.budget)
    check_run_folder(options)


def check_together(options: TrainOptions) -> None:
    """Raise a UserError for options that don't go together."""
    if options.accumulate > options.batch_size:
        raise UserError(
            f"--accumulate {options.accumulate}: a batch of {options.batch_size} can't be cut into more parts"
        )
    if options.observe and options.freeze == len(STAGES):
        raise UserError("--observe has nothing to look at with every stage frozen: lower --freeze, or leave it out")


def check_run_folder(options: TrainOptions) -> None:
    """Raise a UserError unless the run folder is free, or an earlier run that may be overwritten."""
    out = options.out
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give a folder for the run")
    if out.is_dir() and any(out.iterdir()):
        if not options.overwrite:
            raise UserError(f"{out} already holds something: choose another folder, or add --overwrite")
        if not (out / "config.yaml").is_file():
            raise UserError(f"{out} holds something that is not a training run: --overwrite won't delete it")


def claim_run_folder(options: TrainOptions) -> None:
    """Make the run folder anew, without what an earlier run left."""
    check_run_folder(options)
    if options.out.is_dir():
        shutil.rmtree(options.out)
    options.out.mkdir(parents=True)


def resolve(
    options: TrainOptions, pretrained: PretrainedWeights | None, machine: Machine
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
    workers = min(16, cores) if machine.device.type != "cpu" else 0 if store else 1
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
        device=str(machine.device),
        precision=machine.precision,
        threads=options.threads or cores,
    )
    start = f"fine-tuning from {pretrained.source}" if pretrained else "training from scratch"
    decisions = [
        f"device {machine.device}, precision {machine.precision}: {machine.why}",
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
    """Return good peak rates of backbone and head for the optimiser and the batch size.

    They grow with the batch: linearly for SGD (Goyal et al. 2017, arXiv 1706.02677), by its square root for Adam and
    AdamW (Malladi et al. 2022, arXiv 2205.10287).
    """
    rate, head_rate = PEAK_RATES[options.optimizer, fine_tuning]
    growth = options.batch_size / 32
    growth = growth if options.optimizer == "sgd" else growth**0.5
    return rate * growth, head_rate * growth


def choose_preprocess(options: TrainOptions, pretrained: PretrainedWeights | None) -> Preprocess:
    """Return the preprocessing of validation and everything after it: the weights' own, at this run's size."""
    assert options.eval_size is not None and options.resize_mode is not None  # resolved
    own = pretrained.preprocess if pretrained else Preprocess()
    return dataclasses.replace(own, resize_mode=options.resize_mode).resized(options.eval_size)


def load_data(
    options: TrainOptions, dataset: PreparedDataset, preprocess: Preprocess, machine: Machine
) -> TrainingData:
    """Build the loaders of both splits."""
    assert options.workers is not None  # resolved
    train, val = dataset.split("train"), dataset.split("val")
    photos = training_photos(options, dataset, preprocess)
    loader, order = training_loader(photos, options.batch_size, options.workers)
    plain = evaluation_loader(Dataset(val["path"], val["label_index"], preprocess), options.batch_size, options.workers)
    keep = 3 * preprocess.size**2 * len(val) <= KEPT_BYTES
    weights = class_weights(options, train["label_index"].to_numpy(), len(dataset.classes))
    return TrainingData(
        train=loader,
        order=order,
        val=KeptBatches(plain) if keep else plain,
        val_images=len(val),
        preprocess=preprocess,
        class_weights=None if weights is None else weights.to(machine.device),
    )


KEPT_BYTES = 1 << 30
"""Up to so many bytes of validation images stay in memory, as the network takes them, instead of being read again."""


def training_photos(options: TrainOptions, dataset: PreparedDataset, preprocess: Preprocess) -> AugmentedDataset:
    """Return the training split under augmentation: from the pixel store if it is to be used, else from the files."""
    train = dataset.split("train")
    photos = train["path"]
    store = open_store(dataset.folder) if options.store else None
    if store is not None:
        photos = store.photos(train)
        if store.shorter_side < options.image_size:
            warn(
                f"the pixel store's photos have {store.shorter_side} pixels on the shorter side, less than "
                f"--image-size {options.image_size}: prepare with a larger --store-size, or train with --no-store"
            )
    augmentation = Augmentation(
        preprocess=preprocess.resized(options.image_size),
        level=options.augment,
        crop_scale=options.crop_scale,
        flips=options.flips,
    )
    return AugmentedDataset(photos, train["label_index"], augmentation, options.seed)


def freeze_features(
    options: TrainOptions,
    dataset: PreparedDataset,
    pretrained: PretrainedWeights | None,
    data: TrainingData,
    machine: Machine,
) -> TrainingData:
    """Replace the images by what the frozen stages make of them."""
    assert options.workers is not None  # resolved
    photos = training_photos(options, dataset, data.preprocess)
    network = build_network(options, dataset, pretrained).to(machine.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return on_features(data, ordered_loader(photos, options.batch_size, options.workers), network, machine)


def class_weights(options: TrainOptions, labels: np.ndarray, classes: int) -> Tensor | None:
    """Return 1/frequency of each class, scaled so that the average image weighs 1; None for equal weights."""
    if options.class_weights == "none":
        return None
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)), dtype=torch.float32)


def build_network(options: TrainOptions, dataset: PreparedDataset, pretrained: PretrainedWeights | None) -> ResNet:
    """Build the network for the dataset's classes and give it the weights to start from."""
    torch.manual_seed(options.seed)
    network = ResNet(
        options.depth,
        len(dataset.classes),
        cast(Variant, options.variant),
        options.shortcuts,
        zero_gamma=options.zero_gamma,
    )
    if pretrained is not None:
        apply_weights(pretrained, network, dataset.classes)
    return network


def plan(
    options: TrainOptions,
    dataset: PreparedDataset,
    pretrained: PretrainedWeights | None,
    data: TrainingData,
    machine: Machine,
) -> tuple[TrainOptions, list[str]]:
    """Decide what depends on how long an epoch takes: how many fit the budget, and whether compiling pays."""
    epoch_seconds, decisions = 0.0, list[str]()
    if options.budget is not None or needs_timing(options, machine):
        say("measuring a few steps, to see how long an epoch takes")
        spare = start_state(build_network(options, dataset, pretrained), options, machine, len(data.order))
        epoch_seconds = measure_epoch(spare, data, options, machine)
    if options.budget is not None:
        epochs = epochs_within(options.budget, epoch_seconds)
        decisions.append(f"{epochs} epochs of about {duration(epoch_seconds)} each: what fits into {options.budget}")
        options = dataclasses.replace(options, epochs=epochs, budget=None)
    compiled, why = decide_compile(options, machine, epoch_seconds * options.epochs)
    decisions.append(f"the step is {'compiled' if compiled else 'not compiled'}: {why}")
    return dataclasses.replace(options, compile="on" if compiled else "off"), decisions


def epochs_within(budget: str, epoch_seconds: float) -> int:
    """Return how many epochs fit into the budget; at least one, with a warning if even that is too much."""
    seconds = parse_duration(budget)
    if epoch_seconds > seconds:
        warn(f"one epoch takes about {duration(epoch_seconds)}, more than the budget of {budget}")
    return max(1, int(seconds / epoch_seconds))


def parse_duration(text: str) -> float:
    """Read 90s, 5m, 1h30m, or plain seconds; return seconds."""
    match = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", text.strip())
    try:
        seconds = (
            sum(float(n) * unit for n, unit in zip(match.groups(), (3600, 60, 1), strict=True) if n) if match else 0
        )
    except ValueError:
        seconds = 0
    if seconds <= 0:
        raise UserError(f"--budget {text!r}: give a time as 90s, 5m or 1h30m")
    return seconds


def describe(
    options: TrainOptions,
    dataset: PreparedDataset,
    pretrained: PretrainedWeights | None,
    machine: Machine,
    decisions: list[str],
    network: ResNet,
) -> dict[str, Any]:
    """Return what `run.json` records: all that a result depends on besides the options."""
    counts = dataset.manifest["split"].value_counts()
    return {
        "versions": versions(),
        "dataset": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "images": {split: int(counts.get(split, 0)) for split in ("train", "val", "test")},
        },
        "weights": {
            "source": options.weights,
            "sha256": None if pretrained is None else pretrained.sha256,
            "variant": options.variant,
        },
        "device": str(machine.device),
        "precision": machine.precision,
        "decisions": decisions,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "epochs_done": 0,
        "stopped": "not yet",
    }


def last_words(options: TrainOptions, ending: dict[str, Any]) -> str:
    """Return the sentence that ends a run: why it stopped and where its best weights are."""
    done, best = ending["epochs_done"], ending["best_epoch"]
    how = "stopped early" if ending["stopped"] == "early stopping" else ending["stopped"]
    text = f"{how} after {done} of {options.epochs} epochs in {duration(ending['seconds'])}"
    if best:
        return f"{text}; the best weights, of epoch {best}, are in {options.out / 'model.safetensors'}"
    return f"{text}, before the first validation: the weights as they were are in {options.out / 'checkpoints'}"
