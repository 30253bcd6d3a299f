"""The bit depth from `prepare` to the model file."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from resnet50.cli import run
from resnet50.data.dataset import AugmentedDataset, ImageDataset
from resnet50.data.transforms import Augmentation, Preprocess
from resnet50.etl.prepare import prepare
from resnet50.etl.prepared import fingerprint_of, load_prepared
from resnet50.inference.inputs import to_image
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError


def write_cells(folder: Path, top: int, dtype: type = np.uint16, form: str = "tif") -> Path:
    rng = np.random.default_rng(0)
    for label, low in (("a", 0.1), ("b", 0.5)):
        (folder / label).mkdir(parents=True)
        for number in range(8):
            values = rng.uniform(low, low + 0.5, (34, 40))
            values[0, 0] = 1
            Image.fromarray((values * top).astype(dtype)).save(folder / label / f"{number}.{form}")
    return folder


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return write_cells(tmp_path / "cells", 4095)


def test_dark_16_bit_source_is_asked_about(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"all 16 images of 16 bits stay at or below 4,095.*--bit-depth") as caught:
        prepare(PrepareOptions(source=cells, out=tmp_path / "out"))
    assert caught.value.choices == ({"bit_depth": "12"}, {"bit_depth": "14"}, {"bit_depth": "16"})
    assert not (tmp_path / "out").exists()


def test_printed_commands_are_complete_and_work(cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = cells.rename(tmp_path / "my cells")
    assert run(["prepare", str(source), "--out", str(tmp_path / "out"), "--seed", "1"]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("resnet50 ")]
    assert lines[0] == f"resnet50 prepare '{source}' --out {tmp_path / 'out'} --bit-depth 12 --seed 1"
    assert run(["prepare", str(source), "--out", str(tmp_path / "out"), "--seed", "1", "--bit-depth", "12"]) == 0


@pytest.mark.parametrize(("top", "dtype"), [(8192, np.uint16), (65535, np.uint16), (255, np.uint8)])
def test_source_that_uses_its_bits_is_not_asked_about(tmp_path: Path, top: int, dtype: type) -> None:
    source = write_cells(tmp_path / "cells", top, dtype)
    assert prepare(PrepareOptions(source=source, out=tmp_path / "out")) is not None


def test_source_of_32_bit_integers_is_asked_about(tmp_path: Path) -> None:
    source = write_cells(tmp_path / "cells", 1023, np.int32)
    with pytest.raises(UserError, match="nothing says which value is white") as caught:
        prepare(PrepareOptions(source=source, out=tmp_path / "out"))
    assert caught.value.choices[0] == {"bit_depth": "10"}


def test_answer_is_kept_in_dataset_and_fingerprint(cells: Path, tmp_path: Path) -> None:
    fingerprints: set[str] = set()
    for depth in (12, 16):
        out = tmp_path / f"out{depth}"
        prepare(PrepareOptions(source=cells, out=out, bit_depth=depth))
        dataset = load_prepared(out)
        assert dataset.bit_depth == depth
        assert yaml.safe_load((out / "dataset.yaml").read_text())["options"]["bit_depth"] == depth
        fingerprints.add(dataset.fingerprint)
        assert dataset.fingerprint != fingerprint_of(dataset.manifest, dataset.classes)
    assert len(fingerprints) == 2


def test_store_files_and_memory_give_the_same_pixels(cells: Path, tmp_path: Path) -> None:
    dataset = prepare(PrepareOptions(source=cells, out=tmp_path / "out", bit_depth=12))
    assert dataset is not None
    preprocess = Preprocess(size=32, resize=32, bit_depth=12)
    path = dataset.manifest["path"][3]
    expected = np.rint(np.asarray(Image.open(path)) / 4095 * 255)
    np.testing.assert_allclose(np.asarray(to_image(path, 12))[..., 0], expected, atol=1)
    np.testing.assert_array_equal(np.asarray(to_image(Image.open(path), 12)), np.asarray(to_image(path, 12)))
    evaluated = ImageDataset([path], [0], preprocess)[0][0]
    np.testing.assert_array_equal(evaluated, preprocess(to_image(path, 12)))
    trained = AugmentedDataset([path], [0], Augmentation(preprocess=preprocess, level="none"), seed=0)
    np.testing.assert_array_equal(trained.images[0].pixels, np.asarray(to_image(path, 12)))


def test_preprocess_keeps_the_bit_depth_and_refuses_a_wrong_one() -> None:
    assert Preprocess.from_json(Preprocess(bit_depth=12).to_json()).resized(96).bit_depth == 12
    old = Preprocess().to_json().replace(', "bit_depth": null', "")
    assert "bit_depth" not in old
    assert Preprocess.from_json(old) == Preprocess()
    for wrong in ("7", "17", "12.5", '"12"'):
        with pytest.raises(UserError):
            Preprocess.from_json(Preprocess(bit_depth=12).to_json().replace("12}", wrong + "}"))


def test_out_of_range_and_clipped_images_are_audited(tmp_path: Path) -> None:
    source = write_cells(tmp_path / "cells", 1, np.float32)
    values = np.full((40, 50), 0.5, np.float32)
    values[0, 0] = np.nan
    Image.fromarray(values).save(source / "a" / "one.tif")
    Image.fromarray(values * 200).save(source / "b" / "bright.tif")
    dataset = prepare(PrepareOptions(source=source, out=tmp_path / "out"))
    assert dataset is not None
    audit = yaml.safe_load((tmp_path / "out" / "audit.json").read_text())
    assert [item["file"] for item in audit["pixel_range"]["items"]] == ["b/bright.tif"]
    assert "outside 0 to 1" in audit["pixel_range"]["items"][0]["reason"]
    assert [(item["file"], item["clipped"]) for item in audit["clipped_pixels"]["items"]] == [("a/one.tif", 1)]
    assert len(dataset.manifest) == 17


def test_shards_keep_the_bit_depth_and_its_question(cells: Path, tmp_path: Path) -> None:
    def shard(out: Path, index: int, **options: int) -> None:
        prepare(PrepareOptions(source=cells, out=out, shard=f"{index}/2", **options))

    for index in (1, 2):
        shard(tmp_path / "asked", index)
        shard(tmp_path / "told", index, bit_depth=12)
    with pytest.raises(UserError, match="--bit-depth"):
        prepare(PrepareOptions(source=cells, out=tmp_path / "asked", merge=2))
    with pytest.raises(UserError, match="other options"):
        prepare(PrepareOptions(source=cells, out=tmp_path / "told", merge=2))
    dataset = prepare(PrepareOptions(source=cells, out=tmp_path / "told", merge=2, bit_depth=12))
    assert dataset is not None and dataset.bit_depth == 12


def test_class_lost_to_an_unreadable_kind_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("cat", "dog", "bird"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for number in range(5):
            path = tmp_path / "pets" / label / f"{number}.jpg"
            if label == "bird":
                path.with_suffix(".nef").write_bytes(b"II*\0\x10\0\0\0CR\2\0" + bytes([number] * 50))
            else:
                rng = np.random.default_rng(ord(label[0]) * 100 + number)
                Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    prepare(PrepareOptions(source=tmp_path / "pets", out=tmp_path / "out"))
    said = " ".join(capsys.readouterr().err.split())
    assert "class bird is lost: none of its 5 images can be used (cannot be read as an image (CR2 is camera raw" in said
    with pytest.raises(UserError, match="--strict: the audit found 5 unreadable images"):
        prepare(PrepareOptions(source=tmp_path / "pets", out=tmp_path / "strict", strict=True))
