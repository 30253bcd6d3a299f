import gzip
import io
import json
import pickle
import sqlite3
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from tensorboard.summary.writer.record_writer import RecordWriter

from resnet50.etl.embedded import (
    EmbeddedSource,
    choices_between,
    find_embedded,
    unreadable_container,
    unreadable_containers,
)
from resnet50.etl.embedded.names import meaning_of_path
from resnet50.etl.files import list_files
from resnet50.etl.source.split_columns import split_values
from resnet50.runtime.errors import UserError

RNG = np.random.default_rng(0)


def noise(count: int, height: int = 28, width: int = 28) -> np.ndarray:
    return RNG.integers(0, 256, (count, height, width), dtype=np.uint8)


def waves(count: int, height: int, width: int, channels: int = 1) -> np.ndarray:
    """Smooth images, as photographs are."""
    y, x = np.mgrid[0:height, 0:width]
    phases = RNG.uniform(0, 6, (count, 1, 1, channels))
    images = 127 + 100 * np.sin(x[None, ..., None] / width * 3 + phases) * np.cos(y[None, ..., None] / height * 4)
    return images.round().astype(np.uint8) if channels > 1 else images.round().astype(np.uint8)[..., 0]


def pixel_table(images: np.ndarray, names: list[str], labels: object = "cycle") -> pd.DataFrame:
    table = pd.DataFrame(images.reshape(len(images), -1), columns=names)
    if labels is not None:
        table.insert(0, "label", np.arange(len(images)) % 10 if isinstance(labels, str) else labels)
    return table


def numbered(count: int) -> list[str]:
    return [f"pixel{number}" for number in range(count)]


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format=kind)
    return file.getvalue()


def only(folder: Path, **options: Any) -> EmbeddedSource:
    (source,) = find_embedded(list_files(folder), **options)
    return source


def written(source: EmbeddedSource, out: Path) -> list[np.ndarray]:
    """Write a source and return the pixels of the files in the order of its table."""
    source.write(out)
    return [np.asarray(Image.open(out / file)) for file in source.table()["file"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


class TestPixelsInColumns:
    def test_pixels_come_out_as_they_went_in(self, folder: Path, tmp_path: Path) -> None:
        images = noise(30)
        pixel_table(images, numbered(784)).to_csv(folder / "train.csv", index=False)
        source = only(folder)
        table = source.table()
        assert source.kind == "pixels in columns"
        assert (source.count, str(source.shape), source.label_columns) == (30, "28×28 pixels, gray", ("label",))
        assert table["label"].tolist() == [str(number % 10) for number in range(30)]
        assert table.loc[7, ["image_id", "file", "published"]].tolist() == ["00000007", "00000007.png", ""]
        np.testing.assert_array_equal(written(source, tmp_path / "out"), images)

    def test_a_file_without_labels_is_not_used_and_named(self, folder: Path) -> None:
        pixel_table(noise(30), numbered(784)).to_csv(folder / "train.csv", index=False)
        pixel_table(noise(20), numbered(784), None).to_csv(folder / "test.csv", index=False)
        source = only(folder)
        assert [file.path.name for file in source.files] == ["train.csv"]
        assert set(source.table()["published"]) == {""}
        assert "not used: test.csv (no labels)" in source.evidence

    def test_two_labeled_files_are_a_published_split(self, folder: Path) -> None:
        names = [f"{row}x{column}" for row in range(1, 29) for column in range(1, 29)]
        pixel_table(noise(30), names).to_csv(folder / "mnist_train.csv", index=False)
        pixel_table(noise(20), names).to_csv(folder / "mnist_test.csv", index=False)
        table = only(folder).table()
        assert table["published"].value_counts().to_dict() == {"train": 30, "test": 20}
        assert table["image_id"].iloc[[0, 30]].tolist() == ["train/00000000", "test/00000000"]
        assert table["file"].is_unique

    def test_files_with_the_same_bytes_count_once(self, folder: Path) -> None:
        for name in ("sign_train", "sign_test"):
            (folder / name).mkdir()
            table = pixel_table(noise(20), numbered(784))
            for path in (folder / name / f"{name}.csv", folder / f"{name}.csv"):
                table.to_csv(path, index=False)
        source = only(folder)
        assert [file.path.parent for file in source.files] == [folder, folder]
        assert len(source.table()) == 40

    def test_columns_are_ordered_by_number(self, folder: Path, tmp_path: Path) -> None:
        images = noise(20)
        table = pixel_table(images, numbered(784))
        table[sorted(table.columns)].to_csv(folder / "train.csv", index=False)
        np.testing.assert_array_equal(written(only(folder), tmp_path / "out"), images)

    @pytest.mark.slow
    @pytest.mark.parametrize("planar", [False, True])
    def test_the_order_of_channels_is_seen_in_the_pixels(self, planar: bool, folder: Path, tmp_path: Path) -> None:
        images = waves(20, 32, 32, 3)
        stored = images.transpose(0, 3, 1, 2) if planar else images
        pixel_table(stored, numbered(3072)).to_csv(folder / "train.csv", index=False)
        np.testing.assert_array_equal(written(only(folder), tmp_path / "out"), images)

    @pytest.mark.slow
    def test_channels_of_noise_ask_for_a_shape(self, folder: Path) -> None:
        pixel_table(noise(20, 32, 96), numbered(3072)).to_csv(folder / "train.csv", index=False)
        with pytest.raises(UserError, match="--pixel-shape") as caught:
            only(folder).table()
        assert {choice["pixel_shape"] for choice in caught.value.choices} == {"32x32x3", "3x32x32"}

    def test_numbers_that_make_no_square_ask_for_a_shape(self, folder: Path, tmp_path: Path) -> None:
        images = waves(20, 28, 36)
        pixel_table(images, numbered(28 * 36)).to_csv(folder / "train.csv", index=False)
        with pytest.raises(UserError, match="choose one with --pixel-shape") as caught:
            only(folder).table()
        assert caught.value.choices[0] == {"pixel_shape": "28x36"}
        assert len(caught.value.choices) == 3
        np.testing.assert_array_equal(written(only(folder, pixel_shape="28x36"), tmp_path / "out"), images)

    def test_names_of_rows_and_columns_tell_the_shape(self, folder: Path, tmp_path: Path) -> None:
        images = noise(20, 12, 20)
        names = [f"{row}x{column}" for row in range(12) for column in range(20)]
        pixel_table(images, names).to_csv(folder / "train.csv", index=False)
        np.testing.assert_array_equal(written(only(folder), tmp_path / "out"), images)

    def test_without_a_header_the_column_that_varies_has_the_labels(self, folder: Path, tmp_path: Path) -> None:
        images = noise(40)
        images[:, -1, -1] = 0
        table = pixel_table(images, numbered(784), np.arange(40) // 4)
        table.to_csv(folder / "train.csv", index=False, header=False)
        source = only(folder)
        assert source.table()["label"].tolist() == [str(number // 4) for number in range(40)]
        np.testing.assert_array_equal(written(source, tmp_path / "out"), images)

    def test_without_a_header_two_possible_label_columns_are_refused(self, folder: Path) -> None:
        images = noise(40)
        images[:, -1, -1] = np.arange(40) % 9
        pixel_table(images, numbered(784)).to_csv(folder / "train.csv", index=False, header=False)
        with pytest.raises(UserError, match="add a header"):
            only(folder).table()

    @pytest.mark.parametrize(
        "columns", [["margin", "shape", "texture"], ["var_"], ["gene"]], ids=["three kinds", "features", "genes"]
    )
    def test_measurements_are_no_pixels(self, columns: list[str], folder: Path) -> None:
        names = [f"{name}{number}" for name in columns for number in range(64)]
        table = pd.DataFrame(RNG.normal(size=(60, len(names))), columns=names).assign(species=["a", "b"] * 30)
        table.to_csv(folder / "train.csv", index=False)
        assert find_embedded(list_files(folder)) == []

    def test_64_whole_numbers_are_no_image_unless_their_names_say_so(self, folder: Path) -> None:
        table = pixel_table(RNG.integers(0, 100, (40, 64)), [f"feature_{number}" for number in range(64)])
        table.to_csv(folder / "train.csv", index=False)
        assert find_embedded(list_files(folder)) == []
        pixel_table(noise(40, 8, 8), numbered(64)).to_csv(folder / "train.csv", index=False)
        assert only(folder).count == 40

    @pytest.mark.parametrize("prefix", ["", "V", "x"])
    def test_vague_names_are_pixels_where_the_numbers_are(self, prefix: str, folder: Path) -> None:
        table = pixel_table(waves(40, 32, 32) / 255, [f"{prefix}{number}" for number in range(1024)])
        table.to_csv(folder / "train.csv", index=False)
        assert str(only(folder).shape) == "32×32 pixels, gray"

    def test_damaged_rows_are_left_out_with_their_lines(self, folder: Path) -> None:
        rows = [",".join(map(str, [number % 10, *RNG.integers(0, 256, 784)])) for number in range(500)]
        rows[5] += ",7"
        rows[70] = rows[70].rsplit(",", 1)[0]
        rows[90] = rows[90].rsplit(",", 2)[0] + ",0,300"
        rows[190] = rows[190].rsplit(",", 1)[0] + ","
        (folder / "train.csv").write_text("\n".join([",".join(["label", *numbered(784)]), *rows]))
        source = only(folder)
        assert source.table()["image_id"].iloc[[4, 5]].tolist() == ["00000004", "00000006"]
        assert {(fault.line, fault.reason) for fault in source.faults} == {
            (7, "786 cells instead of 785"),
            (72, "784 cells instead of 785"),
            (92, "values from 0 to 300 instead of 0 to 255"),
            (192, "a pixel is missing"),
        }

    def test_more_than_one_percent_of_damaged_rows_is_an_error(self, folder: Path) -> None:
        rows = [",".join(map(str, [number % 10, *RNG.integers(0, 256, 784)])) for number in range(100)]
        rows[5] += ",7"
        rows[6] += ",7"
        (folder / "train.csv").write_text("\n".join([",".join(["label", *numbered(784)]), *rows]))
        with pytest.raises(UserError, match=r"2 of 100 rows .* line 7 of train.csv"):
            only(folder).table()

    @pytest.mark.slow
    def test_parquet_with_pixels_in_columns_is_read_alike(self, folder: Path, tmp_path: Path) -> None:
        images = noise(30)
        pixel_table(images, numbered(784)).to_parquet(folder / "train.parquet")
        np.testing.assert_array_equal(written(only(folder), tmp_path / "out"), images)


class TestRanges:
    def images(self, folder: Path, values: np.ndarray, out: Path, **options: Any) -> list[np.ndarray]:
        np.savez(folder / "data.npz", images=values, labels=np.arange(len(values)) % 3)
        return written(only(folder, **options), out)

    def test_zero_to_one_becomes_zero_to_255(self, folder: Path, tmp_path: Path) -> None:
        images = noise(20)
        np.testing.assert_array_equal(self.images(folder, images / np.float32(255), tmp_path / "out"), images)

    def test_black_and_white_becomes_0_and_255(self, folder: Path, tmp_path: Path) -> None:
        images = noise(20) // 128
        np.testing.assert_array_equal(self.images(folder, images, tmp_path / "out"), images * 255)

    def test_a_small_range_asks_for_white(self, folder: Path, tmp_path: Path) -> None:
        values = RNG.integers(0, 17, (50, 8, 8))
        with pytest.raises(UserError, match="--pixel-max") as caught:
            self.images(folder, values, tmp_path / "out")
        assert caught.value.choices == ({"pixel_max": "16"}, {"pixel_max": "255"})
        found = self.images(folder, values, tmp_path / "out", pixel_max=16)
        np.testing.assert_array_equal(found, np.rint(values * 255 / 16).astype(np.uint8))

    def test_twelve_bits_ask_for_white(self, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="from 0 to 4") as caught:
            self.images(folder, RNG.integers(0, 4096, (20, 28, 28)), tmp_path / "out")
        assert caught.value.choices[0] == {"pixel_max": "4095"}

    def test_normalized_values_are_refused(self, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="undo the normalization"):
            self.images(folder, RNG.normal(size=(20, 28, 28)), tmp_path / "out")

    def test_mixed_ranges_ask(self, folder: Path, tmp_path: Path) -> None:
        values = noise(20) / 255.0
        values[0] = 200
        with pytest.raises(UserError, match="others larger"):
            self.images(folder, values, tmp_path / "out")


class TestPixelsInOneCell:
    def table(self, images: np.ndarray, separator: str = " ") -> pd.DataFrame:
        cells = [separator.join(map(str, image.ravel())) for image in images]
        return pd.DataFrame({"emotion": np.arange(len(images)) % 7, "pixels": cells})

    @pytest.mark.parametrize("separator", [" ", ",", ", "])
    def test_pixels_come_out_as_they_went_in(self, separator: str, folder: Path, tmp_path: Path) -> None:
        images = noise(30, 48, 48)
        self.table(images, separator).to_csv(folder / "faces.csv", index=False)
        source = only(folder)
        assert (source.kind, source.label_columns) == ("pixels in one cell", ("emotion",))
        np.testing.assert_array_equal(written(source, tmp_path / "out"), images)

    def test_the_split_column_is_kept(self, folder: Path) -> None:
        usage = ["Training"] * 20 + ["PublicTest"] * 5 + ["PrivateTest"] * 5
        self.table(noise(30, 48, 48)).assign(Usage=usage).to_csv(folder / "faces.csv", index=False)
        source = only(folder)
        assert source.label_columns == ("emotion",)
        assert source.table()["published"].tolist() == ["train"] * 20 + ["val"] * 5 + ["test"] * 5

    def test_several_label_columns_ask(self, folder: Path) -> None:
        table = self.table(noise(30, 48, 48)).rename(columns={"emotion": "mood"}).assign(gender=[0, 1] * 15)
        table.to_csv(folder / "faces.csv", index=False)
        with pytest.raises(UserError, match="--label-column") as caught:
            only(folder).table()
        assert caught.value.choices == ({"label_column": "mood"}, {"label_column": "gender"})
        assert only(folder).table("gender")["label"].tolist() == ["0", "1"] * 15

    def test_numbers_as_labels_are_refused(self, folder: Path) -> None:
        table = self.table(noise(30, 48, 48)).rename(columns={"emotion": "eye_x"})
        table.assign(eye_x=RNG.random(30)).to_csv(folder / "keypoints.csv", index=False)
        with pytest.raises(UserError, match="a number per image"):
            only(folder).table()

    def test_a_cell_with_another_number_of_pixels_is_left_out(self, folder: Path) -> None:
        table = self.table(noise(200, 16, 16))
        table.loc[7, "pixels"] = "1 2 3"
        table.to_csv(folder / "faces.csv", index=False)
        source = only(folder)
        assert len(source.table()) == 199
        assert [(fault.line, fault.reason) for fault in source.faults] == [(9, "3 instead of 256 pixels")]

    def test_run_lengths_are_no_pixels(self, folder: Path) -> None:
        masks = [" ".join(map(str, RNG.integers(1, 5000, 2 * RNG.integers(50, 200)))) for _ in range(40)]
        table = pd.DataFrame({"ImageId": [f"{number}.jpg" for number in range(40)], "EncodedPixels": masks})
        table.to_csv(folder / "train.csv", index=False)
        assert find_embedded(list_files(folder)) == []

    def test_nested_lists_in_parquet_are_read_alike(self, folder: Path, tmp_path: Path) -> None:
        images = noise(20)
        table = pd.DataFrame({"image": [image.tolist() for image in images], "label": np.arange(20) % 4})
        table.to_parquet(folder / "train.parquet")
        np.testing.assert_array_equal(written(only(folder), tmp_path / "out"), images)


class TestImageBytes:
    NAMES = ("cat", "dog", "bird")

    def shard(
        self, path: Path, contents: list[bytes | None], *, names: bool = True, paths: bool = True, **columns: list[Any]
    ) -> None:
        """Write a Parquet file as `datasets` does."""
        path.parent.mkdir(parents=True, exist_ok=True)
        images = [{"bytes": content, "path": f"{at}.png" if paths else None} for at, content in enumerate(contents)]
        labels = [at % 3 for at in range(len(contents))]
        table = pa.table({"image": images, "label": labels, **columns})
        if names:
            features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(self.NAMES)}}
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        parquet.write_table(table, path)

    def test_bytes_are_written_as_they_are_with_class_names_and_splits(self, folder: Path, tmp_path: Path) -> None:
        contents = [encoded(image) for image in waves(9, 20, 30, 3)]
        self.shard(folder / "data/train-00000-of-00002.parquet", contents[:3])
        self.shard(folder / "data/train-00001-of-00002.parquet", contents[3:6], paths=False)
        self.shard(folder / "data/validation-00000-of-00001-0123456789abcdef.parquet", contents[6:])
        source = only(folder)
        table = source.table()
        source.write(tmp_path / "out")
        assert source.kind == "image bytes in Parquet"
        assert table["label"].tolist() == ["cat", "dog", "bird"] * 3
        assert table["published"].tolist() == ["train"] * 6 + ["val"] * 3
        assert table["file"].iloc[[3, 6]].tolist() == ["train/00000003.png", "val/00000000.png"]
        assert [(tmp_path / "out" / file).read_bytes() for file in table["file"]] == contents

    def test_names_are_kept_and_extensions_follow_the_content(self, folder: Path) -> None:
        images = waves(3, 20, 30, 3)
        self.shard(
            folder / "train.parquet", [encoded(images[0]), encoded(images[1], "JPEG"), encoded(images[2], "WEBP")]
        )
        table = only(folder).table()
        assert table["image_id"].tolist() == ["0.png", "1.png", "2.png"]
        assert table["file"].tolist() == ["0.png", "1.jpg", "2.webp"]

    def test_a_name_never_leads_out_of_the_folder(self, folder: Path) -> None:
        contents = [encoded(image) for image in waves(3, 20, 30)]
        images = [{"bytes": content, "path": f"../../etc/{at}.png"} for at, content in enumerate(contents)]
        parquet.write_table(pa.table({"image": images, "label": [0, 1, 0]}), folder / "train.parquet")
        assert only(folder).table()["file"].tolist() == ["0.png", "1.png", "2.png"]

    def test_class_names_of_the_card_count_where_the_file_has_none(self, folder: Path) -> None:
        self.shard(folder / "data/train-00000-of-00001.parquet", [encoded(i) for i in waves(3, 20, 30)], names=False)
        (folder / "README.md").write_text(
            "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n    dtype:\n"
            "      class_label:\n        names:\n          '0': ant\n          '1': bee\n          '2': fly\n---\n"
        )
        assert only(folder).table()["label"].tolist() == ["ant", "bee", "fly"]

    def test_a_missing_image_has_no_file_and_a_missing_class_no_label(self, folder: Path, tmp_path: Path) -> None:
        contents = [encoded(waves(1, 20, 30)[0]), None, encoded(waves(1, 20, 30)[0])]
        images = [{"bytes": content, "path": None} for content in contents]
        features = {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}
        table = pa.table({"image": images, "label": [0, 1, -1]})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        parquet.write_table(table, folder / "train.parquet")
        source = only(folder)
        source.write(tmp_path / "out")
        assert source.table()["file"].tolist() == ["00000000.png", "", "00000002.png"]
        assert source.table()["label"].tolist() == ["a", "b", ""]
        assert len(list((tmp_path / "out").iterdir())) == 2

    def test_lists_of_labels_are_refused(self, folder: Path) -> None:
        images = [{"bytes": encoded(image), "path": None} for image in waves(3, 20, 30)]
        parquet.write_table(pa.table({"image": images, "labels": [[0, 1], [1], [2]]}), folder / "train.parquet")
        with pytest.raises(UserError, match="several labels per image"):
            only(folder).table()

    def test_plain_binary_columns_are_images_by_content(self, folder: Path, tmp_path: Path) -> None:
        contents = [encoded(image, "JPEG") for image in waves(3, 20, 30, 3)]
        parquet.write_table(pa.table({"jpg": contents, "cls": ["a", "b", "a"]}), folder / "x.parquet")
        source = only(folder)
        source.write(tmp_path / "out")
        assert source.table()["label"].tolist() == ["a", "b", "a"]
        assert [(tmp_path / "out" / file).read_bytes() for file in source.table()["file"]] == contents

    def test_missing_shards_are_named(self, folder: Path) -> None:
        self.shard(folder / "train-00000-of-00002.parquet", [encoded(image) for image in waves(3, 20, 30)])
        assert only(folder).warnings == ("shards that are not there: train-00001-of-00002",)

    def test_paths_without_bytes_are_an_ordinary_table(self, folder: Path) -> None:
        self.shard(folder / "train.parquet", [None, None, None])
        assert find_embedded(list_files(folder)) == []


class TestArrays:
    SIZES = (("train", 12), ("val", 5), ("test", 4))

    def test_medmnist(self, folder: Path, tmp_path: Path) -> None:
        images = {split: waves(count, 28, 28, 3) for split, count in self.SIZES}
        arrays = {f"{split}_images": array for split, array in images.items()}
        arrays |= {f"{split}_labels": np.arange(count)[:, None] % 3 for split, count in self.SIZES}
        np.savez_compressed(folder / "bloodmnist.npz", **arrays)
        source = only(folder)
        assert source.kind == "arrays"
        assert source.table()["published"].value_counts().to_dict() == dict(self.SIZES)
        assert source.table()["label"].iloc[[0, 4, 13]].tolist() == ["0", "1", "1"]
        np.testing.assert_array_equal(written(source, tmp_path / "out"), np.concatenate(list(images.values())))

    def test_several_labels_per_image_are_refused(self, folder: Path) -> None:
        arrays = {f"{split}_images": noise(count) for split, count in self.SIZES}
        arrays |= {f"{split}_labels": RNG.integers(0, 2, (count, 14)) for split, count in self.SIZES}
        np.savez(folder / "chestmnist.npz", **arrays)
        with pytest.raises(UserError, match="several labels per image"):
            only(folder).table()

    def test_one_hot_rows_are_classes(self, folder: Path) -> None:
        np.save(folder / "X_train.npy", noise(8))
        np.save(folder / "y_train.npy", np.eye(4)[np.arange(8) % 4])
        assert only(folder).table()["label"].tolist() == ["0", "1", "2", "3"] * 2

    def test_real_valued_labels_are_refused(self, folder: Path) -> None:
        np.savez(folder / "data.npz", x=noise(8), y=RNG.random(8))
        with pytest.raises(UserError, match="a number per image"):
            only(folder).table()

    def test_names_as_labels(self, folder: Path) -> None:
        np.savez(folder / "data.npz", x=noise(4), y=np.array(["cat", "dog", "cat", "dog"]))
        assert only(folder).table()["label"].tolist() == ["cat", "dog"] * 2

    def test_keras(self, folder: Path) -> None:
        np.savez(folder / "mnist.npz", x_train=noise(6), y_train=np.arange(6), x_test=noise(3), y_test=np.arange(3))
        table = only(folder).table()
        assert table["label"].tolist() == [*"012345", *"012"]
        assert table["published"].tolist() == ["train"] * 6 + ["test"] * 3

    def test_images_and_labels_in_files_of_their_own(self, folder: Path) -> None:
        for split, count in (("train", 8), ("test", 4)):
            np.savez_compressed(folder / f"kmnist-{split}-imgs.npz", noise(count))
            np.savez_compressed(folder / f"kmnist-{split}-labels.npz", np.arange(count) % 2)
        table = only(folder).table()
        assert table["label"].tolist() == ["0", "1"] * 6
        assert table["published"].value_counts().to_dict() == {"train": 8, "test": 4}

    def test_channels_first_is_recognized(self, folder: Path, tmp_path: Path) -> None:
        images = waves(8, 16, 20, 3)
        np.savez(folder / "data.npz", X=images.transpose(0, 3, 1, 2), y=np.arange(8) % 2)
        np.testing.assert_array_equal(written(only(folder), tmp_path / "out"), images)

    def test_fortran_order_is_read(self, folder: Path, tmp_path: Path) -> None:
        images = noise(8, 16, 20)
        np.savez(folder / "data.npz", X=np.asfortranarray(images), y=np.arange(8) % 2)
        np.testing.assert_array_equal(written(only(folder), tmp_path / "out"), images)

    @pytest.mark.parametrize("compressed", [False, True])
    def test_idx(self, compressed: bool, folder: Path, tmp_path: Path) -> None:
        open_file = gzip.open if compressed else open
        images = {"train": noise(9), "t10k": noise(4)}
        for split, array in images.items():
            suffix = ".gz" * compressed
            with open_file(folder / f"{split}-images-idx3-ubyte{suffix}", "wb") as file:
                file.write(struct.pack(">HBB3I", 0, 8, 3, *array.shape) + array.tobytes())
            with open_file(folder / f"{split}-labels-idx1-ubyte{suffix}", "wb") as file:
                file.write(struct.pack(">HBBI", 0, 8, 1, len(array)) + bytes(range(len(array))))
        source = only(folder)
        assert source.table()["published"].tolist() == ["train"] * 9 + ["test"] * 4
        assert source.table()["label"].tolist() == [*"012345678", *"0123"]
        np.testing.assert_array_equal(written(source, tmp_path / "out"), np.concatenate(list(images.values())))

    def test_a_cut_file_is_an_error(self, folder: Path) -> None:
        np.save(folder / "X.npy", noise(50))
        np.save(folder / "y.npy", np.arange(50) % 2)
        content = (folder / "X.npy").read_bytes()
        (folder / "X.npy").write_bytes(content[:-1000])
        with pytest.raises(UserError, match="damaged"):
            only(folder).table()

    def test_equal_input_gives_equal_bytes(self, folder: Path, tmp_path: Path) -> None:
        np.savez(folder / "data.npz", x=noise(8), y=np.arange(8))
        for out in ("a", "b"):
            only(folder).write(tmp_path / out)
        for path in (tmp_path / "a").iterdir():
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


class TestSeveralSources:
    def test_a_smaller_copy_is_a_source_of_its_own(self, folder: Path) -> None:
        for name, count in (("mnist_train", 30), ("mnist_test", 20), ("mnist_train_100", 10)):
            pixel_table(noise(count), numbered(784)).to_csv(folder / f"{name}.csv", index=False)
        assert sorted(source.count for source in find_embedded(list_files(folder))) == [10, 50]

    def test_numbered_parts_are_one_source(self, folder: Path) -> None:
        for number in range(3):
            pixel_table(noise(10), numbered(784)).to_csv(folder / f"part_{number}.csv", index=False)
        table = only(folder).table()
        assert (len(table), table["file"].nunique()) == (30, 30)

    def test_choices_name_a_file_a_folder_or_both_splits(self, folder: Path) -> None:
        for name, count in (("mnist_train", 30), ("mnist_test", 20)):
            pixel_table(noise(count), numbered(784)).to_csv(folder / f"{name}.csv", index=False)
        np.savez(folder / "other.npz", x=noise(9), y=np.arange(9))
        (folder / "third").mkdir()
        for number in range(2):
            pixel_table(noise(10, 9, 9), numbered(81)).to_csv(folder / "third" / f"part_{number}.csv", index=False)
        choices = choices_between(find_embedded(list_files(folder)))
        assert {"source": str(folder / "mnist_train.csv"), "test": str(folder / "mnist_test.csv")} in choices
        assert {"source": str(folder / "other.npz")} in choices
        assert {"source": str(folder / "third")} in choices

    def test_a_single_file_takes_its_labels_from_beside_it(self, folder: Path) -> None:
        for split in ("train", "test"):
            np.save(folder / f"X_{split}.npy", noise(8))
            np.save(folder / f"y_{split}.npy", np.arange(8) % 2)
        (source,) = find_embedded([folder / "X_train.npy"])
        assert [file.path.name for file in source.files] == ["X_train.npy"]
        assert source.table()["label"].tolist() == ["0", "1"] * 4

    def test_an_image_per_array_is_no_array_of_images(self, folder: Path) -> None:
        np.save(folder / "a.npy", noise(1, 64, 64)[0])
        np.save(folder / "b.npy", waves(1, 64, 64, 3)[0])
        assert find_embedded(list_files(folder)) == []
        lines = unreadable_containers(list_files(folder))
        assert [line.partition(":")[0] for line in lines] == [
            "a.npy is an array with a single image (64×64)",
            "b.npy is an array with a single image (64×64×3)",
        ]

    def test_a_folder_of_archives_is_named(self, folder: Path) -> None:
        (folder / "labels.csv").write_text("id,label\n1,2\n")
        (folder / "train.zip").write_bytes(archive(["a/1.png"]))
        (line,) = unreadable_containers(list_files(folder))
        assert line.startswith("train.zip is a ZIP archive (1 files): unpack it first")


class TestNames:
    @pytest.mark.parametrize(
        ("path", "split", "rest"),
        [
            ("data/train-00000-of-00002-0123456789abcdef.parquet", "train", ("data",)),
            ("default/validation/0000.parquet", "val", ("default", "0000")),
            ("sign_mnist_test/sign_mnist_test.csv", "test", ("sign", "mnist")),
            ("X_train.npy", "train", ("x",)),
            ("xtest.npy", "test", ("x",)),
            ("t10k-images.idx3-ubyte", "test", ("images",)),
            ("contest.csv", "", ("contest",)),
        ],
    )
    def test_what_a_path_says(self, path: str, split: str, rest: tuple[str, ...]) -> None:
        assert meaning_of_path(Path(path)) == (split, rest)

    def test_other_values_are_no_splits(self) -> None:
        assert split_values(pd.Series(["a", "b"])) is None
        assert split_values(pd.Series(["train", "training"])) is None
        assert split_values(pd.Series(["Train", "Test"])) == {"Train": "train", "Test": "test"}


def tfrecord() -> bytes:
    file = io.BytesIO()
    RecordWriter(file).write(b"hello")
    return file.getvalue()


def archive(members: list[str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name in members:
            out.writestr(name, b"x" * 50)
    return file.getvalue()


def tar(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as out:  # type: ignore[call-overload]
        out.addfile(tarfile.TarInfo("a/1.png"))
    return file.getvalue()


def object_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([noise(1), "a"], dtype=object))
    return file.getvalue()


def volumes() -> bytes:
    file = io.BytesIO()
    np.savez(file, train_images=np.zeros((3, 28, 28, 28), np.uint8))
    return file.getvalue()


class TestContainers:
    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("train.zip", archive(["a/1.png"]), "ZIP archive.*unpack it first"),
            ("train.bin", archive(["a/1.png"]), "ZIP archive.*unpack it first"),
            ("odd {name}.zip", archive(["a/1.png"]), "odd {name}.zip is a ZIP archive"),
            ("cut.zip", archive(["a/1.png"])[:40], "damaged or a part"),
            ("labels.xlsx", archive(["xl/workbook.xml"]), "Excel.*CSV"),
            ("model.pt", archive(["model/data.pkl"]), "PyTorch"),
            ("images.tar", tar("w"), "tar archive"),
            ("images.tar.gz", tar("w:gz"), "tar archive"),
            ("images.tgz", tar("w:gz"), "tar archive"),
            ("images.tar.xz", tar("w:xz"), "compressed by xz: unpack"),
            ("images.tar.bz2", tar("w:bz2"), "compressed by bzip2: unpack"),
            ("labels.csv.gz", gzip.compress(b"a,b\n1,2\n"), "compressed by gzip: unpack"),
            ("a.rar", b"Rar!\x1a\x07\x01\0", "RAR archive"),
            ("a.7z", b"7z\xbc\xaf\x27\x1c\0\4", "7z archive"),
            ("a.zip.002", b"anything", "part of an archive"),
            ("labels.mat", b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(100), "MATLAB"),
            ("labels.mat", b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n", "MATLAB"),
            ("data", b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
            ("train.tfrec", b"\0\1tfrecord", "TFRecord"),
            ("train-00000-of-00010", tfrecord(), "TFRecord"),
            ("data.mdb", bytes(16) + b"\xde\xc0\xef\xbe" + bytes(100), "LMDB"),
            ("data_batch_1", pickle.dumps({"data": noise(1)}, protocol=2), "pickle, which is never loaded"),
            ("data_batch_1", pickle.dumps({"data": 1}, protocol=0), "pickle, which is never loaded"),
            ("train.p", pickle.dumps([1, 2], protocol=4), "pickle, which is never loaded"),
            ("labels.xls", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(100), "Excel.*CSV"),
            ("train.csv", b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
            ("train.csv", b"<!DOCTYPE html><html>", "HTML page"),
            ("x.npy", object_array(), "pickle, which is never loaded"),
            ("organmnist3d.npz", volumes(), "volumes"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )  # fmt: skip
    def test_names_the_file_and_what_to_do(self, name: str, content: bytes, words: str, tmp_path: Path) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        found = unreadable_container(path)
        assert found is not None
        assert found.startswith(f"{name} is ")
        assert pd.Series([found]).str.contains(words).all() or words in found

    def test_a_database_is_named(self, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / "labels.db") as database:
            database.execute("create table labels (id, label)")
        assert "SQLite" in str(unreadable_container(tmp_path / "labels.db"))

    def test_readable_files_are_none(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("id,label\n1,2\n")
        (tmp_path / "a.png").write_bytes(encoded(noise(1)[0]))
        (tmp_path / "a.jpg").write_bytes(encoded(noise(1)[0], "JPEG"))
        (tmp_path / "README").write_text("PK is short for")
        np.savez(tmp_path / "a.npz", x=noise(3), y=np.arange(3))
        pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
        (tmp_path / "empty").touch()
        assert [unreadable_container(path) for path in sorted(tmp_path.iterdir())] == [None] * 7
