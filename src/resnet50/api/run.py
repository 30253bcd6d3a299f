"""`train`, `load_run`, and the run that they return."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from resnet50.api.dataset import Dataset
from resnet50.api.evaluation import Evaluation, evaluate
from resnet50.api.on_disk import OnDisk, facts_as_html, read_if_changed
from resnet50.runtime.errors import UserError, in_python

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from resnet50.options import TrainOptions
    from resnet50.options.keywords import EvaluateKeywords, StrPath, TrainKeywords


def train(dataset: StrPath | None = None, out: StrPath | None = None, **options: Unpack[TrainKeywords]) -> Run:
    """Train a network on a prepared dataset, as `resnet50 train` does.

    `train(resume=run)` continues a run that was interrupted, with its own options.

    Args:
        dataset: a `Dataset`, or the folder of one.
        out: run folder to write to.
        **options: as on the command line; see `TrainKeywords`.

    Raises:
        UserError: an option or input that can't be used.
        KeyboardInterrupt: Ctrl-C or an interrupted cell, once a checkpoint to resume from is on disk.
        Stopped: the time (`max_time`) is up or the system asked for it; likewise.
    """
    from resnet50.options import TrainOptions, from_values
    from resnet50.training.run import train

    places = {name: value for name, value in (("dataset", dataset), ("out", out)) if value is not None}
    return Run(train(from_values(TrainOptions, {**places, **options})))


def load_run(path: StrPath) -> Run:
    """Open a run folder: a finished run, one that goes on, or one that was interrupted before its first epoch.

    Raises:
        UserError: the folder is not that of a run.
    """
    run = Run(path)
    run.read_config()
    return run


class Run(OnDisk):
    """A training run: what the run folder `path` holds. `load_run("folder")` opens one."""

    @property
    def options(self) -> TrainOptions:
        """The options that the run was started with, as they were resolved."""
        from resnet50.options import TrainOptions, from_values

        return from_values(TrainOptions, self.read_config())

    def read_config(self) -> dict[str, Any]:
        """Read `config.yaml`; a UserError if the folder is not that of a run."""
        from resnet50.options import TrainOptions, read_yaml

        config = self.path / "config.yaml"
        if not config.is_file():
            raise UserError(
                f"{self.path} is not a run folder (it has no config.yaml): give the output of `resnet50 train`"
            )
        return read_yaml(config, TrainOptions)

    @property
    def info(self) -> Mapping[str, Any]:
        """What `run.json` records: versions, dataset, device, decisions, events; empty before training begins."""
        from resnet50.training.recovery.run_folder import read_run_json

        return read_run_json(self.path)

    @property
    def status(self) -> str:
        """How far the run is: "running", "finished", "early stopping", "interrupted", "out of time", "failed" …

        A killed process can't say how it ended: its run counts as interrupted.
        """
        stopped = str(self.info.get("stopped", "not yet"))
        if stopped != "not yet":
            return stopped
        return "running" if self.is_locked() else "interrupted"

    def is_locked(self) -> bool:
        """Return whether a process is training in the folder."""
        from filelock import FileLock, Timeout

        from resnet50.training.recovery.run_folder import LOCK

        lock = FileLock(self.path / LOCK, timeout=0, fallback_to_soft=False)
        try:
            if (self.path / LOCK).exists():
                with lock:
                    return False
        except Timeout:
            return True
        except OSError:  # a folder that can only be read
            return False
        return False

    @property
    def dataset(self) -> Dataset:
        """The dataset that the run was trained on."""
        return Dataset(self.read_config()["dataset"])

    @property
    def history(self) -> pd.DataFrame:
        """`metrics.csv`: a row per epoch; none before the first epoch is complete."""
        import pandas as pd

        from resnet50.training.metrics import EpochMetrics

        self.read_config()
        try:
            return read_if_changed(read_metrics, self.path / "metrics.csv").copy()
        except (FileNotFoundError, pd.errors.EmptyDataError):
            return pd.DataFrame(columns=[field.name for field in dataclasses.fields(EpochMetrics)])

    def plot(self) -> Figure:
        """Draw loss and accuracy by epoch, the best epoch marked.

        Raises:
            UserError: no epoch is complete yet.
        """
        from resnet50.api.figures import learning_curves

        history = self.history
        if history.empty:
            raise UserError(f"{self.path} has no complete epoch to plot yet ({self.status})")
        return learning_curves(history, self.info.get("best_epoch"))

    def evaluate(
        self, split: Literal["train", "val", "test"] = "test", **options: Unpack[EvaluateKeywords]
    ) -> Evaluation:
        """Measure the run's best weights on a split; see `resnet50.evaluate`.

        Raises:
            UserError: the run has no weights yet, or the dataset can't be used.
        """
        if self.history.empty:
            raise UserError(f"{self.path} has no weights to evaluate yet: no epoch is complete ({self.status})")
        return evaluate(self, split, **options)

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """The evaluations made so far, by name: "test", "val", or "DATASET-SPLIT" of another dataset."""
        files = sorted((self.path / "evaluation").glob("*.json"))
        return {file.stem: Evaluation(file) for file in files}

    def facts(self) -> dict[str, object]:
        """Return what is printed: status, progress and the best epoch's validation accuracy."""
        try:
            options, history = self.options, self.history
        except UserError as error:
            return {"unreadable": in_python(str(error))}
        facts: dict[str, object] = {
            "status": self.status,
            "network": f"ResNet-{options.depth}",
            "epochs": f"{len(history)} of {options.epochs}",
        }
        best = history[history["epoch"] == self.info.get("best_epoch")]
        if len(best):
            facts["validation accuracy"] = f"{best['val_accuracy'].iloc[0]:.1%} (epoch {best['epoch'].iloc[0]})"
        return facts | {f"accuracy on {name}": f"{ev.accuracy:.1%}" for name, ev in self.evaluations.items()}

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {', '.join(f'{name}: {value}' for name, value in self.facts().items())})"

    def _repr_html_(self) -> str:
        return facts_as_html(f"Run {self.path}", self.facts())


def read_metrics(path: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(path)
