"""Engines that run a trained network on images: PyTorch on any device, OpenVINO on a CPU.

An engine folds the batch norms into the convolutions, holds `Preprocess.normalize` inside its graph, and runs the
network in the device's precision. In fp32 its logits equal those of the eager network up to rounding (1e-4).
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet50.data.transforms import Preprocess
from resnet50.inference.openvino_graph import build_graph, import_openvino
from resnet50.model.file import Model
from resnet50.model.fold import fold_batch_norms
from resnet50.model.resnet import ResNet
from resnet50.options import EngineName
from resnet50.runtime.console import warn
from resnet50.runtime.cpu import available_cores
from resnet50.runtime.device import DTYPES, Device
from resnet50.runtime.errors import UserError

OPENVINO_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}

PerformanceHint = Literal["LATENCY", "THROUGHPUT"]

FEW = 1 / 4
"""Share of a batch up to which its images are run one by one, or uncompiled, rather than padded to a whole batch."""


class Engine(Protocol):
    """Maps uint8 images, N×3×S×S for any N, to float32 logits, N×classes, on the device.

    Attributes:
        name: torch or openvino.
        why: Why this engine was chosen, for messages.
    """

    name: str
    why: str

    def __call__(self, images: Tensor) -> Tensor: ...

    def stream(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the logits of each batch, in order, at the highest rate; a batch may wait for the next to arrive."""
        ...


def make_engine(
    model: Model, device: Device, engine: EngineName = "auto", *, batch_size: int = 32, compiled: bool = False
) -> Engine:
    """Make an engine for a model; `auto` is OpenVINO on a CPU if it is installed, torch otherwise.

    Args:
        model: Not modified; the engine copies its weights.
        device: Device and precision.
        engine: auto, torch or openvino.
        batch_size: Images per forward pass.
        compiled: For torch: compile the network for whole batches when the first one arrives, which takes about 15 s.

    Raises:
        UserError: OpenVINO was requested but is not installed, or the device is not a CPU.
    """
    if engine == "openvino" and device.torch_device.type != "cpu":
        raise UserError(f"OpenVINO runs on the CPU, not on {device.torch_device}: add --device cpu, or --engine torch")
    if engine == "torch" or device.torch_device.type != "cpu":
        why = "as asked" if engine == "torch" else f"OpenVINO does not run on {device.torch_device}"
        return TorchEngine(model, device, why, batch_size, compiled=compiled)
    try:
        import_openvino()
    except UserError:
        if engine == "openvino":
            raise
        why = "OpenVINO, which is faster on a CPU, is not installed (pip install 'resnet50[openvino]')"
        return TorchEngine(model, device, why, batch_size, compiled=compiled)
    why = "as asked" if engine == "openvino" else "the fastest on a CPU"
    return OpenVinoEngine(model, device, why, batch_size)


class ImagesToLogits(nn.Module):
    """Normalization and network in one graph.

    The head stays in fp32: that costs nothing, and bf16 would round close logits to equal ones.
    """

    def __init__(self, network: ResNet, preprocess: Preprocess, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.preprocess, self.dtype = network.to(dtype), preprocess, dtype
        self.network.fc.float()

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 images, N×3×S×S, to float32 logits, N×classes."""
        x = self.preprocess.normalize(images).to(self.dtype)
        return self.network.fc(self.network.features(x).float())


class TorchEngine:
    """PyTorch: eager, ready at once; or compiled, faster but only after a wait."""

    name = "torch"

    def __init__(self, model: Model, device: Device, why: str, batch_size: int, *, compiled: bool) -> None:
        self.why = f"{why}; compiled on the first batch, which takes about 15 s" if compiled else why
        self.device, self.batch_size = device.torch_device, batch_size
        graph = ImagesToLogits(fold_batch_norms(model.network), model.preprocess, DTYPES[device.precision])
        self.graph = graph.to(device.torch_device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.compiled = compile_graph(self.graph, device) if compiled else None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Map uint8 images to logits."""
        return torch.cat([self.logits(part) for part in images.split(self.batch_size)])

    def stream(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """Map batches to logits, one after another."""
        return map(self, batches)

    def logits(self, images: Tensor) -> Tensor:
        """Run at most one batch: uncompiled if it is small, since the only compiled graph is of whole batches."""
        if self.compiled is None or is_few(images, self.batch_size):
            return self.graph(self.move(images))
        try:
            return self.compiled(self.move(padded(images, self.batch_size)))[: len(images)]
        except RuntimeError as error:  # torch.compile wraps every failure in it
            self.compiled = None
            warn(f"torch.compile failed, going on without (is there a C++ compiler?): {str(error).splitlines()[0]}")
            return self.graph(self.move(images))

    def move(self, images: Tensor) -> Tensor:
        """Move images to the device in channels-last layout, which convolutions prefer."""
        return images.to(self.device, non_blocking=True, memory_format=torch.channels_last)


def compile_graph(graph: ImagesToLogits, device: Device) -> Any:
    """Compile for fixed shapes; on a CPU with the weights frozen in the layout that its kernels prefer."""
    options: dict[str, Any] | None = {"freezing": True} if device.torch_device.type == "cpu" else None
    return torch.compile(graph, dynamic=False, options=options)


class OpenVinoEngine:
    """OpenVINO: a graph for whole batches, one for single images and one for streams, compiled on first use (0.1 s)."""

    name = "openvino"

    def __init__(self, model: Model, device: Device, why: str, batch_size: int) -> None:
        openvino = import_openvino()
        self.why, self.batch_size, self.classes = why, batch_size, len(model.classes)
        self.size = model.preprocess.size
        self.core, self.model = openvino.Core(), build_graph(fold_batch_norms(model.network), model.preprocess)
        self.graphs: dict[tuple[int, PerformanceHint], Any] = {}
        self.settings = {
            "INFERENCE_PRECISION_HINT": OPENVINO_PRECISIONS[device.precision],
            "INFERENCE_NUM_THREADS": min(torch.get_num_threads(), available_cores()),
            "ENABLE_CPU_PINNING": False,  # pinned processes would all share the first cores
        }
        self.lock = threading.Lock()  # a graph runs one request at a time

    def __call__(self, images: Tensor) -> Tensor:
        """Map uint8 images to logits."""
        with self.lock:
            parts = [self.logits(part) for part in images.split(self.batch_size) if len(part)]
        return torch.cat(parts) if parts else torch.zeros(0, self.classes)

    def logits(self, images: Tensor) -> Tensor:
        """Run at most one batch: padded to a whole one, or image by image if it is small."""
        if is_few(images, self.batch_size):
            return torch.cat([self.run(image) for image in images.split(1)])
        return self.run(padded(images, self.batch_size))[: len(images)]

    def run(self, images: Tensor) -> Tensor:
        """Run the graph of exactly this batch size."""
        result = self.graph(len(images), "LATENCY")(as_input(images), share_inputs=True)
        return torch.from_numpy(result[0])

    @torch.no_grad()
    def stream(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        """Run several batches at once, each on few threads, which wait for one another less than many on one batch.

        Programs that prepare the next batches on the same cores then delay only some of them.
        """
        running: deque[Running] = deque()
        for images in batches:
            if is_few(images, self.batch_size):  # at the end
                yield from map(Running.logits, running)
                running.clear()
                yield self(images)
                continue
            graph = self.graph(self.batch_size, "THROUGHPUT")
            if len(running) < graph.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"):
                request, logits = graph.create_infer_request(), None
            else:
                request, logits = running[0].request, running.popleft().logits()
            shared = as_input(padded(images, self.batch_size))
            request.start_async(shared, share_inputs=True)
            running.append(Running(request, shared, len(images)))
            if logits is not None:
                yield logits
        yield from map(Running.logits, running)

    def graph(self, count: int, hint: PerformanceHint) -> Any:
        """Return the graph of a batch size: all threads on one batch (LATENCY) or shared among several (THROUGHPUT)."""
        if (count, hint) not in self.graphs:
            self.model.reshape([count, 3, self.size, self.size])
            self.graphs[count, hint] = self.core.compile_model(
                self.model, "CPU", {**self.settings, "PERFORMANCE_HINT": hint}
            )
        return self.graphs[count, hint]


def as_input(images: Tensor) -> np.ndarray:
    return images.contiguous().numpy()


class Running(NamedTuple):
    """A batch that is being classified.

    Attributes:
        request: OpenVINO's.
        shared: The images, padded to a whole batch; OpenVINO reads them where they are.
        images: How many there are without the padding.
    """

    request: Any
    shared: np.ndarray
    images: int

    def logits(self) -> Tensor:
        """Wait for the logits and return them."""
        self.request.wait()
        return torch.from_numpy(self.request.get_output_tensor(0).data[: self.images].copy())


def is_few(images: Tensor, batch_size: int) -> bool:
    """Tell whether padding to a whole batch would take longer than running the images one by one."""
    return len(images) <= FEW * batch_size


def padded(images: Tensor, batch_size: int) -> Tensor:
    """Fill up a batch with black images."""
    return F.pad(images, (0, 0, 0, 0, 0, 0, 0, batch_size - len(images)))


def to_probabilities(logits: Sequence[Tensor]) -> np.ndarray:
    """Turn batches of logits into the probability of every class: float64, N×classes."""
    return torch.cat([batch.double().softmax(dim=1).cpu() for batch in logits]).numpy()
