"""What speaks against folders as classes."""

from pathlib import Path

import pandas as pd
import pytest

from resnet50.etl.files import FileIndex
from resnet50.etl.source.doubts import check_classes, template_of
from resnet50.etl.source.folders import folders_of
from resnet50.etl.source.levels import read_folders
from resnet50.etl.source.tables import Table
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError

CELLS = pd.DataFrame({"": list("012345"), "patient": ["07", "08"] * 3, "x": list("123456"), "tumor": list("001110")})
PATHS = pd.Series([f"p/patient_{p}/at_{p}_x_{x}.png" for p, x in zip(CELLS["patient"], CELLS["x"], strict=True)])


def check(paths: list[str], *tables: Table, class_folders: bool = False) -> None:
    folders = folders_of(FileIndex(Path("/data"), sorted(paths)))
    (way,) = read_folders(folders)
    options = PrepareOptions(source=Path("/data"), out=Path("/out"), class_folders=class_folders)
    check_classes(options, folders, way, tables)


def test_columns_that_make_up_paths_together_give_a_template() -> None:
    assert template_of(CELLS, PATHS) == "p/patient_{patient}/at_{patient}_x_{x}.png"
    assert template_of(CELLS.assign(x="1"), PATHS) is None


def test_table_with_a_row_per_image_beside_folders_of_ids_is_a_question() -> None:
    table = Table(Path("/data/metadata.csv"), CELLS)
    with pytest.raises(UserError, match=r"metadata.csv has 6 rows") as error:
        check(list(PATHS), table)
    assert {"label_column": "tumor"}.items() <= error.value.choices[0].items()
    assert error.value.choices[-1] == {"class_folders": "true"}

    check(list(PATHS), table, class_folders=True)
    check(list(PATHS), Table(table.path, CELLS.iloc[:5]))
    check([path.replace("patient_07", "cat").replace("patient_08", "dog") for path in PATHS], table)


def test_folders_with_images_of_the_same_names_are_a_question() -> None:
    names = [f"{age}_{at % 2}_20170112{at * 77771}.jpg" for at, age in enumerate((20, 31, 44, 52, 60, 71))]
    with pytest.raises(UserError, match="images of the same names") as error:
        check([f"{folder}/{name}" for folder in ("faces", "crops") for name in names])
    assert {"label_pattern": "^[^_]*_([^_.]+)"} in error.value.choices

    check([f"{folder}/{name}" for folder in ("old", "new", "red", "big", "far") for name in names])


def test_counters_that_start_anew_in_each_class_are_no_question() -> None:
    check([f"{folder}/image_{number:05}.jpg" for folder in ("cat", "dog") for number in range(9)])

    sides = {"train": range(1, 14), "test": range(500, 505)}
    check([f"{split}/{name}/{at}.jpg" for split, ats in sides.items() for name in ("cat", "dog") for at in ats])
