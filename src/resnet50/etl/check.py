"""`resnet50 check`: verify a prepared dataset against its hashes."""

from concurrent.futures import ThreadPoolExecutor

from resnet50.etl.prepared import PreparedDataset, load_prepared
from resnet50.etl.store import PixelStore, format_bytes, open_store
from resnet50.options import CheckOptions
from resnet50.runtime.console import progress, say
from resnet50.runtime.cpu import available_cores
from resnet50.runtime.errors import UserError
from resnet50.runtime.provenance import sha256_of_file

MAX_LISTED = 10
"""Problems listed in full; the rest are counted."""


def check(options: CheckOptions) -> None:
    """Verify a prepared dataset by its hashes and print the result.

    Raises:
        UserError: lists what is damaged, changed or missing.
    """
    dataset = load_prepared(options.dataset)  # verifies manifest and description against the fingerprint
    say(f"manifest: {len(dataset.manifest):,} images of {len(dataset.classes):,} classes, fingerprint matches")
    problems: list[str] = []
    store = open_store(options.dataset)
    if store is None:
        say("pixel store: none")
    else:
        problems += check_store(dataset, store)
    if options.images:
        problems += check_images(dataset)
    if problems:
        more = f"; and {len(problems) - MAX_LISTED:,} more" if len(problems) > MAX_LISTED else ""
        raise UserError(f"{'; '.join(problems[:MAX_LISTED])}{more}. Prepare the dataset again")
    say("the dataset is intact")


def check_store(dataset: PreparedDataset, store: PixelStore) -> list[str]:
    store.images(dataset.manifest)  # raises if one is missing
    with progress("checking the pixel store", store.bytes, "bytes") as advance:
        problems = store.verify(advance)
    if not problems:
        say(f"pixel store: {len(store.index):,} images, {format_bytes(store.bytes)}, every shard matches its hash")
    return problems


def check_images(dataset: PreparedDataset) -> list[str]:
    paths, hashes = dataset.manifest["path"], dataset.manifest["sha256"]
    problems: list[str] = []
    with ThreadPoolExecutor(available_cores()) as pool, progress("checking images", len(paths), "images") as advance:
        for path, expected, found in zip(paths, hashes, pool.map(hash_or_empty, paths), strict=True):
            if found != expected:
                problems.append(f"{path} {'has changed' if found else 'can no longer be read'}")
            advance()
    if not problems:
        say(f"image files: {len(paths):,}, every file matches its hash")
    return problems


def hash_or_empty(path: str) -> str:
    """Return the SHA-256 of a file, "" if it can't be read."""
    try:
        return sha256_of_file(path)
    except OSError:
        return ""
