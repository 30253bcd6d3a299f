"""Which files are meant by files, folders and globs."""

import shutil
from pathlib import Path

import pytest

from resnet50.inference.files import find_images
from resnet50.runtime.errors import UserError


def test_files_folders_and_globs_name_each_image_once(competition: Path) -> None:
    images = competition / "images"
    found = find_images([str(images / "001.jpg"), str(images), str(images / "00*.jpg")])
    assert len(found) == 60
    assert found[0] == str(images / "001.jpg")


def test_paths_are_written_as_they_were_given(competition: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(competition)
    assert find_images(["images/"])[0] == find_images(["./images"])[0] == "images/000.jpg"
    assert find_images(["."])[0] == "images/000.jpg"


@pytest.mark.parametrize("source", ["", "*.jpg", "**/*.jpg"])
def test_what_systems_leave_behind_is_no_image(source: str, competition: Path) -> None:
    images = competition / "images"
    (images / "._000.jpg").write_bytes(b"\0\5\x16\7")
    for name in ("__MACOSX", ".ipynb_checkpoints"):
        (images / name).mkdir()
        shutil.copy(images / "000.jpg", images / name)
    assert len(find_images([str(images / source)])) == 60


def test_a_glob_passes_over_thumbnails_and_folders_called_like_images(competition: Path) -> None:
    images = competition / "images"
    (images / "@eaDir" / "0.jpg").mkdir(parents=True)
    shutil.copy(images / "000.jpg", images / "@eaDir" / "0.jpg" / "THUMB.jpg")
    (images / "folder.jpg").mkdir()
    assert len(find_images([f"{images}/**/*.jpg"])) == 60
    assert len(find_images([f"{images}/@eaDir/*/*.jpg"])) == 1  # asked for


def test_files_of_other_kinds_are_passed_over_and_told(competition: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(find_images([str(competition)])) == 60
    assert "passed over 1 of 61 files" in (said := capsys.readouterr().err)
    assert "'train.csv'" in said


def test_links_in_a_named_folder_are_followed(competition: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.jpg").symlink_to(competition / "images" / "000.jpg")
    assert find_images([str(tmp_path / "links")]).tolist() == [str(tmp_path / "links" / "a.jpg")]


def test_a_file_that_is_named_is_an_image_whatever_its_name(competition: Path) -> None:
    shutil.copy(competition / "images" / "000.jpg", competition / "scan")
    assert find_images([str(competition / "scan")]).tolist() == [str(competition / "scan")]


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match=r"no image at .*1 files there are not images"):
        find_images([str(tmp_path)])


def test_an_empty_name_is_not_the_current_folder(competition: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(competition)
    with pytest.raises(UserError, match="'' is no image"):
        find_images([""])


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b.jpg"])
def test_a_name_that_cannot_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="no image at"):
        find_images([name])
