"""`resnet50 evaluate`: a trained network against a split it has not learned from, in figures and row by row."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from sklearn import metrics as sk

from resnet50.data.dataset import Dataset
from resnet50.data.loader import evaluation_loader
from resnet50.etl.prepared import PreparedDataset, load_prepared
from resnet50.evaluation.report import write_report
from resnet50.inference.classifier import probability_columns
from resnet50.model.file import Model, load_model, model_file
from resnet50.model.forward import forward_batches
from resnet50.options import EvaluateOptions, TrainOptions, read_yaml
from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.console import progress, rank_zero_output, say
from resnet50.runtime.cpu import available_cores
from resnet50.runtime.device import Device, limit_threads, resolve_device, tune_allocator
from resnet50.runtime.distributed import process_group
from resnet50.runtime.errors import UserError
from resnet50.runtime.provenance import sha256_of_file, write_json
from resnet50.runtime.sharded_work import run_sharded
from resnet50.runtime.sharding import check_sharding, digest_of, remove_parts


def evaluate(options: EvaluateOptions) -> dict[str, Any]:
    """Measure a run on a split; write `evaluation/SPLIT.json`, `SPLIT.csv` and `report.html`; return the figures.

    With a shard, or under torchrun in all processes but the first, images are classified and nothing is returned.

    Raises:
        UserError: no such run, dataset or split, or a dataset of other classes.
    """
    check_sharding(options.shard, options.merge)
    with process_group() as dist, rank_zero_output(dist.rank):
        device = resolve_device(options.device, options.precision, dist)
        tune_allocator()
        limit_threads()
        model = load_model(options.run)
        dataset = load_prepared(options.dataset or trained_on(options.run))
        check_classes(model, dataset, options.run)
        probabilities = shares(options, model, dataset, device)
        if probabilities is None or not dist.is_main:
            return {}
        figures = save_results(options, dataset, probabilities)
        if options.merge is not None:
            remove_parts(shards_folder(options, dataset))
        return figures


def shares(options: EvaluateOptions, model: Model, dataset: PreparedDataset, device: Device) -> np.ndarray | None:
    """Return the probability of every class for every image of the split; None after a shard, which is written."""
    rows = dataset.split(options.split)
    workers = min(4, available_cores()) if options.workers is None else options.workers

    def digest() -> str:
        weights = sha256_of_file(model_file(options.run))
        return digest_of(weights, dataset.fingerprint, options.split, options.batch_size, device.precision)

    def work(part: slice) -> np.ndarray:
        data = Dataset(rows["path"].iloc[part], rows["label_index"].iloc[part], model.preprocess)
        return classify(model, data, device, options.batch_size, workers)

    return run_sharded(work, len(rows), shards_folder(options, dataset), digest, device.dist, options)


def shards_folder(options: EvaluateOptions, dataset: PreparedDataset) -> Path:
    """Return where the shards of an evaluation lie until they are merged."""
    return options.run / "evaluation" / f"{file_name(options, dataset)}.shards"


def file_name(options: EvaluateOptions, dataset: PreparedDataset) -> str:
    """Return what the files of this evaluation are called: another dataset's don't take the place of the run's own."""
    return options.split if options.dataset is None else f"{dataset.folder.resolve().name}-{options.split}"


def save_results(options: EvaluateOptions, dataset: PreparedDataset, probabilities: np.ndarray) -> dict[str, Any]:
    """Measure, write figures, table and report, and return the figures."""
    rows = dataset.split(options.split)
    figures = {
        "split": options.split,
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        **measure(rows["label_index"].to_numpy(), probabilities, dataset.classes),
    }
    folder = options.run / "evaluation"
    folder.mkdir(exist_ok=True)
    name = file_name(options, dataset)
    with atomic_write(folder / f"{name}.csv") as partial:
        per_image(rows, probabilities, dataset.classes).to_csv(partial, index=False)
    write_json(figures, folder / f"{name}.json")
    report = write_report(options.run)
    say(summary(figures))
    say(f"figures in {folder / name}.json, each image in {folder / name}.csv, report in {report}")
    return figures


def trained_on(run: Path) -> Path:
    """Return the prepared dataset that a run was trained on."""
    return Path(read_yaml(run / "config.yaml", TrainOptions)["dataset"])


def check_classes(model: Model, dataset: PreparedDataset, run: Path) -> None:
    """Raise a UserError unless network and dataset have the same classes in the same order."""
    if model.classes != dataset.classes:
        ours, theirs = set(model.classes), set(dataset.classes)
        differing = ", ".join(sorted(ours ^ theirs)[:5]) or "their order"
        raise UserError(
            f"{run} was trained on {len(ours)} classes, {dataset.folder} has {len(theirs)}; they differ in: {differing}"
        )


def classify(model: Model, data: Dataset, device: Device, batch_size: int, workers: int) -> np.ndarray:
    """Return the probability of every class for every image, float64, N×classes, in order."""
    if not len(data):
        return np.zeros((0, len(model.classes)))
    network = model.network.to(device.torch_device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    batches = evaluation_loader(data, batch_size, workers)
    parts: list[torch.Tensor] = []
    with progress("classifying", len(data), "images") as advance:
        for logits, labels in forward_batches(network, batches, model.preprocess, device):
            parts.append(logits.double().softmax(dim=1).cpu())
            advance(len(labels))
    return torch.cat(parts).numpy()


def measure(labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Compute the figures of a split with scikit-learn.

    Args:
        labels: true class indices, N.
        probabilities: N×classes.
        classes: names in the order of the indices.

    Returns:
        accuracy, top5_accuracy, balanced_accuracy (mean recall of the classes present), macro_f1 (over the classes
        present or predicted), log_loss (nats), per_class, confusion (rows true, columns predicted), images, classes.
    """
    indices = np.arange(len(classes))
    likeliest = np.argsort(-probabilities, axis=1, kind="stable")
    predicted = likeliest[:, 0]
    never_predicted = cast(Any, 0.0)  # what precision is then; typed as a string only
    by_class = sk.precision_recall_fscore_support(labels, predicted, labels=indices, zero_division=never_predicted)
    precision, recall, f1, support = map(np.asarray, by_class)
    present = np.unique(labels)
    return {
        "images": len(labels),
        "accuracy": float(sk.accuracy_score(labels, predicted)),
        "top5_accuracy": float((likeliest[:, :5] == labels[:, None]).any(axis=1).mean()),
        "balanced_accuracy": float(recall[present].mean()),
        "macro_f1": float(sk.f1_score(labels, predicted, average="macro", zero_division=never_predicted)),
        "log_loss": float(sk.log_loss(labels, probabilities, labels=indices)),
        "classes": list(classes),
        "per_class": [
            {"label": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
            for name, p, r, f, s in zip(classes, precision, recall, f1, support, strict=True)
        ],
        "confusion": sk.confusion_matrix(labels, predicted, labels=indices).tolist(),
    }


def per_image(rows: pd.DataFrame, probabilities: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    """Return a row per image: id, path, label, prediction, and `p_CLASS` for every class."""
    table = rows[["image_id", "path", "label"]].reset_index(drop=True)
    table["prediction"] = np.array(classes, dtype=object)[probabilities.argmax(axis=1)]
    return pd.concat([table, probability_columns(probabilities, classes)], axis=1)


def summary(figures: dict[str, Any]) -> str:
    """Return the figures that matter most, as lines for the screen."""
    names = {
        "accuracy": "accuracy",
        "top5_accuracy": "top-5 accuracy",
        "balanced_accuracy": "balanced accuracy",
        "macro_f1": "macro F1",
        "log_loss": "log loss",
    }
    if len(figures["classes"]) <= 5:
        del names["top5_accuracy"]  # always 1
    lines = [f"{figures['split']}: {figures['images']:,} images of {len(figures['classes'])} classes"]
    lines += [f"  {name:<18} {figures[key]:.4f}" for key, name in names.items()]
    return "\n".join(lines)
