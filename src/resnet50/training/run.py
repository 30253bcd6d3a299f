"""`resnet50 train`: from options, or from a checkpoint, to a run folder."""

import dataclasses
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from resnet50.config import TrainOptions, from_values, write_yaml
from resnet50.console import Speech, duration, only_the_first_speaks, say, warn
from resnet50.cores import available_cores
from resnet50.data.transforms import Preprocess
from resnet50.errors import Stopped, UserError
from resnet50.etl.prepared import PreparedDataset, load_prepared
from resnet50.model.resnet import STAGES, ResNet
from resnet50.model.weights import PretrainedWeights, load_pretrained
from resnet50.training.checkpoint import Checkpoints, intact_checkpoints, list_checkpoints, newest_checkpoint
from resnet50.training.choices import (
    check,
    check_batch,
    choose_preprocess,
    parse_duration,
    plan,
    resolve,
    warn_of_odd_data,
)
from resnet50.training.compiling import compile_step
from resnet50.training.folder import (
    ABOUT,
    CHECKPOINTS,
    CONFIG,
    DONE,
    empty_run_folder,
    locked,
)
from resnet50.training.inputs import build_network, freeze_features, load_data
from resnet50.training.loop import TrainingData, fit
from resnet50.training.machine import Machine, choose_machine, keep_memory
from resnet50.training.memory import choose_batch_size
from resnet50.training.observe import OBSERVED, Observer, looks_for
from resnet50.training.processes import Processes, is_lost_process, joined
from resnet50.training.record import RunRecord, versions, write_json
from resnet50.training.state import TrainState, start_state
from resnet50.training.stopping import StopRequest
from resnet50.training.trouble import MOST_SETBACKS, Diverged, note
from resnet50.whole import whole_file


def train(options: TrainOptions) -> Path:
    """Train a network on a prepared dataset, or go on with a run that was interrupted; return the run folder.

    Raises:
        UserError: an option or input that can't be used.
        KeyboardInterrupt: Ctrl-C, after everything learnt so far is on disk.
        Stopped: the time is up or another process asked for it; likewise.
    """
    stop = StopRequest(None if options.max_time is None else parse_duration(options.max_time, "--max-time"))
    with joined() as processes, only_the_first_speaks(processes.rank) as speech:
        try:
            options = go_on_if_restarted(options)
            if processes.first:
                check(options)
            processes.from_first(None)  # what is wrong, one process is enough to say
            train_together(options, processes, stop, speech)
        except Exception as error:
            if is_lost_process(error):
                raise UserError(
                    f"process {processes.rank} of {processes.count} has lost touch with the others: one of them is "
                    f"gone or stuck; `--resume {options.out}` goes on from the last checkpoint"
                ) from error
            raise
    return options.out


def go_on_if_restarted(options: TrainOptions) -> TrainOptions:
    """Return the options to resume with, if torchrun or SLURM has started an unfinished run's command again."""
    restarts = max(int(os.environ.get(name, "0")) for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))
    if not restarts or options.resume is not None or not list_checkpoints(options.out / CHECKPOINTS):
        return options
    resumed = from_values(TrainOptions, {"resume": options.out})
    return dataclasses.replace(resumed, max_time=options.max_time)


def train_together(options: TrainOptions, processes: Processes, stop: StopRequest, speech: Speech) -> None:
    """Train as one of the processes, the first of which has the run folder."""
    dataset = load_prepared(options.dataset)
    machine = choose_machine(options.device, options.precision, processes)
    keep_memory()
    torch.set_num_threads(options.threads or available_cores())
    if options.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.use_deterministic_algorithms(True)
    begun, about = None, dict[str, Any]()
    if options.resume is None:
        begun, about = begin(options, dataset, machine)
    lock = locked(options.out) if processes.first else nullcontext()
    with lock, stop.listening():  # nothing that can be wrong with the options comes after this
        if begun is None:
            begun, about = take_up(options, dataset, machine)
        elif processes.first:
            empty_run_folder(begun.options)
            write_config(begun.options)
        processes.from_first(None)  # the folder is there
        speech.to_file(options.out / "logs")
        run(begun, about, dataset, machine, stop)


@dataclass(frozen=True)
class Begun:
    """A run with everything decided: concrete options, state, data, and an observer if there is one."""

    options: TrainOptions
    state: TrainState
    data: TrainingData
    observer: Observer | None


def begin(options: TrainOptions, dataset: PreparedDataset, machine: Machine) -> tuple[Begun, dict[str, Any]]:
    """Decide what was left open and build everything; return it with what `run.json` says."""
    options = choose_batch_size(options, len(dataset.classes), len(dataset.split("train")), machine)
    check_batch(options)
    pretrained = load_pretrained(options.weights, options.depth)
    options, decisions = resolve(options, pretrained, machine)
    preprocess = choose_preprocess(options, pretrained)
    data = load_data(options, dataset, preprocess, machine)
    network = build_network(options, dataset, pretrained)
    if options.freeze == len(STAGES):
        data = freeze_features(options, dataset, network, data, machine)
    options, more = machine.processes.from_first(plan(options, dataset, pretrained, data, machine))
    state = start_state(network, options, machine, len(data.order))
    if options.compile == "on":
        data = compile_step(data)
    for decision in decisions + more:
        say(decision)
    warn_of_odd_data(options, dataset)
    about = describe(options, dataset, pretrained, machine, decisions + more, state.network)
    return Begun(options, state, data, make_observer(options, state, data, machine)), about


def take_up(options: TrainOptions, dataset: PreparedDataset, machine: Machine) -> tuple[Begun, dict[str, Any]]:
    """Build everything as it was when the run's newest intact checkpoint was written."""
    processes = machine.processes
    saved = processes.from_first(newest_checkpoint(options.out / CHECKPOINTS) if processes.first else None)
    if saved["fingerprint"] != dataset.fingerprint:
        raise UserError(
            f"{dataset.folder} is not the dataset that {options.out} was trained on: its fingerprint differs"
        )
    about = cast(dict[str, Any], saved["about"])
    data = load_data(options, dataset, Preprocess.from_json(saved["preprocess"]), machine)
    network = build_network(options, dataset, None)
    network.load_state_dict(saved["state"]["network"])
    if options.freeze == len(STAGES):
        data = freeze_features(options, dataset, network, data, machine)
    state = start_state(network, options, machine, len(data.order))
    state.load_state_dict(saved["state"])
    state.sums = state.sums.share(processes)
    if options.compile == "on":
        data = compile_step(data)
    observer = make_observer(options, state, data, machine)
    if observer is not None:
        observer.load_state_dict(saved["observer"], options.out / OBSERVED)
    note_resumed(state, about, data)
    return Begun(options, state, data, observer), about


def note_resumed(state: TrainState, about: dict[str, Any], data: TrainingData) -> None:
    """Say where the run goes on, and warn if that is not with the same software."""
    done = state.step - state.epoch * len(data.order)
    place = (
        f"after step {done} of {len(data.order)} of epoch {state.epoch + 1}" if done else f"after epoch {state.epoch}"
    )
    event = f"resumed {place if state.step else 'at the start'}"
    state.events.append(event)
    say(event)
    changed = [f"{name} {about['versions'].get(name)} -> {now}" for name, now in versions().items()
               if about["versions"].get(name) != now]  # fmt: skip
    if changed:
        warn(f"the software has changed since, so the numbers may differ in their last digits: {', '.join(changed)}")


def make_observer(options: TrainOptions, state: TrainState, data: TrainingData, machine: Machine) -> Observer | None:
    """Return an observer if one is asked for."""
    if not options.observe:
        return None
    steps = len(data.order)
    return Observer(state.network, data.order.rows, steps, machine.device, looks_for(steps))


def run(begun: Begun, about: dict[str, Any], dataset: PreparedDataset, machine: Machine, stop: StopRequest) -> None:
    """Train to the end, or until something asks to stop, and write the run folder on the way."""
    options, state, data, observer = begun.options, begun.state, begun.data, begun.observer
    checkpoints = Checkpoints(options.out / CHECKPOINTS, options.checkpoint_minutes, options.keep)
    record = RunRecord(
        options.out,
        dataset.classes,
        data.preprocess,
        checkpoints,
        stop=stop,
        observer=observer,
        image_ids=dataset.split("train")["image_id"],
        belongs_to={"fingerprint": dataset.fingerprint, "about": about},
        epochs_done=state.epoch,
        processes=machine.processes,
    )
    say(f"training {data.train_images:,} images an epoch, validating on {data.val_order.rows:,}")
    stopped = "failed"
    try:
        with record:
            record.write_metrics(state.rows)
            if machine.processes.first:
                write_about(about, state, "not yet", options)
            if state.step == 0:  # to go on from, or back to, before the first epoch is over
                record.checkpoint(state)
            stopped = fit_with_setbacks(begun, machine, record)
            record.finish(state)
    except KeyboardInterrupt:
        stopped = "interrupted"
        raise
    except Stopped as asked:
        stopped = str(asked)
        raise Stopped(f"{asked}: go on with `resnet50 train --resume {options.out}`") from asked
    finally:
        checkpoints.wait_quietly()
        if machine.processes.first:
            write_about_if_possible(about, state, stopped, options)
        say(last_words(options, state, stopped))


def fit_with_setbacks(begun: Begun, machine: Machine, record: RunRecord) -> str:
    """Fit; where the loss or gradient stops being a number, go back to a checkpoint and try again, at most twice."""
    options, state, data, observer = begun.options, begun.state, begun.data, begun.observer
    while True:
        try:
            return fit(state, data, options, machine, record.at_epoch_end, observer, record.between_steps)
        except Diverged as trouble:
            go_back(begun, trouble, record)


def go_back(begun: Begun, trouble: Diverged, record: RunRecord) -> None:
    """Return to the newest checkpoint without trouble, with half the learning rate.

    Raises:
        UserError: that has been tried often enough, or there is none.
    """
    state, options = begun.state, begun.options
    if state.setbacks >= MOST_SETBACKS:
        raise UserError(f"{trouble}; going back with half the learning rate was tried {MOST_SETBACKS} times")
    record.checkpoints.finish()
    step, setbacks, events, parts = state.step, state.setbacks + 1, state.events, state.parts
    processes = record.processes
    saved = processes.from_first(untroubled_checkpoint(options.out / CHECKPOINTS) if processes.first else None)
    if saved is None:
        raise trouble
    state.load_state_dict(saved["state"])
    state.sums = state.sums.share(processes)
    state.setbacks, state.events, state.parts = setbacks, events, parts
    if begun.observer is not None:
        begun.observer.load_state_dict(saved["observer"], options.out / OBSERVED)
    reason = str(trouble).partition(":")[0]
    note(state, f"{reason} (step {step}): back to step {state.step}, with 1/{2**setbacks} of the learning rate")
    record.write_metrics(state.rows)
    record.checkpoint(state, wait=True)  # so that a resume takes the same way


def untroubled_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the newest intact checkpoint from a time when gradients were finite."""
    return next((saved for saved in intact_checkpoints(folder) if not saved["state"]["bad_steps"].item()), None)


def write_about(about: dict[str, Any], state: TrainState, stopped: str, options: TrainOptions) -> None:
    """Write `run.json`: what the run depends on, and how far it has got."""
    ending = {
        "epochs_done": state.epoch,
        "best_epoch": state.best_epoch,
        "stopped": stopped,
        "seconds": round(state.seconds + state.epoch_seconds, 1),
        "events": state.events,
    }
    write_json(about | ending, options.out / ABOUT)


def write_about_if_possible(about: dict[str, Any], state: TrainState, stopped: str, options: TrainOptions) -> None:
    """Write `run.json` at the end; an error that ends the run, as of a full disk, is not to be hidden by another."""
    try:
        write_about(about, state, stopped, options)
    except UserError as error:
        warn(str(error))


def write_config(options: TrainOptions) -> None:
    """Write `config.yaml`."""
    with whole_file(options.out / CONFIG) as partial:
        write_yaml(options, partial)


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
    }


def last_words(options: TrainOptions, state: TrainState, stopped: str) -> str:
    """Return the sentence that ends a run: why it stopped and where its best weights are."""
    how = "stopped early" if stopped == "early stopping" else stopped
    seconds = duration(state.seconds + state.epoch_seconds)
    text = f"{how} after {state.epoch} of {options.epochs} epochs in {seconds}"
    if stopped not in DONE:
        text += f"; `resnet50 train --resume {options.out}` goes on"
    if state.best_epoch:
        text += "; the best weights" if stopped in DONE else "; the best weights so far"
        text += f", of epoch {state.best_epoch}, are in {options.out / 'model.safetensors'}"
    return text
