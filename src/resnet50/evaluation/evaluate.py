"""`resnet50 evaluate`: measure a trained network on a split; write its metrics, a row per image, and the report."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from resnet50.etl.prepared import PreparedDataset, load_prepared
from resnet50.evaluation.diagnostics.classes import describe_never_trained, never_trained
from resnet50.evaluation.metrics import compute_metrics, per_image, summary
from resnet50.evaluation.report import write_report
from resnet50.inference.batch import predict_sharded
from resnet50.inference.classifier import Classifier
from resnet50.model.file import Model, load_model
from resnet50.options import EvaluateOptions, TrainOptions, read_yaml
from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.console import rank_zero_output, say, warn
from resnet50.runtime.device import limit_threads, resolve_device, tune_allocator
from resnet50.runtime.distributed import process_group
from resnet50.runtime.errors import UserError
from resnet50.runtime.provenance import write_json
from resnet50.runtime.sharding import check_sharding, remove_shards


def evaluate(options: EvaluateOptions) -> dict[str, Any]:
    """Measure a run on a split and write `evaluation/SPLIT.json`, `evaluation/SPLIT.csv` and `report.html`.

    With `out`, all three are written in that folder, and nothing in the run folder.

    Images are classified by the engine that `predict` takes by default, so the metrics are those of what is shipped.

    Returns:
        What `evaluation/SPLIT.json` holds. Empty after a shard, and under torchrun in all processes but the first.

    Raises:
        UserError: There is no such run, dataset or split, or the dataset has other classes.
    """
    check_sharding(options.shard, options.merge)
    check_folder(options)
    with process_group() as dist, rank_zero_output(dist.rank):
        device = resolve_device(options.device, options.precision, dist)
        tune_allocator()
        limit_threads()
        classifier = Classifier(load_model(options.run), device)
        dataset = load_prepared(options.dataset or trained_on(options.run))
        check_classes(classifier.model, dataset, options.run)
        classifier.model = with_bit_depth(classifier.model, dataset)
        paths, shards = dataset.split(options.split)["path"], shards_folder(options)
        probabilities = predict_sharded(
            classifier, paths, lambda: (dataset.fingerprint, options.split), shards, options
        )
        if probabilities is None or not dist.is_main:
            return {}
        metrics = save_results(options, dataset, probabilities)
        if options.merge is not None:
            remove_shards(shards)
        return metrics


def trained_on(run: Path) -> Path:
    """Return the prepared dataset that a run was trained on."""
    return Path(read_yaml(run / "config.yaml", TrainOptions)["dataset"])


def check_classes(model: Model, dataset: PreparedDataset, run: Path) -> None:
    """Raise a UserError unless network and dataset have the same classes in the same order."""
    if model.classes != dataset.classes:
        ours, theirs = set(model.classes), set(dataset.classes)
        names = ", ".join(sorted(ours ^ theirs)[:5]) or "their order"
        raise UserError(
            f"{run} was trained on {len(ours)} classes, {dataset.folder} has {len(theirs)}; they differ in: {names}"
        )


def with_bit_depth(model: Model, dataset: PreparedDataset) -> Model:
    """Return the model for the bit depth of a dataset, which tells what its own files hold; warn if it is another."""
    ours, theirs = model.preprocess.bit_depth, dataset.bit_depth
    if ours == theirs:
        return model
    described = {depth: "as the files say" if depth is None else f"{depth} bits" for depth in (ours, theirs)}
    warn(
        f"{dataset.folder} was prepared for a bit depth of {described[theirs]}, which is used; the model was trained "
        f"with {described[ours]}, which `resnet50 predict` uses"
    )
    return dataclasses.replace(model, preprocess=dataclasses.replace(model.preprocess, bit_depth=theirs))


def result_file(options: EvaluateOptions) -> Path:
    """Return the file of the metrics, which for another dataset doesn't replace the run's own."""
    name = options.split if options.dataset is None else f"{options.dataset.resolve().name}-{options.split}"
    return (options.out or options.run / "evaluation") / f"{name}.json"


def check_folder(options: EvaluateOptions) -> None:
    """Raise a UserError unless the results can be written, before the work that they take."""
    if not options.run.is_dir():
        return  # which is the first thing to be said
    folder = result_file(options).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # permissions alone don't tell: the file system may be read-only
            pass
    except OSError as error:
        another = "--out DIR writes to another folder" if options.out is None else "choose another folder"
        raise UserError(f"{folder} can't be written to ({error.strerror}): {another}") from error


def shards_folder(options: EvaluateOptions) -> Path:
    return result_file(options).with_suffix(".shards")


def save_results(options: EvaluateOptions, dataset: PreparedDataset, probabilities: np.ndarray) -> dict[str, Any]:
    """Compute the metrics, write them, the table of images and the report, and return the metrics."""
    rows = dataset.split(options.split)
    metrics = {
        "split": options.split,
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        **compute_metrics(rows["label_index"].to_numpy(), probabilities, dataset.classes),
    }
    file = result_file(options)
    with atomic_write(file.with_suffix(".csv")) as partial:
        per_image(rows, probabilities, dataset.classes).to_csv(partial, index=False)
    write_json(metrics, file)
    report = write_report(options.run, options.out, file)
    say(summary(metrics))
    warn_of_untrained(metrics, options, dataset)
    say(f"metrics in {file}, a row per image in {file.with_suffix('.csv')}, report in {report}")
    return metrics


def warn_of_untrained(metrics: dict[str, Any], options: EvaluateOptions, dataset: PreparedDataset) -> None:
    """Warn of classes that the network was never trained on, if the dataset that it was trained on is still there."""
    try:
        trained = dataset if options.dataset is None else load_prepared(trained_on(options.run))
        labels = trained.split("train")["label"]
    except UserError:
        return
    missing = never_trained(metrics, {str(label): int(count) for label, count in labels.value_counts().items()})
    if missing:
        warn(describe_never_trained(metrics, missing))
