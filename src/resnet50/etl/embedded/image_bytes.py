"""Parquet tables with encoded images in a column, as Hugging Face publishes data sets."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import yaml
from pyarrow import parquet

from resnet50.etl.embedded.part import Batch
from resnet50.etl.embedded.pixel_tables import is_plain
from resnet50.etl.embedded.pixels import Shape
from resnet50.etl.embedded.reading import as_strings, read_parquet_rows
from resnet50.etl.embedded.write import extension_of

ROWS = 128
"""Rows read at a time: images may have megabytes."""

MASK_WORDS = ("mask", "segment", "depth", "annotation", "label", "thumbnail")
"""Columns of images that are about another column's image."""


@dataclass(frozen=True)
class ImageBytes:
    """A Parquet file with encoded images.

    Attributes:
        images: the column.
        others: plain columns.
        lists: columns with a list per image, by name.
        class_names: of the columns with class numbers.
    """

    path: Path
    count: int
    images: str
    others: tuple[str, ...]
    lists: tuple[str, ...]
    class_names: Mapping[str, tuple[str, ...]]

    first_line = 1

    def batches(self, shape: Shape | None) -> Iterator[Batch]:
        for rows in read_parquet_rows(self.path, [self.images, *self.others], ROWS):
            cells = {name: self.cells(name, rows.batch.column(name)) for name in self.others}
            content, names = encoded_images(rows.batch.column(self.images))
            yield Batch(rows.number, pd.DataFrame(cells, index=range(rows.batch.num_rows)), content, names)

    def cells(self, name: str, column: Any) -> pd.Series:
        """Return a column as strings, class numbers as names. −1 is no class."""
        values = as_strings(column)
        names = self.class_names.get(name)
        if names is None:
            return values
        known = {str(number): label for number, label in enumerate(names)} | {"-1": ""}
        return values.replace(known)

    def sampled_cells(self) -> pd.DataFrame:
        for rows in read_parquet_rows(self.path, list(self.others), ROWS):
            return pd.DataFrame({name: self.cells(name, rows.batch.column(name)) for name in self.others})
        return pd.DataFrame(columns=list(self.others))


def encoded_images(column: Any) -> tuple[list[bytes], list[str] | None]:
    """Return the content of the images, b"" where there is none, and their names if they have any."""
    if not pa.types.is_struct(column.type):
        return [content or b"" for content in column.to_pylist()], None
    content, fields = column.field("bytes"), [field.name for field in column.type]
    names = [name or "" for name in column.field("path").to_pylist()] if "path" in fields else None
    return [image or b"" for image in content.to_pylist()], names


def image_bytes(path: Path) -> list[ImageBytes]:
    """Return a reading of a Parquet file for each of its columns of images. Masks don't count beside another column."""
    try:
        with parquet.ParquetFile(path) as file:
            schema, count = file.schema_arrow, file.metadata.num_rows
            held = [field.name for field in schema if holds_bytes(field.type)]
            if not held or not count:
                return []
            found = [name for name in held if has_images(file, name)]
    except (pa.ArrowException, OSError):
        return []
    main = [name for name in found if not any(word in name.lower() for word in MASK_WORDS)] or found
    others = tuple(field.name for field in schema if field.name not in held and is_plain(field.type))
    lists = tuple(field.name for field in schema if is_list(field.type))
    names = class_names(schema) or class_names_of_card(path)
    return [ImageBytes(path, count, name, others, lists, names) for name in main]


def holds_bytes(kind: Any) -> bool:
    """Return whether a column has binary content: plain, or with its path in a struct."""
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and holds_bytes(field.type) for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def is_list(kind: Any) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def has_images(file: parquet.ParquetFile, name: str) -> bool:
    """Return whether most of the first values of a column are encoded images."""
    struct = pa.types.is_struct(file.schema_arrow.field(name).type)
    batch = next(file.iter_batches(batch_size=16, columns=[f"{name}.bytes" if struct else name]), None)
    if batch is None:
        return False
    column = batch.column(0).field("bytes") if struct else batch.column(0)
    contents: list[bytes] = [content for content in column.to_pylist() if content]
    return 2 * sum(extension_of(content) != "" for content in contents) > len(contents)


def class_names(schema: Any) -> dict[str, tuple[str, ...]]:
    """Return the class names that Hugging Face writes into a file's metadata, by column."""
    try:
        described: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = described["info"]["features"]
        return {
            str(name): tuple(str(label) for label in feature["names"])
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def class_names_of_card(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the class names in the README.md of the data set, in the folder of the file or one of three above."""
    card = next((found for folder in path.parents[:4] if (found := folder / "README.md").is_file()), None)
    if card is None:
        return {}
    try:
        lines = card.read_text(encoding="utf-8").split("---", 2)
        described: Any = yaml.safe_load(lines[1]) if len(lines) == 3 and not lines[0].strip() else {}
        info = described["dataset_info"]
        configs = info if isinstance(info, list) else [info]
        named = [
            (str(feature["name"]), tuple(str(label) for _, label in sorted_names(feature["dtype"]["class_label"])))
            for config in configs
            for feature in config["features"]
            if isinstance(feature.get("dtype"), dict) and "class_label" in feature["dtype"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return {}
    # Configurations with other classes: the card doesn't say which one this file is of.
    return {name: labels for name, labels in named if all(labels == other for at, other in named if at == name)}


def sorted_names(label: Any) -> list[tuple[int, str]]:
    """Return pairs of class number and name, written as a list or as a mapping."""
    names = label["names"]
    if isinstance(names, dict):
        return sorted((int(number), str(name)) for number, name in names.items())
    return list(enumerate(names))
