"""Write the tables of the recipes page from what tools/recipes.py measured, so that no number is typed in.

.venv/bin/python docs/make_recipes.py

The table of a comparison goes between `<!-- recipes:COMPARISON -->` and `<!-- end -->`; `recipes:COMPARISON:evaluation`
stands for the table of how its base's networks do with other preprocessing.
"""

import re
from pathlib import Path

import pandas as pd

DOCS = Path(__file__).parent
MARKED = re.compile(r"(<!-- recipes:(\w+)(:evaluation)? -->\n).*?(<!-- end -->)", re.DOTALL)
RUN = ["cpu", "comparison", "data", "share", "seed"]
"""Columns that two results must share to be compared."""


def page(text, folder):
    """Return the page with every marked table updated from the files in the folder."""
    runs, evaluated = pd.read_csv(folder / "runs.csv"), pd.read_csv(folder / "preprocessing.csv")

    def table(match):
        opening, comparison, evaluation, closing = match.groups()
        if evaluation:
            changes = differences(renamed(evaluated), "preprocessing", "shorter side, 1 times the size", comparison)
        else:
            changes = differences(renamed(runs), "recipe", "base", comparison)
        return f"{opening}\n{markdown(changes)}\n{closing}"

    return MARKED.sub(table, text)


def renamed(table):
    """Give the measures of both files the same names."""
    return table.rename(columns={"val_accuracy": "accuracy", "val_loss": "log_loss"})


def differences(table, what, base, comparison):
    """Return a row for each of `what` and dataset: its differences to the base, paired by seed."""
    table = table[table["comparison"] == comparison]
    bases = table[table[what] == base].set_index(RUN)[["accuracy", "log_loss"]].add_suffix("_base")
    pairs = table[table[what] != base].join(bases, on=RUN, how="inner")
    pairs["points"] = 100 * (pairs["accuracy"] - pairs["accuracy_base"])
    pairs["nats"] = pairs["log_loss"] - pairs["log_loss_base"]
    groups = pairs.groupby([what, "data"], sort=False)[["points", "nats"]]
    return pd.concat([groups.mean(), groups.sem().add_suffix("_error"), groups.size().to_frame("pairs")], axis=1)


def markdown(changes):
    """Return a table with a row for each recipe and two columns for each dataset."""
    datasets = list(dict.fromkeys(changes.index.get_level_values("data")))
    lines = [
        f"| | {' | '.join(f'{data}: accuracy (points) | log loss' for data in datasets)} |",
        f"| --- |{' --- | --- |' * len(datasets)}",
    ]
    for name in dict.fromkeys(changes.index.get_level_values(0)):
        cells = [name]
        for data in datasets:
            if (name, data) in changes.index:
                row = changes.loc[(name, data)]
                cells += [change(row["points"], row["points_error"], 1), change(row["nats"], row["nats_error"], 3)]
            else:
                cells += ["–", "–"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def change(mean, error, digits):
    """Return a difference with its standard error, if there are several seeds."""
    text = f"{mean:+.{digits}f}".replace("-", "−")
    return f"{text} (one seed)" if pd.isna(error) else f"{text} ± {error:.{digits}f}"


if __name__ == "__main__":
    path = DOCS / "recipes.md"
    path.write_text(page(path.read_text(encoding="utf-8"), DOCS / "recipes"), encoding="utf-8")
