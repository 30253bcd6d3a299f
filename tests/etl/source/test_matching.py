"""Which image each id of a table means."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from resnet50.etl.files import FileIndex, list_files
from resnet50.etl.source.matching import Placement, find_candidates, place, role_of

WriteImage = Callable[..., Path]


def index(*paths: str) -> FileIndex:
    return FileIndex(Path("/data/images"), sorted(paths))


def names(*ids: str) -> pd.Series:
    return pd.Series(ids, dtype="str")


def found(files: FileIndex, *ids: str) -> tuple[list[list[str]], tuple[str, ...]]:
    """Return the images that each id could mean, and the lines about how they were matched."""
    result = find_candidates(names(*ids), files)
    pairs = result.pairs.assign(path=files.paths.take(result.pairs["file"].to_numpy()).to_numpy())
    return [sorted(pairs.loc[pairs["id"] == row, "path"]) for row in result.row], result.notes


def placed(files: FileIndex, *ids: str, split: str = "") -> list[Placement]:
    return place(find_candidates(names(*ids), files), files, split)


def paths_of(files: FileIndex, placement: Placement) -> list[str]:
    return [files.paths[position] if position >= 0 else "" for position in placement.file]


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("a", "a.jpg"),
        ("a.jpg", "a.jpg"),
        ("./a.jpg", "a.jpg"),
        ("images/a.jpg", "a.jpg"),
        ("/data/images/a.jpg", "a.jpg"),
        ("images/a", "a.jpg"),
        ("b", "sub/b.PNG"),
        ("sub/b", "sub/b.PNG"),
        ("sub\\b.PNG", "sub/b.PNG"),
        ("v1.2", "v1.2.png"),
        ("notes.txt", "notes.txt"),
        ("c", None),
        ("notes", None),
        ("", None),
    ],
)
def test_id_matches_a_path_or_its_end_with_or_without_extension(wanted: str, path: str | None) -> None:
    files = index("a.jpg", "sub/b.PNG", "v1.2.png", "notes.txt")
    assert found(files, wanted) == ([[path] if path else []], ())


def test_match_of_path_and_extension_has_precedence() -> None:
    assert found(index("a.jpg", "sub/a.jpg"), "sub/a")[0] == [["sub/a.jpg"]]
    assert found(index("a", "a.jpg"), "a", "a.jpg")[0] == [["a"], ["a.jpg"]]


def test_repeated_ids_are_found_once_for_all_their_rows() -> None:
    result = find_candidates(names("b", "a", "b"), index("a.jpg", "b.jpg"))
    assert result.row.tolist() == [0, 1, 0]
    assert len(result.pairs) == 2


@pytest.mark.parametrize("wanted", ["../secret.png", "x/../../secret.png", "../../etc/passwd"])
def test_id_that_leaves_the_folder_matches_nothing_outside(tmp_path: Path, wanted: str) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"x")
    assert found(list_files(tmp_path / "images"), wanted, "a")[0] == [[], ["a.png"]]


def test_few_ids_among_many_files_are_matched_by_their_folders() -> None:
    files = index(*[f"{folder}/{number}.jpg" for folder in "abc" for number in range(200)])
    assert found(files, "b/7", "c/7.jpg", "images/a/7", "d/7")[0] == [["b/7.jpg"], ["c/7.jpg"], ["a/7.jpg"], []]
    assert found(files, "7")[0] == [["a/7.jpg", "b/7.jpg", "c/7.jpg"]]


def test_ids_may_have_line_breaks_or_thousands_of_folders() -> None:
    files = index("a\nb/c\nd.jpg", "x.jpg")
    assert found(files, "c\nd", "a\nb/c\nd", "d", "x/" * 3000 + "x")[0] == [
        ["a\nb/c\nd.jpg"],
        ["a\nb/c\nd.jpg"],
        [],
        [],
    ]


WRITTEN = {
    "url": "https://host.example/bucket/{name}?raw=1#top",
    "escaped": "https://host.example/my%20files/{name}",
    "storage": "s3://bucket/deep/er/{name}",
    "query": "/data/local-files/?d=photos/{name}",
    "absolute": "/home/someone/{name}",
    "windows": "C:\\Users\\x\\{name}",
    "kaggle": "../input/some-data/{name}",
    "upward": "../{name}",
    "upload": "/data/upload/7/3f2a9c1b-{name}",
}


@pytest.mark.parametrize("form", WRITTEN.values(), ids=WRITTEN)
def test_paths_of_other_machines_are_matched_by_their_end(form: str) -> None:
    files = index("sub/a.jpg", "sub/b.jpg", "other/c.jpg")
    matches, notes = found(files, form.format(name="a.jpg"), form.format(name="b.jpg"))
    assert matches == [["sub/a.jpg"], ["sub/b.jpg"]]
    assert len(notes) == 1
    assert notes[0].startswith("ids: matched ")
    assert notes[0].endswith("a.jpg")


def test_longest_common_end_of_paths_decides_between_folders() -> None:
    files = index("x/1.jpg", "y/1.jpg", "x/2.jpg", "y/2.jpg")
    matches, notes = found(files, "/old/disk/y/1.jpg", "/old/disk/x/2.jpg")
    assert matches == [["y/1.jpg"], ["x/2.jpg"]]
    assert notes == ("ids: matched by the end of their path, as y/1.jpg",)


def test_ends_that_would_give_two_ids_one_image_are_not_used() -> None:
    files = index("1.jpg", "2.jpg")
    matches, notes = found(files, "left/1.jpg", "right/1.jpg")
    assert matches == [[], []]
    assert notes == ()


def test_escapes_in_urls_are_read() -> None:
    assert found(index("my cat.jpg"), "https://host/x/my%20cat.jpg")[0] == [["my cat.jpg"]]


def test_percent_sign_in_a_file_name_is_kept_where_it_matches() -> None:
    assert found(index("100%25.jpg"), "100%25.jpg") == ([["100%25.jpg"]], ())


def test_another_unicode_form_is_matched_and_said() -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    files = index(f"{decomposed}.jpg", "b.jpg")
    matches, notes = found(files, composed, "b")
    assert matches == [[f"{decomposed}.jpg"], ["b.jpg"]]
    assert notes == (f"ids: 1 matched by another Unicode form of their letters: {composed} is {decomposed}.jpg",)


def test_another_letter_case_is_matched_if_unique_and_said() -> None:
    matches, notes = found(
        index("IMG_1.JPG", "img_2.jpg", "x/Cat.png", "x/cAT.png"), "img_1.jpg", "img_2.jpg", "cat.png"
    )
    assert matches == [["IMG_1.JPG"], ["img_2.jpg"], []]
    assert notes == ("ids: 1 matched by another letter case: img_1.jpg is IMG_1.JPG",)


def test_letter_case_gives_no_image_that_another_id_has() -> None:
    assert found(index("a.jpg"), "a.jpg", "A.jpg")[0] == [["a.jpg"], []]


@pytest.mark.parametrize(
    ("root", "role"),
    [
        ("train", "train"),
        ("seg_test/images", "test"),
        ("train/test", "test"),
        ("data/unlabeled", "unlabeled"),
        ("images", ""),
        ("", ""),
    ],
)
def test_role_of_a_folder_is_said_by_its_innermost_split(root: str, role: str) -> None:
    assert role_of(root) == role


def test_test_folder_with_the_same_names_is_never_used() -> None:
    files = index("test/1.jpg", "train/1.jpg", "test/2.jpg", "train/2.jpg")
    (way,) = placed(files, "1", "2")
    assert paths_of(files, way) == ["train/1.jpg", "train/2.jpg"]
    assert way.notes == ("not used: test (other images than the rows')",)


def test_unlabeled_folder_is_never_used_even_if_more_complete() -> None:
    files = index("train/1.jpg", "unlabeled/1.jpg", "unlabeled/2.jpg")
    (way,) = placed(files, "1", "2")
    assert paths_of(files, way) == ["train/1.jpg", ""]


def test_rows_with_images_in_a_test_folder_alone_have_none() -> None:
    assert placed(index("test/1.jpg", "test/2.jpg"), "1", "2") == []


def test_test_folder_that_continues_the_others_is_used() -> None:
    files = index("test/3.jpg", "train/1.jpg", "train/2.jpg")
    (way,) = placed(files, "1", "2", "3")
    assert paths_of(files, way) == ["train/1.jpg", "train/2.jpg", "test/3.jpg"]


def test_table_of_a_split_has_its_images_in_that_splits_folder() -> None:
    files = index("test/1.jpg", "train/1.jpg", "val/1.jpg")
    for split in ("train", "val", "test"):
        (way,) = placed(files, "1", split=split)
        assert paths_of(files, way) == [f"{split}/1.jpg"]


def test_training_table_may_list_validation_images_that_train_lacks() -> None:
    files = index("train/1.jpg", "train/2.jpg", "val/3.jpg", "test/1.jpg")
    (way,) = placed(files, "1", "2", "3", split="train")
    assert paths_of(files, way) == ["train/1.jpg", "train/2.jpg", "val/3.jpg"]


def test_masks_of_the_same_names_are_not_used_and_said() -> None:
    files = index("images/1.jpg", "images/2.jpg", "masks/1.jpg", "masks/2.jpg")
    (way,) = placed(files, "1", "2")
    assert paths_of(files, way) == ["images/1.jpg", "images/2.jpg"]
    assert way.notes == ("not used: masks (made from the images)",)


def test_dicom_beside_png_of_the_same_image_is_not_used() -> None:
    files = index("a.dcm", "a.png", "b.dcm", "b.png")
    (way,) = placed(files, "a", "b")
    assert paths_of(files, way) == ["a.png", "b.png"]
    assert way.notes == ("not used: .dcm files of the same images",)


def test_folder_with_a_few_of_anothers_images_is_no_alternative() -> None:
    files = index(*[f"all/{number:02d}.jpg" for number in range(40)], "sample/01.jpg", "sample/02.jpg")
    (way,) = placed(files, *[f"{number:02d}" for number in range(40)])
    assert {path.partition("/")[0] for path in paths_of(files, way)} == {"all"}


def test_parts_are_used_together() -> None:
    files = index("part_1/1.jpg", "part_2/2.jpg", "part_2/3.jpg")
    (way,) = placed(files, "1", "2", "3")
    assert paths_of(files, way) == ["part_1/1.jpg", "part_2/2.jpg", "part_2/3.jpg"]


def test_byte_identical_folders_are_no_ambiguity(tmp_path: Path, write_image: WriteImage) -> None:
    for number in range(3):
        write_image(tmp_path / "deep" / "copy" / f"{number}.png", number)
        write_image(tmp_path / "zoo" / f"{number}.png", number)
    files = list_files(tmp_path)
    (way,) = placed(files, "0", "1", "2")
    assert paths_of(files, way) == ["zoo/0.png", "zoo/1.png", "zoo/2.png"]
    assert way.notes == ("not used: deep (the same images as in zoo)",)


def test_first_by_name_of_equally_deep_copies_is_used(tmp_path: Path, write_image: WriteImage) -> None:
    for folder in ("b", "a", "c"):
        write_image(tmp_path / folder / "0.png", 0)
    files = list_files(tmp_path)
    (way,) = placed(files, "0")
    assert paths_of(files, way) == ["a/0.png"]
    assert way.notes == ("not used: b (the same images as in a)", "not used: c (the same images as in a)")


def test_folders_with_other_content_are_a_choice_each(tmp_path: Path, write_image: WriteImage) -> None:
    for number in range(3):
        write_image(tmp_path / "large" / f"{number}.png", size=(16, 16))
    for number in range(2):
        write_image(tmp_path / "small" / f"{number}.png")
    files = list_files(tmp_path)
    ways = placed(files, "0", "1", "2")
    assert [way.choice for way in ways] == [{"images": str(tmp_path / name)} for name in ("large", "small")]
    assert [way.found for way in ways] == [3, 2]


def test_same_size_and_other_bytes_are_no_copies(tmp_path: Path) -> None:
    for folder, content in (("a", b"\x00\x01"), ("b", b"\x00\x02")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").write_bytes(content)
    assert len(placed(list_files(tmp_path), "1")) == 2


def test_formats_with_other_content_are_a_choice_each() -> None:
    files = index("a.jpg", "a.png", "b.jpg", "b.png", "c.jpg")
    ways = placed(files, "a", "b", "c")
    assert [way.choice for way in ways] == [{"path_template": "{image_id}.jpg"}, {"path_template": "{image_id}.png"}]
    assert paths_of(files, ways[1]) == ["a.png", "b.png", "c.jpg"]


def test_choice_within_parts_excludes_the_others(tmp_path: Path, write_image: WriteImage) -> None:
    for part, number in (("part_1", 0), ("part_2", 1)):
        for kind in ("raw", "flat"):
            write_image(tmp_path / part / kind / f"{number}.png")
    files = list_files(tmp_path)
    ways = placed(files, "0", "1")
    assert len(ways) == 4
    for way in ways:
        left = list_files(tmp_path, exclude=way.choice["exclude"].split(","))
        assert sorted(left.paths) == sorted(paths_of(files, way))


def test_choice_of_images_beside_a_folder_excludes_the_folder(tmp_path: Path, write_image: WriteImage) -> None:
    for path in ("0.png", "1.png", "small/0.png", "small/1.png"):
        write_image(tmp_path / path)
    ways = placed(list_files(tmp_path), "0", "1")
    assert sorted(map(str, (way.choice for way in ways))) == [
        str({"exclude": "small/*"}), str({"images": str(tmp_path / "small")}),
    ]  # fmt: skip
