import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from resnet50.etl.files import FileIndex, extension, find_outside, first_part, last_part, list_files, parent
from resnet50.runtime.errors import UserError

WriteImage = Callable[..., Path]


def test_files_are_listed_sorted_without_hidden_ones(tmp_path: Path) -> None:
    for path in ("b.jpg", "a/c.jpg", ".DS_Store", "__MACOSX/b.jpg", "a/._c.jpg", ".git/d.jpg"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    assert list_files(tmp_path).paths.tolist() == ["a/c.jpg", "b.jpg"]


@pytest.mark.parametrize(
    "path",
    [
        "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
        "cat/@eaDir/a.jpg",
        "__MACOSX/cat/a.jpg",
        "cat/._a.jpg",
        "$RECYCLE.BIN/a.jpg",
        "System Volume Information/a.jpg",
        ".ipynb_checkpoints/a-checkpoint.jpg",
        "cat/.thumbnails/a.jpg",
        "lost+found/a.jpg",
        "cat/Thumbs.db",
        "Desktop.ini",
        ".DS_Store",
    ],
)
def test_system_files_and_folders_are_never_listed(tmp_path: Path, path: str) -> None:
    tree(tmp_path, path, "cat/b.jpg")
    assert list_files(tmp_path).paths.tolist() == ["cat/b.jpg"]


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (["masks/*"], ["a.jpg", "a_gt.png", "deep/masks/a.jpg"]),
        (["masks"], ["a.jpg", "a_gt.png"]),
        (["*_gt.png", "*/masks/*"], ["a.jpg", "masks/a.jpg"]),
        (["a.jpg"], ["a_gt.png"]),
        (["[ad]*"], ["masks/b.jpg"]),
    ],
)
def test_excluded_patterns_match_paths_and_names(tmp_path: Path, exclude: list[str], left: list[str]) -> None:
    tree(tmp_path, "a.jpg", "a_gt.png", "masks/a.jpg", "deep/masks/a.jpg")
    if exclude == ["[ad]*"]:
        tree(tmp_path, "masks/b.jpg")
    assert list_files(tmp_path, exclude=exclude).paths.tolist() == left


def test_images_without_a_known_extension_are_found_by_content(tmp_path: Path, write_image: WriteImage) -> None:
    for name in ("cat/1", "cat/2.jfif", "cat/3.JPE", "cat/4.img", "cat/7", "dog/5.PNG"):
        write_image(tmp_path / name)
    tree(tmp_path, "cat/6", "readme", "notes.md", "data.bin", "table.csv")
    files = list_files(tmp_path)
    assert files.images().tolist() == ["cat/1", "cat/2.jfif", "cat/3.JPE", "cat/4.img", "cat/6", "cat/7", "dog/5.PNG"]


def test_kept_and_lower_files_keep_what_is_known_of_them(tmp_path: Path) -> None:
    files = FileIndex(tmp_path, ["a/1.png", "a/b/2.png", "a/x.txt", "ab/3.png"])
    assert files.is_image.tolist() == [True, True, False, True]
    below = files.below("a/")
    assert (below.folder, below.paths.tolist()) == (tmp_path / "a", ["1.png", "b/2.png", "x.txt"])
    assert below.images().tolist() == ["1.png", "b/2.png"]
    assert files.keep(files.depth == 1).images().tolist() == ["a/1.png", "ab/3.png"]
    assert files.below("") is files


def test_parts_of_paths() -> None:
    paths = pd.Series(["a/b.x/c.JPG", "d.tar.gz", "e", "f.x/g", "h\ni/j.png"], dtype="str")
    assert extension(paths).tolist() == [".jpg", ".gz", "", "", ".png"]
    assert parent(paths).tolist() == ["a/b.x", "", "", "f.x", "h\ni"]
    assert first_part(paths).tolist() == ["a", "d.tar.gz", "e", "f.x", "h\ni"]
    assert last_part(paths).tolist() == ["c.JPG", "d.tar.gz", "e", "g", "j.png"]


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


def test_a_pattern_that_excludes_nothing_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jpg", "b.png"):
        (tmp_path / name).touch()
    assert list_files(tmp_path, exclude=["*.png", "masks/*"]).paths.tolist() == ["a.jpg"]
    warning = " ".join(capsys.readouterr().err.split())
    assert "matches 'masks/*'" in warning
    assert "*.png" not in warning
