"""Which level of a tree of folders is the class, and which are splits, parts, wrappers, renderings."""

import re
from collections.abc import Iterable

from resnet50.etl.source.class_folders import FolderReading, by_children, excluding, has_word, joined_choices
from resnet50.etl.source.folders import Folders
from resnet50.etl.source.split_folders import joined_splits, other_names, own_words
from resnet50.etl.source.tree import Node, class_names, has_classes, has_splits, joined, split_folder, tree_of
from resnet50.etl.source.words import (
    AUXILIARY,
    CLUTTER,
    RENDERINGS,
    SINGULAR,
    SPLIT_WORDS,
    STORAGE,
    is_id_like,
    is_part,
    is_unlabeled,
    normalized,
    shorten,
    words_of,
)

MINOR = 0.05
"""Share of the images below which a folder of another shape beside splits is passed over."""


SHARED = 0.8
"""Share of the images in folders whose names turn up below several others; from here on they are the classes."""


def read_folders(folders: Folders) -> list[FolderReading]:
    """Return the ways to read the folders as classes, likeliest first; [] if no level can be the class."""
    readings = interpret(tree_of(folders), "")
    return [
        FolderReading(
            r.label, r.published, r.level, r.choice if len(readings) > 1 else {}, (*folders.notes, *r.notes), r.weak
        )
        for r in readings
        if len(set(r.label.values())) > 1 or len(readings) == 1
    ]


def interpret(node: Node, above: str) -> list[FolderReading]:
    """Read one tree: take off wrappers, then splits, then find the level of the classes.

    Args:
        node: the tree.
        above: a regular expression for the folders above it, for --label-pattern.
    """
    node, above, notes = unwrap(node, above)
    splits = {name: split for name in node.children if (split := split_folder(name))}
    deep = {name for name, child in node.children.items() if has_classes(child)}
    known = set[str]().union(*(class_names(node.children[name]) for name in deep & splits.keys()))
    deep |= {name for name in splits if class_names(node.children[name]) & known}  # train/ with one class of test/'s
    if any(name in deep for name in splits):
        readings = read_splits(node, splits, deep, above)
    elif only_splits(splits, node.children):
        return []  # train/ and test/ with images directly in them
    else:
        readings = read_levels(node, above)
    return [FolderReading(r.label, r.published, r.level, r.choice, (*notes, *r.notes), r.weak) for r in readings]


def only_splits(splits: dict[str, str], names: Iterable[str]) -> bool:
    """Return whether folders without class folders are splits: not training_fake and training_real, which differ."""
    several = len(set(splits.values())) > 1
    return several or (len(splits) == 1 and all(name in splits or is_unlabeled(name) for name in names))


def unwrap(node: Node, above: str) -> tuple[Node, str, list[str]]:
    """Go down through folders that have all images, or nearly all, in one folder with folders of its own."""
    notes: list[str] = []
    while node.children:
        name, child = max(node.children.items(), key=lambda item: item[1].images)
        alone = len(node.children) == 1 and not node.here
        nearly = child.images >= (1 - MINOR) * node.images and has_classes(child) and len(node.children) == 1
        if not alone and not nearly:
            break
        if node.here and not alone:
            notes.append(f"not used: {node.images - child.images:,} images beside {name}/")
        if not child.children:
            break
        node, above = child, f"{above}{re.escape(name)}/"
    return node, above, notes


def read_splits(node: Node, splits: dict[str, str], deep: set[str], above: str) -> list[FolderReading]:
    """Read split folders that have class folders; what is beside them has no labels, or raises a question."""
    used = [name for name in splits if name in deep]
    classes = {name: class_names(node.children[name]) for name in node.children if name in deep}
    known = set[str]().union(*(classes[name] for name in used))
    flat = [name for name in node.children if name not in deep]
    other = [name for name in node.children if name in deep and name not in splits]
    notes: list[str] = []
    unknown: list[str] = []
    if flat or node.here:
        beside = [*(f"{name}/" for name in flat), *(["images beside them"] if node.here else [])]
        notes.append(f"not used: {shorten(beside)} (no class folders in it, so no labels)")
    for name in other:
        if node.children[name].images < MINOR * node.images and not classes[name] & known:
            notes.append(f"not used: {name}/ (other folders than in {used[0]}/)")
        else:
            unknown.append(f"{name}/*" if not above else f"*/{name}/*")
    choice = {"exclude": ",".join(unknown)} if unknown else {}
    inner = {name: interpret(node.children[name], f"{above}{re.escape(name)}/") for name in used}
    labels = {label for readings in inner.values() for reading in readings[:1] for label in reading.label.values()}
    for name in used:  # a split with one class: train/good beside test/good and test/broken
        if not inner[name] and splits[name] != "test" and class_names(node.children[name]) & labels:
            inner[name] = [by_children(node.children[name].children, f"{above}{re.escape(name)}/", [])]
    inner = {name: readings for name, readings in inner.items() if readings}
    if not inner:
        return []
    ways = joined_splits(inner, len({splits[name] for name in inner}) > 1, choice, notes)
    if len(ways) == 1 and not choice:
        ways = other_names(ways[0], inner, above) or ways
    if choice:  # a folder of unknown standing: with and without it
        extra = [reading for name in other for reading in interpret(node.children[name], f"{above}{re.escape(name)}/")]
        every = {"label_pattern": "([^/]+)/[^/]+$"}
        ways += [FolderReading(ways[0].label | r.label, {}, "with every folder", every) for r in extra[:1]]
    if len({splits[name] for name in used}) == 1 and (choice or len({own_words(name) for name in used}) > 1):
        ways += read_levels(node, above)  # train/ beside bus/ and car/, or training_fake/ beside training_real/
    return ways


def read_levels(node: Node, above: str) -> list[FolderReading]:
    """Find the level of the classes in a tree without split folders on top."""
    children = dict(node.children)
    notes: list[str] = []
    if node.here and children:
        notes.append("not used: images beside the class folders")
    if len(children) < 2:
        return []
    without, said = without_aside(children)
    if said:
        inner = interpret(Node(without, [], sum(child.images for child in without.values())), above)
        return [FolderReading(r.label, r.published, r.level, r.choice, (*said, *r.notes), r.weak) for r in inner]
    plain = {
        name
        for name in children
        if normalized(name) in RENDERINGS | STORAGE or set(words_of(name)) <= RENDERINGS | STORAGE
    }
    if same_images(children) and not any(map(has_word, children)):
        return renderings(children, above)
    if all(is_part(name) for name in children):
        inner = interpret(joined(children.values()), f"{above}[^/]+/")
        said = f"read together: {shorten(children)}"
        return [FolderReading(r.label, r.published, r.level, r.choice, (said, *r.notes)) for r in inner]
    if len(plain) == len(children):
        return renderings(children, above)
    named = {name: child for name, child in children.items() if has_classes(child) or not is_container(name)}
    if len(named) < len(children) and len({normalized(name) for name in children} - RENDERINGS - STORAGE) > 0:
        beside = shorten([f"{name}/" for name in children if name not in named])
        notes.append(f"not used: {beside} (no class by its name)")
        inner = interpret(Node(named, [], sum(child.images for child in named.values())), above) if named else []
        further = with_storage(children, named, above)
        choices = [r.choice for r in inner]
        if further:
            aside = excluding((name for name in children if name not in named), above)
            choices = [joined_choices(aside, r.choice if len(inner) > 1 else {}) for r in inner]
        ways = [
            FolderReading(r.label, r.published, r.level, choice, (*notes, *r.notes), r.weak)
            for r, choice in zip(inner, choices, strict=True)
        ]
        return [*ways, *further]
    if is_hashed(children):
        merged, folders = below_hashed(Node(children))
        inner = interpret(merged, above + folders) if merged.children else []
        return [r for r in inner if not all(is_hash(name) for name in set(r.label.values()))]
    if all(not child.children for child in children.values()):
        return [by_children(children, above, notes)]
    return read_nested(children, above, notes)


def with_storage(children: dict[str, Node], named: dict[str, Node], above: str) -> list[FolderReading]:
    """Return the reading in which `image` beside `text` and `table` is a class, where its images are no fewer."""
    aside = {name: child for name, child in children.items() if name not in named and normalized(name) in SINGULAR}
    flat = not any(child.children for child in children.values())
    fewest = min((child.images for child in named.values()), default=0)
    if not flat or not aside or not named or any(2 * child.images < fewest for child in aside.values()):
        return []
    return [by_children({**named, **aside}, above, [])]


def is_hash(name: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{1,2}", name) is not None


def is_hashed(children: dict[str, Node]) -> bool:
    """Return whether folders spread images by the first characters of their names: 3/c/1/3c13426b41c3c79a.jpg."""
    below = [name for child in children.values() for name in child.children]
    letters = any(name.isalpha() for name in (*children, *below))
    return letters and all(map(is_hash, (*children, *below))) and all(child.children for child in children.values())


def below_hashed(node: Node) -> tuple[Node, str]:
    """Return what is below the levels of such folders, and a regular expression for them."""
    above = ""
    while node.children and all(map(is_hash, node.children)):
        node, above = joined(node.children.values()), f"{above}[^/]+/"
    return node, above


def is_container(name: str) -> bool:
    """Return whether a folder's name says what it holds, not a class: images, masks, unlabeled, test_images.

    A folder called train beside classes is one of them, for images to train on have labels.
    """
    words = set(words_of(name))
    test = split_folder(name) == "test" and words <= STORAGE | SPLIT_WORDS.keys()
    return normalized(name) in STORAGE | AUXILIARY | CLUTTER or is_unlabeled(name) or test


def without_aside(children: dict[str, Node]) -> tuple[dict[str, Node], list[str]]:
    """Set aside folders without class folders that are unlabeled by their name, or hold a rendering of other images."""
    words = RENDERINGS | STORAGE | AUXILIARY
    aside = [
        name
        for name, child in children.items()
        if not has_classes(child) and (is_unlabeled(name) or (set(words_of(name)) <= words))
    ]
    if not aside or not any(has_classes(child) for child in children.values()):
        return children, []
    kept = {name: child for name, child in children.items() if name not in aside}
    return kept, [f"not used: {shorten([f'{name}/' for name in aside])} (no class folders in it, so no labels)"]


def same_images(children: dict[str, Node]) -> bool:
    """Return whether a few folders with class folders hold images of the same names: 256/cat/1.jpg, 512/cat/1.jpg."""
    shown = {(child.images, child.names, *sorted(child.children)) for child in children.values()}
    return 2 <= len(children) <= 4 and len(shown) == 1 and all(has_classes(child) for child in children.values())


def renderings(children: dict[str, Node], above: str) -> list[FolderReading]:
    """Read each of several folders that show the same images (color, grayscale) by itself."""
    ways: list[FolderReading] = []
    for name, child in sorted(children.items(), key=lambda item: -item[1].images):
        inner = interpret(child, f"{above}{re.escape(name)}/")
        others = [other for other in children if other != name]
        for reading in inner:
            level = f"the images in {name}/" + (f", {reading.level}" if len(inner) > 1 else "")
            choice = joined_choices(excluding(others, above), reading.choice if len(inner) > 1 else {})
            ways.append(FolderReading(reading.label, reading.published, level, choice, reading.notes))
    return ways


def read_nested(children: dict[str, Node], above: str, notes: list[str]) -> list[FolderReading]:
    """Decide between the folders of a level and those below them, where some have folders of their own."""
    split = [name for name, child in children.items() if has_splits(child)]
    if len(split) == 1 and not any(has_classes(child) for name, child in children.items() if name != split[0]):
        beside = shorten([f"{name}/" for name in children if name != split[0]])
        said = (*notes, f"not used: {beside} (no class folders in it, so no labels)")
        inner = interpret(children[split[0]], f"{above}{re.escape(split[0])}/")
        return [FolderReading(r.label, r.published, r.level, r.choice, (*said, *r.notes), r.weak) for r in inner]
    single = {next(iter(child.children)) for child in children.values() if len(child.children) == 1 and not child.here}
    alike = len(single) == 1 and all(len(child.children) == 1 for child in children.values())
    inner, between = {}, set[str]()
    for name, child in children.items():
        inner[name], through = unwrap_storage(child, alike)
        between |= through
    nested = {name: child for name, child in inner.items() if child.children}
    below: dict[str, int] = {}
    for child in nested.values():
        for name in child.children:
            below[name] = below.get(name, 0) + 1
    if not nested:
        return [by_children(children, above, notes)]
    if all(split_folder(name) for name in below) and len({split_folder(name) for name in below}) > 1:
        return splits_below(children, inner, above, notes)
    if all(is_aside(name) for name in below):  # class/images beside class/masks
        return [by_children(children, above, notes)]
    total = sum(child.images for child in nested.values())
    shared = sum(grand.images for child in nested.values() for name, grand in child.children.items() if below[name] > 1)
    flat = [name for name in children if name not in nested]
    upper = by_children(children, above, notes, f"folders {shorten(sorted(children), 3)}")
    if sum(children[name].images for name in flat) > 0.5 * sum(c.images for c in children.values()):
        return [upper]
    each = (
        {name: interpret(child, f"{above}{re.escape(name)}/") for name, child in children.items()}
        if len(children) < 10
        else {}
    )
    if len(nested) == len(children) > 1 and are_collections([readings for readings in each.values() if readings]):
        return renderings(children, above)
    said = (
        [*notes, f"not used: {shorten([f'{name}/' for name in flat])} (no class folders in it, so no labels)"]
        if flat
        else notes
    )
    lower = [
        FolderReading(r.label, r.published, f"folders {shorten(sorted(below), 3)}", r.choice, (*said, *r.notes))
        for r in read_below(nested, f"{above}[^/]+/{optional(between)}")
    ]
    if shared >= SHARED * total:
        return choose_level(upper, lower, list(nested), list(below))
    if is_id_like(below) and not all(len(name) == 1 for name in children):  # class/subject, each subject in one class
        return [upper]
    paths = [
        FolderReading(upper.label, {}, "all folders below together", {"label_pattern": f"^{above}[^/]+/(.+)/[^/]*$"})
    ]
    several = any(has_classes(grand) for child in nested.values() for grand in child.children.values())
    further = paths if several else []
    return [*lower, upper, *further] if all(len(name) == 1 for name in children) else [upper, *lower, *further]


def read_below(nested: dict[str, Node], above: str) -> list[FolderReading]:
    """Read the folders of a level below `above`; if no class is among them by its name, all of them are classes."""
    below = joined(nested.values())
    return interpret(below, above) or ([by_children(below.children, above, [])] if len(below.children) > 1 else [])


def are_collections(each: list[list[FolderReading]]) -> bool:
    """Return whether folders are data sets of the same classes of which only some have published splits."""
    classes = [set(readings[0].label.values()) for readings in each]
    published = [bool(readings[0].published) for readings in each]
    return (
        len(each) > 1
        and all(one == classes[0] for one in classes)
        and any(published)
        and (not all(published) or len(each) > 1)
    )


def choose_level(
    upper: FolderReading, lower: list[FolderReading], names: list[str], below: list[str]
) -> list[FolderReading]:
    """Choose between two levels whose lower names turn up below many of the upper ones.

    Years, patients and folds above names of classes are none, nor are classes below numbers with more digits
    (8863/0, 8863/1). All else is a question.
    """
    if not lower:
        return [upper]
    longer = min(map(len, names)) > max(2, *map(len, below)) and len(names) >= 2 * len(below)
    if all(is_part(name) for name in names) or (is_id_like(names) and (longer or not is_id_like(below))):
        return lower
    both = {"label_pattern": re.sub(r"\(\[\^/\]\+\)/$", "(.+)/[^/]*$", upper.choice.get("label_pattern", ""))}
    first = [upper, *lower] if is_id_like(below) else [*lower, upper]
    return [*first, FolderReading(upper.label, {}, "both levels together", both)]


def optional(names: set[str]) -> str:
    """Return a regular expression for folders that are passed through where they are: (?:images/)?."""
    return f"(?:(?:{'|'.join(map(re.escape, sorted(names)))})/)*" if names else ""


def unwrap_storage(node: Node, alike: bool) -> tuple[Node, set[str]]:
    """Go through a single folder below a class (class/images), and drop what is made from the images beside it.

    Also return the names of the folders that were gone through.

    Args:
        node: a class.
        alike: whether all classes have but one folder, of the same name.
    """
    through = set[str]()
    while True:
        children = {name: child for name, child in node.children.items() if normalized(name) not in AUXILIARY}
        if len(children) == 1 and not node.here and (alike or normalized(next(iter(children))) in STORAGE):
            through |= children.keys()
            node, alike = next(iter(children.values())), False
        else:
            return node, through


def is_aside(name: str) -> bool:
    return normalized(name) in STORAGE | AUXILIARY


def splits_below(
    children: dict[str, Node], inner: dict[str, Node], above: str, notes: list[str]
) -> list[FolderReading]:
    """Read class/train and class/test; where these have folders of their own, it is a question."""
    label: dict[int, str] = {}
    split: dict[int, str] = {}
    for name, child in inner.items():
        for part, grand in child.children.items():
            label |= dict.fromkeys(grand.below(), name)
            split |= dict.fromkeys(grand.below(), part)
    upper = FolderReading(
        label, split, f"folders {shorten(sorted(children), 3)}", {"label_pattern": f"^{above}([^/]+)/"}, tuple(notes)
    )
    deeper = [grand for child in inner.values() for grand in child.children.values() if has_classes(grand)]
    if not deeper:
        return [upper]
    lower = interpret(joined(inner.values()), f"{above}[^/]+/")
    return [upper, *lower]
