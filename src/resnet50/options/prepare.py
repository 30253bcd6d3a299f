"""The options of `prepare`, and of `check`, which looks at what `prepare` has made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resnet50.options.fields import option
from resnet50.options.groups import Options, ShardOptions

NearDuplicates = Literal["keep-together", "drop", "ignore"]


@dataclass(frozen=True, kw_only=True)
class SourceOptions(Options):
    """How the source is read."""

    section = "Source"

    images: Path | None = option("Folder that holds the images. Left out: found beside the table.", None)
    id_column: str | None = option("Column with image ids or file names. Left out: guessed if only one fits.", None)
    label_column: str | None = option("Column with the labels. Left out: guessed if only one fits.", None)
    label_columns: str | None = option("Columns of 0 and 1, one per class, separated by commas: one-hot labels.", None)
    label_pattern: str | None = option(
        "Regular expression that finds the label in a file's name, or in its path if it has a slash: '^(cat|dog)_'.",
        None,
    )
    label_list: str | None = option(
        "Text files with an image and its label in each line: 'images_variant_*.txt'.", None
    )
    class_folders: bool = option("Read class folders, even where a table is beside them.", False)
    combine_labels: bool = option("Make each combination of several labels a class of its own.", False)
    exclude: str | None = option(
        "Files and folders to leave out, as patterns separated by commas: 'masks/*,*_gt.png'.", None
    )
    path_template: str | None = option(
        "Path of an id's file below the image folder, e.g. '{image_id}.jpg'. Left out: the extension is found.", None
    )
    pixel_shape: str | None = option(
        "Height x width of images whose pixels are numbers in a table: 28x28, or 32x32x3 in color. "
        "Left out: found if only one fits.",
        None,
    )
    pixel_max: float | None = option(
        "Value of a white pixel where pixels are numbers: 1, 255, 4095. Left out: 255, or 1 if none is larger.",
        None,
        above=0,
    )
    allow_outside: bool = option(
        "Allow ids that name images outside the image folder: ../other/1.jpg, /data/1.jpg.", False
    )
    drop_labels: str | None = option("Labels to drop, separated by commas.", None)
    min_class_count: int = option("Warn of classes with fewer images than this.", 1, at_least=0)
    small_classes: Literal["keep", "drop"] = option("What happens to classes with fewer images.", "keep")
    bit_depth: int | None = option(
        "Bits that integers of more than 8 use: 12 for cameras and scanners that write 0 to 4095. Left out: as the "
        "files say, else all 16.",
        None,
        at_least=8,
        at_most=16,
    )
    strict: bool = option("Stop at anything the audit finds instead of leaving it out.", False)


@dataclass(frozen=True, kw_only=True)
class SplitOptions(Options):
    """How images are divided into train, val and test."""

    section = "Split"

    split: str = option("Shares of train/val/test.", "0.7/0.15/0.15")
    split_column: str | None = option("Column with a published split (train, val, test) to keep.", None)
    group_column: str | None = option(
        "Column whose equal values stay in one split: the patient, the sender, the video.", None
    )
    split_values: str | None = option("What the values of --split-column mean: 'A=train,B=test'.", None)
    group_pattern: str | None = option(
        "Regular expression that finds the group in an image's id: '^(.+)_(?:left|right)'.", None
    )
    test: Path | None = option("A second source, with the same classes, that becomes the test split.", None)
    near_duplicates: NearDuplicates = option(
        "What to do with images that show the same as another: compressed, resized, cropped, brightened or mirrored. "
        "keep-together: in one split; drop: leave out all but the first; ignore: don't look for them.",
        "keep-together",
    )
    seed: int = option("Seed of the split.", 0, at_least=0)


@dataclass(frozen=True, kw_only=True)
class StoreOptions(Options):
    """The pixel store."""

    section = "Pixel store"

    store: bool = option("Keep a small, decoded copy of every image in the dataset, for training to read.", True)
    store_size: int = option(
        "Shorter side of the images in the pixel store, in pixels. No image is enlarged.", 256, at_least=32
    )


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(SourceOptions, SplitOptions, StoreOptions, ShardOptions):
    """Turn a table of labeled images into a prepared dataset: manifest, audit, splits."""

    section = "Input and output"

    source: Path = option(
        "A CSV or Parquet table; a folder of class folders, also below train/ val/ test/; or a Kaggle input directory.",
        positional=True,
    )
    out: Path = option("Folder to write the prepared dataset to.")
    overwrite: bool = option("Replace the contents of the output folder.", False)
    dry_run: bool = option("Show how the source is understood, with ten of its rows, and write nothing.", False)


@dataclass(frozen=True, kw_only=True)
class CheckOptions(Options):
    """Check a prepared dataset by its hashes: manifest, pixel store and, if asked, every image file."""

    section = "Input"

    dataset: Path = option("Prepared dataset (the output folder of `resnet50 prepare`).", positional=True)
    images: bool = option("Also read every image file and compare it with its recorded hash.", False)
