"""What a measurement was taken on: processor and what it can, GPU, cores, threads, versions."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from resnet50.runtime.cpu import available_cores

PACKAGES = ("torch", "torchvision", "numpy", "simplejpeg", "opencv-python-headless", "openvino", "pillow")

FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "bf16", "sve",
)  # fmt: skip
"""Instruction sets that decide how fast a network runs, as the operating system names them."""


def describe() -> dict[str, Any]:
    """Return cpu, features, gpu (None without one), cores, threads (torch's, unless told otherwise) and versions."""
    import torch

    words = processor()
    return {
        "cpu": words.get("model name") or platform.processor() or platform.machine(),
        "features": [name for name in FEATURES if name in words.get("flags", words.get("Features", "")).split()],
        "gpu": gpu_name(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()} | {name: version_of(name) for name in PACKAGES},
    }


def processor() -> dict[str, str]:
    """Return what Linux says of the first processor; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def gpu_name() -> str | None:
    """Return the GPU that would be used."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return "Apple (mps)" if torch.backends.mps.is_available() else None


def version_of(package: str) -> str | None:
    """Return a package's version; None where it isn't installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def in_words(machine: dict[str, Any]) -> str:
    """Return `describe`'s values as one line."""
    features = ", ".join(machine["features"]) or "none of the features looked for"
    versions = ", ".join(f"{name} {number or '–'}" for name, number in machine["versions"].items())
    gpu = f"GPU {machine['gpu']}" if machine["gpu"] else "no GPU"
    return (
        f"{machine['cpu']} ({features}); {gpu}; {machine['cores']} cores, torch starts {machine['threads']} threads; "
        f"{versions}"
    )
