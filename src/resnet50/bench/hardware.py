"""Description of the machine: processor and instruction sets, GPU, cores, threads, versions."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from resnet50.runtime.cpu import available_cores

PACKAGES = ("torch", "torchvision", "numpy", "simplejpeg", "opencv-python-headless", "openvino", "pillow")

FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "bf16", "sve",
)  # fmt: skip
"""Instruction sets that matter for the speed of a network, as the operating system names them."""


def describe() -> dict[str, Any]:
    """Return cpu, features, gpu (None if there is none), cores, threads (torch's default) and versions."""
    import torch

    fields = processor()
    return {
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "features": [name for name in FEATURES if name in fields.get("flags", fields.get("Features", "")).split()],
        "gpu": gpu_name(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()} | {name: version_of(name) for name in PACKAGES},
    }


def processor() -> dict[str, str]:
    """Return the fields of the first processor in /proc/cpuinfo; empty on systems without it."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def gpu_name() -> str | None:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return "Apple (mps)" if torch.backends.mps.is_available() else None


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def format_machine(machine: dict[str, Any]) -> str:
    """Format the values of `describe` as one line."""
    features = ", ".join(machine["features"]) or "no relevant instruction sets"
    versions = ", ".join(f"{name} {number or '–'}" for name, number in machine["versions"].items())
    gpu = f"GPU {machine['gpu']}" if machine["gpu"] else "no GPU"
    return (
        f"{machine['cpu']} ({features}); {gpu}; {machine['cores']} cores, torch starts {machine['threads']} threads; "
        f"{versions}"
    )
