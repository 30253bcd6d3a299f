"""`resnet50 predict`: classify image files; print the likeliest classes; write a CSV or a competition's submission."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from resnet50.inference.batch import predict_sharded, probability_columns
from resnet50.inference.classifier import Classifier
from resnet50.inference.images import find_images
from resnet50.inference.submission import fill_template, read_template
from resnet50.model.file import load_model
from resnet50.options import PredictOptions
from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.console import rank_zero_output, say
from resnet50.runtime.device import limit_threads, resolve_device
from resnet50.runtime.distributed import process_group
from resnet50.runtime.errors import UserError
from resnet50.runtime.sharding import check_sharding, remove_shards

MAX_PRINTED = 20
"""Images whose likeliest classes are printed."""


def predict(options: PredictOptions) -> pd.DataFrame:
    """Classify image files, print the likeliest classes of the first ones, and write the CSV if `out` is given.

    Returns:
        A row per image: image_id, path, prediction, and `p_CLASS` for every class. Empty after a shard, and under
        torchrun in all processes but the first.

    Raises:
        UserError: There is no such model, there are no images, one cannot be read, or the template does not fit.
    """
    check(options)
    paths = find_images(options.images)
    limit_threads()
    with process_group() as dist, rank_zero_output(dist.rank):
        device = resolve_device(options.device, options.precision, dist)
        classifier = Classifier(load_model(options.run), device, options.engine)
        shards = Path(f"{options.out}.shards")
        names = pd.Series([str(path) for path in paths], dtype="str")
        probabilities = predict_sharded(classifier, names, lambda: names_and_sizes(paths), shards, options)
        if probabilities is None or not dist.is_main:
            return pd.DataFrame()
        table = as_table(paths, probabilities, classifier.classes)
        print_likeliest(table, probabilities, classifier.classes, options.top_k)
        if options.out is not None:
            write_predictions(options, options.out, table, classifier.classes)
        if options.merge is not None:
            remove_shards(shards)
        return table


def check(options: PredictOptions) -> None:
    """Raise a UserError for options that don't go together."""
    check_sharding(options.shard, options.merge)
    if options.out is None and (options.shard is not None or options.merge is not None):
        raise UserError("--shard and --merge need --out FILE.csv: shards are kept beside it until they are merged")
    if options.batch_size < 1 or options.top_k < 1:
        raise UserError("--batch-size and --top-k must be at least 1")
    if options.format == "submission" and (options.template is None or options.out is None):
        raise UserError("--format submission needs --template sample_submission.csv and --out FILE.csv")
    if options.template is not None:
        read_template(options.template)  # a bad template stops the command before the work, not after
    if options.out is not None and options.out.is_dir():
        raise UserError(f"{options.out} is a folder: give the name of a CSV file")
    if options.out is not None and options.out.exists() and not options.overwrite:
        raise UserError(f"{options.out} already exists: choose another name, or add --overwrite")


def names_and_sizes(paths: Sequence[Path]) -> list[tuple[str, int]]:
    return [(str(path), path.stat().st_size) for path in paths]


def as_table(paths: Sequence[Path], probabilities: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    """Make a row per image: image_id (the file's name without extension), path, prediction, `p_CLASS` columns."""
    table = pd.DataFrame(
        {
            "image_id": [path.stem for path in paths],
            "path": [str(path) for path in paths],
            "prediction": [classes[index] for index in probabilities.argmax(axis=1)],
        }
    )
    return pd.concat([table, probability_columns(probabilities, classes)], axis=1)


def print_likeliest(table: pd.DataFrame, probabilities: np.ndarray, classes: tuple[str, ...], top_k: int) -> None:
    for path, row in zip(table["path"][:MAX_PRINTED], probabilities, strict=False):
        likeliest = np.argsort(-row, kind="stable")[:top_k]
        say(f"{path}: " + ", ".join(f"{classes[index]} {row[index]:.1%}" for index in likeliest))
    if len(table) > MAX_PRINTED:
        say(f"… and {len(table) - MAX_PRINTED:,} more")


def write_predictions(options: PredictOptions, out: Path, table: pd.DataFrame, classes: tuple[str, ...]) -> None:
    if options.format == "submission":
        assert options.template is not None  # checked
        table = fill_template(options.template, table, classes)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as partial:
        table.to_csv(partial, index=False)
    say(f"{len(table):,} rows in {out}")
