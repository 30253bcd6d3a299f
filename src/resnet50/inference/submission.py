"""Fill in a competition's sample_submission.csv with predictions."""

from pathlib import Path

import pandas as pd

from resnet50.runtime.errors import UserError, nearest


def fill_template(template: Path, predictions: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """Fill a sample_submission.csv: its first column holds ids, the other columns are to be predicted.

    A single column gets the label, or the probability of class 1 if the sample holds fractions and the classes are 0
    and 1. Several columns are class names and get their probabilities.

    Args:
        template: The sample. Its ids are file names with or without extension; its order is kept.
        predictions: Columns image_id, path, prediction, and `p_CLASS` for every class.
        classes: Class names.

    Raises:
        UserError: The file does not exist, an id has no image, or a column is not a class.
    """
    sample = read_template(template)
    id_column, *targets = sample.columns
    rows = match_ids(sample[id_column], predictions, template)
    filled = sample[[id_column]].copy()
    if len(targets) > 1:
        for column in targets:
            if column not in classes:
                raise UserError(
                    f"{template}: column {column!r} is not a class of this network{nearest(column, classes)}"
                )
            filled[column] = rows[f"p_{column}"]
    elif wants_probability(sample[targets[0]], classes):
        filled[targets[0]] = rows["p_1"]
    else:
        filled[targets[0]] = rows["prediction"]
    return filled


def read_template(template: Path) -> pd.DataFrame:
    """Read the sample with every cell as text, so that ids keep their leading zeros."""
    if not template.is_file():
        raise UserError(f"template {template} does not exist")
    try:
        sample = pd.read_csv(template, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{template} is not a CSV file: {' '.join(str(error).split())}") from error
    if sample.shape[1] < 2:
        raise UserError(
            f"{template} needs an id column and at least one column to predict, and has {list(sample.columns)}"
        )
    return sample


def match_ids(ids: "pd.Series[str]", predictions: pd.DataFrame, template: Path) -> pd.DataFrame:
    """Put the predictions into the order of the ids."""
    by_name = {str(name): row for row, name in enumerate(predictions["image_id"])}
    by_name |= {Path(str(path)).name: row for row, path in enumerate(predictions["path"])}
    missing = [name for name in ids if name not in by_name]
    if missing:
        raise UserError(f"{template}: {len(missing):,} ids have no image among those given, first {missing[0]!r}")
    return predictions.iloc[[by_name[name] for name in ids]].reset_index(drop=True)


def wants_probability(values: "pd.Series[str]", classes: tuple[str, ...]) -> bool:
    """Tell whether a sample's only column asks for the probability of class 1: it holds fractions such as 0.5."""
    numbers = pd.to_numeric(values, errors="coerce")
    return set(classes) == {"0", "1"} and bool((numbers % 1 != 0).any() or values.str.contains(".", regex=False).all())
