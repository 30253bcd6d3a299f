"""Pixels as they were stored, found again by the hash of their file."""

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
    """Return class folders with photos of several sizes, as PNG: large, small, tall."""
    for number, (width, height) in enumerate([(120, 80), (40, 33), (50, 200), (64, 64)] * 5):
        folder = tmp_path / "photos" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        make_image(width, height, seed=number).save(folder / f"{number}.png")
    return tmp_path / "photos"


def test_photos_come_back_shrunk_and_in_the_order_of_the_rows(folders: Path, tmp_path: Path) -> None:
    dataset = prepare(folders, tmp_path / "d", store_size=48)
    store = open_store(tmp_path / "d")
    assert store is not None
    for split in ("train", "val"):
        rows = dataset.split(split)
        photos = store.photos(rows)
        assert len(photos) == len(rows)
        for photo, path in zip((photos[row] for row in range(len(photos))), rows["path"], strict=True):
            original = decode(path)
            assert (photo.width, photo.height) == original.size
            shrunk = original.resize(stored_size(*original.size, 48), Image.Resampling.BILINEAR)
            assert photo.pixels.shape == np.asarray(shrunk).shape
            assert np.abs(photo.pixels.astype(int) - np.asarray(shrunk)).mean() < 6


@pytest.mark.parametrize("size", [(1200, 800), (500, 375), (300, 260)])
def test_shrunk_photos_look_like_pillows(size: tuple[int, int], make_image: MakeImage) -> None:
    image = make_image(60, 40).resize(size, Image.Resampling.BICUBIC)
    ours = store_module.shrink(DecodedImage.of(image), 256)
    theirs = image.resize(stored_size(*size, 256), Image.Resampling.BILINEAR)
    assert np.abs(ours.astype(int) - np.asarray(theirs)).mean() < 1.5


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1200, 800), (384, 256)), ((256, 300), (256, 300)), ((10, 2000), (10, 2000)), ((1, 1), (1, 1))],
)
def test_stored_photos_keep_their_aspect_and_are_never_enlarged(size: tuple[int, int], expected: object) -> None:
    assert stored_size(*size, 256) == expected


def test_equal_files_are_stored_once_and_dropped_labels_not_at_all(folders: Path, tmp_path: Path) -> None:
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


def test_a_store_may_lie_in_many_shards(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "d" / FOLDER, 64, shard_bytes=1000)
    pictures = {f"{n}": np.full((10 + n, 12, 3), n, np.uint8) for n in range(9)}
    for name, pixels in pictures.items():
        writer.add(name, pixels)
    writer.finish()
    store = open_store(tmp_path / "d")
    assert store is not None
    assert len(store.shards) > 3
    names = list(pictures)[::-1]
    rows = pd.DataFrame({"sha256": names, "path": names, "width": 1, "height": 1})
    photos = pickle.loads(pickle.dumps(store.photos(rows)))  # as when sent to a loader process
    for row, name in enumerate(names):
        np.testing.assert_array_equal(photos[row].pixels, pictures[name])


def test_mapped_pixels_are_not_sent_to_other_processes(folders: Path, tmp_path: Path) -> None:
    dataset = prepare(folders, tmp_path / "d")
    photos = open_store(tmp_path / "d").photos(dataset.manifest)  # pyright: ignore[reportOptionalMemberAccess]
    assert photos[0].pixels.sum() > 0
    assert len(pickle.dumps(photos)) < 4000


def test_size_is_known_before_a_byte_is_written(folders: Path, tmp_path: Path, capsys: Any) -> None:
    paths = [str(path) for path in sorted(folders.rglob("*.png"))]
    prepare(folders, tmp_path / "d", store_size=48)
    store = open_store(tmp_path / "d")
    assert store is not None
    assert estimate_bytes(paths, 48) == store.bytes
    assert "pixel store: about 0.2 MB, every photo at 48 pixels on its shorter side" in capsys.readouterr().out


def test_size_of_many_is_estimated_from_an_even_sample(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(path) for path in sorted(folders.rglob("*.png"), key=lambda path: int(path.stem))]
    monkeypatch.setattr(store_module, "MEASURED", 10)
    assert estimate_bytes(paths, 48) == 2 * estimate_bytes(paths[::2], 48)
    assert estimate_bytes([], 48) == 0


class Usage(NamedTuple):
    free: int


def test_a_disk_without_room_is_refused_before_writing(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda _: Usage(1000))
    with pytest.raises(UserError, match=r"needs 0\.4 MB and .* has 0\.0 MB left.*--store-size.*--no-store"):
        prepare(folders, tmp_path / "d")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    prepare(folders, tmp_path / "d", store=False)
    assert open_store(tmp_path / "d") is None


def test_a_disk_that_fills_up_leaves_nothing_behind(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk(io.BytesIO):
        def write(self, content: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", *a, **k: FullDisk() if mode == "wb" else real(path, mode, *a, **k)
    )
    with pytest.raises(UserError, match="no room is left for the pixel store"):
        prepare(folders, tmp_path / "d")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_store_size_below_the_networks_smallest_input_is_refused(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--store-size 16: must be at least 32"):
        prepare(folders, tmp_path / "d", store_size=16)


def test_a_shard_cut_short_is_found_when_the_store_is_opened(folders: Path, tmp_path: Path) -> None:
    prepare(folders, tmp_path / "d")
    shard = tmp_path / "d" / FOLDER / "shard-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"shard-00000\.bin has not the size.*prepare the dataset again"):
        open_store(tmp_path / "d")
    shard.unlink()
    with pytest.raises(UserError, match="is damaged: prepare the dataset again"):
        open_store(tmp_path / "d")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff"])
def test_a_damaged_description_is_found(folders: Path, tmp_path: Path, content: bytes) -> None:
    prepare(folders, tmp_path / "d")
    (tmp_path / "d" / FOLDER / "shards.json").write_bytes(content)
    with pytest.raises(UserError, match=r"pixel store .* is damaged"):
        open_store(tmp_path / "d")


def test_an_image_the_store_does_not_know_is_named(folders: Path, tmp_path: Path) -> None:
    rows = prepare(folders, tmp_path / "d").manifest
    store = open_store(tmp_path / "d")
    assert store is not None
    with pytest.raises(UserError, match=r"lacks the pixels of /there/x\.png"):
        store.photos(rows.assign(sha256=hashlib.sha256().hexdigest(), path="/there/x.png"))


def test_check_finds_a_sound_dataset_sound(folders: Path, tmp_path: Path, capsys: Any) -> None:
    prepare(folders, tmp_path / "d")
    prepare(folders, tmp_path / "bare", store=False)
    capsys.readouterr()
    check(CheckOptions(dataset=tmp_path / "d", images=True))
    words = capsys.readouterr().out
    assert "20 photos, 0.4 MB, every shard as written" in words
    assert "image files: 20, every one as it was" in words
    assert words.endswith("sound\n")
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


def test_check_names_images_that_changed_or_went(folders: Path, tmp_path: Path) -> None:
    prepare(folders, tmp_path / "d")
    check(CheckOptions(dataset=tmp_path / "d", images=True))
    (folders / "cat" / "0.png").write_bytes(b"other")
    (folders / "dog" / "1.png").unlink()
    with pytest.raises(UserError, match=r"0\.png has changed; .*1\.png can no longer be read"):
        check(CheckOptions(dataset=tmp_path / "d", images=True))
    check(CheckOptions(dataset=tmp_path / "d"))
    assert load_prepared(tmp_path / "d").name == "photos"
