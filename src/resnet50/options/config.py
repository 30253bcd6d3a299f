"""Every option of every command, once, with its type, its default and its help text.

The command line, the YAML files and the Python functions all read these dataclasses; nothing else defines an option.
"""

import argparse
import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser

from resnet50.runtime.errors import UserError, nearest

Depth = Literal[18, 34, 50, 101, 152]
Variant = Literal["v1", "v1.5"]
ShortcutKind = Literal["A", "B", "C", "none"]
ResizeMode = Literal["crop", "squash", "pad"]
Augment = Literal["none", "light", "standard"]
Flips = Literal["none", "horizontal", "both"]
OptimizerName = Literal["adamw", "adam", "sgd"]
ScheduleName = Literal["onecycle", "cosine", "step", "multistep", "plateau", "constant"]
StudyName = Literal[
    "all",
    "degradation",
    "gradients",
    "ensemble",
    "increments",
    "landscape",
    "features",
    "dynamics",
    "anatomy",
    "resolution",
]
EngineName = Literal["auto", "torch", "openvino"]

Options = TypeVar("Options")


def option(help: str, default: Any = dataclasses.MISSING, *, positional: bool = False) -> Any:
    """Declare one option: a dataclass field that carries its help text."""
    return dataclasses.field(default=default, metadata={"help": help, "positional": positional})


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """Turn a table of labeled images into a prepared dataset: manifest, audit, splits."""

    source: Path = option(
        "A CSV or Parquet table; a folder of class folders, also below train/ val/ test/; or a Kaggle input directory.",
        positional=True,
    )
    out: Path = option("Folder to write the prepared dataset to.")
    images: Path | None = option("Folder that holds the images; found beside the table when left out.", None)
    id_column: str | None = option("Column with the image ids or file names; guessed when only one fits.", None)
    label_column: str | None = option("Column with the labels; guessed when only one fits.", None)
    path_template: str | None = option(
        "Where an id's file is below the image folder, e.g. '{image_id}.jpg'; the extension is found when left out.",
        None,
    )
    group_column: str | None = option(
        "Column whose equal values stay on one side of a split: the patient, the sender, the video.", None
    )
    split_column: str | None = option("Column with a published split (train, val, test) to keep.", None)
    split: str = option("Shares of train/val/test.", "0.7/0.15/0.15")
    drop_labels: str | None = option("Labels to leave out, separated by commas.", None)
    min_class_count: int = option("Warn of classes with fewer images than this.", 1)
    seed: int = option("Seed of the split.", 0)
    store: bool = option("Keep every photo decoded and small in the dataset: what training then reads.", True)
    store_size: int = option("Shorter side of the photos in the pixel store, in pixels; none is enlarged.", 256)
    strict: bool = option("Stop at anything the audit finds instead of leaving it out.", False)
    allow_outside: bool = option("Let ids name images outside the image folder: ../other/1.jpg, /data/1.jpg.", False)
    shard: str | None = option("Do only a part, as 2/8 for the second of eight; see --merge.", None)
    merge: int | None = option("Put the parts of so many shards together instead of reading the images.", None)
    overwrite: bool = option("Replace what the output folder holds.", False)


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """Check a prepared dataset by its hashes: manifest, pixel store and, if asked, every image file."""

    dataset: Path = option("Prepared dataset (the output folder of `resnet50 prepare`).", positional=True)
    images: bool = option("Read every image file too, and compare it with the hash it had.", False)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Fine-tune a ResNet on a prepared dataset, or train it from scratch with --weights none."""

    dataset: Path = option("Prepared dataset (the output folder of `resnet50 prepare`).", positional=True)
    out: Path = option("Run folder to write to.")

    depth: Depth = option("Depth of the network.", 50)
    weights: str = option(
        "Starting point: none, imagenet (the first source that can be had), torchvision:IMAGENET1K_V1|V2, "
        "hf:timm/resnet50.a1_in1k, keras, or a file, folder or run.",
        "imagenet",
    )
    variant: Variant | None = option(
        "Where a bottleneck strides: v1.5 on its 3x3, v1 on its first 1x1; the weights' own when left out, else v1.5.",
        None,
    )
    shortcuts: ShortcutKind = option("Shortcuts as in the paper: A, B (projection where shapes differ), C, none.", "B")
    zero_gamma: bool = option("From scratch: start every block as the identity (last norm's weight at zero).", False)
    freeze: int = option("Freeze the first N of 5 stages (stem, layer1 .. layer4), batch norm included.", 0)

    image_size: int = option("Side of the square the network is trained on, in pixels.", 224)
    eval_size: int | None = option("Side for validation, evaluation and prediction; --image-size when left out.", None)
    resize_mode: ResizeMode | None = option(
        "How a photo becomes a square: crop its center, squash it, or pad it; the weights' own when left out.", None
    )
    augment: Augment = option("Augmentation: none, light (crop, flip), standard (and color, erasing).", "light")
    crop_scale: float = option("Smallest share of a photo's area that a random crop keeps.", 0.35)
    flips: Flips = option("Which mirror images are as good as the photo.", "horizontal")
    store: bool = option("Read training photos from the dataset's pixel store, where it has one.", True)
    workers: int | None = option("Loader processes; chosen from the CPU count when left out.", None)

    optimizer: OptimizerName = option("Optimizer.", "adamw")
    lr: float | None = option("Peak learning rate of the backbone; a good one for the optimizer when left out.", None)
    head_lr: float | None = option("Peak learning rate of the head; 10 x --lr when fine-tuning, else --lr.", None)
    momentum: float = option("Momentum (Nesterov) of SGD.", 0.9)
    weight_decay: float | None = option(
        "Weight decay, none on norms and biases; chosen by optimizer when left out.", None
    )
    schedule: ScheduleName = option("Course of the learning rate.", "onecycle")
    warmup: float = option("Share of all steps over which the learning rate rises from near zero.", 0.05)
    milestones: str = option("For multistep: the epochs after which the rate falls, as shares of the run.", "0.6,0.85")
    step_epochs: int = option("For step: epochs between two falls of the rate.", 30)
    plateau_patience: int = option("For plateau: epochs without a better validation loss before the rate falls.", 3)
    decay_factor: float = option("For step, multistep and plateau: what the rate is multiplied by.", 0.1)
    epochs: int = option("Times the network sees every training image.", 10)
    budget: str | None = option(
        "Time for the whole training, as 90s, 5m or 2h: a few steps are measured, then epochs is fixed to fit.", None
    )
    batch_size: int | Literal["auto"] = option("Images per optimizer step; auto: as many as fit into memory.", 32)
    accumulate: int = option("Parts each batch is cut into to save memory; the step stays the same.", 1)
    label_smoothing: float = option("Share of the target that is spread over all classes.", 0.05)
    class_weights: Literal["none", "balanced"] = option("Weigh classes equally in the loss, or by 1/frequency.", "none")
    clip_grad: float | None = option("Largest gradient norm; a longer gradient is scaled down to it.", None)
    ema: float | None = option("Decay of the running average of weights that is validated and saved.", None)
    early_stopping: int | None = option("Stop after this many epochs without a better validation loss.", None)

    device: str = option("auto, cpu, cuda, cuda:N or mps.", "auto")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "Number format of the forward and backward pass.", "auto"
    )
    compile: Literal["auto", "on", "off"] = option(
        "Compile the training step with torch.compile; auto: on a GPU, if the run is long enough for it to pay.", "auto"
    )
    threads: int | None = option("CPU threads for the network; every available core when left out.", None)
    observe: bool = option(
        "Record what goes on inside the network: gradients, updates, residuals, dead channels, losses of each image.",
        False,
    )
    deterministic: bool = option("On CUDA: the same bits on every run, somewhat slower.", False)
    seed: int = option("Seed of initialization, order and augmentation.", 0)

    resume: Path | None = option(
        "Go on with an interrupted run (its folder) to the same bits; its other options are its own.", None
    )
    max_time: str | None = option(
        "Stop after this time, as 90s, 5m or 2h, with a checkpoint and exit code 75: --resume goes on.", None
    )
    checkpoint_minutes: float = option("Minutes between two checkpoints within an epoch.", 10.0)
    keep: int = option("Checkpoints that stay while training goes on.", 2)
    sync_bn: bool = option("Under torchrun, on GPUs: batch norm over the whole batch, not each process's share.", False)
    skip_bad: int = option("Go on without up to N images that have gone bad since the dataset was prepared.", 0)
    overwrite: bool = option("Replace what the run folder holds.", False)

    @property
    def batch(self) -> int:
        """Return the images per optimizer step, once that is decided."""
        assert isinstance(self.batch_size, int)
        return self.batch_size


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Measure a trained network on a split it was not trained on, and write the report."""

    run: Path = option("Run folder (the output of `resnet50 train`).", positional=True)
    split: Literal["train", "val", "test"] = option("Which split to measure.", "test")
    dataset: Path | None = option("Another prepared dataset with the same classes; the run's own when left out.", None)
    batch_size: int = option("Images per forward pass.", 32)
    workers: int | None = option("Loader processes; chosen from the CPU count when left out.", None)
    device: str = option("auto, cpu, cuda, cuda:N or mps.", "auto")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option("Number format of the forward pass.", "auto")
    shard: str | None = option("Do only a part, as 2/8 for the second of eight; see --merge.", None)
    merge: int | None = option("Put the parts of so many shards together instead of classifying.", None)


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Name the class of images with a trained network."""

    run: Path = option("Run folder or model file (model.safetensors).", positional=True)
    images: tuple[str, ...] = option("Image files, folders or globs.", (), positional=True)
    out: Path | None = option("CSV to write; only the screen when left out.", None)
    format: Literal["table", "submission"] = option(
        "table: id, path, prediction, probability of every class; submission: the template's ids and columns.", "table"
    )
    template: Path | None = option("For --format submission: the sample_submission.csv to fill in.", None)
    top_k: int = option("Classes to show for each image.", 3)
    batch_size: int = option("Images per forward pass.", 32)
    workers: int | None = option("Loader processes; chosen from the CPU count when left out.", None)
    device: str = option("auto, cpu, cuda, cuda:N or mps.", "auto")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option("Number format of the forward pass.", "auto")
    engine: EngineName = option(
        "What runs the network; auto: on a CPU OpenVINO where it is installed, else torch.", "auto"
    )
    shard: str | None = option("Do only a part, as 2/8 for the second of eight; see --merge.", None)
    merge: int | None = option("Put the parts of so many shards together instead of classifying.", None)
    overwrite: bool = option("Replace an existing CSV.", False)


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Show the network: a table of its stages with shapes, parameters, multiply-accumulates, receptive field."""

    depth: Depth = option("Depth of the network.", 50)
    variant: Variant = option("Where a bottleneck strides: v1.5 on its 3x3, v1 on its first 1x1.", "v1.5")
    shortcuts: ShortcutKind = option("Shortcuts as in the paper: A, B (projection where shapes differ), C, none.", "B")
    classes: int = option("Number of classes.", 1000)
    image_size: int = option("Side of the input in pixels.", 224)


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """Look into residual learning: experiments on your own pictures, with figures and a reading in words."""

    name: StudyName = option(
        "Which experiment: all, or one of degradation, gradients, ensemble, increments, landscape, features, "
        "dynamics, anatomy, resolution.",
        positional=True,
    )
    source: Path = option(
        "Prepared dataset (networks to look at are trained on it), or run folder.",
        Path("demo/dataset"),
        positional=True,
    )
    out: Path = option("Folder of the study; an interrupted one goes on where it stopped.")
    beside: Path | None = option("Another run on the same classes to show beside the source.", None)
    effort: Literal["quick", "full"] = option("quick: small pictures, few epochs, minutes; full: hours.", "quick")
    seed: int = option("Seed of everything random.", 0)
    device: str = option("auto, cpu, cuda, cuda:N or mps.", "auto")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option("Number format of forward and backward passes.", "auto")
    overwrite: bool = option("Replace another study in the output folder.", False)


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """Measure how fast this machine is: ours against what people do otherwise, and against what the machine allows."""

    rows: tuple[str, ...] = option(
        "What to measure: step, epoch, loader, inference, prepare, startup, or single rows; all when left out.",
        (),
        positional=True,
    )
    json: Path | None = option("File to write the rows to; what they were measured on goes beside it.", None)
    dataset: Path | None = option(
        "Prepared dataset whose photos the loaders and the epoch read; made ones when left out.", None
    )
    rounds: int = option("Alternating rounds of each row.", 5)
    full: bool = option("Measure more: each setting of the step by itself, 20,000 photos to prepare.", False)


class WideHelp(argparse.HelpFormatter):
    """Help texts beside their options on a terminal of 110 columns."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)


def parser_for(options: type, prog: str) -> ArgumentParser:
    """Build the command line of an options dataclass: its positionals, a flag for each other field, `--config`."""
    fields, types = dataclasses.fields(options), get_type_hints(options)
    needed = [field for field in fields if field.metadata["positional"] or field.default is dataclasses.MISSING]
    words = [f.name.upper() if f.metadata["positional"] else f"{flag(f.name)} {f.name.upper()}" for f in needed]
    parser = ArgumentParser(
        prog=prog,
        usage=f"{prog} {' '.join(words)} [options]",
        description=options.__doc__,
        formatter_class=WideHelp,
        exit_on_error=False,
    )
    parser.add_argument("--config", type=str, metavar="FILE", help="YAML file with options; flags go over it.")
    for field in fields:
        add_option(parser, field, types[field.name])
    return parser


def add_option(parser: ArgumentParser, field: dataclasses.Field[Any], annotation: Any) -> None:
    """Add one field of an options dataclass to the command line."""
    text = str(field.metadata["help"]).replace("%", "%%")
    many = get_origin(annotation) is tuple
    if field.metadata["positional"]:
        # Not required here, so that a config file may hold it; `complete` asks for it.
        parser.add_argument(
            field.name,
            type=str if many else annotation,
            nargs="*" if many else "?",
            default=None if field.default is dataclasses.MISSING else list(field.default) if many else field.default,
            metavar=field.name.upper(),
            help=text,
        )
    elif annotation is bool:
        parser.add_argument(flag(field.name), action=argparse.BooleanOptionalAction, default=field.default, help=text)
    elif field.default is dataclasses.MISSING:
        parser.add_argument(flag(field.name), type=annotation, metavar=metavar(annotation), help=f"{text} Required.")
    else:
        shown = "" if field.default is None else f" Default: {field.default}."
        parser.add_argument(
            flag(field.name), type=annotation, default=field.default, metavar=metavar(annotation), help=text + shown
        )


def metavar(annotation: Any) -> str:
    """Return the placeholder of a value in the help text."""
    if get_origin(annotation) in (Union, UnionType):
        return metavar(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return "{" + ",".join(map(str, get_args(annotation))) + "}"
    return {int: "N", float: "X", Path: "PATH"}.get(annotation, "TEXT")


def from_arguments(options: type[Options], arguments: Sequence[str], prog: str) -> Options:
    """Read a command line: flags over the file that `--config` names, over the defaults.

    Raises:
        UserError: an unknown flag or key, a value of another type, something required that is missing.
    """
    parser = parser_for(options, prog)
    try:
        namespace = parser.parse_args(list(arguments))
        defaults = resumed_options(options, vars(namespace))
        if namespace.config is not None:
            defaults |= read_yaml(Path(namespace.config), options)
        if defaults:
            parser.set_defaults(defaults)
            namespace = parser.parse_args(list(arguments))
    except argparse.ArgumentError as error:
        raise UserError(explain(str(error), options)) from error
    return complete(options, vars(namespace), prog)


def from_values(options: type[Options], values: dict[str, Any]) -> Options:
    """Build options from named values, with the same checks as the command line; the Python functions' way in."""
    check_keys(values, options, "")
    values = resumed_options(options, values) | values
    try:
        namespace = parser_for(options, options.__name__).parse_object(values)
    except argparse.ArgumentError as error:
        raise UserError(explain(str(error), options)) from error
    return complete(options, vars(namespace), options.__name__)


def resumed_options(options: type, values: dict[str, Any]) -> dict[str, Any]:
    """Return the options that a resumed run was started with; nothing if none is resumed."""
    if not values.get("resume"):
        return {}
    run = Path(values["resume"])
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} is not a training run (it has no config.yaml): --resume takes the folder of one")
    return read_yaml(run / "config.yaml", options) | {"out": str(run), "resume": str(run), "max_time": None}


def complete(options: type[Options], values: dict[str, Any], prog: str) -> Options:
    """Turn parsed values into the dataclass; a UserError names what is required and missing."""
    fields = dataclasses.fields(cast(Any, options))
    for field in fields:
        if field.default is dataclasses.MISSING and values[field.name] is None:
            name = field.name.upper() if field.metadata["positional"] else flag(field.name)
            raise UserError(f"{name} is missing: {field.metadata['help']} See {prog} --help")
    given = {field.name: values[field.name] for field in fields}
    return options(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def explain(message: str, options: type) -> str:
    """Turn the parser's message into one line in the words of the command line."""
    unknown = re.match(r"unrecognized arguments: (\S+)", message)
    if unknown:
        flags = [flag(field.name) for field in dataclasses.fields(options)]
        name = unknown[1].split("=")[0]
        return f"unknown option or argument {name}{nearest(name, flags)}"
    wrong = re.match(r'Parser key "(\w+)".*(?:Got|Given) value: (.*)', message, re.DOTALL)
    if wrong:
        allowed = get_type_hints(options).get(wrong[1], str)
        return f"{flag(wrong[1])} {wrong[2].strip()!r}: expected {name_type(allowed)}"
    return " ".join(message.split())


def name_type(annotation: Any) -> str:
    """Say what values a type has, in a person's words."""
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(name_type(part) for part in get_args(annotation) if part is not NoneType)
    return {int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}.get(annotation, "text")


def flag(name: str) -> str:
    """Return an option's name as it is typed."""
    return "--" + name.replace("_", "-")


def check_keys(values: dict[str, Any], options: type, where: str) -> None:
    """Raise a UserError for a name that is no option, with the nearest one."""
    known = [field.name for field in dataclasses.fields(options)]
    for key in values:
        if key not in known:
            raise UserError(f"unknown key {key!r}{where}{nearest(str(key), known)}")


def read_yaml(path: Path, options: type) -> dict[str, Any]:
    """Read a YAML config for an options dataclass, refusing keys that it doesn't have.

    Raises:
        UserError: no such file, no mapping in it, an unknown key, or a value of another type.
    """
    if not path.is_file():
        raise UserError(f"config file {path} does not exist")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no mapping of option names to values")
    values = cast(dict[str, Any], values)
    check_keys(values, options, f" in {path}")
    try:
        parsed = vars(parser_for(options, str(path)).parse_object(values))
    except argparse.ArgumentError as error:
        raise UserError(f"{path}: {explain(str(error), options)}") from error
    return {name: parsed[name] for name in values}


def write_yaml(options: Any, path: Path) -> None:
    """Write an options dataclass so that `read_yaml` gives the same values back."""
    path.write_text(yaml.safe_dump(plain_values(options), sort_keys=False, allow_unicode=True), encoding="utf-8")


def plain_values(options: Any) -> dict[str, Any]:
    """Return an options dataclass as YAML and JSON have it."""
    return {
        name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(options).items()
    }
