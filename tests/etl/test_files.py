import os
from pathlib import Path

import pandas as pd
import pytest

from resnet50.etl.files import FileIndex, find_outside, list_files, narrow_to_images
from resnet50.runtime.errors import UserError


def index(*paths: str) -> FileIndex:
    return FileIndex(Path("/data/images"), sorted(paths))


def found(files: FileIndex, *ids: str) -> list[str | None]:
    return [files.paths[position] if position >= 0 else None for position in files.find(pd.Series(ids, dtype="str"))]


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
        ("other/a.jpg", None),
        ("", None),
    ],
)
def test_id_matches_a_path_or_its_end_with_or_without_extension(wanted: str, path: str | None) -> None:
    assert found(index("a.jpg", "sub/b.PNG", "v1.2.png", "notes.txt"), wanted) == [path]


def test_match_of_path_and_extension_has_precedence() -> None:
    assert found(index("a.jpg", "sub/a.jpg"), "a", "sub/a") == ["a.jpg", "sub/a.jpg"]
    assert found(index("a", "a.jpg"), "a", "a.jpg") == ["a", "a.jpg"]


@pytest.mark.parametrize("paths", [("a.jpg", "a.png"), ("x/a.jpg", "y/a.jpg")])
def test_id_that_matches_two_files_is_refused_with_both(paths: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=f"'a' matches several images.*{paths[0]}, {paths[1]}"):
        found(index(*paths, "b.jpg"), "b", "a")


@pytest.mark.parametrize("wanted", ["../secret.png", "../../etc/passwd", "x/../../secret.png", "/secret.png"])
def test_id_that_leaves_the_folder_matches_nothing(tmp_path: Path, wanted: str) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"x")
    assert found(list_files(tmp_path / "images"), wanted) == [None]


def test_few_ids_among_many_files_are_matched_by_their_folders() -> None:
    files = index(*[f"{folder}/{number}.jpg" for folder in "abc" for number in range(200)])
    assert found(files, "b/7", "c/7.jpg", "images/a/7", "d/7") == ["b/7.jpg", "c/7.jpg", "a/7.jpg", None]
    with pytest.raises(UserError, match="'7' matches several images"):
        found(files, "7")


def test_ids_may_have_line_breaks_or_thousands_of_folders() -> None:
    assert found(index("a\nb/c\nd.jpg", "x.jpg"), "c\nd", "a\nb/c\nd", "d", "x/" * 3000 + "x") == [
        "a\nb/c\nd.jpg", "a\nb/c\nd.jpg", None, None,
    ]  # fmt: skip


def test_files_are_listed_sorted_without_hidden_ones(tmp_path: Path) -> None:
    for path in ("b.jpg", "a/c.jpg", ".DS_Store", "__MACOSX/b.jpg", "a/._c.jpg", ".git/d.jpg"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    assert list_files(tmp_path).paths.tolist() == ["a/c.jpg", "b.jpg"]


def test_circular_links_of_folders_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.jpg").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "round").symlink_to(tmp_path / "data")
    assert list_files(tmp_path / "data", allow_outside=True).paths.tolist() == ["images/a.jpg"]


def test_missing_folder_or_file_in_its_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="images does not exist"):
        list_files(tmp_path / "images")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is not a folder"):
        list_files(tmp_path / "file")


def test_file_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(UserError, match="not UTF-8: rename it"):
        list_files(tmp_path)


def narrowed(files: FileIndex, *ids: str) -> str:
    return narrow_to_images(pd.Series(ids, dtype="str"), files).folder.name


def test_image_folder_is_the_smallest_with_all_images() -> None:
    assert narrowed(index("train.csv", "images/a.jpg", "images/b.jpg", "else/c.jpg"), "a", "b") == "images"
    assert narrowed(index("jpeg/train/a.jpg", "jpeg/test/b.jpg"), "a") == "train"
    assert narrowed(index("part1/a.jpg", "part2/b.jpg"), "a", "b") == "images"
    assert narrowed(index("a.jpg", "sub/b.jpg"), "a", "b") == "images"


def test_other_folder_has_precedence_over_one_called_test() -> None:
    assert narrowed(index("test/1.jpg", "train/1.jpg", "test/2.jpg", "train/2.jpg"), "1", "2") == "train"


def test_several_folders_with_the_same_names_are_refused() -> None:
    with pytest.raises(UserError, match=r"large, small; name one with --images"):
        narrowed(index("large/1.jpg", "small/1.jpg"), "1")


def test_table_without_images_is_reported_with_examples() -> None:
    with pytest.raises(UserError, match=r"none of the 2 rows .* refers to 'x', but the folder holds .*'a.jpg'"):
        narrowed(index("a.jpg"), "x", "y")


def tree(root: Path, *paths: str) -> Path:
    """Make files, and links where a path has an arrow in it."""
    for path in paths:
        name, _, target = path.partition(" -> ")
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if target:
            (root / name).symlink_to(target)
        else:
            (root / name).touch()
    return root


@pytest.mark.parametrize("link", ["data/more -> ../disk", "data/more -> {root}/disk"])
def test_linked_folder_outside_is_followed_only_if_allowed(
    tmp_path: Path, link: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tree(tmp_path, "disk/a.jpg", "data/b.jpg", link.format(root=tmp_path))
    assert list_files(tmp_path / "data").paths.tolist() == ["b.jpg"]
    warning = " ".join(capsys.readouterr().err.split())
    assert warning.endswith("without --allow-outside, unless --images names one (1, the first is 'more')")
    assert list_files(tmp_path / "data", allow_outside=True).paths.tolist() == ["b.jpg", "more/a.jpg"]
    assert capsys.readouterr().err == ""


def test_linked_file_outside_is_listed_only_if_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree(tmp_path, "disk/a.jpg", "data/b.jpg", "data/a.jpg -> ../disk/a.jpg", "data/deep/c.jpg -> ../../disk/a.jpg")
    assert list_files(tmp_path / "data").paths.tolist() == ["b.jpg"]
    assert "(2, the first is" in capsys.readouterr().err
    everything = ["a.jpg", "b.jpg", "deep/c.jpg"]
    assert list_files(tmp_path / "data", allow_outside=True).paths.tolist() == everything


def test_chain_of_links_is_judged_by_its_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree(tmp_path, "data/a.jpg", "disk/back.jpg -> ../data/a.jpg", "data/in.jpg -> ../disk/back.jpg")
    tree(tmp_path, "disk/b.jpg", "data/hop.jpg -> out.jpg", "data/out.jpg -> ../disk/b.jpg")
    assert list_files(tmp_path / "data").paths.tolist() == ["a.jpg", "in.jpg"]
    assert "(2, the first is" in capsys.readouterr().err


def test_links_within_the_folder_are_followed_silently(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree(tmp_path, "real/images/a.jpg", "real/b.jpg -> images/a.jpg", "link -> real")
    assert list_files(tmp_path / "link").paths.tolist() == ["b.jpg", "images/a.jpg"]
    assert capsys.readouterr().err == ""


def test_circular_and_dangling_links_are_listed_for_the_audit(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg", "round.jpg -> round.jpg", "x.jpg -> y.jpg", "y.jpg -> x.jpg", "gone.jpg -> nowhere.jpg")
    expected = ["a.jpg", "gone.jpg", "round.jpg", "x.jpg", "y.jpg"]
    assert list_files(tmp_path).paths.tolist() == expected
    assert list_files(tmp_path, allow_outside=True).paths.tolist() == expected


def test_pipes_are_not_listed(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert list_files(tmp_path).paths.tolist() == ["a.jpg"]


def outside(folder: Path, *ids: str) -> list[str]:
    return find_outside(pd.Series(ids, dtype="str"), folder).tolist()


def test_absolute_and_upward_ids_are_found_outside(tmp_path: Path) -> None:
    tree(tmp_path, "data/images/1.jpg", "other/2.jpg")
    folder = tmp_path / "data" / "images"
    up, absolute = "../../other/2.jpg", str(tmp_path / "other" / "2.jpg")
    assert outside(folder, up, absolute, "x/../../../other/2.jpg", up) == [up, up, "", up]
    assert outside(folder, "..\\..\\other\\2.jpg") == [up]
    assert outside(folder, "1.jpg", "", "..", "../images", "/", "../../other/3.jpg", "a..b") == [""] * 7
    assert outside(folder, "/" + "y" * 5000, "../\x00", "/dev/zero", "/dev/stdin") == [""] * 4


def test_path_outside_is_valid_if_the_image_folder_is_a_link(tmp_path: Path) -> None:
    tree(tmp_path, "disk/deep/images/1.jpg", "other/2.jpg", "images -> disk/deep/images")
    for name in (str(tmp_path / "other" / "2.jpg"), "../../../other/2.jpg"):
        (path,) = outside(tmp_path / "images", name)
        assert (tmp_path / "images" / path).resolve() == tmp_path / "other" / "2.jpg"


def test_repeated_ids_are_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "data/1.jpg", "other/2.jpg")
    asked: list[Path] = []
    isfile = os.path.isfile
    monkeypatch.setattr("os.path.isfile", lambda path: bool(asked.append(path)) or isfile(path))
    assert outside(tmp_path / "data", *["../other/2.jpg", "../other/3.jpg", "1.jpg"] * 1000) == [
        "../other/2.jpg", "", "",
    ] * 1000  # fmt: skip
    assert len(asked) == 2
