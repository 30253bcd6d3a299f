"""The tree of the folders that have images."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from resnet50.etl.files import last_part
from resnet50.etl.source.folders import Folders
from resnet50.etl.source.words import (
    split_in,
    split_of,
    words_of,
)


@dataclass
class Node:
    """A folder: those below it that have images, and the numbers of the folders whose images are directly in it.

    Several folders of the same name below different parents may be joined in one node.
    """

    children: dict[str, "Node"] = field(default_factory=dict)
    here: list[int] = field(default_factory=list)
    images: int = 0
    names: int = 0
    """A sum of hashes of the images' names: equal for folders that show the same images."""

    def below(self) -> list[int]:
        """Return the numbers of all folders with images in this tree."""
        return [*self.here, *(number for child in self.children.values() for number in child.below())]


def tree_of(folders: Folders) -> Node:
    root = Node()
    counts = np.bincount(folders.number, minlength=len(folders.names))
    hashes = name_hashes(folders)
    for at, name in enumerate(folders.names):
        if counts[at] == 0:
            continue
        node = root
        node.images += int(counts[at])
        for part in name.split("/") if name else ():
            node = node.children.setdefault(part, Node())
            node.images += int(counts[at])
            node.names = (node.names + int(hashes[at])) % (1 << 64)
        node.here.append(at)
    return root


def name_hashes(folders: Folders) -> np.ndarray:
    """Return a sum of hashes of the images' names, without extension, for each folder."""
    sums = np.zeros(len(folders.names), dtype=np.uint64)
    if any("/" in name for name in folders.names):  # else no folder has folders that could show the same images
        stems = last_part(folders.files.paths.iloc[folders.images]).str.replace(r"\.[^.]*$", "", regex=True)
        np.add.at(sums, folders.number, pd.util.hash_array(stems.to_numpy(dtype=object)))
    return sums


def joined(nodes: Iterable[Node]) -> Node:
    """Join trees: folders of the same name become one."""
    nodes = list(nodes)
    names = sorted({name for node in nodes for name in node.children})
    return Node(
        {name: joined([node.children[name] for node in nodes if name in node.children]) for name in names},
        [number for node in nodes for number in node.here],
        sum(node.images for node in nodes),
        sum(node.names for node in nodes) % (1 << 64),
    )


def split_folder(name: str) -> str:
    """Return the split that a folder's name says in full or in a word: Training, seg_train, asl_alphabet_test."""
    words = words_of(name)
    return split_of(name) or (split_in(name) if len(words) < 6 else "")


def has_classes(node: Node) -> bool:
    """Return whether a tree has several folders with images side by side on some level."""
    while len(node.children) == 1:
        node = next(iter(node.children.values()))
    return len(node.children) > 1


def has_splits(node: Node) -> bool:
    """Return whether a tree begins with folders of different splits, one of which has class folders."""
    while len(node.children) == 1:
        node = next(iter(node.children.values()))
    splits = {split_folder(name) for name in node.children} - {""}
    return len(splits) > 1 and any(has_classes(child) for name, child in node.children.items() if split_folder(name))


def class_names(node: Node) -> set[str]:
    while len(node.children) == 1 and not node.here:
        child = next(iter(node.children.values()))
        if not child.children:
            break
        node = child
    return set(node.children)
