"""`evaluate`, and the evaluation that it returns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from resnet50.api.on_disk import facts_as_html, read_if_changed
from resnet50.runtime.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from resnet50.options.keywords import EvaluateKeywords, StrPath

TEXT_COLUMNS = ["image_id", "path", "label", "prediction"]

MAX_CLASSES_SHOWN = 20
"""Classes that a notebook lists below an evaluation."""


def evaluate(
    run: StrPath, split: Literal["train", "val", "test"] = "test", **options: Unpack[EvaluateKeywords]
) -> Evaluation:
    """Measure a run on a split and write the report, as `resnet50 evaluate` does.

    Args:
        run: a `Run`, or its folder.
        split: which split to measure.
        **options: as on the command line; see `EvaluateKeywords`.

    Returns:
        The evaluation. After a single `shard` there is nothing in it yet.

    Raises:
        UserError: there is no such run, dataset or split, or the dataset has other classes.
    """
    from resnet50.evaluation.evaluate import evaluate, result_file, shards_folder
    from resnet50.options import EvaluateOptions, from_values

    parsed = from_values(EvaluateOptions, {"run": run, "split": split, **options})
    evaluate(parsed)
    return Evaluation(result_file(parsed) if parsed.shard is None else shards_folder(parsed))


class Evaluation(Mapping[str, Any]):
    """The metrics of a run on a split: a mapping of what the file `path`, RUN/evaluation/SPLIT.json, holds."""

    def __init__(self, path: StrPath) -> None:
        self.path = Path(path)

    def read(self) -> dict[str, Any]:
        """Read the file; nothing is in it if it doesn't exist yet."""
        try:
            return read_if_changed(read_json, self.path)
        except (FileNotFoundError, IsADirectoryError):
            return {}

    def __getitem__(self, key: str) -> Any:
        return self.read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.read())

    def __len__(self) -> int:
        return len(self.read())

    @property
    def accuracy(self) -> float:
        """Share of images whose likeliest class is their label."""
        return float(self.metric("accuracy"))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of `confusion`."""
        return tuple(self.metric("classes"))

    def metric(self, name: str) -> Any:
        """Return one entry; a UserError if the split has not been measured yet."""
        measured = self.read()
        if not measured:
            raise UserError(f"{self.path} holds no evaluation yet: run `resnet50 evaluate`")
        return measured[name]

    @property
    def table(self) -> pd.DataFrame:
        """A row per image: image_id, path, label, prediction, and the probability `p_CLASS` of every class.

        Raises:
            UserError: the split has not been measured yet.
        """
        file = self.path.with_suffix(".csv")
        try:
            return read_if_changed(read_table, file).copy()
        except FileNotFoundError:
            raise UserError(f"{file} does not exist: run `resnet50 evaluate` again") from None

    def mistakes(self, n: int = 12) -> pd.DataFrame:
        """Return the `n` most confident mistakes, the worst first.

        The columns are image_id, path, label, prediction, and its probability, `confidence`.
        """
        table = self.table
        confidence = table[[f"p_{name}" for name in self.classes]].max(axis=1)
        wrong = table[TEXT_COLUMNS].assign(confidence=confidence)[table["label"] != table["prediction"]]
        ranked = wrong.sort_values(["confidence", "image_id"], ascending=[False, True])
        return ranked.head(n).reset_index(drop=True)

    def plot_mistakes(self, n: int = 12) -> Figure:
        """Draw the `n` most confident mistakes, each with its prediction and its label.

        Raises:
            UserError: there is no mistake.
        """
        from resnet50.api.figures import image_grid

        rows = self.mistakes(n)
        if rows.empty:
            raise UserError(f"there is no mistake to plot: all {self['images']:,} images are classified correctly")
        captions = [
            f"{prediction} {confidence:.1%}\nlabel: {label}"
            for prediction, confidence, label in zip(rows["prediction"], rows["confidence"], rows["label"], strict=True)
        ]
        return image_grid(rows["path"].tolist(), captions)

    def plot_confusion(self) -> Figure:
        """Draw the confusion matrix: images by label (rows) and prediction (columns)."""
        from resnet50.api.figures import confusion_matrix

        return confusion_matrix(self.metric("confusion"), self.classes)

    def facts(self) -> dict[str, str]:
        """Return what is printed: the metrics."""
        from resnet50.evaluation.metrics import PRINTED

        measured = self.read()
        if not measured:
            return {"images": "none yet"}
        many = len(measured["classes"]) > 5  # of five classes, top-5 accuracy is always 1
        shown = {name: f"{measured[key]:.4f}" for key, name in PRINTED.items() if many or key != "top5_accuracy"}
        return {"split": str(measured["split"]), "images": f"{measured['images']:,}"} | shown

    def __repr__(self) -> str:
        return f"Evaluation({', '.join(f'{name}: {value}' for name, value in self.facts().items())})"

    def _repr_html_(self) -> str:
        import pandas as pd

        by_class = pd.DataFrame(self.get("per_class", [])).head(MAX_CLASSES_SHOWN)
        classes = by_class.to_html(border=0, index=False, float_format="{:.3f}".format) if len(by_class) else ""
        return facts_as_html("Evaluation", self.facts()) + classes


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())


def read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    # A class may be called "NA" or 7: text stays as it is written.
    table = pd.read_csv(path, dtype=dict.fromkeys(TEXT_COLUMNS, str), keep_default_na=False)
    return table.astype(dict.fromkeys(table.columns.difference(TEXT_COLUMNS), float))
