"""A network's costs by stage: counts, memory, and time against the machine's limits."""

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet50.model.resnet import ResNet
from resnet50.model.summary import multiply_accumulates, summarize
from resnet50.runtime.device import DTYPES, Device

STAGE_OF = {
    "conv1": "stem", "bn1": "stem", "relu": "stem", "maxpool": "stem", "layer1": "layer1", "layer2": "layer2",
    "layer3": "layer3", "layer4": "layer4", "avgpool": "head", "fc": "head",
}  # fmt: skip
"""The stage of each child of the network, in forward order."""

STAGES: tuple[str, ...] = ("stem", "layer1", "layer2", "layer3", "layer4", "head")


def counts(network: ResNet, image_size: int) -> dict[tuple[str, str], int]:
    found = {(stage, quantity): 0 for stage in STAGES for quantity in ("parameters", "macs")}
    for row in summarize(network, image_size):
        stage = {"maxpool": "stem", "avgpool": "head", "fc": "head"}.get(row.name, row.name)
        found[stage, "parameters"] += row.parameters
        found[stage, "macs"] += row.macs
    return found


@contextmanager
def entering(network: ResNet, at: Callable[[str], None]) -> Generator[None]:
    """Call `at` with the name of each child of the network just before it runs."""
    with ExitStack() as stack:
        for name, child in network.named_children():

            def tell(module: nn.Module, inputs: Any, name: str = name) -> None:
                del module, inputs
                at(name)

            stack.callback(child.register_forward_pre_hook(tell).remove)
        yield


def activation_bytes(network: ResNet, images: Tensor, device: Device) -> dict[str, float]:
    """Return the bytes that each stage's forward pass keeps for the backward pass, per additional image.

    The difference between the batch and half of it: weights, their copies in another precision and the norms'
    statistics don't grow with the batch and are not counted.
    """
    half = len(images) // 2
    whole, less = kept_bytes(network, images, device), kept_bytes(network, images[:half], device)
    return {stage: (whole[stage] - less[stage]) / (len(images) - half) for stage in STAGES}


def kept_bytes(network: ResNet, images: Tensor, device: Device) -> dict[str, int]:
    """Return the bytes that each stage's forward pass keeps, without the network's own tensors and the images.

    A tensor kept by several operations counts once, for the first. Measured by autograd's hooks on saved tensors, in
    training mode and in the device's precision.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()}
    known.add(images.untyped_storage().data_ptr())
    kept, stage = dict.fromkeys(STAGES, 0), "stem"

    def enter(child: str) -> None:
        nonlocal stage
        stage = STAGE_OF[child]

    def pack(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in known:
            known.add(place)
            kept[stage] += tensor.untyped_storage().nbytes()
        return tensor

    network.train()
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with entering(network, enter), hooks, device.autocast():
        logits = network(images)
    del logits  # the graph and what it kept live until here
    return kept


def stage_seconds(network: ResNet, images: Tensor, labels: Tensor, device: Device) -> dict[tuple[str, str], float]:
    """Return the seconds of one forward and one backward pass by (stage, "forward" or "backward")."""
    marks: list[tuple[str, str, float]] = []

    def clock() -> float:
        if device.torch_device.type == "cuda":
            torch.cuda.synchronize(device.torch_device)
        return time.perf_counter()

    def arrived(child: str) -> Callable[[Tensor], None]:
        return lambda gradient: marks.append(("backward", STAGE_OF[child], clock()))

    def watch(child: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def mark(module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
            del module, inputs
            y.register_hook(arrived(child))  # its gradient arrives when the later stages are done

        return mark

    network.train().zero_grad()
    with entering(network, lambda child: marks.append(("forward", STAGE_OF[child], clock()))), ExitStack() as stack:
        for child in ("maxpool", "layer1", "layer2", "layer3", "layer4", "fc"):
            stack.callback(getattr(network, child).register_forward_hook(watch(child)).remove)
        with device.autocast():
            logits = network(images)
        marks.append(("forward", "", clock()))
        F.cross_entropy(logits.float(), labels).backward()
        marks.append(("backward", "", clock()))
    return between(marks)


def between(marks: list[tuple[str, str, float]]) -> dict[tuple[str, str], float]:
    """Turn (pass, starting stage, time) into seconds by (stage, pass); an empty stage ends a pass."""
    seconds = {(stage, way): 0.0 for stage in STAGES for way in ("forward", "backward")}
    for (way, stage, start), (_, _, end) in pairwise(marks):
        if stage:
            seconds[stage, way] += end - start
    return seconds


def roofline_seconds(
    network: ResNet, images: Tensor, device: Device, rate: float, bandwidth: float
) -> dict[str, float]:
    """Return the roofline of each stage's forward and backward pass, in seconds (Williams et al. 2009).

    A module takes the longer of its arithmetic at `rate` operations a second and one read of its input plus one write
    of its output at `bandwidth` bytes a second. The backward pass counts twice the forward pass.
    """
    width, seconds = DTYPES[device.precision].itemsize, dict.fromkeys(STAGES, 0.0)

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        stage = STAGE_OF[name.partition(".")[0]]

        def add(module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
            operations = 2 * multiply_accumulates(module, y)
            seconds[stage] += 3 * max(operations / rate, width * (inputs[0].numel() + y.numel()) / bandwidth)

        return add

    with ExitStack() as stack, torch.no_grad():
        for name, module in network.named_modules():
            if not list(module.children()):
                stack.callback(module.register_forward_hook(watch(name)).remove)
        with device.autocast():
            network(images)
    return seconds


def best_seconds(work: Callable[[], object], device: Device, repeats: int = 6) -> float:
    times: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        if device.torch_device.type == "cuda":
            torch.cuda.synchronize(device.torch_device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def matrix_rate(device: Device) -> float:
    """Return the operations a second of a large matrix product in the device's precision."""
    side = 4096 if device.torch_device.type == "cuda" else 2048
    a = torch.randn(side, side, device=device.torch_device, dtype=DTYPES[device.precision])
    product = torch.empty_like(a)
    return 2 * side**3 / best_seconds(lambda: torch.mm(a, a, out=product), device)


def copy_bandwidth(device: Device) -> float:
    """Return the bytes a second read and written by a copy of a large array."""
    source = torch.ones(64 * 2**20, device=device.torch_device)
    target = torch.zeros_like(source)
    return 2 * source.nbytes / best_seconds(lambda: target.copy_(source), device)
