"""Finding near-duplicates: hashes, candidates, confirmation."""

import numpy as np

from resnet50.etl.near_duplicates.confirm import Images, NearDuplicate, confirm
from resnet50.etl.near_duplicates.hashing import is_flat, stack
from resnet50.etl.near_duplicates.search import find_candidates


def find_near_duplicates(thumbnails: list[bytes], images: Images) -> list[NearDuplicate]:
    """Return pairs of images that show the same, most similar first; pairs that follow from others are left out.

    Images of nearly one gray have nothing to compare and are in no pair.

    Args:
        thumbnails: of all images, as `thumbnail` returns them.
        images: returns the pixels of an image by its index, at full size or smaller.
    """
    stacked = stack(thumbnails)
    usable = np.flatnonzero(~is_flat(stacked))
    found = find_candidates(stacked[usable])
    found = found._replace(image=usable[found.image], other=usable[found.other])
    return confirm(found, images, len(stacked))
