"""How a run continues from its newest intact checkpoint: on request, or after torchrun or SLURM restarted it."""

import dataclasses
import os
from pathlib import Path
from typing import Any, cast

from resnet50.data.transforms import Preprocess
from resnet50.etl.prepared import PreparedDataset
from resnet50.model.resnet import STAGES
from resnet50.options import TrainOptions, from_values, read_yaml
from resnet50.runtime.console import say, warn
from resnet50.runtime.device import Device
from resnet50.runtime.distributed import Distributed
from resnet50.runtime.errors import Stopped, UserError
from resnet50.runtime.provenance import versions
from resnet50.training.callbacks.checkpoints import probe_of
from resnet50.training.callbacks.probe import PROBED_FOLDER
from resnet50.training.recovery.checkpoint import list_checkpoints, newest_checkpoint
from resnet50.training.recovery.preemption import OUT_OF_TIME
from resnet50.training.recovery.run_folder import (
    CHANGEABLE,
    CHECKPOINTS,
    CONFIG,
    check_fixed_options,
    fixed_options,
    read_run_json,
)
from resnet50.training.setup.build import assemble
from resnet50.training.setup.data import build_network, freeze_features, load_data
from resnet50.training.setup.resolve import check_batch
from resnet50.training.training import Training

TORCHRUN_RESTARTS, SLURM_RESTARTS = "TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"


def restart_count() -> int:
    """Return how often torchrun or SLURM has restarted this command."""
    return max(int(os.environ.get(name, "0")) for name in (TORCHRUN_RESTARTS, SLURM_RESTARTS))


def options_after_restart(options: TrainOptions, dist: Distributed) -> TrainOptions:
    """Return the options to train with: as given, or those that continue a run whose command was restarted.

    Raises:
        Stopped: the run is to stay stopped.
    """
    if not dist.all_reduce_max(restart_count())[0]:
        return options
    restarted = dist.on_main(lambda: restarted_options(options))
    if restarted is None:
        raise Stopped(OUT_OF_TIME)
    return restarted


def restarted_options(options: TrainOptions) -> TrainOptions | None:
    """Return the options with which a restarted command continues its run.

    None if its time was up: torchrun takes that exit for a failure, but the run is to stay stopped.
    """
    out, about = options.out, read_run_json(options.out)
    if int(os.environ.get(TORCHRUN_RESTARTS, "0")) and about.get("stopped") == OUT_OF_TIME:
        return None
    if options.resume is not None or about.get("asked", fixed_options(options)) != fixed_options(options):
        return options  # another run's folder is treated as at the first start
    if not list_checkpoints(out / CHECKPOINTS):
        nothing_learned = (out / CONFIG).is_file() and not (out / "model.safetensors").is_file()
        return dataclasses.replace(options, overwrite=options.overwrite or nothing_learned)
    given = {name: getattr(options, name) for name in CHANGEABLE - {"resume", "overwrite"}}
    resumed = from_values(TrainOptions, {"resume": out})
    return dataclasses.replace(resumed, **{name: value for name, value in given.items() if value is not None})


def resume_run(options: TrainOptions, dataset: PreparedDataset, device: Device) -> tuple[Training, dict[str, Any]]:
    """Build everything as it was when the run's newest intact checkpoint was written."""
    saved = device.dist.on_main(lambda: newest_checkpoint(options.out / CHECKPOINTS))
    if saved["fingerprint"] != dataset.fingerprint:
        raise UserError(
            f"{dataset.folder} is not the dataset that {options.out} was trained on: its fingerprint differs"
        )
    check_fixed_options(options, saved["options"] | recorded_plan(options.out, saved))
    check_batch(options, len(dataset.split("train")))
    data = load_data(options, dataset, Preprocess.from_json(saved["preprocess"]), device)
    network = build_network(options, dataset, None)
    network.load_state_dict(saved["state"]["network"])
    if options.freeze == len(STAGES):
        data = freeze_features(options, dataset, network, data, device)
    training = assemble(options, dataset, network, data, device)
    data.skipped.load_state_dict(saved["skipped"])
    restore(training, saved)
    state = training.state
    shard = min(options.batch, data.order.rows) // device.dist.world_size
    state.accumulation_steps = min(max(state.accumulation_steps, options.accumulate), shard)
    about = cast(dict[str, Any], saved["about"])
    report_resumed(training, about)
    return training, about


def recorded_plan(out: Path, saved: dict[str, Any]) -> dict[str, Any]:
    """Return the plan in a run's `config.yaml` if a budget made it: it may be newer than the checkpoint's."""
    if saved["state"]["counters"].get("budget") is None:
        return {}
    config = read_yaml(out / CONFIG, TrainOptions)
    return {"plan": config["plan"], "epochs": config["epochs"]}


def restore(training: Training, saved: dict[str, Any]) -> None:
    """Bring back the state and the probe that a checkpoint holds."""
    training.state.load_state_dict(saved["state"])
    training.state.metrics = training.state.metrics.undo_all_reduce(training.device.dist)
    if (probe := probe_of(training)) is not None:
        probe.load_state_dict(saved["probe"], training.options.out / PROBED_FOLDER)


def report_resumed(training: Training, about: dict[str, Any]) -> None:
    """Say where the run continues, and warn if the software has changed since."""
    state, steps_per_epoch = training.state, len(training.data.order)
    done = state.step - state.epoch * steps_per_epoch
    in_epoch = f"after step {done} of {steps_per_epoch} of epoch {state.epoch + 1}"
    place = in_epoch if done else f"after epoch {state.epoch}" if state.step else "at the start"
    state.events.append(f"resumed {place}")
    say(f"resumed {place}")
    before = about["versions"]
    changed = [f"{name} {before.get(name)} -> {now}" for name, now in versions().items() if before.get(name) != now]
    if changed:
        warn(f"the software has changed since, so metrics may differ in their last digits: {', '.join(changed)}")
