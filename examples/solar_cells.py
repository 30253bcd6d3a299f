"""Make a folder like a competition's from the solar cells that the package elpv-dataset installs.

2,624 electroluminescence images of solar cells, each with the probability of a defect according to experts. A cell
counts as defective from a probability of 0.5, as in Deitsch et al. 2019 (arXiv 1807.02894). The images are under CC
BY-NC-SA 4.0 and stay where they are: the folder holds a table, and a link to the package's images.
"""

import sys
from importlib.resources import files
from pathlib import Path

import pandas as pd


def main(out: Path) -> None:
    """Write `out`/cells.csv (image_id, label, type) and link `out`/images."""
    package = Path(str(files("elpv_dataset"))) / "data"
    cells = pd.read_csv(package / "labels.csv", sep=r"\s+", names=["path", "probability", "type"])
    table = pd.DataFrame(
        {
            "image_id": cells["path"].map(lambda path: Path(path).stem),
            "label": cells["probability"].ge(0.5).map({True: "defective", False: "functional"}),
            "type": cells["type"],
        }
    )
    out.mkdir(parents=True, exist_ok=True)
    images = out / "images"
    images.unlink(missing_ok=True)
    images.symlink_to(package / "images", target_is_directory=True)
    table.to_csv(out / "cells.csv", index=False)
    print(f"{len(table):,} solar cells, {table['label'].eq('defective').sum():,} of them defective, in {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
