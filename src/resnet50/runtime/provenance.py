"""Provenance of results: file hashes, software versions, atomic JSON files."""

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from resnet50.runtime.atomic import atomic_write


def sha256_of_file(path: str | Path) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(values: dict[str, Any], path: Path) -> None:
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    packages = ("resnet50", "torch", "torchvision", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
