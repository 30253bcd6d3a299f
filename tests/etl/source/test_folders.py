"""Which level of a tree of folders is the class."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from resnet50.etl.files import FileIndex, list_files
from resnet50.etl.source.class_folders import FolderReading
from resnet50.etl.source.file_names import label_pattern_of
from resnet50.etl.source.folders import Folders, folders_of
from resnet50.etl.source.levels import read_folders

WriteImage = Callable[..., Path]


def folders(*paths: str) -> Folders:
    """Return the folders of images that are there by their names alone; 'a/*' is five images."""
    names = [path.replace("*", f"{at}-{number}.png") for at, path in enumerate(paths) for number in range(5)]
    return folders_of(FileIndex(Path("/data"), sorted(set(names))))


def labels(found: Folders, reading: FolderReading) -> dict[str, str]:
    """Return the class of each folder with images."""
    return {found.names[number]: label for number, label in sorted(reading.label.items())}


def read(*paths: str) -> list[dict[str, str]]:
    found = folders(*paths)
    return [labels(found, reading) for reading in read_folders(found)]


def test_folders_are_the_classes_with_all_that_is_in_them() -> None:
    assert read("cat/*", "dog/*") == [{"cat": "cat", "dog": "dog"}]
    assert read("cat/*", "cat/deep/*", "dog/*") == [{"cat": "cat", "cat/deep": "cat", "dog": "dog"}]


@pytest.mark.parametrize("wrapper", ["PetImages", "a/b/c", "x/x", "train", "data/images"])
def test_wrappers_around_class_folders_are_taken_off(wrapper: str) -> None:
    (found,) = read(f"{wrapper}/cat/*", f"{wrapper}/dog/*")
    assert set(found.values()) == {"cat", "dog"}


def test_one_folder_or_none_is_no_reading() -> None:
    assert read("cat/*") == []
    assert read("*") == []
    assert read() == []


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Training", "Testing"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("asl_alphabet_train", "asl_alphabet_test"),
        ("x/train", "x/valid"),
    ],
)
def test_folders_named_like_splits_are_splits(train: str, test: str) -> None:
    found = folders(f"{train}/cat/*", f"{train}/dog/*", f"{test}/cat/*", f"{test}/dog/*")
    (reading,) = read_folders(found)
    assert set(reading.label.values()) == {"cat", "dog"}
    assert len(set(reading.published.values())) == 2
    for number, name in reading.published.items():
        assert name in found.names[number].split("/")


def test_folders_beside_splits_without_classes_are_not_used_and_said() -> None:
    found = folders("train/cat/*", "train/dog/*", "test/*", "docs/*", "*")
    (reading,) = read_folders(found)
    assert labels(found, reading) == {"train/cat": "cat", "train/dog": "dog"}
    assert reading.published == {}
    assert "not used: docs/, test/, images beside them (no class folders in it, so no labels)" in reading.notes


def test_split_with_a_single_class_of_the_other_is_a_split() -> None:
    found = folders("train/good/*", "test/good/*", "test/broken/*")
    (reading,) = read_folders(found)
    assert labels(found, reading) == {"train/good": "good", "test/good": "good", "test/broken": "broken"}
    assert set(reading.published.values()) == {"train", "test"}


def test_splits_with_images_directly_in_them_are_no_classes() -> None:
    assert read("train/*", "test/*") == []
    assert read("train/*", "unlabeled/*") == []


def test_classes_called_train_and_bus_are_classes() -> None:
    assert read("train/*", "bus/*") == [{"bus": "bus", "train": "train"}]


def test_large_folder_of_unknown_standing_beside_splits_is_asked_about() -> None:
    found = folders("train/cat/*", "train/dog/*", "test/cat/*", "test/dog/*", "extra/cat/*", "extra/dog/*")
    ways = read_folders(found)
    assert len(ways) == 2
    assert [way.choice for way in ways] == [{"exclude": "extra/*"}, {"label_pattern": "([^/]+)/[^/]+$"}]
    assert not any("extra" in name for name in labels(found, ways[0]))
    assert "extra/cat" in labels(found, ways[1])


def test_every_folder_of_unknown_standing_is_excluded_by_the_first_choice() -> None:
    splits = [f"{name}/{label}/*" for name in ("train", "test", "extra", "more") for label in ("cat", "dog")]
    found = folders(*splits)
    assert read_folders(found)[0].choice == {"exclude": "extra/*,more/*"}


def test_parts_are_read_together() -> None:
    found = folders("part_1/cat/*", "part_1/dog/*", "part_2/cat/*", "part_2/owl/*")
    (reading,) = read_folders(found)
    assert labels(found, reading)["part_2/owl"] == "owl"
    assert reading.notes == ("read together: part_1, part_2",)
    assert reading.published == {}


def test_classes_below_patients_are_found_by_what_varies() -> None:
    (found,) = read("p01/0/*", "p01/1/*", "p02/0/*", "p02/1/*", "p03/0/*", "p03/1/*", "p04/0/*", "p05/1/*")
    assert set(found.values()) == {"0", "1"}


def test_numbered_subjects_below_classes_are_no_classes_or_asked_about() -> None:
    found, *others = read("cat/s1/*", "cat/s2/*", "dog/s1/*", "dog/s2/*")
    assert set(found.values()) == {"cat", "dog"}
    assert {"s1", "s2"} in [set(way.values()) for way in others]  # a domain with numbered classes looks like this, too
    (found,) = read("cat/s1/*", "cat/s2/*", "dog/s3/*", "dog/s4/*")
    assert set(found.values()) == {"cat", "dog"}


def test_two_levels_of_words_are_asked_about_with_a_pattern_each() -> None:
    found = folders(*[f"{fruit}/{state}/*" for fruit in ("apple", "banana", "plum") for state in ("fresh", "rotten")])
    ways = read_folders(found)
    sets = [set(labels(found, way).values()) for way in ways[:2]]
    assert {"fresh", "rotten"} in sets
    assert {"apple", "banana", "plum"} in sets
    for way in ways[:2]:
        pattern = re.compile(way.choice["label_pattern"])
        for name, label in labels(found, way).items():
            match = pattern.search(f"{name}/1.png")
            assert match is not None
            assert match[1] == label
    both = re.search(ways[2].choice["label_pattern"], "apple/fresh/1.png")
    assert both is not None
    assert both[1] == "apple/fresh"


def test_breeds_below_kinds_are_asked_about() -> None:
    found = folders("cat/siamese/*", "cat/persian/*", "dog/poodle/*", "dog/beagle/*")
    ways = [set(labels(found, way).values()) for way in read_folders(found)]
    assert {"cat", "dog"} in ways
    assert {"siamese", "persian", "poodle", "beagle"} in ways


def test_mostly_flat_classes_with_some_subfolders_are_the_upper_level() -> None:
    (found,) = read("cat/*", "dog/*", "elk/*", "owl/day/*", "owl/night/*")
    assert found == {"cat": "cat", "dog": "dog", "elk": "elk", "owl/day": "owl", "owl/night": "owl"}


def test_splits_below_classes_are_splits() -> None:
    found = folders("cat/train/*", "cat/test/*", "dog/train/*", "dog/test/*")
    (reading,) = read_folders(found)
    assert set(reading.label.values()) == {"cat", "dog"}
    assert reading.published == {number: found.names[number].split("/")[1] for number in reading.label}


def test_splits_below_categories_with_defects_below_are_asked_about() -> None:
    found = folders(
        *[
            f"{item}/{part}/{state}/*"
            for item in ("nut", "bolt")
            for part in ("train", "test")
            for state in ("ok", "bad")
        ]
    )
    ways = [set(way.label.values()) for way in read_folders(found)]
    assert {"nut", "bolt"} in ways
    assert {"ok", "bad"} in ways


def test_storage_folder_below_each_class_is_taken_off() -> None:
    (found,) = read("cat/images/*", "dog/images/*")
    assert set(found.values()) == {"cat", "dog"}


def test_renderings_of_the_same_images_are_asked_about() -> None:
    found = folders("color/cat/*", "color/dog/*", "grayscale/cat/*", "grayscale/dog/*")
    ways = read_folders(found)
    assert [way.choice for way in ways] == [{"exclude": "grayscale/*"}, {"exclude": "color/*"}]
    assert {name.split("/")[0] for name in labels(found, ways[0])} == {"color"}


def test_collections_of_the_same_classes_are_asked_about() -> None:
    found = folders(
        "set one/train/cat/*",
        "set one/train/dog/*",
        "set one/test/cat/*",
        "set one/test/dog/*",
        "wild/cat/*",
        "wild/dog/*",
    )
    ways = read_folders(found)
    assert len(ways) == 2
    assert all(set(way.label.values()) == {"cat", "dog"} for way in ways)
    assert all("exclude" in way.choice for way in ways)


def test_folders_that_spread_images_by_their_names_are_no_classes() -> None:
    assert read("3/c/1/*", "3/a/0/*", "f/0/1/*", "f/c/b/*") == []


def test_classes_above_or_below_such_folders_are_found() -> None:
    (found,) = read("3/c/cat/*", "a/0/cat/*", "f/0/dog/*", "f/c/dog/*")
    assert set(found.values()) == {"cat", "dog"}


def test_digits_are_classes() -> None:
    (found,) = read(*[f"{digit}/*" for digit in range(10)])
    assert set(found.values()) == set("0123456789")


def test_id_like_classes_are_weak_evidence() -> None:
    (ids,) = read_folders(folders("p1/*", "p2/*"))
    (words,) = read_folders(folders("cat/*", "dog/*"))
    assert ids.weak
    assert not words.weak


def test_folder_that_only_stores_images_is_no_class() -> None:
    found = folders("cat/*", "dog/*", "images/*")
    (reading,) = read_folders(found)
    assert labels(found, reading) == {"cat": "cat", "dog": "dog"}
    assert reading.notes == ("not used: images/ (no class by its name)",)


def test_unlabeled_folder_beside_classes_is_not_used() -> None:
    found = folders("a/cat/*", "a/dog/*", "b/cat/*", "b/dog/*", "seg_pred/*")
    for reading in read_folders(found):
        assert "seg_pred" not in labels(found, reading)


def test_masks_of_the_images_are_set_aside() -> None:
    names = [
        f"{folder}/{label}/{at}.png" for folder in ("images", "masks") for label in ("cat", "dog") for at in range(3)
    ]
    found = folders_of(FileIndex(Path("/data"), sorted(names)))
    assert any("masks/cat" in note and "made from the images" in note for note in found.notes)
    (reading,) = read_folders(found)
    assert set(labels(found, reading)) == {"images/cat", "images/dog"}


def test_masks_beside_the_images_are_set_aside() -> None:
    names = [f"{label}/{at}{end}.png" for label in ("ok", "bad") for at in (1, 2) for end in ("", "_mask", "_mask_1")]
    names.append("ok/odd_mask.png")
    found = folders_of(FileIndex(Path("/data"), sorted(names)))
    assert found.notes == ("not used: 8 files such as bad/1_mask.png (made from the images beside them)",)
    assert "ok/odd_mask.png" in found.files.images().tolist(), "it is made from no image that is there"


def test_byte_identical_copy_of_the_class_folders_is_set_aside(tmp_path: Path, write_image: WriteImage) -> None:
    for label in ("cat", "dog"):
        for number in range(3):
            for root in ("pets", "pets/pets"):
                write_image(tmp_path / root / label / f"{label}{number}.png", number + 10 * (label == "dog"))
    found = folders_of(list_files(tmp_path))
    assert found.notes == ("not used: pets/pets/ (byte-identical to pets/)",)
    (reading,) = read_folders(found)
    assert labels(found, reading) == {"pets/cat": "cat", "pets/dog": "dog"}


def test_folder_of_the_same_names_and_other_bytes_is_no_copy(tmp_path: Path, write_image: WriteImage) -> None:
    for root in ("a", "b"):
        for label in ("cat", "dog"):
            write_image(tmp_path / root / label / "1.png")
    assert folders_of(list_files(tmp_path)).notes == ()


@pytest.mark.parametrize(
    ("stems", "pattern", "label"),
    [
        (["cat.0", "cat.1", "cat.2", "dog.0", "dog.1", "dog.2"], r"^(cat|dog)\.", "cat"),
        (
            ["Great_Dane_1", "Great_Dane_2", "Great_Dane_3", "pug_1", "pug_2", "pug_3"],
            "^(Great_Dane|pug)_",
            "Great_Dane",
        ),
        (["cat (1)", "cat (2)", "cat (3)", "dog (1)", "dog (2)", "dog (3)"], None, "cat"),
    ],
)
def test_names_that_begin_with_a_class_give_a_pattern(stems: list[str], pattern: str | None, label: str) -> None:
    found = label_pattern_of(pd.Series(stems, dtype="str"))
    assert found is not None
    assert pattern is None or found == pattern
    match = re.search(found, f"{stems[0]}.jpg")
    assert match is not None
    assert match[1] == label


def test_names_of_many_classes_give_a_general_pattern() -> None:
    names = ["ant", "bee", "cow", "dog", "elk", "fox", "gnu", "hen", "red fox"]
    found = label_pattern_of(pd.Series([f"{name}_{at}" for name in names for at in range(3)], dtype="str"))
    assert found is not None
    assert [re.search(found, f"{name}_12.jpg")[1] for name in names] == names  # pyright: ignore[reportOptionalSubscript]


def test_numbered_classes_before_a_number_give_a_pattern() -> None:
    found = label_pattern_of(pd.Series([f"obj{kind}__{at}" for kind in range(1, 12) for at in range(4)], dtype="str"))
    assert found is not None
    match = re.search(found, "obj10__3.png")
    assert match is not None
    assert match[1] == "obj10"


@pytest.mark.parametrize(
    "stems",
    [
        ["IMG_1", "IMG_2", "IMG_3", "DSC_1", "DSC_2", "DSC_3"],
        [f"{number:04d}" for number in range(10)],
        ["cat.0", "cat.1", "cat.2", "cat.3"],
        ["cat.0", "dog.1", "owl.2", "elk.3"],
        ["cat.0", "dog.0"],
        ["a1b", "c2d", "e3f", "g4h"],
    ],
)
def test_names_of_cameras_and_lone_images_give_no_pattern(stems: list[str]) -> None:
    assert label_pattern_of(pd.Series(stems, dtype="str")) is None


def test_folders_of_one_split_that_differ_in_other_words_may_be_the_classes() -> None:
    readings = read("training_fake/clip_a/*", "training_fake/clip_b/*", "training_real/clip_c/*", "training_real/d/*")
    assert {"training_fake", "training_real"} in [set(found.values()) for found in readings]

    assert len(read("train_1/cat/*", "train_1/dog/*", "train_2/cat/*", "train_2/dog/*")) == 1


def test_splits_that_both_have_classes_of_their_own_are_a_question() -> None:
    first, second = read("train/wart_T2/*", "train/normal/*", "test/wart/*", "test/normal/*")
    assert set(first.values()) == {"wart", "normal"}
    assert set(second.values()) == {"wart_T2", "wart", "normal"}

    assert len(read("train/cat/*", "train/dog/*", "test/cat/*", "test/owl/*")) == 2
    assert len(read("train/cat/*", "train/dog/*", "train/owl/*", "test/cat/*", "test/dog/*")) == 1
    assert len(read("train/Cat/*", "train/Dog/*", "test/cat/*", "test/dog/*")) == 1


def test_pattern_of_a_lower_level_goes_through_storage_folders() -> None:
    found = folders("old/images/cat/*", "old/images/dog/*", "new/images/cat/*", "new/images/dog/*")
    patterns = [reading.choice.get("label_pattern", "") for reading in read_folders(found)]
    matches = [re.search(pattern, "old/images/cat/1.png") for pattern in patterns]
    assert "cat" in [match[1] for match in matches if match]


def test_a_class_called_like_a_folder_of_images_is_asked_about() -> None:
    found = folders("image/*", "text/*", "table/*")
    without, every = read_folders(found)
    assert set(labels(found, without).values()) == {"text", "table"}
    assert without.choice == {"exclude": "image/*"}
    assert set(labels(found, every).values()) == {"image", "text", "table"}
    assert read("image/*", "text/*") == [{"image": "image", "text": "text"}]


def test_what_a_level_and_its_renderings_leave_out_is_excluded_together() -> None:
    found = folders(*(f"{look}/{name}/*" for look in ("color", "grayscale") for name in ("image", "text", "table")))
    readings = read_folders(found)
    assert {tuple(sorted(set(labels(found, reading).values()))) for reading in readings} == {
        ("table", "text"),
        ("image", "table", "text"),
    }
    assert readings[0].choice == {"exclude": "grayscale/*,*/image/*"}
