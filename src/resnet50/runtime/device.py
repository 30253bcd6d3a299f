"""Device, precision and threads. `auto` looks at what the hardware really has, and says why it chose."""

import contextlib
import ctypes
import os
import re
import sys
from dataclasses import dataclass
from typing import Literal, cast

import torch

from resnet50.runtime.cpu import available_cores
from resnet50.runtime.distributed import SINGLE_PROCESS, Distributed
from resnet50.runtime.errors import UserError

Precision = Literal["fp32", "bf16", "fp16"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Device:
    """Where the forward and backward pass run, in which precision, and in which of how many processes.

    Attributes:
        torch_device: cpu, cuda:N or mps.
        precision: of matrix products and convolutions.
        why: the reason for the precision, in words.
        dist: the processes that work together.
    """

    torch_device: torch.device
    precision: Precision
    why: str
    dist: Distributed = SINGLE_PROCESS

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Run matrix products and convolutions in `precision`; norms, losses and sums stay in fp32."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.torch_device.type, dtype=DTYPES[self.precision])


MMAP_MAX, TRIM_THRESHOLD, TOP_PAD = -4, -1, -2
"""Parameters of glibc's mallopt(3)."""


def tune_allocator() -> None:
    """Make this process keep the memory that it frees, in huge pages where the system has them.

    A feature map has some ten megabytes. By default the C library returns it to the system when it is freed, and gets
    it back a moment later, page by page and zeroed: up to a sixth of a training step on a CPU. Keeping it costs up to a
    third more memory.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch then asks for huge pages (Linux, 2 MB and more)
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):  # glibc, not musl
        libc.mallopt(MMAP_MAX, 0)
        libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(TOP_PAD, 64 * 2**20)


def limit_threads() -> None:
    """Use no more threads than this process has cores: a container may have fewer than its machine."""
    torch.set_num_threads(min(torch.get_num_threads(), available_cores()))


def resolve_device(device: str, precision: str, dist: Distributed = SINGLE_PROCESS) -> Device:
    """Resolve `auto` for both, with a GPU for each process; a UserError for a device that isn't here."""
    chosen = choose_device(device)
    if chosen.type == "cuda" and dist.world_size > 1:
        chosen = choose_device(f"cuda:{dist.local_rank}")
        torch.cuda.set_device(chosen)
    if chosen.type == "cuda":
        torch.backends.cudnn.benchmark = True  # shapes are fixed: cuDNN searches for the fastest kernels once
        torch.set_float32_matmul_precision("high")  # TF32 for fp32 matrix products
    if precision == "auto":
        return Device(chosen, *choose_precision(chosen), dist)
    if precision not in DTYPES:
        raise UserError(f"precision {precision!r} is none of auto, {', '.join(DTYPES)}")
    if precision == "fp16" and chosen.type == "cpu":
        raise UserError("fp16 is for GPUs: on a CPU use --precision bf16 or fp32")
    return Device(chosen, cast(Precision, precision), "as asked", dist)


def choose_device(name: str) -> torch.device:
    """Return the named device; for auto, the first of cuda, mps and cpu that is here."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise UserError(f"device {name!r} is none of auto, cpu, cuda, cuda:N, mps")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            here = f"this machine has {count} CUDA device{'s' if count != 1 else ''}"
            raise UserError(f"there is no device {name}: {here}; use --device auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("there is no device mps: it is Apple's GPU; use --device auto or cpu")
    return device


def choose_precision(device: torch.device) -> tuple[Precision, str]:
    """Return the fastest precision that trains well on a device, and why."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        name = torch.cuda.get_device_name(device)
        if major >= 8:
            return "bf16", f"{name} (compute capability {major}.{minor}) multiplies bf16 on its matrix units"
        if major == 7:
            return "fp16", f"{name} (compute capability {major}.{minor}) has matrix units for fp16 but none for bf16"
        return "fp32", f"{name} (compute capability {major}.{minor}) has no matrix units"
    if device.type == "cpu":
        # oneDNN emulates bf16 where the processor lacks it: correct, but more than ten times slower than fp32.
        features = torch.cpu.get_capabilities()
        found = [name for name in ("amx_bf16", "avx512_bf16", "bf16") if features.get(name)]
        if found:
            return "bf16", f"this CPU multiplies bf16 natively ({found[0]})"
        return "fp32", "this CPU has no bf16 instructions, and emulating them is more than ten times slower"
    return "fp32", "bf16 and fp16 are not reliably faster on mps"
