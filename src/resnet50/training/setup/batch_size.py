"""`--batch-size auto`: the largest batch that fits into memory, with a margin."""

import contextlib
import dataclasses
import os
from pathlib import Path

import torch
from torch import Tensor

from resnet50.model.resnet import ResNet
from resnet50.options import TrainOptions
from resnet50.runtime.console import say
from resnet50.runtime.cpu import processes_on_this_machine
from resnet50.runtime.device import Device
from resnet50.runtime.errors import UserError
from resnet50.training.recovery.guards import is_out_of_memory

MARGIN = 0.2
"""Share of the free memory to leave unused."""

LARGEST = 1024
"""Larger batches need recipes of their own (Goyal et al. 2017, arXiv 1706.02677)."""

STEPS_PER_EPOCH = 20
"""Steps that an epoch should have at least: a small dataset gets smaller batches."""

TRANSIENT = 1.6
"""Peak memory of a step, as a multiple of what the backward pass keeps: gradients and workspaces come on top."""


def choose_batch_size(options: TrainOptions, classes: int, images: int, device: Device) -> TrainOptions:
    """Replace `auto` by the largest power of two that fits, and say why; other options stay as they are.

    On a GPU a step is tried, and the batch halved until it succeeds. On a CPU, where that would take minutes, memory is
    only estimated.
    """
    if options.batch_size != "auto":
        return options
    torch.manual_seed(options.seed)
    network = ResNet(options.depth, classes, options.variant or "v1.5", options.shortcuts)
    network = network.to(device.torch_device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    fixed = 5 * sum(
        parameter.numel() * 4 for parameter in network.parameters()
    )  # weights, gradients, optimizer, average
    each = TRANSIENT * bytes_per_image(network, options.side, device) / options.accumulate
    free = available_memory(device.torch_device)
    fitting = ((1 - MARGIN) * free - fixed) / each * device.dist.world_size
    if fitting < 1:
        raise UserError("not even one image fits into memory: lower --image-size or --depth")
    size = power_of_two(min(fitting, LARGEST, max(images / STEPS_PER_EPOCH, 2)))
    shard = -(-size // device.dist.world_size // options.accumulate)
    while device.torch_device.type == "cuda" and shard > 1 and not step_fits(network, shard, options.side, device):
        size, shard = size // 2, shard // 2
    size = min(device.dist.all_gather(size))
    say(
        f"batches of {size} images: each takes {each / 1e6:,.0f} MB, {free / 1e9:,.1f} GB are free, and an epoch of "
        f"{images:,} images should have {STEPS_PER_EPOCH} steps or more"
    )
    return dataclasses.replace(options, batch_size=size)


def power_of_two(bound: float) -> int:
    """Return the largest power of two that is no larger."""
    return 2 ** (int(bound).bit_length() - 1)


def bytes_per_image(network: ResNet, size: int, device: Device) -> float:
    """Return the bytes that a forward pass keeps for the backward pass, per image."""
    return (bytes_kept(network, 4, size, device) - bytes_kept(network, 2, size, device)) / 2


def bytes_kept(network: ResNet, images: int, size: int, device: Device) -> int:
    """Return the bytes that a forward pass over a number of images keeps, weights included."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), device.autocast():
        logits = network.train()(torch.zeros(images, 3, size, size, device=device.torch_device))
    del logits
    return sum(kept.values())


def step_fits(network: ResNet, images: int, size: int, device: Device) -> bool:
    """Return whether a forward and a backward pass over a number of images fit into the memory of a GPU."""
    try:
        with device.autocast():
            loss = network.train()(torch.zeros(images, 3, size, size, device=device.torch_device)).float().sum()
        loss.backward()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        fits = False
    else:
        fits = torch.cuda.max_memory_allocated(device.torch_device) < (1 - MARGIN) * available_memory(
            device.torch_device
        )
    network.zero_grad()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device.torch_device)
    return fits


def available_memory(device: torch.device) -> int:
    """Return the free bytes of a GPU, or those that this process may use of its container or machine."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0]
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: there is no limit
        cgroup = Path("/sys/fs/cgroup")
        limit, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
        free = min(free, limit - used)
    return free // processes_on_this_machine()
