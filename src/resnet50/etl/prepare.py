"""`resnet50 prepare`: extract, read and store, audit, split, write."""

import csv
import dataclasses
import os
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text

from resnet50.etl.audit import (
    CAUSES,
    KINDS,
    Audit,
    DecodeSettings,
    audit,
    fail_on_findings,
    read_images,
    referenced_files,
    small_classes,
)
from resnet50.etl.audit_page.page import write_audit_page
from resnet50.etl.bit_depth import ask_for_bit_depth
from resnet50.etl.extract import EMBEDDED_IMAGES, extract
from resnet50.etl.near_duplicates.resolve import open_images, resolve_near_duplicates
from resnet50.etl.prepared import COLUMNS, SOURCE, PreparedDataset, atomic_folder, check_output, write_prepared
from resnet50.etl.shards import read_shards, shards_folder, write_shard
from resnet50.etl.source.reading import Reading
from resnet50.etl.source.warnings import check_labels, warn_about_groups, warn_about_labels, warn_about_malformed
from resnet50.etl.split import SPLITS, Fractions, check_published, keep_published, parse_fractions, split_rows
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
    if options.small_classes == "drop" and options.min_class_count < 2:
        raise UserError("--small-classes drop needs --min-class-count N, the fewest images that a class may have")
    if not options.dry_run:
        check_output(options.out, options.overwrite, options.source if table is None else None, options.images)

    source = with_test(extract(options, table), options)
    for line in source.lines():
        say(line)
    warn_about_malformed(source)
    dropped = labels_to_drop(options.drop_labels, source.rows["label"])
    check_classes(source.rows["label"], dropped)
    check_labels(source.rows.loc[~source.rows["label"].isin(dropped), "label"])
    if options.dry_run:
        show_sample(source)
        return None

    if source.embedded is not None and (torchrun_shard or options.shard or options.merge):
        raise UserError("images inside tables are written by one process: omit --shard, --merge and torchrun")
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


def with_test(source: Reading, options: PrepareOptions) -> Reading:
    """Add the source that --test names as the test split.

    Raises:
        UserError: it has a class that the first source lacks.
    """
    if options.test is None:
        return source
    other = extract(dataclasses.replace(PrepareOptions(source=options.test, out=options.out), exclude=options.exclude))
    new = sorted(set(other.rows["label"]) - set(source.rows["label"]) - {""})
    if new:
        raise UserError(f"--test {options.test} has classes that {options.source} lacks: {first_ten(new)}")
    # '..' is relative to the target of a linked folder
    way = os.path.relpath(other.images.resolve(), source.images.resolve()).replace(os.sep, "/")
    moved = other.rows.assign(
        image_id="test/" + other.rows["image_id"],
        group="test/" + other.rows["group"],
        file=other.rows["file"].where(other.rows["file"] == "", way + "/" + other.rows["file"]),
        published="test",
    )
    published = source.rows["published"]
    first = source.rows.assign(published=published.where(published == "val", "train"))
    held = source.rows[published == "test"]
    if len(held):
        raise UserError(
            f"{options.source} has a test split of its own ({len(held):,} images): omit --test, or exclude it"
        )
    notes = (*source.notes, f"test split: {other.what}, {len(moved):,} rows, in {other.images}")
    return dataclasses.replace(source, rows=pd.concat([first, moved], ignore_index=True), notes=notes)


def show_sample(source: Reading) -> None:
    """Print ten rows of a reading, and how many images each class has."""
    rows = source.rows
    table = Table("image", "label", "split", title=Text("ten of its rows"), title_justify="left")
    shown = rows.iloc[np.linspace(0, len(rows) - 1, min(10, len(rows))).astype(int)]
    for name, file, label, published in shown[["image_id", "file", "label", "published"]].itertuples(index=False):
        table.add_row(Text(file or f"{name} (no image)"), Text(label), Text(published))
    console.print(table)
    labels = rows["label"].value_counts()
    found = int((rows["file"] != "").sum())
    say(f"{len(rows):,} rows, {found:,} with an image, {(labels.index != '').sum():,} classes; nothing was written")


def read_one_shard(source: Reading, shard: Shard) -> Path:
    """Read one shard of the images for a later merge; return its folder."""
    options = source.options
    settings = DecodeSettings(options.store_size if options.store else None, options.bit_depth)
    return write_shard(shard, shards_folder(options), source.images, referenced_files(source.rows), settings)


def build(
    folder: Path, source: Reading, dropped: list[str], fractions: Fractions, merge: int | None = None
) -> PreparedDataset:
    """Read the images (or take them from shards), audit and split them, and write the dataset into a folder."""
    options = source.options
    images = images_of(source, folder)
    store = start_store(folder, source, images)
    read = None if merge is None else partial(read_shards, merge, shards_folder(options))
    rows = read_images(source.rows, images, store, dropped, read, options.bit_depth)
    if store is not None:
        store.finish()
    ask_for_bit_depth(rows, options)
    found = audit(rows, source.unlisted)
    check_published(rows, found.cause)
    kept = rows[(found.cause == "") & ~rows["label"].isin(dropped)]
    candidates = sorted(set(rows["label"].unique()) - {"", *dropped})
    pixels = open_images(kept, images, store, options.bit_depth)
    kept = resolve_near_duplicates(kept, found, options.near_duplicates, pixels)
    found.items["small_classes"] = small_classes(candidates, kept["label"], options.min_class_count)
    found.items["malformed_rows"] = [row._asdict() for row in source.malformed]
    if options.small_classes == "drop":
        small = {item["label"] for item in found.items["small_classes"]}
        kept = kept[~kept["label"].isin(small)]
    if options.strict:
        fail_on_findings(found)
    show_audit(source, found, dropped, rows)
    warn_about_lost_classes(rows[~rows["label"].isin(dropped)], found.cause)
    check_classes(kept["label"], dropped)

    manifest = manifest_of(kept, source, split_of(kept, fractions, options))
    if source.content is not None:
        (folder / SOURCE).write_bytes(source.content)
    dataset = write_prepared(folder, options, source.name, manifest, found.to_json(), len(rows), source.lines())
    write_audit_page(folder, source.name, rows, manifest, found, images, options.bit_depth)
    show_splits(dataset)
    warn_about_classes(dataset, found)
    warn_about_labels(dataset.classes)
    warn_about_groups(manifest, source, kept.index)
    return dataset


def images_of(source: Reading, folder: Path) -> Path:
    """Return the folder of the images; those that are inside tables are written below the dataset's folder first."""
    if source.embedded is None:
        return source.images
    source.embedded.write(folder / EMBEDDED_IMAGES)
    return folder / EMBEDDED_IMAGES


def start_store(folder: Path, source: Reading, images: Path) -> StoreWriter | None:
    """Print the expected size of the pixel store and check for space; None with --no-store."""
    options = source.options
    if not options.store:
        return None
    files = source.rows["file"]
    needed = estimate_bytes([f"{images}/{file}" for file in files[files != ""].unique()], options.store_size)
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


def manifest_of(rows: pd.DataFrame, source: Reading, splits: pd.Series) -> pd.DataFrame:
    """Return the rows that are kept, with the columns, types and order of a manifest."""
    manifest = rows.assign(
        path=f"{source.images}/" + rows["file"],
        label_index=pd.factorize(rows["label"], sort=True)[0],
        split=splits,
    )
    return manifest[list(COLUMNS)].astype(COLUMNS).reset_index(drop=True)


def show_audit(source: Reading, found: Audit, dropped: list[str], rows: pd.DataFrame) -> None:
    """Print a line for each kind of finding, and how many of the table's rows are kept."""
    title = f"{source.name}: {len(rows):,} rows"
    table = Table("audit", "found", "rows out", "what was done", title=Text(title), title_justify="left")
    table.columns[1].justify = table.columns[2].justify = "right"
    excluded = found.cause.value_counts()
    for kind, (title, _) in KINDS.items():
        count = len(found.items[kind])
        rows_out = f"{excluded.get(kind, 0):,}" if kind in CAUSES else ""
        if count:
            table.add_row(title, f"{count:,}", rows_out, found.action(kind), style="bold")
    absent = sum(not found.items[kind] for kind in KINDS)
    if absent:
        table.add_row(
            f"{absent} other kinds of findings" if absent < len(KINDS) else "findings of any kind", "0", style="dim"
        )
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


def warn_about_lost_classes(rows: pd.DataFrame, cause: pd.Series) -> None:
    """Warn of every class none of whose images can be used, because of their kind."""
    there = rows.assign(unusable=cause.isin(["unreadable_images", "pixel_range"]))
    there = there[(rows["label"] != "") & (rows["file"] != "")]
    lost = there.groupby("label")["unusable"].transform("all")
    for label, images in there[lost].groupby("label"):
        reasons = images["reason"].value_counts()
        warn(f"class {label} is lost: none of its {len(images):,} images can be used ({reasons.index[0]})")


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
