"""From options to a training that is ready to run, and to the record of what it depends on."""

import dataclasses
import os
from typing import Any

import torch

from resnet50.etl.prepared import PreparedDataset
from resnet50.model.resnet import STAGES, ResNet
from resnet50.model.weights import PretrainedWeights, load_pretrained
from resnet50.options import TrainOptions
from resnet50.runtime.console import say, warn
from resnet50.runtime.cpu import available_cores
from resnet50.runtime.device import Device, tune_allocator
from resnet50.runtime.provenance import versions
from resnet50.runtime.threads import choose_threads
from resnet50.training.budget import BudgetClock
from resnet50.training.callbacks.probe import PROBED_FOLDER, ProbeOutput, TrainingProbe, probe_steps
from resnet50.training.recovery.run_folder import fixed_options
from resnet50.training.setup.batch_size import choose_batch_size
from resnet50.training.setup.budget import most_steps, plan_length, size_for_budget
from resnet50.training.setup.compile import compile_step
from resnet50.training.setup.data import build_network, freeze_features, load_data
from resnet50.training.setup.recipe import useful_size
from resnet50.training.setup.resolve import (
    budget_seconds,
    check_batch,
    choose_preprocess,
    resolve,
    warn_of_odd_data,
)
from resnet50.training.state import TrainState, start_state
from resnet50.training.training import Training, TrainingData


def configure_torch(options: TrainOptions, device: Device) -> None:
    """Configure memory, threads and determinism of this process."""
    tune_allocator()
    threads, why = options.threads or available_cores(), ""
    if options.threads is None and device.torch_device.type == "cpu" and device.dist.world_size == 1:
        threads, why = choose_threads()
    if why:
        warn(why)
    torch.set_num_threads(threads)
    if options.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False  # the fastest kernels are not always the same


def build_run(
    options: TrainOptions, dataset: PreparedDataset, device: Device, clock: BudgetClock
) -> tuple[Training, dict[str, Any]]:
    """Decide what the options leave open and build everything; return it with what `run.json` says."""
    asked, budget, images = fixed_options(options), budget_seconds(options), len(dataset.split("train"))
    size_is_open, largest = options.image_size is None, options.image_size or useful_size(dataset.manifest)
    options = dataclasses.replace(options, image_size=largest)
    options = choose_batch_size(options, len(dataset.classes), images, device)
    check_batch(options, images)
    start = Start(dataset, load_pretrained(options.weights, options.depth), device)
    decisions = list[str]()
    if size_is_open and budget is not None:
        size, decision = device.dist.broadcast(size_for_budget(options, start.spare, device, clock))
        options = dataclasses.replace(options, image_size=size)
        decisions.append(decision)
    options, more = resolve(options, start.pretrained, device)
    data, network = start.data(options), start.network(options)
    if options.freeze == len(STAGES):
        data = freeze_features(options, dataset, network, data, device)
    most = most_steps(options, len(data.order))
    options, costs, planned = device.dist.broadcast(
        plan_length(options, len(data.order), lambda: start.spare(options, data), device, clock)
    )
    decisions += more + planned
    for decision in decisions:
        say(decision)
    warn_of_odd_data(options, dataset)
    training = assemble(options, dataset, network, data, device)
    if costs is not None:
        training.state.budget, training.state.most_steps = budget, most
        training.state.step_seconds, training.state.epoch_end_seconds = costs.step, costs.epoch_end
    return training, {"asked": asked} | describe(options, dataset, start.pretrained, device, decisions, network)


@dataclasses.dataclass(frozen=True)
class Start:
    """What a run starts from, whatever its options turn out to be."""

    dataset: PreparedDataset
    pretrained: PretrainedWeights | None
    device: Device

    def data(self, options: TrainOptions) -> TrainingData:
        """Build the loaders of both splits for resolved options."""
        preprocess = choose_preprocess(options, self.pretrained, self.dataset.bit_depth)
        return load_data(options, self.dataset, preprocess, self.device)

    def network(self, options: TrainOptions) -> ResNet:
        """Build the network for resolved options."""
        return build_network(options, self.dataset, self.pretrained)

    def spare(self, options: TrainOptions, data: TrainingData | None = None) -> Training:
        """Build a training to measure with, whose state may be spoiled."""
        options, _ = resolve(options, self.pretrained, self.device)
        options = dataclasses.replace(options, epochs=options.epochs or 1, ema=options.ema or 0.9)
        data = data or self.data(options)
        return Training(
            start_state(self.network(options), options, self.device, len(data.order)), data, options, self.device
        )


def assemble(
    options: TrainOptions, dataset: PreparedDataset, network: ResNet, data: TrainingData, device: Device
) -> Training:
    """Put a network on its device and everything around it that trains it, with a probe if one is asked for."""
    state = start_state(network, options, device, len(data.order))
    if options.compile == "on":
        data = compile_step(data)
    callbacks = (build_probe(options, dataset, state, data, device),) if options.observe else ()
    return Training(state, data, options, device, callbacks)


def build_probe(
    options: TrainOptions, dataset: PreparedDataset, state: TrainState, data: TrainingData, device: Device
) -> TrainingProbe:
    """Build a probe that writes into the run folder."""
    output = ProbeOutput(options.out / PROBED_FOLDER, dataset.split("train")["image_id"])
    steps = len(data.order)
    return TrainingProbe(state.network, data.order.rows, steps, device.torch_device, probe_steps(steps), output)


def describe(
    options: TrainOptions,
    dataset: PreparedDataset,
    pretrained: PretrainedWeights | None,
    device: Device,
    decisions: list[str],
    network: ResNet,
) -> dict[str, Any]:
    """Return what `run.json` records: everything that a result depends on besides the options."""
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
        "device": str(device.torch_device),
        "precision": device.precision,
        "decisions": decisions,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
