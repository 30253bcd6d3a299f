import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from resnet50.etl.extract import extract
from resnet50.etl.files import FileIndex
from resnet50.etl.source.reading import Reading
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError

WriteImage = Callable[..., Path]
CountCalls = Callable[..., int]


def extracted(source: Path, **options: Any) -> Reading:
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


def test_table_gives_ids_labels_and_files_and_says_why(shop: Path) -> None:
    result = extracted(shop / "labels.csv")
    assert result.rows["image_id"].tolist() == ["001", "002", "003", "004", "999"]
    assert result.rows["label"].tolist() == ["cat", "dog", "cat", "dog", "dog"]
    assert result.rows["file"].tolist() == ["001.png", "002.png", "003.png", "004.png", ""]
    assert result.unlisted == ["005.png"]
    assert result.images == shop / "images"
    assert (result.options.id_column, result.options.label_column) == ("id", "label")
    assert result.options.images == shop / "images"
    assert result.what == "table labels.csv: images in column 'id', labels in column 'label'"
    assert result.evidence == (
        f"images: column 'id' names 4 of 5 rows' images in {shop / 'images'}",
        "labels: column 'label', its name",
    )


def test_published_split_column_is_found_by_itself(shop: Path) -> None:
    result = extracted(shop / "labels.csv")
    assert result.rows["published"].tolist() == ["train", "test", "train", "val", "train"]
    assert result.options.split_column == "part"
    assert result.notes == ("splits: column 'part'",)


def test_parquet_table_gives_the_same_rows_as_csv(shop: Path) -> None:
    by_csv = extracted(shop / "labels.csv").rows
    pd.read_csv(shop / "labels.csv", dtype="str").to_parquet(shop / "labels.parquet")
    pd.testing.assert_frame_equal(extracted(shop / "labels.parquet").rows, by_csv)


def test_named_columns_and_folder_are_used_without_guessing(shop: Path) -> None:
    result = extracted(shop / "labels.csv", images=shop / "images", id_column="id", label_column="who")
    assert result.evidence[1] == "labels: column 'who', --label-column"
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


@pytest.mark.slow
def test_table_without_images_is_reported_with_examples_of_both(shop: Path) -> None:
    columns = ",".join(f"c{number}" for number in range(300))
    table = write_table(shop / "t.csv", f"{columns}\n{'x,' * 299}x\n")
    with pytest.raises(
        UserError, match=r"none of the 1 rows .*'c0' has values such as 'x'.*'images/001.png'.*--id-column"
    ):
        extracted(table)


def test_number_like_labels_are_not_taken_for_ids(tmp_path: Path, write_image: WriteImage) -> None:
    for number in range(6):
        write_image(tmp_path / "images" / f"{number}.png")
    table = write_table(tmp_path / "t.csv", "grade,image\n" + "".join(f"{n % 2},{n}\n" for n in range(6)))
    result = extracted(table)
    assert (result.options.id_column, result.options.label_column) == ("image", "grade")


def test_id_columns_that_name_the_same_images_are_no_ambiguity(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "images" / "a.png")
    write_image(tmp_path / "images" / "b.png")
    table = write_table(tmp_path / "t.csv", "image_id,path,label\na,images/a.png,x\nb,images/b.png,y\n")
    result = extracted(table)
    assert result.options.label_column == "label"
    assert result.rows["file"].tolist() == ["a.png", "b.png"]


def test_id_columns_that_name_other_images_are_asked_about(tmp_path: Path, write_image: WriteImage) -> None:
    for name in "abcd":
        write_image(tmp_path / "images" / f"{name}.png")
    table = write_table(tmp_path / "t.csv", "image_left,image_right,label\na,b,x\nc,d,y\n")
    with pytest.raises(UserError, match=r"image_left and image_right could.*--id-column") as caught:
        extracted(table)
    assert caught.value.choices == ({"id_column": "image_left"}, {"id_column": "image_right"})
    assert extracted(table, **caught.value.choices[1]).rows["file"].tolist() == ["b.png", "d.png"]


def test_column_of_masks_beside_the_images_is_no_ambiguity(tmp_path: Path, write_image: WriteImage) -> None:
    for name in "abcd":
        write_image(tmp_path / "images" / f"{name}.png")
    table = write_table(tmp_path / "t.csv", "image,mask,label\na,b,x\nc,d,y\n")
    assert extracted(table).options.id_column == "image"


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
    assert "not used: images beside the class folders" in result.notes
    assert "files that are not images: 1 × .txt" in result.notes


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
    assert set(rows["published"]) == {"train", "val", "test"}
    assert rows["label"].tolist() == ["cat", "dog"] * 3
    assert rows["image_id"].is_unique


def test_test_folder_without_classes_is_not_used(tmp_path: Path, write_image: WriteImage) -> None:
    for path in ("train/cat/1.png", "train/dog/1.png", "test/7.png"):
        write_image(tmp_path / "seedlings" / path)
    result = extracted(tmp_path / "seedlings")
    assert result.rows["image_id"].tolist() == ["cat/1.png", "dog/1.png"]
    assert set(result.rows["published"]) == {""}
    assert "not used: test/ (no class folders in it, so no labels)" in result.notes
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
    assert result.what == "table train.csv: images in column 'id_code', labels in column 'diagnosis'"
    assert "not used: test_images (other images than the rows')" in result.notes
    assert result.evidence[1] == "labels: column 'diagnosis', the target of sample_submission.csv"
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
    assert extracted(competition_input).options.source == competition_input / "diagnoses.csv"


def test_tables_that_say_the_same_are_no_ambiguity(competition_input: Path) -> None:
    (competition_input / "train.csv").rename(competition_input / "a.csv")
    os.link(competition_input / "a.csv", competition_input / "b.csv")
    result = extracted(competition_input)
    assert result.options.source == competition_input / "a.csv"
    assert "not used: b.csv (it says the same)" in result.notes


def test_tables_with_other_labels_are_asked_about(competition_input: Path) -> None:
    table = (competition_input / "train.csv").read_text()
    write_table(competition_input / "train_2.csv", table.replace(",b", ",c"))
    with pytest.raises(UserError, match=r"several tables with labels .*train\.csv, train_2\.csv.*SOURCE") as caught:
        extracted(competition_input)
    sources = [competition_input / "train.csv", competition_input / "train_2.csv"]
    assert [choice["source"] for choice in caught.value.choices] == [str(path) for path in sources]
    assert set(extracted(sources[1]).rows["label"]) == {"a", "c"}


def test_one_hot_columns_become_labels(competition_input: Path) -> None:
    (competition_input / "sample_submission.csv").unlink()
    write_table(competition_input / "train.csv", "image_id,healthy,rust\n0001,1,0\n0002,0,1\n")
    result = extracted(competition_input)
    assert result.rows["label"].tolist() == ["healthy", "rust"]
    assert result.options.label_columns == "healthy,rust"
    assert result.options.label_column is None


def test_one_hot_rows_with_several_labels_are_counted(competition_input: Path) -> None:
    rows = "image_id,healthy,rust\n0001,1,1\n0002,0,1\n0003,0,0\n"
    write_table(competition_input / "train.csv", rows)
    with pytest.raises(UserError, match="1 rows have several 1s, 1 have none"):
        extracted(competition_input, label_columns="healthy,rust")
    combined = extracted(competition_input, label_columns="healthy,rust", combine_labels=True)
    assert combined.rows["label"].tolist() == ["healthy+rust", "rust", ""]


def test_folder_without_labels_is_refused(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "heap" / "1.png")
    with pytest.raises(UserError, match="neither a table whose rows refer to images nor class folders"):
        extracted(tmp_path / "heap")


def test_a_single_class_folder_is_refused_by_its_name(tmp_path: Path, write_image: WriteImage) -> None:
    for number in range(3):
        write_image(tmp_path / "animals" / "cat" / f"{number}.png")
    with pytest.raises(UserError, match=r"all 3 images of \S*animals are in one folder, cat, and one class"):
        extracted(tmp_path / "animals")


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


def pets(root: Path, write_image: WriteImage, *paths: str) -> Path:
    """Write images; 'cat/*' is three of them."""
    for path in paths:
        for number in range(3) if "*" in path else [0]:
            write_image(root / path.replace("*", f"{path.replace('/', '-')[:-2]}-{number}.png"))
    return root


def test_class_folders_beat_a_table_that_lists_their_images(tmp_path: Path, write_image: WriteImage) -> None:
    root = pets(tmp_path / "pets", write_image, "cat/*", "dog/*")
    names = [f"{label}/{label}-{number}.png" for label in ("cat", "dog") for number in range(3)]
    write_table(
        root / "licenses.csv", "file,owner\n" + "".join(f"{name},{'ab'[at % 2]}\n" for at, name in enumerate(names))
    )
    result = extracted(root)
    assert sorted(set(result.rows["label"])) == ["cat", "dog"]
    assert any("licenses.csv" in note for note in result.notes)


def test_predictions_beside_class_folders_are_not_read(tmp_path: Path, write_image: WriteImage) -> None:
    root = pets(tmp_path / "pets", write_image, "cat/*", "dog/*")
    names = [f"{label}/{label}-{number}.png" for label in ("cat", "dog") for number in range(3)]
    write_table(root / "p.csv", "image,prediction,p_cat,p_dog\n" + "".join(f"{name},cat,0.9,0.1\n" for name in names))
    assert sorted(set(extracted(root).rows["label"])) == ["cat", "dog"]


def test_table_with_a_column_called_label_beats_the_folders(tmp_path: Path, write_image: WriteImage) -> None:
    root = pets(tmp_path / "pets", write_image, "a/*", "b/*")
    names = [f"{label}/{label}-{number}.png" for label in ("a", "b") for number in range(3)]
    write_table(root / "t.csv", "file,label\n" + "".join(f"{name},{'xy'[at % 2]}\n" for at, name in enumerate(names)))
    assert sorted(set(extracted(root).rows["label"])) == ["x", "y"]
    folders = extracted(root, class_folders=True)
    assert sorted(set(folders.rows["label"])) == ["a", "b"]


def test_tables_of_splits_are_read_together(tmp_path: Path, write_image: WriteImage) -> None:
    for split in ("Train", "Test"):
        rows = "".join(f"{split}/{number}.png,{number % 2}\n" for number in range(4))
        write_table(tmp_path / "signs" / f"{split}.csv", "Path,ClassId\n" + rows)
        for number in range(4):
            write_image(tmp_path / "signs" / split / f"{number}.png")
    result = extracted(tmp_path / "signs")
    assert result.rows["published"].tolist() == ["train"] * 4 + ["test"] * 4
    assert result.rows["label"].tolist() == ["0", "1"] * 4
    assert result.name == "signs"


def test_metadata_of_each_split_is_read_together(tmp_path: Path, write_image: WriteImage) -> None:
    for split in ("train", "validation"):
        lines = [f'{{"file_name": "{number}.png", "label": "{"ab"[number % 2]}"}}' for number in range(4)]
        write_table(tmp_path / "set" / split / "metadata.jsonl", "\n".join(lines))
        for number in range(4):
            write_image(tmp_path / "set" / split / f"{number}.png")
    rows = extracted(tmp_path / "set").rows
    assert rows["published"].tolist() == ["train"] * 4 + ["val"] * 4
    assert rows["image_id"].is_unique
    assert rows["file"].tolist()[:5] == ["train/0.png", "train/1.png", "train/2.png", "train/3.png", "validation/0.png"]


def test_names_of_numbered_classes_come_from_json_beside_the_table(shop: Path) -> None:
    write_table(shop / "t.csv", "id,label\n001,0\n002,1\n003,0\n004,1\n")
    (shop / "labels.csv").unlink()
    write_table(shop / "names.json", '{"0": "cat", "1": "dog"}')
    result = extracted(shop)
    assert result.rows["label"].tolist() == ["cat", "dog", "cat", "dog"]
    assert "class names: names.json" in result.notes


def test_several_labels_per_image_are_refused_unless_combined(shop: Path) -> None:
    table = write_table(shop / "t.csv", "id,tags\n001,rust\n002,scab\n003,rust scab\n004,scab rust\n")
    with pytest.raises(UserError, match=r"several labels per image .*--combine-labels"):
        extracted(table)
    assert extracted(table, combine_labels=True).rows["label"].tolist() == ["rust", "scab", "rust+scab", "rust+scab"]


def test_number_per_image_is_refused(shop: Path, write_image: WriteImage) -> None:
    for number in range(100, 140):
        write_image(shop / "images" / f"{number}.png")
    table = write_table(shop / "t.csv", "id,label\n" + "".join(f"{at},{at / 7:.3f}\n" for at in range(100, 140)))
    with pytest.raises(UserError, match=r"a number per image .*not a class"):
        extracted(table)


def test_image_in_rows_with_several_labels_is_refused(shop: Path) -> None:
    table = write_table(shop / "t.csv", "id,label\n001,a\n001,b\n002,a\n002,b\n003,a\n004,b\n")
    with pytest.raises(UserError, match=r"2 of 4 images have several labels per image, in rows of their own"):
        extracted(table)


def test_table_without_a_header_line_is_refused(shop: Path) -> None:
    table = write_table(shop / "t.csv", "001,cat\n002,dog\n003,cat\n004,dog\n")
    with pytest.raises(UserError, match="starts with '001' where column names should be: add a header line"):
        extracted(table)


@pytest.mark.parametrize(
    ("values", "meaning"),
    [
        (["train", "train", "test", "val"], ["train", "train", "test", "val"]),
        (["Training", "Training", "PublicTest", "PrivateTest"], ["train", "train", "val", "test"]),
        (["TRAIN", "TRAIN", "TEST", "TEST"], ["train", "train", "test", "test"]),
    ],
)
def test_named_split_column_is_read_by_its_words(shop: Path, values: list[str], meaning: list[str]) -> None:
    rows = "".join(f"{number:03d},{'ab'[number % 2]},{value}\n" for number, value in enumerate(values, 1))
    table = write_table(shop / "t.csv", "id,label,where\n" + rows)
    assert extracted(table, split_column="where").rows["published"].tolist() == meaning


def test_flag_of_training_images_is_a_split(shop: Path) -> None:
    table = write_table(shop / "t.csv", "id,label,is_train\n001,a,1\n002,b,1\n003,a,0\n004,b,0\n")
    rows = extracted(table, split_column="is_train").rows
    assert rows["published"].tolist() == ["train", "train", "test", "test"]


def test_split_values_without_meaning_are_asked_about_and_told(shop: Path) -> None:
    table = write_table(shop / "t.csv", "id,label,where\n001,a,A\n002,b,A\n003,a,A\n004,b,B\n")
    with pytest.raises(UserError, match=r"which split is A, which B\? say it with --split-values") as caught:
        extracted(table, split_column="where")
    assert caught.value.choices == ({"split_values": "A=train,B=test"}, {"split_values": "B=train,A=test"})
    told = extracted(table, split_column="where", split_values="A=test,B=train")
    assert told.rows["published"].tolist() == ["test", "test", "test", "train"]
    with pytest.raises(UserError, match=r"give each value of column 'where' \(A, B\) one of train, val, test"):
        extracted(table, split_column="where", split_values="A=train")


def test_label_pattern_takes_labels_from_file_names(tmp_path: Path, write_image: WriteImage) -> None:
    for name in ("cat.0", "cat.1", "dog.0", "dog.1", "readme"):
        write_image(tmp_path / "heap" / f"{name}.png")
    result = extracted(tmp_path / "heap", label_pattern=r"^(cat|dog)\.")
    assert result.rows["label"].tolist() == ["cat", "cat", "dog", "dog"]
    assert "not used: 1 images that the pattern doesn't match, such as readme.png" in result.notes
    assert result.unlisted == ["readme.png"]


def test_label_pattern_with_a_slash_sees_the_path(tmp_path: Path, write_image: WriteImage) -> None:
    root = pets(tmp_path / "pets", write_image, "train/north/cat/*", "train/south/dog/*", "test/north/dog/*")
    rows = extracted(root, label_pattern="([^/]+)/[^/]+$").rows
    assert rows["label"].tolist() == ["dog"] * 3 + ["cat"] * 3 + ["dog"] * 3
    assert rows["published"].tolist() == ["test"] * 3 + ["train"] * 6


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "is not a regular expression"), ("^(owl)", r"matches none of 3 images, such as 'x-0.png'")],
)
def test_label_pattern_that_cannot_be_used_is_refused(
    tmp_path: Path, write_image: WriteImage, pattern: str, message: str
) -> None:
    root = pets(tmp_path / "heap", write_image, "x/*")
    with pytest.raises(UserError, match=message):
        extracted(root, label_pattern=pattern)


def test_names_that_begin_with_a_class_are_offered(tmp_path: Path, write_image: WriteImage) -> None:
    for name in (f"{label}.{number}" for label in ("cat", "dog") for number in range(4)):
        write_image(tmp_path / "heap" / f"{name}.png")
    with pytest.raises(UserError, match="8 images may have labels in their names") as caught:
        extracted(tmp_path / "heap")
    (choice,) = caught.value.choices
    assert extracted(tmp_path / "heap", **choice).rows["label"].tolist() == ["cat"] * 4 + ["dog"] * 4


def test_every_choice_between_levels_reads_what_it_says(tmp_path: Path, write_image: WriteImage) -> None:
    kinds = [f"{fruit}/{state}/*" for fruit in ("apple", "plum", "pear") for state in ("fresh", "rotten")]
    root = pets(tmp_path / "fruit", write_image, *kinds)
    with pytest.raises(UserError, match=r"which folders of .* are the classes\?") as caught:
        extracted(root)
    classes = [set(extracted(root, **choice).rows["label"]) for choice in caught.value.choices]
    assert classes[0] == {"fresh", "rotten"}
    assert classes[1] == {"apple", "plum", "pear"}
    assert len(classes[2]) == 6


def test_every_choice_of_an_unknown_folder_reads_what_it_says(tmp_path: Path, write_image: WriteImage) -> None:
    parts = [f"{part}/{label}/*" for part in ("train", "test", "extra") for label in ("cat", "dog")]
    root = pets(tmp_path / "pets", write_image, *parts)
    with pytest.raises(UserError, match="are the classes") as caught:
        extracted(root)
    without, with_all = (extracted(root, **choice) for choice in caught.value.choices)
    assert (len(without.rows), set(without.rows["published"])) == (12, {"train", "test"})
    assert len(with_all.rows) == 18
    assert set(with_all.rows["label"]) == {"cat", "dog"}


def test_choice_that_excludes_keeps_what_is_excluded_already(tmp_path: Path, write_image: WriteImage) -> None:
    parts = [f"{part}/{label}/*" for part in ("train", "test", "extra", "junk") for label in ("cat", "dog")]
    root = pets(tmp_path / "pets", write_image, *parts)
    with pytest.raises(UserError, match="are the classes") as caught:
        extracted(root, exclude="junk/*")
    assert caught.value.choices[0] == {"exclude": "junk/*,extra/*"}
    assert len(extracted(root, **caught.value.choices[0]).rows) == 12


def test_excluded_files_are_not_seen(tmp_path: Path, write_image: WriteImage) -> None:
    root = pets(tmp_path / "pets", write_image, "cat/*", "dog/*", "junk/*", "dog/odd_gt.png")
    assert set(extracted(root).rows["label"]) == {"cat", "dog", "junk"}
    rows = extracted(root, exclude="junk/*, *_gt.png").rows
    assert set(rows["label"]) == {"cat", "dog"}
    assert len(rows) == 6


def test_group_pattern_takes_groups_from_ids(tmp_path: Path, write_image: WriteImage) -> None:
    for name in ("10_left", "10_right", "7_left", "other"):
        write_image(tmp_path / "eyes" / f"{name}.png")
    table = write_table(tmp_path / "eyes" / "t.csv", "image,level\n10_left,0\n10_right,1\n7_left,1\nother,0\n")
    for pattern in (r"^(\d+)_(?:left|right)", r"^\d+"):
        assert extracted(table, group_pattern=pattern).rows["group"].tolist() == ["10", "10", "7", "other"]
    reading = extracted(table, group_pattern=r"^(?:(\d+)_left|(\d+)_right)")
    assert reading.rows["group"].tolist() == ["10", "10", "7", "other"]
    assert "1 ids don't match, such as 'other'" in reading.notes[-1]
    with pytest.raises(UserError, match="give one of the two"):
        extracted(table, group_pattern=".", group_column="image")
    with pytest.raises(UserError, match="matches no id, such as '10_left'"):
        extracted(table, group_pattern="^patient")
    with pytest.raises(UserError, match="is not a regular expression"):
        extracted(table, group_pattern="(")


def test_columns_that_look_like_groups_are_kept_for_the_warning(shop: Path) -> None:
    table = write_table(shop / "t.csv", "id,label,patient\n001,a,p1\n002,b,p1\n003,a,p2\n004,b,p3\n005,a,p3\n")
    assert extracted(table).columns["patient"].tolist() == ["p1", "p1", "p2", "p3", "p3"]


def test_label_lists_are_read_and_one_of_several_is_asked_for(tmp_path: Path, write_image: WriteImage) -> None:
    for number in range(6):
        write_image(tmp_path / "jets" / "images" / f"{number}.png")
    for kind, names in (("maker", "AB"), ("model", "xyz")):
        for split, numbers in (("train", range(4)), ("test", range(4, 6))):
            lines = [f"{number} {names[number % len(names)]}" for number in numbers]
            write_table(tmp_path / "jets" / f"{kind}_{split}.txt", "\n".join(lines))
    with pytest.raises(UserError, match=r"several lists label the images .*choose with --label-list") as caught:
        extracted(tmp_path / "jets")
    assert caught.value.choices == ({"label_list": "maker_*.txt"}, {"label_list": "model_*.txt"})
    rows = extracted(tmp_path / "jets", label_list="model_*.txt").rows
    assert rows.set_index("image_id")["label"].sort_index().tolist() == list("xyzxyz")
    assert rows.set_index("image_id")["published"].sort_index().tolist() == ["train"] * 4 + ["test"] * 2
    with pytest.raises(UserError, match=r"--label-list 'x': no such lists .*maker_\*.txt, model_\*.txt"):
        extracted(tmp_path / "jets", label_list="x")


def test_rows_with_images_in_a_test_folder_alone_are_asked_about(tmp_path: Path, write_image: WriteImage) -> None:
    for number in range(4):
        write_image(tmp_path / "set" / "test" / f"{number}.png")
    table = write_table(tmp_path / "set" / "train.csv", "id,label\n0,a\n1,b\n2,a\n3,b\n")
    with pytest.raises(UserError, match=r"only in test, which seems to hold other images") as caught:
        extracted(tmp_path / "set")
    assert caught.value.choices == ({"images": str(tmp_path / "set" / "test")},)
    assert extracted(table, images=tmp_path / "set" / "test").rows["file"].tolist() == [f"{at}.png" for at in range(4)]


def test_images_in_the_folder_that_a_column_names_are_found(tmp_path: Path, write_image: WriteImage) -> None:
    for folder in ("n", "s"):
        for number in range(4):
            write_image(tmp_path / "set" / folder / f"{number}.png")
    lines = [f"{number},{folder},{'ab'[number % 2]}" for folder in ("n", "s") for number in range(4)]
    result = extracted(write_table(tmp_path / "set" / "t.csv", "\n".join(["id,site,label", *lines])))
    assert result.rows["file"].tolist() == [f"{folder}/{number}.png" for folder in ("n", "s") for number in range(4)]
    assert result.rows["image_id"].is_unique


def test_a_table_beside_an_archive_is_told_to_unpack_it(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,label\n1,car\n2,ship\n")
    (tmp_path / "train.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(100))
    with pytest.raises(UserError, match=r"train\.7z is a 7z archive: unpack it first"):
        extract(PrepareOptions(source=tmp_path, out=tmp_path / "out"))


@pytest.mark.parametrize("header", ["id,label", "id"])
def test_tables_per_split_beside_one_of_all_labels_say_the_split(
    tmp_path: Path, write_image: WriteImage, header: str
) -> None:
    rows = [(f"{at:03}", ("cat", "dog")[at % 2]) for at in range(12)]
    for name, _ in rows:
        write_image(tmp_path / "images" / f"{name}.png")
    write_table(tmp_path / "labels.csv", "\n".join(["id,label", *map(",".join, rows)]))
    for split, part in (("train", rows[:8]), ("test", rows[8:])):
        lines = [",".join(row[: header.count(",") + 1]) for row in part]
        write_table(tmp_path / f"{split}.csv", "\n".join([header, *lines]))
    assert extracted(tmp_path).rows["published"].value_counts().to_dict() == {"train": 8, "test": 4}


def test_cells_that_begin_with_a_class_label_images_without_folders(tmp_path: Path, write_image: WriteImage) -> None:
    for name in ("n01", "n02"):
        for at in range(4):
            write_image(tmp_path / "train" / name / f"{name}_{at}.png")
    for at in range(4):
        write_image(tmp_path / "val" / f"val_{at}.png")
    lines = [f"val_{at},n0{at % 2 + 1} 10 20 {at} 40" for at in range(4)]
    write_table(tmp_path / "val_solution.csv", "\n".join(["ImageId,PredictionString", *lines]))
    rows = extracted(tmp_path).rows
    assert rows["published"].value_counts().to_dict() == {"train": 8, "val": 4}
    assert dict(zip(rows["file"], rows["label"], strict=True))["val/val_1.png"] == "n02"


def test_a_table_and_folders_that_disagree_in_the_same_words_are_asked_about(
    tmp_path: Path, write_image: WriteImage
) -> None:
    names = [f"{('angry', 'happy')[number % 2]}/{number}.png" for number in range(12)]
    for name in names:
        write_image(tmp_path / name)
    labels = [name.partition("/")[0].title() for name in names]
    labels[3] = "Angry"
    rows = [f"{name},{label}" for name, label in zip(names, labels, strict=True)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows, ""]))
    with pytest.raises(UserError, match=r"could be in labels\.csv .* or be the folders of the images") as error:
        extract(PrepareOptions(source=tmp_path, out=tmp_path / "out"))
    assert error.value.choices == ({"label_column": "label"}, {"class_folders": "true"})
    for choice, angry in zip(({"label_column": "label"}, {"class_folders": True}), (7, 6), strict=True):
        reading = extract(PrepareOptions(source=tmp_path, out=tmp_path / "out", **choice))
        assert reading.rows["label"].str.casefold().eq("angry").sum() == angry
