"""Clusters of images that are connected by pairs."""

import numpy as np
from numpy.typing import NDArray


class Forest:
    """A union-find forest; the root of a cluster is its first member."""

    def __init__(self, count: int) -> None:
        self.parent = list(range(count))

    def root(self, member: int) -> int:
        parent = self.parent
        while parent[member] != member:
            parent[member] = member = parent[parent[member]]
        return member

    def join(self, one: int, other: int) -> bool:
        """Join the clusters of two members; False if they are the same already."""
        first, second = sorted((self.root(one), self.root(other)))
        self.parent[second] = first
        return first != second

    def roots(self) -> NDArray[np.int64]:
        """Return the first member of each member's cluster."""
        return np.array([self.root(member) for member in range(len(self.parent))], dtype=np.int64)
