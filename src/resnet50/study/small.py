"""The experiments' own trainings: few and small images, the same training loop as every run.

No augmentation and no weight decay on norms; SGD with momentum as in He et al. 2015 (arXiv 1512.03385). The learning
rate is constant after a short warm-up, so that the curves show the network and not the schedule.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch

from resnet50.data.loader import EpochBatchSampler, SequentialBatchSampler, TensorBatches
from resnet50.etl.prepared import atomic_folder
from resnet50.model.file import Model, load_model, save_model
from resnet50.model.resnet import ResNet
from resnet50.options import Depth, ShortcutKind, TrainOptions
from resnet50.study.lab import Images, Lab, read_table, write_table
from resnet50.study.norms import remove_norms
from resnet50.training.callbacks.callback import Callback
from resnet50.training.callbacks.probe import TrainingProbe
from resnet50.training.loop import fit
from resnet50.training.metrics import EpochMetrics
from resnet50.training.recovery.guards import Diverged
from resnet50.training.state import start_state
from resnet50.training.training import Training, TrainingData

BATCH_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A small training."""

    depth: Depth = 18
    shortcuts: ShortcutKind = "B"
    batch_norm: bool = True
    zero_gamma: bool = False  # every block starts as the identity
    seed: int = 0  # of initial weights and order, counted from 0
    shuffled_labels: bool = False  # those of the training images are permuted (Zhang et al. 2017, arXiv 1611.03530)
    epochs: int | None = None  # None: the plan's
    lr: float = 0.002
    watched: str = ""  # name of what `train_small` watches after every epoch

    @property
    def name(self) -> str:
        """Return a name that no other setup has."""
        parts = [f"resnet{self.depth}", f"shortcuts-{self.shortcuts}"]
        parts += ["no-norm"] if not self.batch_norm else []
        parts += ["zero-gamma"] if self.zero_gamma else []
        parts += ["shuffled"] if self.shuffled_labels else []
        parts += [f"epochs-{self.epochs}"] if self.epochs is not None else []
        parts += [f"lr-{self.lr:g}"] if self.lr != Setup.lr else []
        parts += [self.watched] if self.watched else []
        return "_".join([*parts, f"seed-{self.seed}"])


@dataclass(frozen=True, eq=False)
class SmallTraining:
    """The results of a small training."""

    history: pd.DataFrame  # a row per epoch, as in `metrics.csv`
    layers: pd.DataFrame  # epoch, layer, quantity, value: see `training.callbacks.probe`
    samples: pd.DataFrame  # epoch, row (position in `Lab.images("train", …)`), loss, correct
    watched: pd.DataFrame  # a row per epoch of what was watched; may be empty
    folder: Path  # with the weights of the last epoch
    setup: Setup

    def network(self) -> ResNet:
        """Return the network after the last epoch, on the CPU, in evaluation mode."""
        if not self.setup.batch_norm:
            raise ValueError("a network without norms is not kept")
        return load_model(self.folder / "model.safetensors").network


Watch = Callable[[ResNet, int], dict[str, float]]
"""Measures a network after an epoch (0: before the first step): values by name."""


def train_small(lab: Lab, setup: Setup, watch: Watch | None = None) -> SmallTraining:
    """Train, or read the training if this study has it already; the setup names what is watched after every epoch."""
    folder = lab.parts / "trainings" / setup.name
    if not folder.is_dir():
        with atomic_folder(folder) as fresh:
            train_into(lab, setup, watch, fresh)
    watched = folder / "watched.csv"
    return SmallTraining(
        history=read_table(folder / "history.csv"),
        layers=read_table(folder / "layers.csv"),
        samples=read_table(folder / "samples.csv"),
        watched=read_table(watched) if watched.is_file() else pd.DataFrame(),
        folder=folder,
        setup=setup,
    )


class EpochRecords(Callback):
    """Keeps each epoch's metrics, and what `watch` measures after it."""

    def __init__(self, watch: Watch | None) -> None:
        self.watch = watch
        self.history: list[EpochMetrics] = []
        self.watched: list[dict[str, float]] = []

    def measure(self, network: ResNet, epoch: int) -> None:
        if self.watch is not None:
            self.watched.append({"epoch": epoch} | self.watch(network, epoch))

    def on_epoch_end(self, training: Training, metrics: EpochMetrics, best: bool) -> None:
        del best
        self.history.append(metrics)
        self.measure(training.state.network, metrics.epoch)


def train_into(lab: Lab, setup: Setup, watch: Watch | None, folder: Path) -> None:
    """Train a network and write what `SmallTraining` reads into a folder."""
    options = training_options(lab, setup)
    data = small_data(lab, setup, options)
    network = make_network(lab, setup)
    state = start_state(network, options, lab.device, len(data.order))
    probe = TrainingProbe(state.network, data.order.rows, len(data.order), lab.device.torch_device)
    records = EpochRecords(watch)
    records.measure(state.network, 0)
    history, watched = records.history, records.watched
    try:
        fit(Training(state, data, options, lab.device, (probe, records)))
    except Diverged:  # a result, for a network without norms
        if not history or np.isfinite([history[-1].objective, history[-1].val_loss]).all():  # within an epoch
            history.append(diverged_epoch(state.epoch + 1))
    write_table(pd.DataFrame([dataclasses.asdict(metrics) for metrics in history]), folder / "history.csv")
    write_table(probe.layers(), folder / "layers.csv")
    write_table(probe.samples(), folder / "samples.csv")
    if watched:
        write_table(pd.DataFrame(watched), folder / "watched.csv")
    if setup.batch_norm:
        model = Model(state.network, lab.dataset.classes, data.preprocess)
        save_model(model, folder / "model.safetensors")


def diverged_epoch(epoch: int) -> EpochMetrics:
    """Return the metrics of an epoch in which the loss diverged: NaN."""
    nothing = dict.fromkeys([field.name for field in dataclasses.fields(EpochMetrics)], math.nan)
    return EpochMetrics(**cast(Any, nothing | {"epoch": epoch, "skipped_steps": 0}))


def training_options(lab: Lab, setup: Setup) -> TrainOptions:
    return TrainOptions(
        dataset=lab.dataset.folder,
        out=lab.folder,
        depth=setup.depth,
        shortcuts=setup.shortcuts,
        optimizer="sgd",
        lr=setup.lr,
        head_lr=setup.lr,
        weight_decay=1e-4,
        schedule="constant",
        warmup=0.1,
        epochs=setup.epochs or lab.plan.epochs,
        batch_size=BATCH_SIZE,
        label_smoothing=0.0,
        seed=lab.seed + setup.seed,
    )


def small_data(lab: Lab, setup: Setup, options: TrainOptions) -> TrainingData:
    train, val = small_images(lab, "train"), small_images(lab, "val")
    labels = train.labels
    if setup.shuffled_labels:
        labels = labels[np.random.default_rng([options.seed, 0x5BFF]).permutation(len(labels))]
    order = EpochBatchSampler(len(train), BATCH_SIZE, options.seed)
    return TrainingData(
        train=TensorBatches(train.pixels, labels, BATCH_SIZE, order),
        order=order,
        val=TensorBatches(val.pixels, val.labels, BATCH_SIZE),
        val_order=SequentialBatchSampler(len(val), BATCH_SIZE),
        preprocess=lab.small_preprocess(),
        class_weights=None,
    )


def small_images(lab: Lab, split: str) -> Images:
    return lab.images(split, lab.small_preprocess(), lab.plan.images)


def make_network(lab: Lab, setup: Setup) -> ResNet:
    torch.manual_seed(lab.seed + setup.seed)
    network = ResNet(setup.depth, len(lab.dataset.classes), shortcuts=setup.shortcuts, zero_gamma=setup.zero_gamma)
    if not setup.batch_norm:
        remove_norms(network)
    return lab.to_device(network)
