"""`resnet50 train`: from options, or from a checkpoint, to a run folder."""

import dataclasses
import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch

from resnet50.data.transforms import Preprocess
from resnet50.etl.prepared import PreparedDataset, load_prepared
from resnet50.model.resnet import STAGES, ResNet
from resnet50.model.weights import PretrainedWeights, load_pretrained
from resnet50.options.config import TrainOptions, from_values, write_yaml
from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.console import RankLog, duration, rank_zero_output, say, warn
from resnet50.runtime.cpu import available_cores
from resnet50.runtime.device import Device, resolve_device, tune_allocator
from resnet50.runtime.distributed import Distributed, process_group
from resnet50.runtime.errors import Stopped, UserError
from resnet50.runtime.provenance import versions, write_json
from resnet50.training.callbacks.probe import PROBED_FOLDER, TrainingProbe, probe_steps
from resnet50.training.callbacks.recorder import RunRecorder
from resnet50.training.loop import Training, TrainingData, fit
from resnet50.training.recovery.checkpoint import Checkpoints, intact_checkpoints, list_checkpoints, newest_checkpoint
from resnet50.training.recovery.guards import MAX_ROLLBACKS, Diverged, note
from resnet50.training.recovery.preemption import OUT_OF_TIME, StopRequest
from resnet50.training.recovery.run_folder import (
    ABOUT,
    CHANGEABLE,
    CHECKPOINTS,
    CONFIG,
    DONE,
    check_fixed_options,
    clear_run_folder,
    fixed_options,
    locked,
    read_run_json,
)
from resnet50.training.setup.batch_size import choose_batch_size
from resnet50.training.setup.compile import compile_step
from resnet50.training.setup.data import build_network, freeze_features, load_data
from resnet50.training.setup.resolve import (
    check,
    check_batch,
    choose_preprocess,
    parse_duration,
    plan,
    resolve,
    warn_of_odd_data,
)
from resnet50.training.state import TrainState, start_state


def train(options: TrainOptions) -> Path:
    """Train a network on a prepared dataset, or go on with a run that was interrupted; return the run folder.

    Raises:
        UserError: an option or input that can't be used.
        KeyboardInterrupt: Ctrl-C, after everything learned so far is on disk.
        Stopped: the time is up or another process asked for it; likewise.
    """
    stop = StopRequest(None if options.max_time is None else parse_duration(options.max_time, "--max-time"))
    goes_on = f"go on with `resnet50 train --resume {options.out}`"
    with process_group(goes_on) as dist, rank_zero_output(dist.rank) as speech:
        if dist.all_reduce_max(restarts())[0]:
            again = dist.broadcast(restarted_options(options) if dist.is_main else None)
            if again is None:
                raise Stopped(f"{OUT_OF_TIME}: {goes_on}")
            options = again
        train_together(options, dist, stop, speech)
    return options.out


def restarts() -> int:
    """Return how often torchrun or SLURM has started this command again."""
    return max(int(os.environ.get(name, "0")) for name in (BY_TORCHRUN, BY_SLURM))


BY_TORCHRUN, BY_SLURM = "TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"


def restarted_options(options: TrainOptions) -> TrainOptions | None:
    """Return the options with which a command that was started again goes on with its run.

    None if its time was up: torchrun takes that for a failure, but it is to stay stopped.
    """
    out, about = options.out, read_run_json(options.out)
    if int(os.environ.get(BY_TORCHRUN, "0")) and about.get("stopped") == OUT_OF_TIME:
        return None
    if options.resume is not None or about.get("asked", fixed_options(options)) != fixed_options(options):
        return options  # another run's folder is treated as at the first start
    if not list_checkpoints(out / CHECKPOINTS):
        nothing_learned = (out / CONFIG).is_file() and not (out / "model.safetensors").is_file()
        return dataclasses.replace(options, overwrite=options.overwrite or nothing_learned)
    given = {name: getattr(options, name) for name in CHANGEABLE - {"resume", "overwrite"}}
    resumed = from_values(TrainOptions, {"resume": out})
    return dataclasses.replace(resumed, **{name: value for name, value in given.items() if value is not None})


def train_together(options: TrainOptions, dist: Distributed, stop: StopRequest, speech: RankLog) -> None:
    """Train as one of the processes, the first of which has the run folder."""
    if dist.is_main:
        check(options)
    dist.broadcast(None)  # what is wrong, one process is enough to say
    dataset = load_prepared(options.dataset)
    device = resolve_device(options.device, options.precision, dist)
    if options.sync_bn and device.torch_device.type != "cuda":
        raise UserError("--sync-bn needs a GPU for each process: leave it out")
    tune_allocator()
    torch.set_num_threads(options.threads or available_cores())
    if options.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False  # the fastest kernels are not always the same
    begun = begin(options, dataset, device) if options.resume is None else None
    with locked(options.out) if dist.is_main else nullcontext(), stop.listening():
        # Nothing that can be wrong with the options comes after this.
        training, about = begun or resume(options, dataset, device)
        if dist.is_main:
            if begun:
                clear_run_folder(training.options)
            write_config(training.options)
        dist.broadcast(None)  # the folder is there
        speech.to_file(options.out / "logs")
        run(training, about, dataset, stop)


def begin(options: TrainOptions, dataset: PreparedDataset, device: Device) -> tuple[Training, dict[str, Any]]:
    """Decide what was left open and build everything; return it with what `run.json` says."""
    asked = fixed_options(options)
    options = choose_batch_size(options, len(dataset.classes), len(dataset.split("train")), device)
    check_batch(options, len(dataset.split("train")))
    pretrained = load_pretrained(options.weights, options.depth)
    options, decisions = resolve(options, pretrained, device)
    preprocess = choose_preprocess(options, pretrained)
    data = load_data(options, dataset, preprocess, device)
    network = build_network(options, dataset, pretrained)
    if options.freeze == len(STAGES):
        data = freeze_features(options, dataset, network, data, device)
    options, more = device.dist.broadcast(plan(options, dataset, pretrained, data, device))
    state = start_state(network, options, device, len(data.order))
    if options.compile == "on":
        data = compile_step(data)
    for decision in decisions + more:
        say(decision)
    warn_of_odd_data(options, dataset)
    about = {"asked": asked} | describe(options, dataset, pretrained, device, decisions + more, state.network)
    return Training(state, data, options, device, build_probe(options, state, data, device)), about


def resume(options: TrainOptions, dataset: PreparedDataset, device: Device) -> tuple[Training, dict[str, Any]]:
    """Build everything as it was when the run's newest intact checkpoint was written."""
    dist = device.dist
    saved = dist.broadcast(newest_checkpoint(options.out / CHECKPOINTS) if dist.is_main else None)
    if saved["fingerprint"] != dataset.fingerprint:
        raise UserError(
            f"{dataset.folder} is not the dataset that {options.out} was trained on: its fingerprint differs"
        )
    check_fixed_options(options, saved["options"])
    check_batch(options, len(dataset.split("train")))
    about = cast(dict[str, Any], saved["about"])
    data = load_data(options, dataset, Preprocess.from_json(saved["preprocess"]), device)
    network = build_network(options, dataset, None)
    network.load_state_dict(saved["state"]["network"])
    if options.freeze == len(STAGES):
        data = freeze_features(options, dataset, network, data, device)
    state = start_state(network, options, device, len(data.order))
    state.load_state_dict(saved["state"])
    state.sums = state.sums.share(dist)
    state.parts = min(max(state.parts, options.accumulate), min(options.batch, data.order.rows) // dist.world_size)
    if options.compile == "on":
        data = compile_step(data)
    observer = build_probe(options, state, data, device)
    if observer is not None:
        observer.load_state_dict(saved["observer"], options.out / PROBED_FOLDER)
    note_resumed(state, about, data)
    return Training(state, data, options, device, observer), about


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


def build_probe(options: TrainOptions, state: TrainState, data: TrainingData, device: Device) -> TrainingProbe | None:
    """Return an observer if one is asked for."""
    if not options.observe:
        return None
    steps = len(data.order)
    return TrainingProbe(state.network, data.order.rows, steps, device.torch_device, probe_steps(steps))


def run(training: Training, about: dict[str, Any], dataset: PreparedDataset, stop: StopRequest) -> None:
    """Train to the end, or until something asks to stop, and write the run folder on the way."""
    options, state, data, dist = training.options, training.state, training.data, training.device.dist
    checkpoints = Checkpoints(options.out / CHECKPOINTS, options.checkpoint_minutes, options.keep)
    record = RunRecorder(
        options.out,
        dataset.classes,
        data.preprocess,
        checkpoints,
        stop=stop,
        observer=training.observer,
        image_ids=dataset.split("train")["image_id"],
        belongs_to={"fingerprint": dataset.fingerprint, "options": fixed_options(options), "about": about},
        epochs_done=state.epoch,
        dist=dist,
    )
    say(f"training {data.train_images:,} images an epoch, validating on {data.val_order.rows:,}")
    stopped = "failed"
    try:
        with record:
            record.write_metrics(state.rows)
            if dist.is_main:
                write_run_json(about, state, "not yet", options)
            if state.step == 0:  # to go on from, or back to, before the first epoch is over
                record.checkpoint(state)
            stopped = fit_with_recovery(training, record)
            record.finish(state)
        if dist.is_main:
            write_run_json(about, state, stopped, options)
    except KeyboardInterrupt:
        stopped = "interrupted"
        raise
    except Stopped as asked:
        stopped = str(asked)
        raise Stopped(f"{asked}: go on with `resnet50 train --resume {options.out}`") from asked
    finally:
        checkpoints.wait_quietly()
        if dist.is_main and stopped not in DONE:
            try_write_run_json(about, state, stopped, options)
        say(closing_message(options, state, stopped))
    if dist.is_main:  # only now: whatever ends a run before it is said to be finished, it can be gone on with
        shutil.rmtree(checkpoints.folder, ignore_errors=True)


def fit_with_recovery(training: Training, record: RunRecorder) -> str:
    """Fit; where the loss or gradient stops being a number, go back to a checkpoint and try again, at most twice."""
    while True:
        try:
            return fit(training, record.at_epoch_end, record.between_steps)
        except Diverged as trouble:
            roll_back(training, trouble, record)


def roll_back(training: Training, trouble: Diverged, record: RunRecorder) -> None:
    """Return to the newest checkpoint without trouble, with half the learning rate.

    Raises:
        UserError: that has been tried often enough, or there is none.
    """
    state, out, dist = training.state, training.options.out, training.device.dist
    if state.rollbacks >= MAX_ROLLBACKS:
        raise UserError(f"{trouble}; going back with half the learning rate was tried {MAX_ROLLBACKS} times")
    record.checkpoints.finish()
    step, best_epoch = state.step, state.best_epoch
    rollbacks, events, parts, skipped_samples = state.rollbacks + 1, state.events, state.parts, state.skipped_samples
    saved = dist.broadcast(last_good_checkpoint(out / CHECKPOINTS) if dist.is_main else None)
    if saved is None:
        raise trouble
    state.load_state_dict(saved["state"])
    state.sums = state.sums.share(dist)
    state.rollbacks, state.events, state.parts, state.skipped_samples = rollbacks, events, parts, skipped_samples
    if best_epoch > state.epoch:  # its weights, in `model.safetensors`, are of an epoch that is not to have been
        state.forget_best()
    if training.observer is not None:
        training.observer.load_state_dict(saved["observer"], out / PROBED_FOLDER)
    reason = str(trouble).partition(":")[0]
    note(state, f"{reason} (step {step}): back to step {state.step}, with 1/{2**rollbacks} of the learning rate")
    record.write_metrics(state.rows)
    record.checkpoint(state, wait=True)  # so that a resume takes the same way


def last_good_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the newest intact checkpoint from a time when gradients were finite."""
    return next((saved for saved in intact_checkpoints(folder) if not saved["state"]["bad_steps"].item()), None)


def write_run_json(about: dict[str, Any], state: TrainState, stopped: str, options: TrainOptions) -> None:
    """Write `run.json`: what the run depends on, and how far it has got."""
    ending = {
        "epochs_done": state.epoch,
        "best_epoch": state.best_epoch,
        "stopped": stopped,
        "seconds": round(state.seconds + state.epoch_seconds, 1),
        "events": state.events,
    }
    write_json(about | ending, options.out / ABOUT)


def try_write_run_json(about: dict[str, Any], state: TrainState, stopped: str, options: TrainOptions) -> None:
    """Write `run.json` at the end; an error that ends the run, as of a full disk, is not to be hidden by another."""
    try:
        write_run_json(about, state, stopped, options)
    except UserError as error:
        warn(str(error))


def write_config(options: TrainOptions) -> None:
    """Write `config.yaml`, again when a run is resumed: what was changed then is so from now on."""
    lasting = dataclasses.replace(options, dataset=options.dataset.absolute(), resume=None)
    with atomic_write(options.out / CONFIG) as partial:
        write_yaml(lasting, partial)


def describe(
    options: TrainOptions,
    dataset: PreparedDataset,
    pretrained: PretrainedWeights | None,
    device: Device,
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
        "device": str(device.torch_device),
        "precision": device.precision,
        "decisions": decisions,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }


def closing_message(options: TrainOptions, state: TrainState, stopped: str) -> str:
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
