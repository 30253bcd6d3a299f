"""Whether a table has the labels, or the class folders around its images."""

from collections.abc import Sequence

import pandas as pd

from resnet50.etl.files import FileIndex
from resnet50.etl.source.class_folders import FolderReading
from resnet50.etl.source.columns import same_partition
from resnet50.etl.source.folders import Folders
from resnet50.etl.source.table_sets import NAMED, TableSet
from resnet50.etl.source.words import normalized
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError


def labels_by(folders: Folders, ways: Sequence[FolderReading]) -> pd.Series | None:
    """Return the class folder of each image by its path, None where folders have no one reading."""
    if len(ways) != 1:
        return None
    label = pd.Series(folders.number).map(ways[0].label).fillna("")
    return pd.Series(label.to_numpy(), index=folders.files.paths.iloc[folders.images].to_numpy())


def tables_win(
    options: PrepareOptions, best: TableSet, files: FileIndex, ways: Sequence[FolderReading], folders: Folders
) -> bool:
    """Return whether a table has the labels rather than the class folders around its images.

    It needs a column that is a label by its name, a submission or the folders themselves. Where it says the same as the
    folders for fewer images, these are read.

    Raises:
        UserError: it says something else than the folders, for fewer than half of their images or in the same words.
    """
    if best.strength < NAMED:
        return False
    by_folder = labels_by(folders, ways)
    if by_folder is None or ways[0].weak:
        return True
    here = best.file >= 0
    named = files.paths.iloc[best.file[here]].to_numpy()
    missing = (~by_folder[by_folder != ""].index.isin(named)).mean()
    same = by_folder.reindex(named, fill_value="").reset_index(drop=True)
    if disagree(best.labels()[here].reset_index(drop=True), same):
        raise tables_or_folders(options, best, ways)
    if missing < 0.1 or len(named) > len(by_folder):
        return True
    if same_partition(best.labels()[here].reset_index(drop=True), same):
        return False
    if missing > 0.5:
        raise tables_or_folders(options, best, ways)
    return True


def disagree(table: pd.Series, folder: pd.Series) -> bool:
    """Return whether two labels of each image are the same classes by their names, and not the same image by image."""
    both = (table != "") & (folder != "")
    by_table, by_folder = table[both].map(normalized), folder[both].map(normalized)
    return set(by_table) == set(by_folder) and bool((by_table != by_folder).any())


def tables_or_folders(options: PrepareOptions, best: TableSet, ways: Sequence[FolderReading]) -> UserError:
    choices = [choice.option for choice in best.choices[:4]]
    return UserError(
        f"the labels of {options.source} could be in {best.names()} ({best.choices[0]}"
        f"{' or others' if len(best.choices) > 1 else ''}) or be the folders of the images ({ways[0].level})",
        [*choices, *([way.choice for way in ways[:3]] if len(ways) > 1 else [{"class_folders": "true"}])],
    )
