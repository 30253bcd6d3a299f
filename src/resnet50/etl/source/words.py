"""The words by which people name columns, folders and tables, and what each of them says."""

import re
from collections.abc import Iterable

SPLIT_NAMES = {
    "train": "train", "training": "train", "trn": "train", "tr": "train", "val": "val", "valid": "val",
    "validation": "val", "dev": "val", "eval": "val", "test": "test", "testing": "test", "tst": "test",
    "holdout": "test", "evaluation": "test",
}  # fmt: skip
"""Names of published splits, and the split that each means."""

SPLIT_WORDS = {name: split for name, split in SPLIT_NAMES.items() if len(name) > 2} | {
    "publictest": "val",
    "privatetest": "test",
}
"""Words that name a split within a longer name: seg_train, trainLabels, asl_alphabet_test."""

UNLABELED_WORDS = {
    "unlabeled",
    "unlabelled",
    "unlabel",
    "nolabel",
    "unsup",
    "unsupervised",
    "pred",
    "prediction",
    "predictions",
    "predict",
    "submission",
}
"""Words that name images without labels."""

ID_NAMES = {
    "image_id", "image", "image_name", "image_path", "image_file", "imageid", "img", "img_id", "img_name", "img_path",
    "id", "id_code", "file", "file_name", "filename", "file_path", "filepath", "filepaths", "path", "paths",
    "image_index", "photo", "picture", "name", "url", "uuid",
}  # fmt: skip

LABEL_NAMES = (
    {"label", "labels", "class", "classes", "class_name", "classname", "class_label", "label_name", "category",
     "target", "targets", "y", "category_name", "ground_truth", "gt"},
    {"class_id", "classid", "class_idx", "class_index", "label_id", "label_idx", "labelid", "category_id",
     "categoryid", "class_num"},
    {"species", "breed", "diagnosis", "dx", "level", "choice", "tags", "tag", "finding_labels", "finding_label",
     "disease", "emotion", "finding", "findings", "expression", "grade", "condition", "pathology", "variety",
     "attribute", "attributes"},
)  # fmt: skip
"""Names of columns with labels: what says so, numbers of classes, what labels often are."""

ANY_LABEL_NAME = frozenset[str]().union(*LABEL_NAMES)

CIRCUMSTANCES = {
    "sex", "gender", "age", "race", "ethnicity", "site", "location", "country", "city", "date", "time", "year", "month",
    "season", "width", "height", "size", "view", "position", "source", "device", "camera", "scanner", "hospital",
    "license", "licence", "author", "photographer", "annotator", "quality", "weight", "color", "colour", "kids",
}  # fmt: skip
"""Words in the names of columns that say how, when and of whom an image was taken: rarely what it shows."""

GROUP_NAMES = {
    "patient", "subject", "lesion", "user", "sender", "person", "series", "study", "case", "participant", "animal",
    "driver", "individual", "video", "sequence", "track", "scene", "session", "specimen", "slide",
}  # fmt: skip
"""Words in the names of columns that say whose image it is."""

SPLIT_COLUMNS = {
    "split", "set", "subset", "fold", "data_set", "dataset", "usage", "partition", "phase", "part", "mode", "purpose",
    "group", "type", "split_name", "image_set", "ml_use", "stage",
}  # fmt: skip
"""Names of columns that may hold a published split, where all values are names of splits."""

AUXILIARY = {
    "mask", "masks", "msk", "msks", "segmentation", "segmentations", "segmentation_masks", "segmented_masks",
    "ground_truth", "groundtruth", "gt", "annotation", "annotations", "trimap", "trimaps", "depth", "heatmap",
    "heatmaps", "overlay", "overlays", "bbox", "bboxes", "boxes", "thumbnail", "thumbnails", "thumb", "thumbs",
    "preview", "previews", "saliency",
}  # fmt: skip
"""Folders that hold something made for each image: not images to classify where these are there as well."""

STORAGE = {
    "images", "image", "imgs", "img", "jpg", "jpgs", "jpeg", "jpegs", "png", "pngs", "tif", "bmp", "photos", "photo",
    "pictures", "pics", "data", "dataset", "raw", "original", "originals", "media", "upload", "uploads", "files",
    "all_images", "input",
}  # fmt: skip
"""Folders whose name says only that images are in it."""

SINGULAR = {"image", "photo", "raw", "original"}
"""Those of them that may be classes: image beside text, photo beside sketch, original beside forged."""

CLUTTER = {"docs", "doc", "documentation", "assets", "screenshots", "figures", "scripts", "notebooks"}
"""Folders of what comes with data: their images explain it."""

RENDERINGS = {
    "color", "colour", "gray", "grey", "grayscale", "greyscale", "rgb", "hsv", "segmented", "cropped", "crop",
    "crops", "resized", "augmented", "original", "originals", "raw", "processed", "preprocessed", "normalized",
    "enhanced", "small", "large", "hd",
}  # fmt: skip
"""Folders that hold one way to show the same images."""

PARTS = {
    "part", "images", "image", "imgs", "img", "batch", "chunk", "fold", "shard", "subset", "volume", "disk",
    "archive", "data", "dataset", "folder", "photos", "pictures", "split", "cv", "block", "section", "page", "group",
    "set", "kfold", "partition",
}  # fmt: skip
"""Words before a number that make a folder a part of the data: part_1, images_003, fold2."""


def normalized(name: str) -> str:
    """Write a name in the form of this module's sets: 'Image Index' is image_index."""
    return re.sub(r"[\s\-./]+", "_", name.strip()).lower()


def words_of(name: str) -> list[str]:
    """Split a name into lower-case words: 'trainLabels_v2' is train, labels, v, 2."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return [word.lower() for word in re.findall(r"[A-Za-z]+|\d+", spaced)]


def split_of(name: str) -> str:
    """Return the split that a name says in full: 'Training' is train; "" for other names."""
    return SPLIT_NAMES.get(normalized(name), "")


def split_in(name: str) -> str:
    """Return the split that a word of a name says: 'seg_train' is train; "" for none, or for several."""
    words = [name.lower()] if name.lower() in SPLIT_WORDS else words_of(name)  # 'PublicTest' is one word
    found = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else ""


def is_unlabeled(name: str) -> bool:
    return any(word in UNLABELED_WORDS for word in words_of(name))


def is_part(name: str) -> bool:
    """Return whether a folder's name says that it holds a part of the images: part_1, HAM10000_images_part_2, fold3."""
    words = words_of(name)
    return len(words) > 1 and words[-1].isdigit() and words[-2] in PARTS


def is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", text) is not None


def is_id_like(names: Iterable[str]) -> bool:
    """Return whether names look like numbers, dates or ids rather than words: most have digits, and few are alike."""
    names = list(names)
    return sum(any(c.isdigit() for c in name) for name in names) >= 0.9 * len(names)


def shorten(names: Iterable[str], shown: int = 5) -> str:
    """Join some names for a message: 'a, b, c and 12 more'."""
    names = list(names)
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
