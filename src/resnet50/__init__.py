"""From a table of labeled images to a ResNet-50 classifier that its owner understands, can trust and can ship.

The verbs are functions of the options that `resnet50.options` declares: `train(dataset="d", out="r", epochs=5)` and
`resnet50 train d --out r --epochs 5` are the same. Nothing here imports torch before it is used.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from resnet50.etl.prepared import PreparedDataset
    from resnet50.inference.classifier import Classifier

__all__ = ["Classifier", "evaluate", "prepare", "train"]


def prepare(source: str | Path, out: str | Path, **options: Any) -> "PreparedDataset":
    """Turn a table of labeled images into a prepared dataset; options as in `resnet50.options.PrepareOptions`.

    With `shard` there is no dataset before the merge: nothing is returned.
    """
    from resnet50.etl.prepare import prepare
    from resnet50.options import PrepareOptions, from_values

    return cast("PreparedDataset", prepare(from_values(PrepareOptions, {"source": source, "out": out, **options})))


def train(dataset: str | Path | None = None, out: str | Path | None = None, **options: Any) -> Path:
    """Train a network and return its run folder; options as in `resnet50.options.TrainOptions`.

    `train(resume=run)` goes on with one that was interrupted.
    """
    from resnet50.options import TrainOptions, from_values
    from resnet50.training.run import train

    places = {name: value for name, value in (("dataset", dataset), ("out", out)) if value is not None}
    return train(from_values(TrainOptions, places | options))


def evaluate(run: str | Path, **options: Any) -> dict[str, Any]:
    """Measure a run on a split and return the figures; options as in `resnet50.options.EvaluateOptions`."""
    from resnet50.evaluation.evaluate import evaluate
    from resnet50.options import EvaluateOptions, from_values

    return evaluate(from_values(EvaluateOptions, {"run": run, **options}))


def __getattr__(name: str) -> Any:
    if name == "Classifier":
        from resnet50.inference.classifier import Classifier

        return Classifier
    raise AttributeError(f"module 'resnet50' has no attribute {name!r}")
