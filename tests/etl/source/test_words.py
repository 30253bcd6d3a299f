import pytest

from resnet50.etl.source.words import (
    ID_NAMES,
    LABEL_NAMES,
    is_id_like,
    is_number,
    is_part,
    is_unlabeled,
    normalized,
    shorten,
    split_in,
    split_of,
    words_of,
)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("trainLabels_v2", ["train", "labels", "v", "2"]),
        ("HAM10000_images_part_1", ["ham", "10000", "images", "part", "1"]),
        ("asl-alphabet test", ["asl", "alphabet", "test"]),
        ("", []),
    ],
)
def test_names_are_split_at_capitals_digits_and_marks(name: str, words: list[str]) -> None:
    assert words_of(name) == words


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("seg_train", "train"),
        ("trainLabels", "train"),
        ("Training", "train"),
        ("asl_alphabet_test", "test"),
        ("VALID", "val"),
        ("validation_set", "val"),
        ("dev", "val"),
        ("evaluation", "test"),
        ("train_val", ""),
        ("trained", ""),
        ("tr", ""),
        ("contest", ""),
        ("strain", ""),
    ],
)
def test_split_is_a_whole_word_of_the_name_and_the_only_one(name: str, split: str) -> None:
    assert split_in(name) == split


def test_short_names_of_splits_count_only_if_they_are_all() -> None:
    assert (split_of("tr"), split_of(" Train "), split_of("train_set"), split_of("Hold-Out")) == (
        "train",
        "train",
        "",
        "",
    )
    assert (split_of("trn"), split_of("tst")) == ("train", "test")


def test_values_of_emotion_data_sets_are_splits() -> None:
    assert tuple(map(split_in, ("PublicTest", "privatetest", "PrivateTest", "Training"))) == (
        "val",
        "test",
        "test",
        "train",
    )


@pytest.mark.parametrize("name", ["part_1", "HAM10000_images_part_2", "images_003", "fold3", "batch-07", "cv 5"])
def test_numbered_parts_are_recognized(name: str) -> None:
    assert is_part(name)


@pytest.mark.parametrize("name", ["3", "class_1", "part", "digit 4", "patient_7", "part_a"])
def test_numbers_after_other_words_make_no_parts(name: str) -> None:
    assert not is_part(name)


@pytest.mark.parametrize(
    "name", ["unlabeled", "seg_pred", "Unlabelled images", "my-predictions_prediction", "submission"]
)
def test_unlabeled_folders_are_recognized(name: str) -> None:
    assert is_unlabeled(name)


def test_predator_is_no_prediction() -> None:
    assert not is_unlabeled("predator")


@pytest.mark.parametrize("text", ["1", "-0.5", "+2.", ".5", "1e-3", "007"])
def test_numbers_are_recognized(text: str) -> None:
    assert is_number(text)


@pytest.mark.parametrize("text", ["", "1a", "nan", "inf", "1,5", "0x1f", "1 2", "."])
def test_other_texts_are_no_numbers(text: str) -> None:
    assert not is_number(text)


def test_ids_have_digits_and_words_have_none() -> None:
    assert is_id_like(["p1", "p2", "2020-01-03"])
    assert not is_id_like(["cat", "dog", "owl2"])


@pytest.mark.parametrize("written", ["Image Index", "image-index", " image.index ", "IMAGE_INDEX"])
def test_names_of_columns_are_compared_without_case_and_marks(written: str) -> None:
    assert normalized(written) in ID_NAMES


@pytest.mark.parametrize(
    "written",
    ["dx", "classname", "class_id", "ClassId", "choice", "level", "tags", "Finding Labels", "Label", "species"],
)
def test_names_that_public_data_sets_give_their_labels_are_known(written: str) -> None:
    assert normalized(written) in frozenset[str]().union(*LABEL_NAMES)


def test_long_lists_of_names_are_shortened() -> None:
    assert shorten(["a", "b"]) == "a, b"
    assert shorten(map(str, range(1005)), 3) == "0, 1, 2 and 1,002 more"
