"""`resnet50 check`: is a prepared dataset still what was written, and its photos what they were?"""

from concurrent.futures import ThreadPoolExecutor

from resnet50.etl.prepared import PreparedDataset, load_prepared
from resnet50.etl.store import PixelStore, megabytes, open_store
from resnet50.options import CheckOptions
from resnet50.runtime.console import progress, say
from resnet50.runtime.cpu import available_cores
from resnet50.runtime.errors import UserError
from resnet50.runtime.provenance import sha256_of_file

MOST_NAMED = 10
"""So many faults are named, the others counted."""


def check(options: CheckOptions) -> None:
    """Verify a prepared dataset by its hashes and say that it is sound.

    Raises:
        UserError: what is damaged, changed or missing.
    """
    dataset = load_prepared(options.dataset)  # verifies manifest and description by the fingerprint
    say(f"manifest: {len(dataset.manifest):,} images of {len(dataset.classes):,} classes, fingerprint as written")
    wrong: list[str] = []
    store = open_store(options.dataset)
    if store is None:
        say("pixel store: none")
    else:
        wrong += check_store(dataset, store)
    if options.images:
        wrong += check_images(dataset)
    if wrong:
        more = f"; and {len(wrong) - MOST_NAMED:,} more" if len(wrong) > MOST_NAMED else ""
        raise UserError(f"{'; '.join(wrong[:MOST_NAMED])}{more}. Prepare the dataset again")
    say("sound")


def check_store(dataset: PreparedDataset, store: PixelStore) -> list[str]:
    """Compare every shard with its hash, and look for every image of the manifest."""
    store.photos(dataset.manifest)
    with progress("checking the pixel store", store.bytes, "bytes") as advance:
        wrong = store.verify(advance)
    if not wrong:
        say(f"pixel store: {len(store.index):,} photos, {megabytes(store.bytes)}, every shard as written")
    return wrong


def check_images(dataset: PreparedDataset) -> list[str]:
    """Compare every image file with the hash it had when the dataset was prepared."""
    paths, hashes = dataset.manifest["path"], dataset.manifest["sha256"]
    wrong: list[str] = []
    with ThreadPoolExecutor(available_cores()) as pool, progress("checking images", len(paths), "images") as advance:
        for path, expected, found in zip(paths, hashes, pool.map(hash_or_nothing, paths), strict=True):
            if found != expected:
                wrong.append(f"{path} {'has changed' if found else 'can no longer be read'}")
            advance()
    if not wrong:
        say(f"image files: {len(paths):,}, every one as it was")
    return wrong


def hash_or_nothing(path: str) -> str:
    """Return the SHA-256 of a file, or nothing if it can't be read."""
    try:
        return sha256_of_file(path)
    except OSError:
        return ""
