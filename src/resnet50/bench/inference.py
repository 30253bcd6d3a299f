"""Inference: the project's engines against torchvision's network in eager mode."""

import torch

from resnet50.bench.clock import repeated
from resnet50.bench.limits import matrix_limit
from resnet50.bench.rounds import Workload
from resnet50.bench.rows import Row, Side, Sides
from resnet50.options import Depth, EngineName

TORCHVISION = "torchvision resnet50, eager fp32 NCHW"


def rows() -> list[Row]:
    return [
        engine_row(engine, description, batch)
        for engine, description in (("torch", "torch, compiled"), ("openvino", "OpenVINO"))
        for batch in (32, 1)
    ]


def engine_row(engine: str, description: str, batch: int) -> Row:
    images = "32 images" if batch == 32 else "one image"
    device = "cpu" if engine == "openvino" else "auto"  # OpenVINO runs on the CPU even if there is a GPU
    return Row(
        f"inference_{engine}_b{batch}",
        "inference",
        f"logits of {images} of 224 pixels at a time: {description}, automatic precision, normalization included",
        TORCHVISION,
        lambda scratch: Sides(
            Side("resnet50.bench.inference:candidate", {"engine": engine, "batch": batch, "device": device}),
            Side("resnet50.bench.inference:torchvision", {"batch": batch, "device": device}),
            matrix_limit(224, training=False, device=device),
        ),
        needs="openvino" if engine == "openvino" else None,
    )


def candidate(engine: EngineName, batch: int, device: str, size: int = 224, depth: Depth = 50) -> dict[str, Workload]:
    """Return a workload that runs the engine of `Classifier`."""
    from resnet50.data.transforms import Preprocess
    from resnet50.inference.engine import make_engine
    from resnet50.model.file import Model
    from resnet50.model.resnet import ResNet
    from resnet50.runtime.cpu import available_cores
    from resnet50.runtime.device import resolve_device, tune_allocator

    tune_allocator()
    resolved = resolve_device(device, "auto")
    torch.set_num_threads(available_cores())
    network = ResNet(depth, 1000).eval().to(resolved.torch_device)
    model = Model(network, tuple(map(str, range(1000))), Preprocess().resized(size))
    run = make_engine(model, resolved, engine, batch_size=batch, compiled=engine == "torch")
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
    return {"round": repeated(lambda: run(images), batch, resolved.torch_device)}


def torchvision(batch: int, device: str, size: int = 224) -> dict[str, Workload]:
    """Return a workload that runs torchvision's network on float images."""
    from torchvision.models import resnet50

    from resnet50.runtime.device import choose_device

    target = choose_device(device)
    network = resnet50().to(target).eval()
    images = torch.rand(batch, 3, size, size) * 2 - 1

    @torch.inference_mode()
    def forward() -> None:
        network(images.to(target))

    return {"round": repeated(forward, batch, target)}
