import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from resnet50.etl.extract import Extracted, extract
from resnet50.etl.files import FileIndex
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError

WriteImage = Callable[..., Path]
CountCalls = Callable[..., int]


def extracted(source: Path, **options: Any) -> Extracted:
    return extract(PrepareOptions(source=source, out=source.parent / "out", **options))


def write_table(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def shop(tmp_path: Path, write_image: WriteImage) -> Path:
    """Return a folder with labels.csv (id, label, who, part) of 001 … 004, their images, and one more image."""
    for number in range(1, 6):
        write_image(tmp_path / "shop" / "images" / f"{number:03d}.png")
    lines = [
        "id,label,who,part",
        "001,cat,x,train",
        "002,dog,x,test",
        "003,cat,,train",
        "004,dog,y,valid",
        "999,dog,y,train",
    ]
    write_table(tmp_path / "shop" / "labels.csv", "\n".join(lines))
    return tmp_path / "shop"


def test_table_gives_ids_labels_and_files_and_notes_its_guesses(shop: Path) -> None:
    result = extracted(shop / "labels.csv")
    assert result.rows["image_id"].tolist() == ["001", "002", "003", "004", "999"]
    assert result.rows["label"].tolist() == ["cat", "dog", "cat", "dog", "dog"]
    assert result.rows["file"].tolist() == ["001.png", "002.png", "003.png", "004.png", ""]
    assert result.unlisted == ["005.png"]
    assert result.images == shop / "images"
    assert (result.options.id_column, result.options.label_column) == ("id", "label")
    assert result.options.images == shop / "images"
    assert result.notes == ["image ids: column 'id'", "labels: column 'label'", f"image folder: {shop / 'images'}"]


def test_parquet_table_gives_the_same_rows_as_csv(shop: Path) -> None:
    by_csv = extracted(shop / "labels.csv").rows
    pd.read_csv(shop / "labels.csv", dtype="str").to_parquet(shop / "labels.parquet")
    pd.testing.assert_frame_equal(extracted(shop / "labels.parquet").rows, by_csv)


def test_named_columns_and_folder_are_used_without_guessing(shop: Path) -> None:
    result = extracted(shop / "labels.csv", images=shop / "images", id_column="id", label_column="who")
    assert result.notes == []
    assert result.rows["label"].tolist() == ["x", "x", "", "y", "y"]


def test_row_with_an_empty_group_is_its_own_group(shop: Path) -> None:
    rows = extracted(shop / "labels.csv", group_column="who").rows
    assert rows["group"].tolist() == ["x", "x", "003", "y", "y"]
    assert extracted(shop / "labels.csv").rows["group"].tolist() == rows["image_id"].tolist()


def test_dataset_is_named_after_its_table_or_else_its_folder(shop: Path) -> None:
    assert extracted(shop / "labels.csv").name == "shop"
    (shop / "labels.csv").rename(shop / "cells.csv")
    assert extracted(shop / "cells.csv").name == "cells"


def test_template_with_more_columns_gives_files_and_ids(tmp_path: Path, write_image: WriteImage) -> None:
    for patient in ("p1", "p2"):
        write_image(tmp_path / "scans" / patient / "1.png")
    table = write_table(tmp_path / "t.csv", "image_id,label,patient\n1,a,p1\n1,b,p2\n")
    with pytest.raises(UserError, match="several"):
        extracted(table, id_column="image_id")
    rows = extracted(table, id_column="image_id", path_template="{patient}/{image_id}.png").rows
    assert rows["image_id"].tolist() == rows["file"].tolist() == ["p1/1.png", "p2/1.png"]


def test_template_with_the_id_alone_keeps_the_id(shop: Path) -> None:
    rows = extracted(shop / "labels.csv", path_template="{image_id}.png").rows
    assert rows["image_id"].tolist()[0] == "001"
    assert rows["file"].tolist()[0] == "001.png"


def test_id_outside_the_image_folder_counts_as_missing(shop: Path, write_image: WriteImage) -> None:
    write_image(shop / "secret.png")
    table = write_table(shop / "t.csv", "id,label\n001,a\n../secret.png,b\n../../etc/passwd,b\n")
    assert extracted(table, images=shop / "images").rows["file"].tolist() == ["001.png", "", ""]


def test_id_outside_the_image_folder_is_found_if_allowed(shop: Path, write_image: WriteImage) -> None:
    write_image(shop / "secret.png")
    write_image(shop.parent / "far.png")
    far = str(shop.parent / "far.png")
    table = write_table(shop / "t.csv", f"id,label\n001,a\n../secret.png,b\n{far},b\n../../etc/passwd,b\n999,a\n")
    result = extracted(table, images=shop / "images", allow_outside=True)
    assert result.rows["file"].tolist() == ["001.png", "../secret.png", "../../far.png", "", ""]
    assert result.rows["image_id"].tolist()[2] == far
    assert result.unlisted == ["002.png", "003.png", "004.png", "005.png"]


def test_table_with_all_images_outside_is_read_if_allowed(shop: Path, write_image: WriteImage) -> None:
    write_image(shop.parent / "far.png")
    table = write_table(shop / "t.csv", f"id,label\n{shop.parent / 'far.png'},a\n")
    with pytest.raises(UserError, match="none of the 1 rows"):
        extracted(table, images=shop / "images")
    for images in (shop / "images", None):
        result = extracted(table, images=images, allow_outside=True)
        assert (result.images / result.rows["file"].iloc[0]).resolve() == shop.parent / "far.png"


def test_file_in_the_folder_has_precedence_over_one_outside(shop: Path) -> None:
    inside = str(shop / "images" / "001.png")
    table = write_table(shop / "t.csv", f"id,label\n{inside},a\n002,b\n")
    rows = extracted(table, images=shop / "images", allow_outside=True).rows
    assert rows["file"].tolist() == ["001.png", "002.png"]


def test_linked_class_folder_outside_is_read_only_if_allowed(tmp_path: Path, write_image: WriteImage) -> None:
    for path in ("pets/cat/1.png", "pets/dog/1.png", "elsewhere/2.png"):
        write_image(tmp_path / path)
    (tmp_path / "pets" / "owl").symlink_to(tmp_path / "elsewhere")
    assert extracted(tmp_path / "pets").rows["label"].tolist() == ["cat", "dog"]
    assert extracted(tmp_path / "pets", allow_outside=True).rows["label"].tolist() == ["cat", "dog", "owl"]


def test_message_about_hundreds_of_columns_stays_short(shop: Path) -> None:
    columns = ",".join(f"c{number}" for number in range(300))
    table = write_table(shop / "t.csv", f"{columns}\n{'x,' * 299}x\n")
    with pytest.raises(UserError, match=r"none of c0, c1, .*, c9 … seems to.*--id-column") as caught:
        extracted(table)
    assert len(str(caught.value)) < 300


def test_number_like_labels_are_not_taken_for_ids(tmp_path: Path, write_image: WriteImage) -> None:
    for number in range(6):
        write_image(tmp_path / "images" / f"{number}.png")
    table = write_table(tmp_path / "t.csv", "grade,image\n" + "".join(f"{n % 2},{n}\n" for n in range(6)))
    result = extracted(table)
    assert (result.options.id_column, result.options.label_column) == ("image", "grade")


def test_ambiguous_id_column_must_be_named(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "images" / "a.png")
    write_image(tmp_path / "images" / "b.png")
    table = write_table(tmp_path / "t.csv", "image_id,path,label\na,images/a.png,x\nb,images/b.png,y\n")
    with pytest.raises(UserError, match=r"image_id and path could.*--id-column"):
        extracted(table)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id_column": "idd"}, r"--id-column 'idd': no such column \(did you mean 'id'\?\)"),
        ({"label_column": "lable"}, r"--label-column 'lable'.*'label'"),
        ({"group_column": "whom"}, r"--group-column 'whom'.*'who'"),
        ({"split_column": "parts"}, r"--split-column 'parts'.*'part'"),
        ({"images": Path("nowhere")}, "nowhere does not exist"),
    ],
)
def test_missing_column_or_folder_is_reported_with_the_nearest(shop: Path, options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        extracted(shop / "labels.csv", **options)


def test_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.csv does not exist"):
        extracted(tmp_path / "nothing.csv")


@pytest.mark.parametrize("option", ["source", "images"])
def test_path_without_permission_is_named(shop: Path, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    secret, exists = shop / "secret", Path.exists

    def refuse(path: Path) -> bool:
        if path == secret:
            raise PermissionError(13, "Permission denied")
        return exists(path)

    monkeypatch.setattr(Path, "exists", refuse)  # as for any user but root, who may read everything
    with pytest.raises(UserError, match=r"secret cannot be read: Permission denied"):
        extract(PrepareOptions(**{"source": shop / "labels.csv", "out": shop.parent / "out"} | {option: secret}))


def test_class_folders_give_labels_and_relative_ids(tmp_path: Path, write_image: WriteImage) -> None:
    for path in ("cat/1.png", "cat/deep/2.png", "dog/1.png", "stray.png"):
        write_image(tmp_path / "pets" / path)
    (tmp_path / "pets" / "dog" / "readme.txt").touch()
    result = extracted(tmp_path / "pets")
    assert result.rows["image_id"].tolist() == ["cat/1.png", "cat/deep/2.png", "dog/1.png"]
    assert result.rows["label"].tolist() == ["cat", "cat", "dog"]
    assert set(result.rows["published"]) == {""}
    assert result.unlisted == ["stray.png"]
    assert result.name == "pets"
    assert "not used, without an image's extension: 1 × .txt" in result.notes


def test_folder_wrapped_around_class_folders_is_skipped(tmp_path: Path, write_image: WriteImage) -> None:
    for path in ("PetImages/cat/1.png", "PetImages/dog/1.png"):
        write_image(tmp_path / "download" / path)
    assert extracted(tmp_path / "download").rows["label"].tolist() == ["cat", "dog"]


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_published_splits_with_class_folders_are_kept(tmp_path: Path, write_image: WriteImage, val: str) -> None:
    for part in ("train", val, "test"):
        for label in ("cat", "dog"):
            write_image(tmp_path / "pets" / part / label / "1.png")
    write_table(tmp_path / "pets" / "all.csv", f"filepaths,labels\ntrain/cat/1.png,cat\n{val}/dog/1.png,dog\n")
    rows = extracted(tmp_path / "pets").rows
    assert set(rows["published"]) == {"train", val, "test"}
    assert rows["label"].tolist() == ["cat", "dog"] * 3
    assert rows["image_id"].is_unique


def test_test_folder_without_classes_is_not_used(tmp_path: Path, write_image: WriteImage) -> None:
    for path in ("train/cat/1.png", "train/dog/1.png", "test/7.png"):
        write_image(tmp_path / "seedlings" / path)
    result = extracted(tmp_path / "seedlings")
    assert result.rows["image_id"].tolist() == ["cat/1.png", "dog/1.png"]
    assert set(result.rows["published"]) == {""}
    assert "not used: test (without class folders)" in result.notes
    assert result.name == "seedlings"


def test_classes_called_train_and_bus_are_classes(tmp_path: Path, write_image: WriteImage) -> None:
    for path in ("train/1.png", "bus/1.png"):
        write_image(tmp_path / "vehicles" / path)
    assert extracted(tmp_path / "vehicles").rows["label"].tolist() == ["bus", "train"]


@pytest.fixture
def competition_input(tmp_path: Path, write_image: WriteImage) -> Path:
    """Return an input directory as competitions have it: numbered alike in train_images and test_images."""
    folder = tmp_path / "input" / "flowers"
    for number in range(1, 5):
        write_image(folder / "train_images" / f"{number:04d}.png")
        write_image(folder / "test_images" / f"{number:04d}.png")
    rows = "".join(f"{number:04d},{'ab'[number % 2]}\n" for number in range(1, 5))
    write_table(folder / "train.csv", "id_code,diagnosis\n" + rows)
    write_table(folder / "test.csv", "id_code\n0001\n0002\n")
    write_table(folder / "sample_submission.csv", "id_code,diagnosis\n0001,a\n0002,a\n")
    return folder


def test_competition_directory_gives_its_labeled_table_and_images(competition_input: Path) -> None:
    result = extracted(competition_input)
    assert result.images == competition_input / "train_images"
    assert result.rows["image_id"].tolist() == ["0001", "0002", "0003", "0004"]
    assert result.rows["label"].tolist() == ["b", "a", "b", "a"]
    assert result.unlisted == []
    assert result.notes[0] == "table: train.csv"
    assert result.name == "flowers"


def test_parent_of_a_competition_directory_is_accepted(competition_input: Path) -> None:
    assert extracted(competition_input.parent).images == competition_input / "train_images"


def test_competition_directory_is_never_written_to(competition_input: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in [competition_input, *competition_input.rglob("*")]}
    extracted(competition_input)
    assert {path: path.stat().st_mtime_ns for path in [competition_input, *competition_input.rglob("*")]} == before


def test_table_of_another_name_is_found_by_its_ids(competition_input: Path) -> None:
    (competition_input / "train.csv").rename(competition_input / "diagnoses.csv")
    write_table(competition_input / "prices.csv", "item,price\nrose,3\n")
    assert extracted(competition_input).notes[0] == "table: diagnoses.csv"


def test_several_labeled_tables_are_refused(competition_input: Path) -> None:
    (competition_input / "train.csv").rename(competition_input / "a.csv")
    os.link(competition_input / "a.csv", competition_input / "b.csv")
    with pytest.raises(UserError, match=r"several tables.*a\.csv, b\.csv"):
        extracted(competition_input)


def test_one_hot_table_needs_a_label_column(competition_input: Path) -> None:
    write_table(competition_input / "train.csv", "image_id,healthy,rust\n0001,1,0\n0002,0,1\n")
    with pytest.raises(UserError, match=r"healthy, rust.*--label-column"):
        extracted(competition_input)


def test_folder_without_labels_is_refused(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "heap" / "1.png")
    with pytest.raises(UserError, match="neither a table whose rows refer to images nor class folders"):
        extracted(tmp_path / "heap")


def test_column_options_are_refused_for_class_folders(tmp_path: Path, write_image: WriteImage) -> None:
    for path in ("cat/1.png", "dog/1.png"):
        write_image(tmp_path / "pets" / path)
    with pytest.raises(UserError, match="omit --group-column"):
        extracted(tmp_path / "pets", group_column="who")


def test_rows_are_extracted_without_a_python_loop(
    tmp_path: Path, count_calls: CountCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    calls: list[int] = []
    for rows in (2_000, 2_000, 20_000):  # the first call also pays for pandas' lazy imports
        names = [f"{number:06d}" for number in range(rows)]
        table = write_table(tmp_path / "t.csv", "id,label\n" + "".join(f"{name},{name[-1]}\n" for name in names))
        listed = FileIndex(tmp_path, [f"images/{name}.png" for name in names])
        monkeypatch.setattr("resnet50.etl.extract.list_files", lambda *_, listed=listed, **__: listed)
        calls.append(count_calls(extracted, table))
    assert calls[2] < calls[1] + 9_000, "fewer than one call per two rows"
