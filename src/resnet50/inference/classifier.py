"""A trained network in Python: `Classifier` maps images of any kind to predictions, probabilities or features."""

import os
from collections.abc import Iterable, Iterator
from html import escape
from operator import length_hint
from pathlib import Path
from typing import Any, BinaryIO, get_args, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnet50.inference.engine import Engine, make_engine, to_probabilities
from resnet50.inference.inputs import (
    ImageInput,
    Images,
    as_list,
    checked_batch_size,
    decoded,
    preprocessed_batches,
    source_name,
)
from resnet50.inference.prediction import Prediction
from resnet50.model.file import Model, load_model
from resnet50.model.forward import to_device
from resnet50.options import EngineName
from resnet50.runtime.device import Device, resolve_device
from resnet50.runtime.errors import UserError

COMPILE_SECONDS, SAVED_SECONDS = 15.0, 0.004
"""What torch.compile of a ResNet-50 takes on two cores, and what it saves per image of 224 pixels."""

WORTH_COMPILING = round(COMPILE_SECONDS / SAVED_SECONDS)
"""Number of images from which compiling pays on a CPU: 15 s ÷ 4 ms, about 4,000. A GPU saves too little per image."""


class Classifier:
    """A trained network with its classes, its preprocessing and the engine that runs it.

    `Classifier.load("run").predict("cat.jpg").label` names the class of an image.
    """

    def __init__(self, model: Model, device: Device, engine: EngineName = "auto") -> None:
        self.model, self.device = model, device
        self.engine_name: EngineName = engine
        self.model.network.to(device.torch_device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.engines: dict[tuple[int, bool], Engine] = {}

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        device: str = "auto",
        precision: str = "auto",
        engine: EngineName = "auto",
    ) -> "Classifier":
        """Load a run folder or a model.safetensors.

        Args:
            path: Run folder or model file.
            device: auto, cpu, cuda, cuda:N or mps.
            precision: auto, fp32, bf16 or fp16.
            engine: What runs the network: torch, openvino, or auto (on a CPU, OpenVINO if it is installed).

        Raises:
            UserError: The file is missing or damaged, or the device or engine is not available.
        """
        if engine not in get_args(EngineName):
            raise UserError(f"engine {engine!r} is none of {', '.join(get_args(EngineName))}")
        return cls(load_model(Path(path)), resolve_device(device, precision), engine)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.model.classes

    @overload
    def predict(self, images: bytes | Image.Image, batch_size: int = 32) -> Prediction: ...
    @overload
    def predict(self, images: str | os.PathLike[str] | BinaryIO | np.ndarray | Tensor, batch_size: int = 32) -> Any: ...
    @overload
    def predict(self, images: Iterable[ImageInput], batch_size: int = 32) -> list[Prediction]: ...
    def predict(self, images: Images, batch_size: int = 32) -> Any:
        """Classify one image or many.

        Args:
            images: One image: a path; the bytes of a file, or the file opened in binary mode; a Pillow image, which is
                turned upright by its EXIF orientation, as its file would be; an array, H×W or H×W×C; a tensor, H×W or
                C×H×W. Arrays and tensors are gray, RGB or RGBA (C is 1, 3 or 4), uint8 or floats from 0 to 1.
                Many: a list, generator or DataFrame column of those, a folder, a glob, an array N×H×W×C, or a tensor
                N×C×H×W.
            batch_size: Images per forward pass.

        Returns:
            One `Prediction` for one image, a list of them for many, in order (that of the names for folders and globs).

        Raises:
            UserError: An image cannot be read, or what it is given as cannot be known to be right; the message names
                it. Arrays in OpenCV's order, BGR, can't be told from RGB: convert them first.
        """
        listed, many = as_list(images)
        sources: list[str] = []
        probabilities = stack_rows(self._run(listed, many, batch_size, sources), len(self.classes), np.float64)
        predictions = [self._prediction(row, source) for row, source in zip(probabilities, sources, strict=True)]
        return predictions if many else predictions[0]

    def stream(self, images: Images, batch_size: int = 32) -> Iterator[Prediction]:
        """Classify images as they come: no more than a batch is in memory, however many there are.

        Args:
            images: As in `predict`.
            batch_size: Images per forward pass.

        Yields:
            A `Prediction` for each image, in order.
        """
        listed, many = as_list(images)
        sources: list[str] = []
        for probabilities in self._run(listed, many, batch_size, sources):
            for row, source in zip(probabilities, sources, strict=True):
                yield self._prediction(row, source)
            sources.clear()

    def predict_proba(self, images: Images, batch_size: int = 32) -> np.ndarray:
        """Compute the probability of every class: float64, N×classes; one image gives N = 1.

        Args:
            images: As in `predict`.
            batch_size: Images per forward pass.
        """
        return stack_rows(self._run(*as_list(images), batch_size, []), len(self.classes), np.float64)

    @torch.no_grad()
    def features(self, images: Images, batch_size: int = 32) -> np.ndarray:
        """Compute the pooled features that the head sees: float32, N×2048 (N×512 for depths 18 and 34).

        They come from the network in PyTorch, in evaluation mode, whichever engine classifies. One image gives N = 1.

        Args:
            images: As in `predict`.
            batch_size: Images per forward pass.
        """
        network, preprocess = self.model.network.eval(), self.model.preprocess
        batch_size = checked_batch_size(batch_size)

        def features_of(batch: Tensor) -> np.ndarray:
            with self.device.autocast():
                features = network.features(preprocess.normalize(to_device(batch, self.device)))
            return features.float().cpu().numpy()

        batches = preprocessed_batches(decoded(*as_list(images), preprocess.bit_depth), preprocess, batch_size)
        return stack_rows(map(features_of, batches), network.fc.in_features, np.float32)

    def engine(self, batch_size: int = 32, images: int = 1) -> Engine:
        """Return the engine, made on first use; compiled if `images` is large enough for that to pay."""
        pays = self.device.torch_device.type == "cpu" and images >= WORTH_COMPILING
        compiled = pays or (batch_size, True) in self.engines
        if (batch_size, compiled) not in self.engines:
            engine = make_engine(self.model, self.device, self.engine_name, batch_size=batch_size, compiled=compiled)
            self.engines = {(batch_size, compiled): engine}  # each holds a copy of the weights: one is enough
        return self.engines[batch_size, compiled]

    def _run(
        self, images: Iterable[ImageInput], many: bool, batch_size: int, sources: list[str]
    ) -> Iterator[np.ndarray]:
        """Yield the probabilities of a batch after another; add the name of each image to `sources`."""
        count, batch_size = length_hint(images, 1), checked_batch_size(batch_size)
        preprocess = self.model.preprocess
        upright = decoded(remembering_names(images, sources), many, preprocess.bit_depth)
        for batch in preprocessed_batches(upright, preprocess, batch_size):
            yield to_probabilities([self.engine(batch_size, count)(batch)])

    def _prediction(self, probabilities: np.ndarray, source: str) -> Prediction:
        by_class = dict(zip(self.classes, probabilities.tolist(), strict=True))
        return Prediction(self.classes[probabilities.argmax()], by_class, source)

    def _facts(self) -> dict[str, str]:
        names = ", ".join(self.classes[:10])
        engine = next((engine.name for engine in self.engines.values()), self.engine_name)
        size = self.model.preprocess.size
        return {
            "network": f"ResNet-{self.model.network.depth}",
            "classes": f"{len(self.classes)}: {names}" + (", …" if len(self.classes) > 10 else ""),
            "input": f"{size}×{size} pixels",
            "device": f"{self.device.torch_device}, {self.device.precision}",
            "engine": engine,
        }

    def __repr__(self) -> str:
        facts = self._facts()
        return f"Classifier({facts.pop('network')}, {', '.join(f'{name}={value!r}' for name, value in facts.items())})"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in self._facts().items())
        return f"<table>{rows}</table>"


def remembering_names(images: Iterable[ImageInput], names: list[str]) -> Iterable[ImageInput]:
    for image in images:
        names.append(source_name(image))
        yield image


def stack_rows(batches: Iterable[np.ndarray], width: int, dtype: type) -> np.ndarray:
    """Concatenate arrays, N×width each, as they come, into one that grows by doubling.

    A list of small arrays, each allocated between two batches of images, would keep the C library from using the memory
    of one batch for the next.
    """
    rows, count = np.empty((1024, width), dtype), 0
    for batch in batches:
        while count + len(batch) > len(rows):
            rows.resize((2 * len(rows), width), refcheck=False)
        rows[count : count + len(batch)] = batch
        count += len(batch)
    rows.resize((count, width), refcheck=False)
    return rows
