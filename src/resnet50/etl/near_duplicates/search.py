"""Candidates for near-duplicates among many images, without comparing all pairs.

Hashes are sorted, and a hash is compared with its neighbors: those that share its first bits. A pair that differs in an
early bit is missed, so this is done for several orders of the bits (Charikar 2002, Similarity Estimation Techniques
from Rounding Algorithms). However alike the images are, the number of comparisons is proportional to their number.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resnet50.etl.near_duplicates.hashing import (
    BITS,
    CROPS,
    MIRRORED,
    Floats,
    Hashes,
    crop_frequencies,
    hashes_of,
    whole_frequencies,
)
from resnet50.etl.near_duplicates.tangents import refined_correlation
from resnet50.runtime.console import progress
from resnet50.runtime.cpu import available_cores

ORDERS = 8
"""Orders of the bits in which hashes are sorted."""

NEIGHBORS = 2
"""Hashes compared on either side, in each order."""

MAX_DISTANCE = 8
"""Bits, of 44, in which the hashes of a candidate may differ."""

MIN_CORRELATION, MIN_REFINED = 0.85, 0.955
"""Correlation of the frequencies that a candidate must have, with a crop as it is and moved to where it fits best."""

MAX_PER_IMAGE = 16
"""Candidates kept of each image: the most similar ones."""

CHUNK = 512
"""Images looked up at a time."""

PRIOR = 200
"""Images whose mean frequencies are taken as zero are worth as many as this when a mean is computed."""


class Candidates(NamedTuple):
    """Pairs of images that may show the same, most similar first.

    Attributes:
        image: the one of which a crop was compared, by index.
        other: the one that was compared as a whole.
        crop: index into `CROPS`.
        mirrored: whether `other` was mirrored.
        correlation: of their weighted frequencies.
    """

    image: NDArray[np.int64]
    other: NDArray[np.int64]
    crop: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    correlation: Floats

    def take(self, rows: NDArray[np.int64]) -> "Candidates":
        return Candidates(
            self.image[rows], self.other[rows], self.crop[rows], self.mirrored[rows], self.correlation[rows]
        )


class Index:
    """The hashes of all images and their mirror images, sorted by several orders of their bits.

    Where all images resemble each other, as X-rays do, signs say little: bits say instead whether a frequency is above
    its mean over the images.

    Args:
        thumbnails: uint8, N×16×16.
    """

    def __init__(self, thumbnails: NDArray[np.uint8]) -> None:
        self.thumbnails, self.count = thumbnails, len(thumbnails)
        parts = [whole_frequencies(thumbnails[start : start + CHUNK])[:, 0] for start in self.starts()]
        self.whole = np.concatenate(parts)
        self.mean = (self.whole.sum(axis=0, dtype=np.float64) / (self.count + PRIOR)).astype(np.float32)
        self.hashes = np.concatenate([hashes_of(self.whole, self.mean), hashes_of(self.whole * MIRRORED, self.mean)])
        rng = np.random.default_rng(0)
        self.tables = [bit_order(rng.permutation(BITS)) for _ in range(ORDERS)]
        self.sorted = [self.sort(table) for table in self.tables]

    def starts(self) -> range:
        return range(0, self.count, CHUNK)

    def sort(self, table: Hashes) -> tuple[Hashes, NDArray[np.int32]]:
        reordered = reorder(self.hashes, table)
        order = np.argsort(reordered, kind="stable")
        return reordered[order], order.astype(np.int32)

    def search(self, start: int) -> Candidates:
        """Return the candidates of a chunk of images."""
        frequencies = crop_frequencies(self.thumbnails[start : start + CHUNK])
        queries = hashes_of(frequencies, self.mean).ravel()
        found = np.unique(np.concatenate(list(self.neighbors(queries, start))))
        query, entry = np.divmod(found, 2 * self.count)
        image, crop = np.divmod(query, len(CROPS))
        mirrored, other = np.divmod(entry, self.count)
        whole = self.whole[other] * np.where(mirrored[:, np.newaxis], MIRRORED, np.float32(1))
        correlation = (frequencies[image, crop] * whole).sum(axis=1)
        candidates = Candidates(start + image, other, crop, mirrored > 0, correlation)
        candidates = most_similar(candidates.take(np.flatnonzero(correlation >= MIN_CORRELATION)))
        refined = self.refine(candidates)
        return candidates._replace(correlation=refined).take(np.flatnonzero(refined >= MIN_REFINED))

    def refine(self, found: Candidates) -> Floats:
        whole = self.whole[found.other] * np.where(found.mirrored[:, np.newaxis], MIRRORED, np.float32(1))
        return refined_correlation(self.thumbnails[found.image], found.crop, whole)

    def neighbors(self, queries: Hashes, start: int) -> Iterator[NDArray[np.int64]]:
        """Yield query × 2N + entry for every entry of the index that is close to a query, other than its own image."""
        own = start + np.arange(len(queries)) // len(CROPS)
        for table, (values, order) in zip(self.tables, self.sorted, strict=True):
            at = np.searchsorted(values, reorder(queries, table))
            for offset in range(-NEIGHBORS, NEIGHBORS):
                entry = order[(at + offset).clip(0, len(order) - 1)]
                distance = np.bitwise_count(self.hashes[entry] ^ queries)
                near = np.flatnonzero((distance <= MAX_DISTANCE) & (entry % self.count != own))
                yield near * (2 * self.count) + entry[near]


def bit_order(order: NDArray[np.int64]) -> Hashes:
    """Return the table by which `reorder` moves bit `order[i]` to bit i: the new bits of every value of each byte."""
    table = np.zeros((8, 256), np.uint64)
    values = np.arange(256)
    for new, old in enumerate(order.tolist()):
        byte, bit = divmod(old, 8)
        table[byte] |= (values >> (7 - bit) & 1).astype(np.uint64) << np.uint64(63 - new)
    return table


def reorder(hashes: Hashes, table: Hashes) -> Hashes:
    content = hashes.astype(">u8").view(np.uint8).reshape(-1, 8)
    result = np.zeros(len(hashes), np.uint64)
    for byte in range(-(-BITS // 8)):
        result |= table[byte][content[:, byte]]
    return result


def most_similar(candidates: Candidates) -> Candidates:
    """Keep the best crop for each image, other image and mirroring, and the `MAX_PER_IMAGE` best of each image."""
    image, other, _, mirrored, correlation = candidates
    order = np.lexsort((-correlation, mirrored, other, image))
    pair = np.column_stack([image, other, mirrored])[order]
    candidates = candidates.take(order[np.append(True, (pair[1:] != pair[:-1]).any(axis=1))[: len(order)]])
    order = np.lexsort((candidates.other, -candidates.correlation, candidates.image))
    owner = candidates.image[order]
    rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
    return candidates.take(order[rank < MAX_PER_IMAGE])


def find_candidates(thumbnails: NDArray[np.uint8]) -> Candidates:
    """Return the pairs of images that may show the same, most similar first.

    Args:
        thumbnails: uint8, N×16×16, as `stack` returns them.
    """
    if len(thumbnails) < 2:
        nothing = np.zeros(0, np.int64)
        return Candidates(nothing, nothing, nothing, nothing > 0, nothing.astype(np.float32))
    parts: list[Candidates] = []
    # One thread per product: more would compete with the other chunks.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(available_cores()) as pool:
        index = Index(thumbnails)
        with progress("comparing hashes", index.count, "images") as advance:
            for start, found in zip(index.starts(), pool.map(index.search, index.starts()), strict=True):
                parts.append(found)
                advance(min(CHUNK, index.count - start))
    found = Candidates(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    return found.take(np.lexsort((found.mirrored, found.other, found.image, -found.correlation)))
