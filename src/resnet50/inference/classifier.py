"""A trained network at work: `Classifier` in Python, `resnet50 predict` on the command line."""

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from PIL import Image

from resnet50.data.dataset import Dataset
from resnet50.data.loader import evaluation_loader
from resnet50.etl.decode import IMAGE_EXTENSIONS, decode, to_rgb
from resnet50.inference.engine import Engine, make_engine
from resnet50.inference.submission import fill_template, read_template
from resnet50.model.file import Model, load_model, model_file
from resnet50.options import EngineName, PredictOptions
from resnet50.runtime.atomic import atomic_write
from resnet50.runtime.console import progress, rank_zero_output, say
from resnet50.runtime.cpu import available_cores
from resnet50.runtime.device import Device, limit_threads, resolve_device
from resnet50.runtime.distributed import process_group
from resnet50.runtime.errors import UserError
from resnet50.runtime.provenance import sha256_of_file
from resnet50.runtime.sharded_work import run_sharded
from resnet50.runtime.sharding import check_sharding, digest_of, remove_parts

ImageInput = str | Path | bytes | Image.Image | np.ndarray
"""A file, the bytes of one, a Pillow image, or an array of uint8: H×W×3 (RGB) or H×W (gray)."""


COMPILE_SECONDS, SAVED_SECONDS = 15.0, 0.004
"""What torch.compile of a ResNet-50 takes on two cores, and what it saves an image of 224 pixels."""

WORTH_COMPILING = round(COMPILE_SECONDS / SAVED_SECONDS)
"""Images from which on compiling pays on a processor: 15 s ÷ 4 ms, some 4,000. A GPU saves too little of each."""


@dataclass(frozen=True)
class Prediction:
    """What the network says of one image: the likeliest class, and the probability of every class."""

    label: str
    probabilities: dict[str, float]

    @property
    def confidence(self) -> float:
        """Return the probability of the likeliest class."""
        return self.probabilities[self.label]

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the `k` likeliest classes with their probabilities, likeliest first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:k]


class Classifier:
    """A trained network with its classes and preprocessing, ready for images of any kind."""

    def __init__(self, model: Model, device: Device, engine: EngineName = "auto") -> None:
        self.model, self.device = model, device
        self.engine_name: EngineName = engine
        self.model.network.to(device.torch_device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.made: dict[tuple[int, bool], Engine] = {}

    @classmethod
    def load(
        cls, path: str | Path, *, device: str = "auto", precision: str = "auto", engine: EngineName = "auto"
    ) -> "Classifier":
        """Read a run folder or a model.safetensors.

        Args:
            path: of either.
            device: auto, cpu, cuda, cuda:N or mps.
            precision: auto, fp32, bf16 or fp16.
            engine: what runs the network: torch, openvino, or auto: on a CPU OpenVINO where it is installed.

        Raises:
            UserError: what is wrong with the file, or why there is no such device or engine here.
        """
        if engine not in get_args(EngineName):
            raise UserError(f"engine {engine!r} is none of {', '.join(get_args(EngineName))}")
        return cls(load_model(Path(path)), resolve_device(device, precision), engine)

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names in the order of the logits."""
        return self.model.classes

    def predict_proba(self, images: Iterable[ImageInput], batch_size: int = 32) -> np.ndarray:
        """Return the probability of every class for every image, N×classes."""
        pixels = [self.model.preprocess(to_image(image)) for image in images]
        if not pixels:
            return np.zeros((0, len(self.classes)))
        engine = self.engine(batch_size, len(pixels))
        starts = range(0, len(pixels), batch_size)
        return to_probabilities([engine(torch.stack(pixels[start : start + batch_size])) for start in starts])

    def engine(self, batch_size: int = 32, images: int = 1) -> Engine:
        """Return what runs the network, made when it is first needed: compiled if so many images are worth it."""
        worth_it = self.device.torch_device.type == "cpu" and images >= WORTH_COMPILING
        compiled = worth_it or (batch_size, True) in self.made
        if (batch_size, compiled) not in self.made:
            made = make_engine(self.model, self.device, self.engine_name, batch_size=batch_size, compiled=compiled)
            self.made = {(batch_size, compiled): made}  # each holds the weights once more: one is enough
        return self.made[batch_size, compiled]

    def predict(self, images: ImageInput | Sequence[ImageInput], batch_size: int = 32) -> Any:
        """Classify one image or many: one `Prediction` for one image, a list for a list.

        Raises:
            UserError: an image that can't be read; the message names it.
        """
        many = isinstance(images, (list, tuple))
        probabilities = self.predict_proba(images if many else [images], batch_size)  # pyright: ignore[reportArgumentType]
        predictions = [
            Prediction(self.classes[row.argmax()], dict(zip(self.classes, row.tolist(), strict=True)))
            for row in probabilities
        ]
        return predictions if many else predictions[0]


def to_probabilities(logits: Sequence[torch.Tensor]) -> np.ndarray:
    """Turn batches of logits into the probability of every class for every image, float64, N×classes."""
    return torch.cat([part.double().softmax(dim=1).cpu() for part in logits]).numpy()


def to_image(image: ImageInput) -> Image.Image:
    """Turn whatever stands for an image into RGB."""
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise UserError(f"an array image must be uint8, H×W×3 or H×W, not {image.dtype} {image.shape}")
        return to_rgb(Image.fromarray(image))
    return decode(image)


def predict(options: PredictOptions) -> pd.DataFrame:
    """Classify files; write the CSV; show the likeliest classes of the first images; return the table.

    Raises:
        UserError: no such model, no images, an unreadable image, a template that doesn't fit.
    """
    check(options)
    paths = find_images(options.images)
    limit_threads()
    with process_group() as dist, rank_zero_output(dist.rank):
        device = resolve_device(options.device, options.precision, dist)
        classifier = Classifier(load_model(options.run), device, options.engine)
        probabilities = shares(options, paths, classifier)
        if probabilities is None or not dist.is_main:
            return pd.DataFrame()
        table = save_results(options, paths, probabilities, classifier)
        if options.merge is not None:
            remove_parts(shards_folder(options))
        return table


def shares(options: PredictOptions, paths: Sequence[Path], classifier: Classifier) -> np.ndarray | None:
    """Return the probability of every class for every file; None after a shard, which is written."""
    device = classifier.device
    workers = min(4, available_cores()) if options.workers is None else options.workers
    engine = classifier.engine(options.batch_size, len(paths))
    say(f"{engine.name} ({engine.why}), {device.precision} on {device.torch_device} ({device.why})")

    def digest() -> str:
        weights = sha256_of_file(model_file(options.run))
        files = [(str(path), path.stat().st_size) for path in paths]
        return digest_of(weights, files, options.batch_size, device.precision, engine.name)

    def work(part: slice) -> np.ndarray:
        if not paths[part]:
            return np.zeros((0, len(classifier.classes)))
        data = Dataset(paths[part], [-1] * len(paths[part]), classifier.model.preprocess)
        return classify(engine, data, options.batch_size, workers)

    return run_sharded(work, len(paths), shards_folder(options), digest, device.dist, options)


def shards_folder(options: PredictOptions) -> Path:
    """Return where the shards of the predictions lie until they are merged."""
    return Path(f"{options.out}.shards")


def save_results(
    options: PredictOptions, paths: Sequence[Path], probabilities: np.ndarray, classifier: Classifier
) -> pd.DataFrame:
    """Show the likeliest classes of the first images, write the CSV, and return the table."""
    table = as_table(paths, probabilities, classifier.classes)
    show(table, probabilities, classifier.classes, options.top_k)
    if options.out is not None:
        written = table
        if options.format == "submission":
            assert options.template is not None  # checked
            written = fill_template(options.template, table, classifier.classes)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(options.out) as partial:
            written.to_csv(partial, index=False)
        say(f"{len(written):,} rows in {options.out}")
    return table


def classify(engine: Engine, data: Dataset, batch_size: int, workers: int) -> np.ndarray:
    """Return the probability of every class for every file, float64, N×classes, in order."""
    parts: list[torch.Tensor] = []
    with progress("classifying", len(data), "images") as advance:
        for images, _ in evaluation_loader(data, batch_size, workers):
            parts.append(engine(images))
            advance(len(images))
    return to_probabilities(parts)


def check(options: PredictOptions) -> None:
    """Raise a UserError for options that don't go together."""
    check_sharding(options.shard, options.merge)
    if options.out is None and (options.shard is not None or options.merge is not None):
        raise UserError("--shard and --merge need --out FILE.csv: the shards lie beside it until they are merged")
    if options.format == "submission" and (options.template is None or options.out is None):
        raise UserError("--format submission needs --template sample_submission.csv and --out FILE.csv")
    if options.template is not None:
        read_template(options.template)  # what is wrong with it is told before the work, not after
    if options.out is not None and options.out.is_dir():
        raise UserError(f"{options.out} is a folder: give the name of a CSV file")
    if options.out is not None and options.out.exists() and not options.overwrite:
        raise UserError(f"{options.out} exists already: choose another name, or add --overwrite")


def find_images(sources: Sequence[str]) -> list[Path]:
    """Return the image files that files, folders (searched to the bottom) and globs stand for, each once."""
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            matches = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_EXTENSIONS)
        elif path.is_file():
            matches = [path]
        else:
            matches = [Path(match) for match in sorted(glob.glob(source, recursive=True)) if Path(match).is_file()]  # noqa: PTH207  # Path.glob takes no absolute patterns
        if not matches:
            raise UserError(f"no image at {source}: give files, folders or globs")
        found.update(dict.fromkeys(matches))
    if not found:
        raise UserError("no images given: name files, folders or globs after the run")
    return list(found)


def as_table(paths: Sequence[Path], probabilities: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    """Return a row per image: image_id (the file's name without extension), path, prediction, `p_CLASS` columns."""
    table = pd.DataFrame(
        {
            "image_id": [path.stem for path in paths],
            "path": [str(path) for path in paths],
            "prediction": [classes[index] for index in probabilities.argmax(axis=1)],
        }
    )
    return pd.concat([table, probability_columns(probabilities, classes)], axis=1)


def probability_columns(probabilities: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    """Return the probabilities (N×classes) as columns named `p_CLASS`."""
    return pd.DataFrame(probabilities, columns=[f"p_{name}" for name in classes])


def show(table: pd.DataFrame, probabilities: np.ndarray, classes: tuple[str, ...], top_k: int, most: int = 20) -> None:
    """Print the likeliest classes of the first images."""
    for path, row in zip(table["path"][:most], probabilities, strict=False):
        likeliest = np.argsort(-row, kind="stable")[:top_k]
        say(f"{path}: " + ", ".join(f"{classes[index]} {row[index]:.1%}" for index in likeliest))
    if len(table) > most:
        say(f"… and {len(table) - most:,} more")
