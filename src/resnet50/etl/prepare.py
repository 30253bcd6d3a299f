"""`resnet50 prepare`: extract, read and store, audit, split, write."""

import csv
import dataclasses
from functools import partial
from pathlib import Path

import pandas as pd
from rich.table import Table
from rich.text import Text

from resnet50.etl.audit import (
    CAUSES,
    KINDS,
    Audit,
    audit,
    fail_on_findings,
    read_images,
    referenced_files,
    small_classes,
)
from resnet50.etl.audit_page.page import write_audit_page
from resnet50.etl.extract import Extracted, extract
from resnet50.etl.near_duplicates.resolve import open_images, resolve_near_duplicates
from resnet50.etl.prepared import COLUMNS, SOURCE, PreparedDataset, atomic_folder, check_output, write_prepared
from resnet50.etl.shards import read_shards, shards_folder, write_shard
from resnet50.etl.split import SPLITS, Fractions, keep_published, parse_fractions, split_rows
from resnet50.etl.store import FOLDER as STORE
from resnet50.etl.store import StoreWriter, check_space, estimate_bytes, format_bytes
from resnet50.options import PrepareOptions
from resnet50.runtime.console import console, rank_zero_output, say, warn
from resnet50.runtime.errors import UserError, nearest
from resnet50.runtime.sharding import Shard, check_sharding, parse_shard, remove_shards, started_by_torchrun

MAX_CLASSES_SHOWN = 30
"""With more classes, the table of splits shows the totals only."""


def prepare(options: PrepareOptions, table: pd.DataFrame | None = None) -> PreparedDataset | None:
    """Turn labeled images into a prepared dataset, printing what is found and done.

    Args:
        options: `source` says what to read.
        table: a DataFrame to read instead, which the dataset keeps as `source.parquet`.

    Returns:
        The dataset; None after a single shard, and on every rank but 0 under torchrun.

    Raises:
        UserError: something about the source or the options is wrong; nothing is written then.
    """
    torchrun_shard = started_by_torchrun()
    with rank_zero_output(torchrun_shard.index if torchrun_shard else 0):
        if table is not None:
            options = dataclasses.replace(options, source=options.out / SOURCE)
        return prepare_on_rank(options, table, torchrun_shard)


def prepare_on_rank(
    options: PrepareOptions, table: pd.DataFrame | None, torchrun_shard: Shard | None
) -> PreparedDataset | None:
    """Run `prepare` in one of the processes that torchrun started, or alone."""
    check_sharding(options.shard, options.merge)
    fractions = parse_fractions(options.split)
    check_output(options.out, options.overwrite, options.source if table is None else None, options.images)

    source = extract(options, table)
    for note in source.notes:
        say(note)
    dropped = labels_to_drop(options.drop_labels, source.rows["label"])
    check_classes(source.rows["label"], dropped)

    shard = torchrun_shard or (None if options.shard is None else parse_shard(options.shard))
    if shard is not None:
        path = read_one_shard(source, shard)
        if torchrun_shard is None:
            say(f"shard {options.shard} written to {path}; once all are there, run --merge {shard.count}")
        if torchrun_shard is None or shard.index > 0:
            return None
    merge = torchrun_shard.count if torchrun_shard else options.merge
    with atomic_folder(options.out) as folder:
        dataset = build(folder, source, dropped, fractions, merge)
    if merge is not None:
        remove_shards(shards_folder(options))
    say(f"written to {options.out}")
    return dataset


def read_one_shard(source: Extracted, shard: Shard) -> Path:
    """Read one shard of the images for a later merge; return its folder."""
    options = source.options
    side = options.store_size if options.store else None
    return write_shard(shard, shards_folder(options), source.images, referenced_files(source.rows), side)


def build(
    folder: Path, source: Extracted, dropped: list[str], fractions: Fractions, merge: int | None = None
) -> PreparedDataset:
    """Read the images (or take them from shards), audit and split them, and write the dataset into a folder."""
    options = source.options
    store = start_store(folder, source)
    read = None if merge is None else partial(read_shards, merge, shards_folder(options))
    rows = read_images(source.rows, source.images, store, dropped, read)
    if store is not None:
        store.finish()
    found = audit(rows, source.unlisted)
    kept = rows[(found.cause == "") & ~rows["label"].isin(dropped)]
    candidates = sorted(set(rows["label"].unique()) - {"", *dropped})
    images = open_images(kept, source.images, store)
    kept = resolve_near_duplicates(kept, found, options.near_duplicates, images)
    found.items["small_classes"] = small_classes(candidates, kept["label"], options.min_class_count)
    if options.strict:
        fail_on_findings(found)
    show_audit(source, found, dropped, rows)
    check_classes(kept["label"], dropped)

    manifest = manifest_of(kept, source, split_of(kept, fractions, options))
    if source.content is not None:
        (folder / SOURCE).write_bytes(source.content)
    dataset = write_prepared(folder, options, source.name, manifest, found.to_json(), len(rows))
    write_audit_page(folder, source.name, rows, manifest, found, source.images)
    show_splits(dataset)
    warn_about_classes(dataset, found)
    return dataset


def start_store(folder: Path, source: Extracted) -> StoreWriter | None:
    """Print the expected size of the pixel store and check for space; None with --no-store."""
    options = source.options
    if not options.store:
        return None
    files = source.rows["file"]
    needed = estimate_bytes([f"{source.images}/{file}" for file in files[files != ""].unique()], options.store_size)
    say(f"pixel store: about {format_bytes(needed)}, every image at {options.store_size} pixels on its shorter side")
    check_space(folder, needed)
    return StoreWriter(folder / STORE, options.store_size)


def labels_to_drop(text: str | None, labels: pd.Series) -> list[str]:
    """Parse --drop-labels: separated by commas, in double quotes where a label contains a comma.

    Raises:
        UserError: the table has no such label; the message suggests the nearest.
    """
    if text is None:
        return []
    dropped = [label.strip() for label in next(csv.reader([text], skipinitialspace=True), [])]
    known = sorted(set(labels.unique()) - {""})
    for label in dropped:
        if label not in known:
            raise UserError(f"--drop-labels: there is no label {label!r}{nearest(label, known)}")
    return dropped


def check_classes(labels: pd.Series, dropped: list[str]) -> None:
    """Raise a UserError unless at least two classes remain."""
    classes = sorted(set(labels.unique()) - {"", *dropped})
    if len(classes) < 2:
        left = f"only one class ({classes[0]!r}) is left" if classes else "no usable image with a label is left"
        raise UserError(f"{left}: a classifier needs at least two classes")


def split_of(rows: pd.DataFrame, fractions: Fractions, options: PrepareOptions) -> pd.Series:
    """Return the split of every row: the published one if there is one, else a new one."""
    if options.split_column is not None or (rows["published"] != "").any():
        return keep_published(rows, fractions, options.seed)
    return split_rows(rows, fractions, options.seed)


def manifest_of(rows: pd.DataFrame, source: Extracted, splits: pd.Series) -> pd.DataFrame:
    """Return the rows that are kept, with the columns, types and order of a manifest."""
    manifest = rows.assign(
        path=f"{source.images}/" + rows["file"],
        label_index=pd.factorize(rows["label"], sort=True)[0],
        split=splits,
    )
    return manifest[list(COLUMNS)].astype(COLUMNS).reset_index(drop=True)


def show_audit(source: Extracted, found: Audit, dropped: list[str], rows: pd.DataFrame) -> None:
    """Print a line for each kind of finding, and how many of the table's rows are kept."""
    title = f"{source.name}: {len(rows):,} rows"
    table = Table("audit", "found", "rows out", "what was done", title=Text(title), title_justify="left")
    table.columns[1].justify = table.columns[2].justify = "right"
    excluded = found.cause.value_counts()
    for kind, (title, _) in KINDS.items():
        count = len(found.items[kind])
        rows_out = f"{excluded.get(kind, 0):,}" if kind in CAUSES else ""
        table.add_row(title, f"{count:,}", rows_out, found.action(kind), style="bold" if count else "dim")
    for label in dropped:
        here = rows["label"] == label
        rows_out = f"{(here & (found.cause == '')).sum():,}"
        table.add_row(Text(f"label {label}"), f"{here.sum():,}", rows_out, "dropped as asked", style="bold")
    stay = len(rows[(found.cause == "") & ~rows["label"].isin(dropped)])
    table.add_section()
    table.add_row("images kept", f"{stay:,}", f"{len(rows) - stay:,}", "")
    console.print(table, soft_wrap=False)


def show_splits(dataset: PreparedDataset) -> None:
    """Print the number of images of each split, by class if there are not too many classes."""
    manifest = dataset.manifest
    groups = manifest["group"].nunique()
    grouped = f", {groups:,} groups" if groups < len(manifest) else ""
    title = f"{len(manifest):,} images, {len(dataset.classes):,} classes{grouped}"
    counts = pd.crosstab(manifest["label"], manifest["split"]).reindex(columns=list(SPLITS), fill_value=0)
    table = Table("class", *SPLITS, "all", title=Text(title), title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    if len(dataset.classes) <= MAX_CLASSES_SHOWN:
        for label in dataset.classes:
            numbers = counts.loc[[label]].sum().tolist()
            table.add_row(Text(label), *[f"{number:,}" for number in numbers], f"{sum(numbers):,}")
        table.add_section()
    totals = counts.sum().tolist()
    table.add_row("all", *[f"{total:,}" for total in totals], f"{len(manifest):,}")
    table.add_row("share", *[f"{total / len(manifest):.1%}" for total in totals], "")
    console.print(table, soft_wrap=False)


def warn_about_classes(dataset: PreparedDataset, found: Audit) -> None:
    """Warn about classes with few images, and about classes that are missing from a split."""
    small = found.items["small_classes"]
    if small:
        names = [f"{item['label']} ({item['images'] or 'none: the class is lost'})" for item in small]
        warn(f"classes with fewer images than --min-class-count: {first_ten(names)}")
    for name in SPLITS:
        there = set(dataset.manifest.loc[dataset.manifest["split"] == name, "label"].unique())
        absent = [label for label in dataset.classes if label not in there]
        if absent and there:
            warn(f"classes without an image in the {name} split: {first_ten(absent)}")


def first_ten(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
