"""What a training did with each sample: learned, forgotten, and its place on the map of the data."""

import numpy as np
import pandas as pd

from resnet50.study.lab import Lab, TrainedRun
from resnet50.study.small import SmallTraining


def histories(samples: pd.DataFrame) -> np.ndarray:
    """Return whether each sample was right in each epoch: rows×epochs, NaN where an epoch skipped it."""
    return samples.pivot_table("correct", "row", "epoch", dropna=False).sort_index().to_numpy(float)


def forgetting_events(history: np.ndarray) -> np.ndarray:
    """Count, for each row, how often right turned to wrong from one look to the next (Toneva et al., section 3).

    The history is rows×epochs: 1 right, 0 wrong, NaN not looked at.
    """
    looks = (values[np.isfinite(values)] for values in history)
    return np.array([((seen[:-1] == 1) & (seen[1:] == 0)).sum() for seen in looks], int)


def learning_epochs(history: np.ndarray) -> np.ndarray:
    """Return, for each row, the epoch (from 1) since which it has stayed right; one more than all if it never does."""
    epochs = history.shape[1]
    learned = np.full(len(history), epochs + 1)
    for row, values in enumerate(history):
        wrong = np.flatnonzero(values == 0)
        since = wrong[-1] + 2 if len(wrong) else 1
        if since <= epochs and np.isfinite(values[since - 1 :]).any():
            learned[row] = since
    return learned


def data_map(samples: pd.DataFrame) -> pd.DataFrame:
    """Return confidence and variability of every sample: mean and deviation over the epochs of p(its own class).

    Swayamdipta et al. 2020, section 2. Columns: sample, confidence, variability.
    """
    seen = samples.dropna(subset=["loss"])
    p = np.exp(-seen["loss"].to_numpy(float))
    grouped = seen[["sample"]].assign(p=p).groupby("sample", sort=True)["p"]
    return pd.DataFrame({"confidence": grouped.mean(), "variability": grouped.std(ddof=0)}).reset_index()


def regions(mapped: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the most easy, ambiguous and hard third of the samples, the extreme ones first; the thirds may overlap."""
    third = max(1, len(mapped) // 3)
    return {
        "easy": mapped.sort_values("confidence", ascending=False, kind="stable").head(third),
        "ambiguous": mapped.sort_values("variability", ascending=False, kind="stable").head(third),
        "hard": mapped.sort_values("confidence", kind="stable").head(third),
    }


def samples_to_map(lab: Lab, training: SmallTraining, ids: list[str]) -> tuple[str, pd.DataFrame]:
    """Return the sample losses of an observed fine-tuned run, else of another run, else of a small training.

    Columns: sample, epoch, loss.
    """
    known = set(lab.dataset.split("train")["image_id"])
    for run in sorted(lab.runs, key=lambda run: run.kind != "fine-tuned"):
        samples = observed(run)
        if samples is not None and set(samples["sample"]) <= known:
            return run.kind, samples
    samples = training.samples.assign(sample=np.array(ids, dtype=object)[training.samples["row"]])
    return "ResNet-18, small", samples


def observed(run: TrainedRun) -> pd.DataFrame | None:
    """Return what a run recorded of its samples, if it was trained with --observe."""
    path = run.folder / "observed" / "samples.parquet"
    return pd.read_parquet(path).rename(columns={"image_id": "sample"}) if path.is_file() else None
