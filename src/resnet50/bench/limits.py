"""The machine's limits: rates that no program can exceed, measured beside candidate and baseline."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from resnet50.bench.clock import repeated
from resnet50.bench.rounds import Workload
from resnet50.bench.rows import Side
from resnet50.options import Depth
from resnet50.runtime.cpu import available_cores

COPY_BYTES = 256 * 2**20
"""Size of the copied array: many times the size of a processor's caches."""


def matrix_limit(image_size: int, *, training: bool, device: str = "auto", precision: str = "auto") -> Side:
    """Return the side that gives the images/s of a ResNet-50 at the speed of one large matrix product."""
    settings = {"image_size": image_size, "training": training, "device": device, "precision": precision}
    return Side("resnet50.bench.limits:matrix_product", settings)


def matrix_product(image_size: int, training: bool, device: str, precision: str) -> dict[str, Workload]:
    """Return a workload that multiplies square matrices in the candidate's precision, on all cores or the GPU."""
    from resnet50.runtime.device import DTYPES, resolve_device

    resolved = resolve_device(device, precision)
    torch.set_num_threads(available_cores())
    side = 4096 if resolved.torch_device.type == "cuda" else 2048
    a, b = torch.randn(2, side, side, device=resolved.torch_device, dtype=DTYPES[resolved.precision])
    product = torch.empty_like(a)
    products_per_second = repeated(lambda: torch.mm(a, b, out=product), 1, resolved.torch_device, shortest=1.0)
    images_per_product = 2 * side**3 / flops_per_image(50, image_size, training=training)
    return {"round": lambda: products_per_second() * images_per_product}


def flops_per_image(depth: Depth, image_size: int, *, training: bool) -> float:
    """Return the floating-point operations per image: two per multiply-accumulate; training takes three times as many.

    (In the backward pass, each product occurs twice: for the gradient of its input and for that of its weights.)
    """
    from resnet50.model.resnet import ResNet
    from resnet50.model.summary import summarize

    with torch.device("meta"):
        network = ResNet(depth, 1000)
    return 2 * sum(stage.macs for stage in summarize(network, image_size)) * (3 if training else 1)


def copy_limit(bytes_per_image: float) -> Side:
    """Return the side that gives the images/s at which that many bytes per image can be read and written."""
    return Side("resnet50.bench.limits:copy", {"bytes_per_image": bytes_per_image})


def copy(bytes_per_image: float) -> dict[str, Workload]:
    """Return a workload that copies a large array on one core, reading and writing every byte."""
    torch.set_num_threads(1)
    source = torch.ones(COPY_BYTES, dtype=torch.uint8)
    target = torch.zeros_like(source)
    images = 2 * COPY_BYTES / bytes_per_image
    copies_per_second = repeated(lambda: target.copy_(source), 1, torch.device("cpu"), shortest=1.0)
    return {"round": lambda: copies_per_second() * images}


def decoding(paths: Sequence[str | Path], threads: int, shorter_side: int | None = None) -> Workload:
    """Return a workload that decodes JPEGs from memory: in full, or at a scale with at least `shorter_side` pixels."""
    import simplejpeg

    data, smallest = [Path(path).read_bytes() for path in paths], shorter_side or 0
    pool = ThreadPoolExecutor(threads)

    def decode(jpeg: bytes) -> None:
        simplejpeg.decode_jpeg(jpeg, min_height=smallest, min_width=smallest)

    def decode_all() -> None:
        for _ in pool.map(decode, data):
            pass

    return repeated(decode_all, len(data), torch.device("cpu"), shortest=1.0)
