"""The published split of a table's rows: in a column, said by names of tables and folders, or by lists."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from resnet50.etl.files import FileIndex, parent
from resnet50.etl.source.lists import ImageList, published_by_lists
from resnet50.etl.source.matching import role_of
from resnet50.etl.source.split_columns import find_split_column, meanings, split_cells
from resnet50.etl.source.table_sets import TableSet
from resnet50.etl.source.tables import (
    require_column,
)
from resnet50.etl.split import SPLITS
from resnet50.options import PrepareOptions


def published_of(
    options: PrepareOptions, one: TableSet, frame: pd.DataFrame, files: FileIndex, lists: Sequence[ImageList]
) -> tuple[pd.Series, str | None, list[str]]:
    """Return the published split of each row, the column that it is from, and a line about it.

    It is, in this order: in a column, said by the names of the tables, by the folders of the images, or by lists.
    """
    none = pd.Series("", index=frame.index, dtype="str")
    column = options.split_column
    if column is not None:
        require_column(frame, column, "--split-column")
        return split_cells(frame[column], column, options.split_values), column, []
    column = find_split_column(frame, {one.tables[0].id_column, options.label_column or "", options.group_column or ""})
    if column is not None:
        said = frame[column].map(meanings(column, frame[column]) or {})
        blank = int((said.isna() & (one.file >= 0)).sum())
        notes = [
            f"splits: column {column!r}",
            *([f"splits: {blank:,} rows without one are read as train"] if blank else []),
        ]
        return said.fillna("train").astype("str"), column, notes
    splits = {table.split for table in one.tables}
    if len(splits) > 1 and "" not in splits:
        said = [table.split for table in one.tables for _ in range(len(table.table.frame))]
        return pd.Series(said, dtype="str"), None, [f"splits: tables {one.names()}"]
    paths = files.paths.reindex(one.file, fill_value="").reset_index(drop=True)
    folder = parent(paths)
    roles = folder.map({name: role_of(name) for name in folder.unique()})
    here = paths != ""
    if here.any() and roles[here].isin(SPLITS).all() and len(set(roles[here])) > 1:
        return roles.where(here, "train").astype("str"), None, ["splits: the folders of the images"]
    listed, notes = published_by_lists(lists, one.file[one.file >= 0], ask=True)
    if listed is None:
        return none, None, notes
    none.iloc[np.flatnonzero(one.file >= 0)] = listed.to_numpy()
    return none.where(none != "", "train").astype("str"), None, notes
