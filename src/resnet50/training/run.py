"""`resnet50 train`: from options, or from a checkpoint, to a run folder."""

import dataclasses
import os
import shutil
from contextlib import nullcontext
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
    CHANGEABLE,
    CHECKPOINTS,
    CONFIG,
    DONE,
    check_kept_options,
    empty_run_folder,
    kept_options,
    locked,
    read_about,
)
from resnet50.training.inputs import build_network, freeze_features, load_data
from resnet50.training.loop import Training, TrainingData, fit
from resnet50.training.machine import Machine, choose_machine, keep_memory
from resnet50.training.memory import choose_batch_size
from resnet50.training.observe import OBSERVED, Observer, looks_for
from resnet50.training.processes import Processes, joined
from resnet50.training.record import RunRecord, versions, write_json
from resnet50.training.state import TrainState, start_state
from resnet50.training.stopping import OUT_OF_TIME, StopRequest
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
    goes_on = f"go on with `resnet50 train --resume {options.out}`"
    with joined(goes_on) as processes, only_the_first_speaks(processes.rank) as speech:
        if processes.all_reduce_max(restarts())[0]:
            again = processes.broadcast(go_on(options) if processes.first else None)
            if again is None:
                raise Stopped(f"{OUT_OF_TIME}: {goes_on}")
            options = again
        train_together(options, processes, stop, speech)
    return options.out


def restarts() -> int:
    """Return how often torchrun or SLURM has started this command again."""
    return max(int(os.environ.get(name, "0")) for name in (BY_TORCHRUN, BY_SLURM))


BY_TORCHRUN, BY_SLURM = "TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"


def go_on(options: TrainOptions) -> TrainOptions | None:
    """Return the options with which a command that was started again goes on with its run.

    None if its time was up: torchrun takes that for a failure, but it is to stay stopped.
    """
    out, about = options.out, read_about(options.out)
    if int(os.environ.get(BY_TORCHRUN, "0")) and about.get("stopped") == OUT_OF_TIME:
        return None
    if options.resume is not None or about.get("asked", kept_options(options)) != kept_options(options):
        return options  # another run's folder is treated as at the first start
    if not list_checkpoints(out / CHECKPOINTS):
        nothing_learnt = (out / CONFIG).is_file() and not (out / "model.safetensors").is_file()
        return dataclasses.replace(options, overwrite=options.overwrite or nothing_learnt)
    given = {name: getattr(options, name) for name in CHANGEABLE - {"resume", "overwrite"}}
    resumed = from_values(TrainOptions, {"resume": out})
    return dataclasses.replace(resumed, **{name: value for name, value in given.items() if value is not None})


def train_together(options: TrainOptions, processes: Processes, stop: StopRequest, speech: Speech) -> None:
    """Train as one of the processes, the first of which has the run folder."""
    if processes.first:
        check(options)
    processes.broadcast(None)  # what is wrong, one process is enough to say
    dataset = load_prepared(options.dataset)
    machine = choose_machine(options.device, options.precision, processes)
    if options.sync_bn and machine.device.type != "cuda":
        raise UserError("--sync-bn needs a GPU for each process: leave it out")
    keep_memory()
    torch.set_num_threads(options.threads or available_cores())
    if options.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False  # the fastest kernels are not always the same
    begun = begin(options, dataset, machine) if options.resume is None else None
    with locked(options.out) if processes.first else nullcontext(), stop.listening():
        # Nothing that can be wrong with the options comes after this.
        training, about = begun or resume(options, dataset, machine)
        if processes.first:
            if begun:
                empty_run_folder(training.options)
            write_config(training.options)
        processes.broadcast(None)  # the folder is there
        speech.to_file(options.out / "logs")
        run(training, about, dataset, stop)


def begin(options: TrainOptions, dataset: PreparedDataset, machine: Machine) -> tuple[Training, dict[str, Any]]:
    """Decide what was left open and build everything; return it with what `run.json` says."""
    asked = kept_options(options)
    options = choose_batch_size(options, len(dataset.classes), len(dataset.split("train")), machine)
    check_batch(options, len(dataset.split("train")))
    pretrained = load_pretrained(options.weights, options.depth)
    options, decisions = resolve(options, pretrained, machine)
    preprocess = choose_preprocess(options, pretrained)
    data = load_data(options, dataset, preprocess, machine)
    network = build_network(options, dataset, pretrained)
    if options.freeze == len(STAGES):
        data = freeze_features(options, dataset, network, data, machine)
    options, more = machine.processes.broadcast(plan(options, dataset, pretrained, data, machine))
    state = start_state(network, options, machine, len(data.order))
    if options.compile == "on":
        data = compile_step(data)
    for decision in decisions + more:
        say(decision)
    warn_of_odd_data(options, dataset)
    about = {"asked": asked} | describe(options, dataset, pretrained, machine, decisions + more, state.network)
    return Training(state, data, options, machine, make_observer(options, state, data, machine)), about


def resume(options: TrainOptions, dataset: PreparedDataset, machine: Machine) -> tuple[Training, dict[str, Any]]:
    """Build everything as it was when the run's newest intact checkpoint was written."""
    processes = machine.processes
    saved = processes.broadcast(newest_checkpoint(options.out / CHECKPOINTS) if processes.first else None)
    if saved["fingerprint"] != dataset.fingerprint:
        raise UserError(
            f"{dataset.folder} is not the dataset that {options.out} was trained on: its fingerprint differs"
        )
    check_kept_options(options, saved["options"])
    check_batch(options, len(dataset.split("train")))
    about = cast(dict[str, Any], saved["about"])
    data = load_data(options, dataset, Preprocess.from_json(saved["preprocess"]), machine)
    network = build_network(options, dataset, None)
    network.load_state_dict(saved["state"]["network"])
    if options.freeze == len(STAGES):
        data = freeze_features(options, dataset, network, data, machine)
    state = start_state(network, options, machine, len(data.order))
    state.load_state_dict(saved["state"])
    state.sums = state.sums.share(processes)
    state.parts = min(max(state.parts, options.accumulate), min(options.batch, data.order.rows) // processes.count)
    if options.compile == "on":
        data = compile_step(data)
    observer = make_observer(options, state, data, machine)
    if observer is not None:
        observer.load_state_dict(saved["observer"], options.out / OBSERVED)
    note_resumed(state, about, data)
    return Training(state, data, options, machine, observer), about


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


def run(training: Training, about: dict[str, Any], dataset: PreparedDataset, stop: StopRequest) -> None:
    """Train to the end, or until something asks to stop, and write the run folder on the way."""
    options, state, data, processes = training.options, training.state, training.data, training.machine.processes
    checkpoints = Checkpoints(options.out / CHECKPOINTS, options.checkpoint_minutes, options.keep)
    record = RunRecord(
        options.out,
        dataset.classes,
        data.preprocess,
        checkpoints,
        stop=stop,
        observer=training.observer,
        image_ids=dataset.split("train")["image_id"],
        belongs_to={"fingerprint": dataset.fingerprint, "options": kept_options(options), "about": about},
        epochs_done=state.epoch,
        processes=processes,
    )
    say(f"training {data.train_images:,} images an epoch, validating on {data.val_order.rows:,}")
    stopped = "failed"
    try:
        with record:
            record.write_metrics(state.rows)
            if processes.first:
                write_about(about, state, "not yet", options)
            if state.step == 0:  # to go on from, or back to, before the first epoch is over
                record.checkpoint(state)
            stopped = fit_with_setbacks(training, record)
            record.finish(state)
        if processes.first:
            write_about(about, state, stopped, options)
    except KeyboardInterrupt:
        stopped = "interrupted"
        raise
    except Stopped as asked:
        stopped = str(asked)
        raise Stopped(f"{asked}: go on with `resnet50 train --resume {options.out}`") from asked
    finally:
        checkpoints.wait_quietly()
        if processes.first and stopped not in DONE:
            write_about_if_possible(about, state, stopped, options)
        say(last_words(options, state, stopped))
    if processes.first:  # only now: whatever ends a run before it is said to be finished, it can be gone on with
        shutil.rmtree(checkpoints.folder, ignore_errors=True)


def fit_with_setbacks(training: Training, record: RunRecord) -> str:
    """Fit; where the loss or gradient stops being a number, go back to a checkpoint and try again, at most twice."""
    while True:
        try:
            return fit(training, record.at_epoch_end, record.between_steps)
        except Diverged as trouble:
            go_back(training, trouble, record)


def go_back(training: Training, trouble: Diverged, record: RunRecord) -> None:
    """Return to the newest checkpoint without trouble, with half the learning rate.

    Raises:
        UserError: that has been tried often enough, or there is none.
    """
    state, out, processes = training.state, training.options.out, training.machine.processes
    if state.setbacks >= MOST_SETBACKS:
        raise UserError(f"{trouble}; going back with half the learning rate was tried {MOST_SETBACKS} times")
    record.checkpoints.finish()
    step, best_epoch = state.step, state.best_epoch
    setbacks, events, parts, left_out = state.setbacks + 1, state.events, state.parts, state.left_out
    saved = processes.broadcast(untroubled_checkpoint(out / CHECKPOINTS) if processes.first else None)
    if saved is None:
        raise trouble
    state.load_state_dict(saved["state"])
    state.sums = state.sums.share(processes)
    state.setbacks, state.events, state.parts, state.left_out = setbacks, events, parts, left_out
    if best_epoch > state.epoch:  # its weights, in `model.safetensors`, are of an epoch that is not to have been
        state.forget_best()
    if training.observer is not None:
        training.observer.load_state_dict(saved["observer"], out / OBSERVED)
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
    """Write `config.yaml`, again when a run is resumed: what was changed then is so from now on."""
    lasting = dataclasses.replace(options, dataset=options.dataset.absolute(), resume=None)
    with whole_file(options.out / CONFIG) as partial:
        write_yaml(lasting, partial)


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
