"""Text files and JSON that name images: of a split, or with a label."""

import json
from pathlib import Path

import numpy as np
import pytest

from resnet50.etl.files import FileIndex, list_files
from resnet50.etl.source.lists import ImageList, label_lists, published_by_lists, read_lists, split_of_list
from resnet50.runtime.errors import UserError

IMAGES = [f"images/{label}/{number}.jpg" for label in ("cat", "dog") for number in (1, 2, 3)]


def source(folder: Path, **files: str) -> FileIndex:
    """Make six empty images and some files beside them, whose names have a dot for '__'."""
    for path in IMAGES:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_text(content)
    return list_files(folder)


def named(files: FileIndex, one: ImageList) -> list[str]:
    return [files.paths[at] if at >= 0 else "" for at in one.file]


def by_path(lists: list[ImageList]) -> dict[tuple[str, str], ImageList]:
    return {(one.path, one.split): one for one in lists}


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train.txt", "train"),
        ("meta/val_list.txt", "val"),
        ("test1.txt", "test"),
        ("trainval.txt", "train"),
        ("train_val_list.txt", "train"),
        ("classes.txt", ""),
    ],
)
def test_split_of_a_list_is_in_its_name(path: str, split: str) -> None:
    assert split_of_list(path) == split


def test_list_of_names_alone_is_of_a_split(tmp_path: Path) -> None:
    files = source(
        tmp_path, train__txt="cat/1\ncat/2\n# a comment\n\ndog/1.jpg\n", test__txt="images/cat/3.jpg\ndog/3\n"
    )
    lists = by_path(read_lists(files))
    assert set(lists) == {("train.txt", "train"), ("test.txt", "test")}
    assert named(files, lists["train.txt", "train"]) == [IMAGES[0], IMAGES[1], IMAGES[3]]
    assert named(files, lists["test.txt", "test"]) == [IMAGES[2], IMAGES[5]]
    assert set(lists["test.txt", "test"].label) == {""}


@pytest.mark.parametrize("separator", ["\t", ",", ", ", ";", " ", "   "])
def test_list_may_have_a_label_behind_each_name(tmp_path: Path, separator: str) -> None:
    lines = [f"{path}{separator}{path.split('/')[1]}" for path in IMAGES]
    files = source(tmp_path, labels__txt="\n".join(lines))
    (one,) = read_lists(files)
    assert named(files, one) == IMAGES
    assert one.label == ("cat",) * 3 + ("dog",) * 3


def test_first_column_behind_the_name_is_the_label(tmp_path: Path) -> None:
    lines = [f"{path}\tn0{number}\t0\t0\t62\t62" for number, path in enumerate(IMAGES)]
    (one,) = read_lists(source(tmp_path, val_annotations__txt="\n".join(lines)))
    assert (one.split, one.label[:2]) == ("val", ("n00", "n01"))


def test_header_line_of_a_list_is_dropped(tmp_path: Path) -> None:
    files = source(
        tmp_path, labels__tsv="\n".join(["name\tkind", *(f"{path}\tx{at}" for at, path in enumerate(IMAGES * 3))])
    )
    (one,) = read_lists(files)
    assert named(files, one) == IMAGES * 3
    assert one.label[0] == "x0"


@pytest.mark.parametrize("text", ["cat\ndog\n", "just some words\nabout the data\n", "", "cat/9.jpg\ndog/9.jpg\n"])
def test_other_texts_are_no_lists(tmp_path: Path, text: str) -> None:
    assert read_lists(source(tmp_path, notes__txt=text)) == []


def test_binary_text_file_is_no_list(tmp_path: Path) -> None:
    files = source(tmp_path, train__txt="x")
    (tmp_path / "train.txt").write_bytes(b"\xff\xfe\x00")
    assert read_lists(files) == []


def test_nearest_image_of_a_name_is_meant(tmp_path: Path) -> None:
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
        for number in (1, 2):
            (tmp_path / part / f"{number}.jpg").touch()
        (tmp_path / part / "list.txt").write_text("1.jpg\n2.jpg\n")
    files = list_files(tmp_path)
    assert {one.path: named(files, one) for one in read_lists(files)} == {
        f"{part}/list.txt": [f"{part}/1.jpg", f"{part}/2.jpg"] for part in "ab"
    }


def test_lists_that_number_the_images_are_followed(tmp_path: Path) -> None:
    numbered = "\n".join(f"{at} {path.removeprefix('images/')}" for at, path in enumerate(IMAGES, 1))
    split = "\n".join(f"{at} {at % 2}" for at in range(1, 7))
    classes = "\n".join(f"{at} {1 + (at > 3)}" for at in range(1, 7))
    files = source(tmp_path, images__txt=numbered, train_test_split__txt=split, image_class_labels__txt=classes)
    lists = by_path(read_lists(files))
    train, test = (lists["train_test_split.txt", name] for name in ("train", "test"))
    assert named(files, train) == IMAGES[0::2]
    assert named(files, test) == IMAGES[1::2]
    published, notes = published_by_lists([train, test], np.flatnonzero(files.is_image))
    assert published is not None
    assert published.tolist() == ["train", "test"] * 3
    assert notes == ["splits: train_test_split.txt"]


def test_json_of_splits_lists_images(tmp_path: Path) -> None:
    content = {"train": IMAGES[:4], "test": [[path, 1, "dog"] for path in IMAGES[4:]]}
    files = source(tmp_path, split__json=json.dumps(content))
    lists = by_path(read_lists(files))
    assert named(files, lists["split.json", "train"]) == IMAGES[:4]
    assert named(files, lists["split.json", "test"]) == IMAGES[4:]


@pytest.mark.parametrize("content", ['{"a": 1}', "[1]", "{", '{"train": 3, "test": "x"}', '{"train": [], "test": []}'])
def test_other_json_is_no_list(tmp_path: Path, content: str) -> None:
    assert read_lists(source(tmp_path, split__json=content)) == []


def test_lists_of_splits_with_labels_are_joined(tmp_path: Path) -> None:
    files = source(
        tmp_path,
        images_kind_train__txt="cat/1 A b\ncat/2 C\ndog/1 A b\n",
        images_kind_test__txt="cat/3 C\ndog/3 A b\n",
        images_box__txt="cat/1 12 3 44 5\ncat/2 1 2 3 4\ndog/1 3 4 5 6\n",
    )
    (one,) = label_lists(read_lists(files))
    assert one.pattern == "images_kind_*.txt"
    assert sorted(zip(files.paths.take(one.file), one.label, one.published, strict=True)) == [
        (IMAGES[0], "A b", "train"),
        (IMAGES[1], "C", "train"),
        (IMAGES[2], "C", "test"),
        (IMAGES[3], "A b", "train"),
        (IMAGES[5], "A b", "test"),
    ]


def test_list_that_contradicts_itself_labels_nothing(tmp_path: Path) -> None:
    assert label_lists(read_lists(source(tmp_path, labels__txt="cat/1 a\ncat/1 b\ndog/1 b\n"))) == []


def test_test_list_with_one_label_for_all_has_no_labels(tmp_path: Path) -> None:
    files = source(tmp_path, train__txt="cat/1 0\ncat/2 1\ndog/1 1\n", test__txt="cat/3 0\ndog/3 0\n")
    (one,) = label_lists(read_lists(files))
    assert sorted(files.paths.take(one.file)) == [IMAGES[0], IMAGES[1], IMAGES[3]]


def lists(**splits: list[int]) -> list[ImageList]:
    return [ImageList(f"{name}.txt", name, np.array(at), ("",) * len(at)) for name, at in splits.items()]


def test_lists_that_name_nearly_all_images_are_the_published_split() -> None:
    published, notes = published_by_lists(lists(train=[0, 1, 2], test=[3]), np.arange(4))
    assert published is not None
    assert published.tolist() == ["train", "train", "train", "test"]
    assert notes == ["splits: test.txt, train.txt"]


def test_incomplete_or_overlapping_lists_are_no_split_and_said() -> None:
    published, notes = published_by_lists(lists(train=[0], test=[1]), np.arange(4))
    assert published is None
    assert notes == ["not used: test.txt, train.txt (they name 50% of the images)"]
    published, notes = published_by_lists(lists(train=[0, 1, 2], test=[2, 3]), np.arange(4))
    assert published is None
    assert notes == ["not used: test.txt, train.txt (1 images are in several splits)"]


def test_list_of_one_split_alone_is_none() -> None:
    assert published_by_lists(lists(train=[0, 1, 2, 3]), np.arange(4)) == (None, [])


def test_lists_with_the_path_last_name_images_and_labels(tmp_path: Path) -> None:
    lines = [f"{at}\t{int('dog' in path)}.000000\t{path}\n" for at, path in enumerate(IMAGES)]
    files = source(tmp_path, cats_train__lst="".join(lines[:3] + lines[4:]), cats_val__lst=lines[3] * 2)
    one = by_path(read_lists(files))["cats_train.lst", "train"]
    assert named(files, one) == IMAGES[:3] + IMAGES[4:]
    assert set(one.label) == {"0.000000", "1.000000"}


def test_keys_that_are_no_numbers_name_images_too(tmp_path: Path) -> None:
    keys = [f"{at}a-77" for at in range(6)]
    files = source(
        tmp_path,
        paths__txt="".join(f"{key} {path}\n" for key, path in zip(keys, IMAGES, strict=True)),
        train_test_split__txt="".join(f"{key} {int(at % 3 != 2)}\n" for at, key in enumerate(keys)),
    )
    lists = by_path(read_lists(files))
    assert named(files, lists["train_test_split.txt", "test"]) == [IMAGES[2], IMAGES[5]]


def test_list_of_held_out_images_alone_leaves_the_others_to_train(tmp_path: Path) -> None:
    files = source(tmp_path, test_images__txt="path\ncat/3.jpg\ndog/3.jpg\n")
    file = np.flatnonzero(files.is_image)
    published, (note,) = published_by_lists(read_lists(files), file)
    assert published is not None
    assert published.value_counts().to_dict() == {"train": 4, "test": 2}
    assert "test_images.txt" in note

    several = [ImageList(f"test{at}.txt", "test", file[:2], ("", "")) for at in (1, 2)]
    assert published_by_lists(several, file)[0] is None


def test_lists_of_splits_with_further_words_are_read_together(tmp_path: Path) -> None:
    files = source(
        tmp_path,
        all_train_standard__txt="/cat/1.jpg 0\n/cat/2.jpg 0\n/dog/1.jpg 1\n/dog/2.jpg 1\n",
        all_val__txt="/cat/3.jpg 0\n/dog/3.jpg 1\n",
    )
    (found,) = label_lists(read_lists(files))
    assert found.published.value_counts().to_dict() == {"train": 4, "val": 2}
    assert len(found.file) == 6


def test_lists_of_several_numbered_divisions_are_a_question() -> None:
    lists = [
        ImageList(f"labels/{split}{number}.txt", split, np.array(file), ("",) * len(file))
        for number, sides in (("1", ([0, 1], [2, 3])), ("2", ([2, 3], [0, 1])))
        for split, file in zip(("train", "test"), sides, strict=True)
    ]
    assert published_by_lists(lists, np.arange(4))[0] is None
    with pytest.raises(UserError, match="divide the images in 2 ways") as error:
        published_by_lists(lists, np.arange(4), ask=True)
    assert error.value.choices == (
        {"exclude": "*[!0-9]2.txt"},
        {"exclude": "*[!0-9]1.txt"},
        {"exclude": "*[0-9].txt"},
    )


def test_trainval_beside_train_and_val_says_the_same_again() -> None:
    sides = {"train.txt": ("train", [0, 1]), "val.txt": ("val", [2]), "trainval.txt": ("train", [0, 1, 2])}
    lists = [ImageList(path, split, np.array(file), ("",) * len(file)) for path, (split, file) in sides.items()]
    published, _ = published_by_lists(lists, np.arange(3))
    assert published is not None
    assert published.tolist() == ["train", "train", "val"]
