"""The pixel store: images found by the hash of their file, damage and full disks reported."""

import errno
import hashlib
import io
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import resnet50
from resnet50.etl import store as store_module
from resnet50.etl.check import check
from resnet50.etl.decode import DecodedImage, decode
from resnet50.etl.prepared import load_prepared
from resnet50.etl.store import FOLDER, StoreWriter, estimate_bytes, open_store, stored_size
from resnet50.options import CheckOptions
from resnet50.runtime.errors import UserError
from tests.conftest import MakeImage

prepare = resnet50.prepare


@pytest.fixture
def folders(tmp_path: Path, make_image: MakeImage) -> Path:
    """Return class folders with PNG images of several sizes: large, small, tall."""
    for number, (width, height) in enumerate([(120, 80), (40, 33), (50, 200), (64, 64)] * 5):
        folder = tmp_path / "images" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        make_image(width, height, seed=number).save(folder / f"{number}.png")
    return tmp_path / "images"


def test_store_returns_shrunk_images_in_the_order_of_the_rows(folders: Path, tmp_path: Path) -> None:
    dataset = prepare(folders, tmp_path / "d", store_size=48)
    store = open_store(tmp_path / "d")
    assert store is not None
    for split in ("train", "val"):
        rows = dataset.split(split)
        images = store.images(rows)
        assert len(images) == len(rows)
        for image, path in zip((images[row] for row in range(len(images))), rows["path"], strict=True):
            original = decode(path)
            assert (image.width, image.height) == original.size
            shrunk = original.resize(stored_size(*original.size, 48), Image.Resampling.BILINEAR)
            assert image.pixels.shape == np.asarray(shrunk).shape
            assert np.abs(image.pixels.astype(int) - np.asarray(shrunk)).mean() < 6


@pytest.mark.parametrize("size", [(1200, 800), (500, 375), (300, 260)])
def test_shrunk_images_match_pillows(size: tuple[int, int], make_image: MakeImage) -> None:
    image = make_image(60, 40).resize(size, Image.Resampling.BICUBIC)
    shrunk = store_module.shrink(DecodedImage.from_pil(image), 256)
    expected = image.resize(stored_size(*size, 256), Image.Resampling.BILINEAR)
    assert np.abs(shrunk.astype(int) - np.asarray(expected)).mean() < 1.5


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1200, 800), (384, 256)), ((256, 300), (256, 300)), ((10, 2000), (10, 2000)), ((1, 1), (1, 1))],
)
def test_stored_images_keep_their_aspect_ratio_and_never_grow(size: tuple[int, int], expected: object) -> None:
    assert stored_size(*size, 256) == expected


def test_equal_files_are_stored_once_and_dropped_labels_never(folders: Path, tmp_path: Path) -> None:
    (folders / "cat" / "copy.png").write_bytes((folders / "cat" / "0.png").read_bytes())
    (folders / "blur").mkdir()
    Image.new("RGB", (50, 50)).save(folders / "blur" / "x.png")
    prepare(folders, tmp_path / "d", drop_labels="blur")
    store = open_store(tmp_path / "d")
    assert store is not None
    assert len(store.index) == 20
    assert store.bytes == sum(3 * w * h for w, h in [(120, 80), (40, 33), (50, 200), (64, 64)] * 5)


def test_equal_input_gives_equal_shards(folders: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        prepare(folders, tmp_path / name, store_size=40)
    for file in ("shard-00000.bin", "index.parquet", "shards.json"):
        assert (tmp_path / "a" / FOLDER / file).read_bytes() == (tmp_path / "b" / FOLDER / file).read_bytes()


def test_store_may_have_many_shards(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "d" / FOLDER, 64, shard_bytes=1000)
    pixels_by_name = {f"{n}": np.full((10 + n, 12, 3), n, np.uint8) for n in range(9)}
    for name, pixels in pixels_by_name.items():
        writer.add(name, pixels)
    writer.finish()
    store = open_store(tmp_path / "d")
    assert store is not None
    assert len(store.shards) > 3
    names = list(pixels_by_name)[::-1]
    rows = pd.DataFrame({"sha256": names, "path": names, "width": 1, "height": 1})
    images = pickle.loads(pickle.dumps(store.images(rows)))  # as when sent to a worker process
    for row, name in enumerate(names):
        np.testing.assert_array_equal(images[row].pixels, pixels_by_name[name])


def test_mapped_pixels_are_not_pickled(folders: Path, tmp_path: Path) -> None:
    dataset = prepare(folders, tmp_path / "d")
    images = open_store(tmp_path / "d").images(dataset.manifest)  # pyright: ignore[reportOptionalMemberAccess]
    assert images[0].pixels.sum() > 0
    assert len(pickle.dumps(images)) < 4000


def test_size_is_printed_before_the_store_is_written(folders: Path, tmp_path: Path, capsys: Any) -> None:
    paths = [str(path) for path in sorted(folders.rglob("*.png"))]
    prepare(folders, tmp_path / "d", store_size=48)
    store = open_store(tmp_path / "d")
    assert store is not None
    assert estimate_bytes(paths, 48) == store.bytes
    assert "pixel store: about 0.2 MB, every image at 48 pixels on its shorter side" in capsys.readouterr().out


def test_size_of_many_images_is_estimated_from_a_sample(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(path) for path in sorted(folders.rglob("*.png"), key=lambda path: int(path.stem))]
    monkeypatch.setattr(store_module, "MAX_SAMPLED", 10)
    assert estimate_bytes(paths, 48) == 2 * estimate_bytes(paths[::2], 48)
    assert estimate_bytes([], 48) == 0


class Usage(NamedTuple):
    free: int


def test_too_little_disk_space_is_reported_before_writing(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda _: Usage(1000))
    with pytest.raises(UserError, match=r"needs 0\.4 MB and .* has 0\.0 MB left.*--store-size.*--no-store"):
        prepare(folders, tmp_path / "d")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    prepare(folders, tmp_path / "d", store=False)
    assert open_store(tmp_path / "d") is None


def test_disk_that_fills_up_leaves_nothing_behind(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk(io.BytesIO):
        def write(self, content: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", *a, **k: FullDisk() if mode == "wb" else real(path, mode, *a, **k)
    )
    with pytest.raises(UserError, match="disk is full: no room for the pixel store"):
        prepare(folders, tmp_path / "d")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_store_size_below_the_smallest_input_is_refused(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--store-size 16: must be at least 32"):
        prepare(folders, tmp_path / "d", store_size=16)


def test_truncated_shard_is_reported_when_the_store_is_opened(folders: Path, tmp_path: Path) -> None:
    prepare(folders, tmp_path / "d")
    shard = tmp_path / "d" / FOLDER / "shard-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"shard-00000\.bin has changed in size: prepare the dataset again"):
        open_store(tmp_path / "d")
    shard.unlink()
    with pytest.raises(UserError, match="is damaged: prepare the dataset again"):
        open_store(tmp_path / "d")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff"])
def test_damaged_description_is_reported(folders: Path, tmp_path: Path, content: bytes) -> None:
    prepare(folders, tmp_path / "d")
    (tmp_path / "d" / FOLDER / "shards.json").write_bytes(content)
    with pytest.raises(UserError, match=r"pixel store .* is damaged"):
        open_store(tmp_path / "d")


def test_image_missing_from_the_store_is_named(folders: Path, tmp_path: Path) -> None:
    rows = prepare(folders, tmp_path / "d").manifest
    store = open_store(tmp_path / "d")
    assert store is not None
    with pytest.raises(UserError, match=r"lacks the pixels of /there/x\.png"):
        store.images(rows.assign(sha256=hashlib.sha256().hexdigest(), path="/there/x.png"))


def test_check_accepts_an_intact_dataset(folders: Path, tmp_path: Path, capsys: Any) -> None:
    prepare(folders, tmp_path / "d")
    prepare(folders, tmp_path / "bare", store=False)
    capsys.readouterr()
    check(CheckOptions(dataset=tmp_path / "d", images=True))
    words = capsys.readouterr().out
    assert "20 images, 0.4 MB, every shard matches its hash" in words
    assert "image files: 20, every file matches its hash" in words
    assert words.endswith("the dataset is intact\n")
    check(CheckOptions(dataset=tmp_path / "bare"))
    assert "pixel store: none" in capsys.readouterr().out


def test_check_finds_a_flipped_bit(folders: Path, tmp_path: Path) -> None:
    prepare(folders, tmp_path / "d")
    shard = tmp_path / "d" / FOLDER / "shard-00000.bin"
    content = bytearray(shard.read_bytes())
    content[777] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=r"shard-00000\.bin is damaged: its SHA-256"):
        check(CheckOptions(dataset=tmp_path / "d"))


def test_check_names_images_that_changed_or_disappeared(folders: Path, tmp_path: Path) -> None:
    prepare(folders, tmp_path / "d")
    check(CheckOptions(dataset=tmp_path / "d", images=True))
    (folders / "cat" / "0.png").write_bytes(b"other")
    (folders / "dog" / "1.png").unlink()
    with pytest.raises(UserError, match=r"0\.png has changed; .*1\.png can no longer be read"):
        check(CheckOptions(dataset=tmp_path / "d", images=True))
    check(CheckOptions(dataset=tmp_path / "d"))
    assert load_prepared(tmp_path / "d").name == "images"
