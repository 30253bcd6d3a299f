"""Reading a source without a table: by its class folders, by lists beside them, or by the names of its images."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from resnet50.etl.files import FileIndex, extension, last_part, parent
from resnet50.etl.source.class_folders import FolderReading
from resnet50.etl.source.folders import Folders
from resnet50.etl.source.labels import check_single_label
from resnet50.etl.source.lists import ImageList, LabelList, published_by_lists
from resnet50.etl.source.matching import role_of
from resnet50.etl.source.reading import Reading, with_images
from resnet50.etl.source.table_readings import names_for
from resnet50.etl.source.tree import split_folder
from resnet50.etl.source.words import shorten
from resnet50.etl.split import SPLITS
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError


def read_as_folders(
    options: PrepareOptions, folders: Folders, one: FolderReading, lists: Sequence[ImageList]
) -> Reading:
    """Make a reading of class folders; lists may label further images, and say the published split."""
    files = folders.files
    label = pd.Series(folders.number).map(one.label).fillna("").astype("str")
    published = pd.Series(folders.number).map(one.published).astype("object").fillna("").astype("str")
    published = published.map({name: split_folder(name) or name for name in published.unique()}).astype("str")
    notes = list(one.notes)
    label, published, listed = label_by_lists(files, folders.images, label, published, lists)
    notes += listed
    labeled = (label != "").to_numpy()
    position, label = folders.images[labeled], label[labeled].reset_index(drop=True)
    published = published[labeled].reset_index(drop=True)
    if (published == "").all():
        by_lists, said = published_by_lists(lists, position, ask=True)
        published = published if by_lists is None else by_lists.where(by_lists != "", "train")
        notes += said
    elif (splits := published.unique()).size:
        notes.append(f"splits: {shorten(sorted(splits))}, by the folders' names")
    label, named = names_for(label, files)
    notes += [*named, *others_of(files)]
    what = f"class folders: {one.level.removeprefix('folders ')}"
    return reading_of(options, files, position, label, published, what, tuple(notes))


def label_by_lists(
    files: FileIndex, images: np.ndarray, label: pd.Series, published: pd.Series, lists: Sequence[ImageList]
) -> tuple[pd.Series, pd.Series, list[str]]:
    """Give images outside class folders the labels that a list has for them, if these are all classes."""
    classes = set(label.unique()) - {""}
    number = number_of_classes(images, label, lists)
    notes: list[str] = []
    for one in lists:
        names = [number.get(name, name) for name in one.label]
        known = {position: name for position, name in zip(one.file.tolist(), names, strict=True) if name in classes}
        if len(set(known.values())) == 1 and len(classes) > 1:  # test images that all have the label 0 have none
            continue
        if len(known) < 0.95 * len(one.file) or not known:
            continue
        named = pd.Series(images).map(known).fillna("").astype("str")
        new = (named != "") & (label == "")
        if not new.any():
            continue
        label = label.where(~new, named)
        folder = files.paths.iloc[images[new.to_numpy()][0]]
        split = one.split or role_of(folder) or role_of(one.path)
        if split in SPLITS and not (published[(label != "") & ~new] != "").any():
            published = published.where((label == "") | new, "train")
        published = published.where(~new, split if split in SPLITS else "")
        notes.append(f"labels of {new.sum():,} images: {one.path}")
    return label, published, notes


def number_of_classes(images: np.ndarray, label: pd.Series, lists: Sequence[ImageList]) -> dict[str, str]:
    """Return the class folder that each number in the lists means, as the images say that have both."""
    folder = pd.Series(label.to_numpy(), index=images)
    pairs = set[tuple[str, str]]()
    for one in lists:
        named = pd.Series(one.label, index=one.file)
        named = named[(named.index >= 0) & (named != "")]
        both = folder.reindex(named.index).fillna("")
        pairs |= set(zip(named[both != ""], both[both != ""], strict=True))
    numbers = [number for number, _ in pairs]
    one_to_one = len(set(numbers)) == len(numbers) == len({name for _, name in pairs})
    return dict(pairs) if one_to_one else {}


def read_as_list(options: PrepareOptions, files: FileIndex, one: LabelList) -> Reading:
    """Make a reading of text files that name an image and its label in each line."""
    label = check_single_label(one.label, one.pattern, options.combine_labels, named=True)
    label, named = names_for(label, files)
    notes = [
        *named,
        *([f"splits: {shorten(sorted(set(one.published)))}, by the names of the lists"] if any(one.published) else []),
    ]
    evidence = (f"{one.pattern} names {len(one.file):,} images, each with a label behind it",)
    return reading_of(options, files, one.file, label, one.published, f"lists: {one.pattern}", tuple(notes), evidence)


def read_as_names(
    options: PrepareOptions,
    files: FileIndex,
    pattern: str,
    evidence: tuple[str, ...] = (),
    lists: Sequence[ImageList] = (),
) -> Reading:
    """Make a reading by --label-pattern: what it matches in a file's name is the label.

    A pattern with a slash is matched against the path below the source. The first group is the label, if there is one.

    Raises:
        UserError: the pattern is no regular expression, or matches no image.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--label-pattern {pattern!r} is not a regular expression: {error}") from error
    position = np.flatnonzero(files.is_image)
    paths = files.paths.iloc[position].reset_index(drop=True)
    texts = paths if "/" in pattern else last_part(paths)
    label = pd.Series([matched(compiled, text) for text in texts], dtype="str")
    here = (label != "").to_numpy()
    if not here.any():
        raise UserError(f"--label-pattern {pattern!r} matches none of {len(paths):,} images, such as {texts.iloc[0]!r}")
    notes = (
        [f"not used: {(~here).sum():,} images that the pattern doesn't match, such as {paths[~here].iloc[0]}"]
        if not here.all()
        else []
    )
    position, label, paths = position[here], label[here].reset_index(drop=True), paths[here].reset_index(drop=True)
    folder = parent(paths)
    roles = folder.map({name: outermost_split(name) for name in folder.unique()})
    published = pd.Series("", index=label.index, dtype="str")
    if roles.isin(SPLITS).all() and len(set(roles)) > 1:
        published = roles.astype("str")
        notes.append(f"splits: {shorten(sorted(published.unique()))}, by the folders' names")
    else:
        by_lists, said = published_by_lists(lists, position)
        published = published if by_lists is None else by_lists.where(by_lists != "", "train")
        notes += said
    options = replace(options, label_pattern=pattern)
    return reading_of(
        options, files, position, label, published, f"labels in file names: {pattern}", tuple(notes), evidence
    )


def outermost_split(folder: str) -> str:
    """Return the split that the outermost folder of a path says: below train/, a folder called test is a class."""
    return next((split for name in folder.split("/") if (split := split_folder(name))), "")


def matched(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    if found is None:
        return ""
    return (found[1] or "") if pattern.groups else found[0]


def reading_of(
    options: PrepareOptions,
    files: FileIndex,
    position: np.ndarray,
    label: pd.Series,
    published: pd.Series,
    what: str,
    notes: tuple[str, ...],
    evidence: tuple[str, ...] = (),
) -> Reading:
    """Make a reading whose images are their own ids: the path in the smallest folder that holds them all."""
    images, file, unlisted = with_images(files, position, None)
    rows = pd.DataFrame(
        {"image_id": file, "label": label.array, "group": file, "published": published.array, "file": file}
    )
    counts = label.value_counts()
    each = f"{counts.max():,}" if counts.min() == counts.max() else f"{counts.min():,} to {counts.max():,}"
    evidence = evidence or (f"{len(counts):,} folders with {each} images each, in {images}",)
    return Reading(
        what=what,
        name=files.folder.name,
        rows=rows.astype("str"),
        images=images,
        options=replace(options, source=options.source.absolute(), images=images),
        evidence=evidence,
        notes=notes,
        unlisted=unlisted,
    )


def others_of(files: FileIndex) -> list[str]:
    """Say how many files of each extension are no images."""
    others = Counter(suffix or "no extension" for suffix in extension(files.paths[~files.is_image]))
    kinds = ", ".join(f"{count:,} × {kind}" for kind, count in sorted(others.items()))
    return [f"files that are not images: {kinds}"] if others else []
