"""Whatever images and tables come in, the outcome is right, or one line that says what is wrong."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from resnet50.etl import pixels as pixels_module
from resnet50.etl.audit import DecodeSettings, read_image
from resnet50.etl.decode import UnreadableImageError, decode_image
from resnet50.etl.prepare import prepare
from resnet50.etl.prepared import PreparedDataset, load_prepared
from resnet50.etl.source.tables import read_table
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError
from tests.faults import corpus


def decoded(content: bytes, shorter_side: int | None = None) -> np.ndarray:
    """Return the pixels of a file as numbers that don't wrap around."""
    image = decode_image(content, shorter_side)
    assert image.pixels.dtype == np.uint8
    return image.pixels.astype(int)


def assert_near(pixels: np.ndarray, expected: np.ndarray, mean: float = 2.5) -> None:
    """Compare what went through a lossy format."""
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected.astype(int)).mean() < mean


@pytest.mark.parametrize("name", corpus.good_images())
def test_every_kind_of_image_is_rgb_of_its_own_size(name: str) -> None:
    content = corpus.good_images()[name]
    image = decode_image(content)
    assert image.pixels.shape == (image.height, image.width, 3)
    assert image.pixels.dtype == np.uint8


@pytest.mark.parametrize("name", ["plain.jpg", "progressive.jpg", "turned.jpg", "cmyk.jpg", "ycck.jpg", "icc.jpg"])
def test_a_jpeg_of_any_kind_shows_the_scene(name: str) -> None:
    assert_near(decoded(corpus.good_images()[name]), corpus.scene())


@pytest.mark.parametrize("name", ["plain.png", "icc.png", "plain.tif", "packed.tif", "plain.bmp", "plain.ppm"])
def test_a_lossless_format_gives_the_scene_to_the_last_bit(name: str) -> None:
    np.testing.assert_array_equal(decoded(corpus.good_images()[name]), corpus.scene())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shorter_side", [None, 8])
def test_an_image_turned_by_its_camera_is_upright(orientation: int, shorter_side: int | None) -> None:
    upright = corpus.scene(96, 64)
    content = corpus.with_orientation(upright, orientation)
    image = decode_image(content, shorter_side)
    assert (image.width, image.height) == (96, 64)
    rows, columns = image.pixels.shape[:2]
    whole = np.asarray(Image.fromarray(upright).resize((columns, rows), Image.Resampling.BOX))
    assert_near(image.pixels.astype(int), whole)


def test_cmyk_without_adobes_segment_is_inverted_as_in_browsers() -> None:
    assert b"Adobe" not in corpus.good_images()["cmyk-without-adobe.jpg"]
    assert_near(decoded(corpus.good_images()["cmyk-without-adobe.jpg"]), corpus.scene())


def test_an_icc_profile_is_there_and_changes_no_pixel() -> None:
    content = corpus.good_images()["icc.jpg"]
    assert corpus.profile() in content
    np.testing.assert_array_equal(decoded(content), decoded(corpus.good_images()["plain.jpg"]))


def test_sixteen_bits_are_brought_to_eight() -> None:
    content, values = corpus.gray16_png()
    expected = np.rint(values / 257).astype(int)
    np.testing.assert_array_equal(decoded(content), np.repeat(expected[..., np.newaxis], 3, axis=2))


def test_a_palette_with_transparency_lies_on_white() -> None:
    half = [round((color * 128 + 255 * 127) / 255) for color in (200, 100, 50)]
    opaque, clear = [10, 20, 30], [255] * 3
    np.testing.assert_allclose(
        decoded(corpus.palette_png()), [[opaque, half, clear, opaque], [opaque, half, clear, opaque]], atol=1
    )


def test_the_first_frame_of_an_animation_counts() -> None:
    assert (decoded(corpus.animation()) == [255, 0, 0]).all()


@pytest.mark.parametrize(("name", "size"), [("dot.png", (1, 1)), ("ribbon.png", (20_000, 10))])
def test_images_of_an_extreme_shape_are_images(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    content = corpus.good_images()[name]
    expected = np.array([[[1, 2, 3]]]) if name == "dot.png" else corpus.scene(*size)
    np.testing.assert_array_equal(decoded(content), expected)
    (tmp_path / name).write_bytes(content)
    read = read_image(str(tmp_path / name), DecodeSettings(256))
    assert (read.width, read.height) == size
    assert read.pixels is not None
    np.testing.assert_array_equal(read.pixels, expected)


def test_an_arithmetic_coded_jpeg_is_decoded() -> None:
    pixels = decoded(corpus.ARITHMETIC_JPEG)
    np.testing.assert_allclose(pixels, np.repeat([40, 200], 4)[:, np.newaxis, np.newaxis] + np.zeros((8, 8, 3)), atol=2)


@pytest.mark.parametrize("shorter_side", [None, 8])
def test_a_jpeg_that_falsely_claims_arithmetic_coding_crashes_nothing(shorter_side: int | None) -> None:
    content = corpus.claimed_arithmetic()
    try:
        assert decode_image(content, shorter_side).pixels.shape[2] == 3
    except UnreadableImageError as error:
        assert_one_line(error)


def assert_one_line(error: UserError) -> None:
    assert str(error).isprintable(), repr(str(error))


@pytest.mark.parametrize("name", corpus.bad_images())
def test_what_is_no_readable_image_gets_one_line_that_says_why(tmp_path: Path, name: str) -> None:
    content, why = corpus.bad_images()[name]
    (tmp_path / name).write_bytes(content)
    for source in (content, tmp_path / name):
        with pytest.raises(UnreadableImageError, match=why) as caught:
            decode_image(source)
        assert_one_line(caught.value)
    assert name in str(caught.value)
    assert why in f"{read_image(str(tmp_path / name), DecodeSettings(64)).reason} cannot be read as an image"


def test_strips_give_the_pixels_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    images = corpus.good_images()
    whole = {name: decoded(content) for name, content in images.items()}
    monkeypatch.setattr(pixels_module, "STRIP_PIXELS", 100)
    for name, content in images.items():
        np.testing.assert_array_equal(decoded(content), whole[name], err_msg=name)


def unopenable(name: str, error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system refuse to open files of a name, as it does for lack of a permission or because of a bad disk."""
    opened: Callable[..., Any] = Path.open

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == name:
            raise error
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)


def test_a_file_that_may_not_be_read_is_told_from_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("secret.jpg", "secret.csv"):
        (tmp_path / name).write_bytes(corpus.good_images()["plain.jpg"])
        unopenable(name, PermissionError(13, "Permission denied"), monkeypatch)
    with pytest.raises(UnreadableImageError, match=r"secret\.jpg: cannot be opened \(Permission denied\)"):
        decode_image(tmp_path / "secret.jpg")
    assert read_image(str(tmp_path / "secret.jpg"), DecodeSettings(64)).reason == "cannot be opened (Permission denied)"
    with pytest.raises(UserError, match=r"secret\.csv cannot be read: Permission denied"):
        read_table(tmp_path / "secret.csv")


def test_a_folder_a_pipe_and_a_giant_are_no_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with (tmp_path / "giant.jpg").open("wb") as file:
        file.truncate(40_000_000_000)  # takes no room: nothing is written
    (tmp_path / "round.jpg").symlink_to(tmp_path / "round.jpg")
    for name, why in (
        ("pipe.jpg", "not a regular file"),
        ("folder.jpg", "a folder"),
        ("giant.jpg", "40.0 GB are too many for an image"),
        ("round.jpg", "Too many levels of symbolic links"),
    ):
        with pytest.raises(UnreadableImageError, match=rf"{name}: cannot be opened \({why}\)"):
            decode_image(tmp_path / name)
        assert read_image(str(tmp_path / name), DecodeSettings(64)).reason == f"cannot be opened ({why})"


@pytest.mark.parametrize("name", ["two\nlines.jpg", os.fsdecode(b"caf\xe9.jpg"), "bell\x07.jpg"])
def test_a_name_that_no_line_can_hold_is_written_with_escapes(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadableImageError, match=r"\.jpg: no such file") as caught:
        decode_image(tmp_path / name)
    assert_one_line(caught.value)


def prepared(source: Path, **options: Any) -> PreparedDataset:
    """Prepare into a folder beside the source."""
    out = source.parent / "out"
    prepare(PrepareOptions(source=source, out=out, **options))
    return load_prepared(out)


def audit_of(dataset: PreparedDataset) -> dict[str, Any]:
    return json.loads((dataset.folder / "audit.json").read_bytes())


def test_a_folder_of_everything_is_prepared_and_audited(tmp_path: Path) -> None:
    good, bad = corpus.good_images(), corpus.bad_images()
    folder = tmp_path / "images"
    folder.mkdir()
    for name, content in good.items() | {(name, content) for name, (content, _) in bad.items()}:
        (folder / name).write_bytes(content)
    shutil.copy(folder / "plain.jpg", folder / "two\nlines 😀.jpg")
    with (folder / "two\nlines 😀.jpg").open("ab") as file:
        file.write(b"more")  # so that it is no copy
    (folder / "round.jpg").symlink_to("round.jpg")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(folder / "pipe.jpg")
    names = [*good, "two\nlines 😀.jpg", *bad, "round.jpg", "gone.jpg", "pipe.jpg"]
    labels = ["cat", "dog"] * len(names)
    pd.DataFrame({"image_id": names, "label": labels[: len(names)]}).to_csv(tmp_path / "labels.csv", index=False)

    dataset = prepared(tmp_path / "labels.csv", images=folder, store_size=32)
    assert set(dataset.manifest["image_id"]) == {*good, "two\nlines 😀.jpg"}
    found = audit_of(dataset)
    unreadable = {item["image_id"]: item["reason"] for item in found["unreadable_images"]["items"]}
    assert set(unreadable) == {*bad, "round.jpg", "gone.jpg"}
    assert all(reason.isprintable() for reason in unreadable.values())
    assert [item["image_id"] for item in found["missing_images"]["items"]] == ["pipe.jpg"]
    for row in dataset.manifest.itertuples():
        image = decode_image(str(row.path))
        assert (image.width, image.height) == (row.width, row.height)


def write_images(folder: Path, *names: str) -> None:
    """Write images, each of its own color."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", (40, 40), (number * 9, 99, 9)).save(folder / name, "PNG")


TABLES: dict[str, tuple[bytes, list[list[str]] | str]] = {
    "nothing": (b"", "is empty"),
    "only a header": (b"image_id,label\n", "has no rows"),
    "byte order mark": (b"\xef\xbb\xbfimage_id,label\n1,cat\n", [["1", "cat"]]),
    "semicolons": (b"image_id;label\n1;cat, black\n", [["1", "cat, black"]]),
    "line breaks": (b'image_id,label\n1,"black\ncat"\n2,"a\r\nb"\n', [["1", "black\ncat"], ["2", "a\r\nb"]]),
    "same column twice": (b"image_id,label,label\n1,cat,dog\n", "has two columns named 'label': rename one"),
    "same column but for blanks": (b"image_id,label, label\n1,cat,dog\n", "has two columns named 'label': rename one"),
    "formula": (b"image_id,label\n=cmd(),cat\n", [["=cmd()", "cat"]]),
    "null characters": (b"image_id,label\na\x00b,cat\n\x00,dog\n", [["a\x00b", "cat"], ["\x00", "dog"]]),
    "not text": (b"image_id,label\n\xff\xfe\x00,cat\n", "is not UTF-8 text"),
    "an open quote": (b'image_id,label\n1,"cat\n', "is not a valid CSV table"),
    "more cells than columns": (b"image_id,label\n1,cat,2\n", "more cells than its header"),
}


@pytest.mark.parametrize("case", TABLES)
def test_an_odd_table_is_read_as_it_is_or_refused_in_one_line(tmp_path: Path, case: str) -> None:
    content, expected = TABLES[case]
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected) as caught:
            read_table(path)
        assert_one_line(caught.value)
    else:
        table = read_table(path).frame
        assert list(table.columns) == ["image_id", "label"]
        assert table.to_numpy().tolist() == expected


def test_a_parquet_file_with_what_is_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    pd.DataFrame({"image_id": [b"a\xff", b"b"]}).to_parquet(path)
    with pytest.raises(UserError, match="is not a readable Parquet file") as caught:
        read_table(path)
    assert_one_line(caught.value)


def test_ten_thousand_columns_are_looked_through(tmp_path: Path) -> None:
    write_images(tmp_path / "images", *[f"{number:03d}.png" for number in range(12)])
    rows = [[*[f"measured {number}" for number in range(9_998)], "photo", "label"]]
    rows += [[*["0.5"] * 9_998, f"{number:03d}", ("cat", "dog")[number % 2]] for number in range(12)]
    (tmp_path / "labels.csv").write_text("\n".join(map(",".join, rows)))
    dataset = prepared(tmp_path / "labels.csv", store=False)
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.manifest) == 12


def test_ids_that_are_paths_formulas_or_nothing_printable_do_no_harm(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "=cmd().png", "1.png", "2.png", "3.png")
    write_images(tmp_path, "secret.png")
    outside = ["../../etc/passwd", "/etc/passwd", "../secret.png", "images/../../secret.png", "..\\secret.png"]
    odd = ["a\x00b", "\x00", "x" * 5000, "/" + "y" * 5000, "\x1b[31mred", "1.png\x00.jpg"]
    ids = ["=cmd()", "1", "2", "3", *outside, *odd]
    table = pd.DataFrame({"image_id": ids, "label": (["cat", "dog"] * len(ids))[: len(ids)]})
    for path in (tmp_path / "labels.csv", tmp_path / "labels.parquet"):
        (table.to_csv if path.suffix == ".csv" else table.to_parquet)(path, index=False)
        dataset = prepared(path, images=tmp_path / "images", overwrite=True)
        assert dataset.manifest["image_id"].tolist() == ["=cmd()", "1", "2", "3"]
        assert {Path(file).parent for file in dataset.manifest["path"]} == {tmp_path / "images"}
        missing = audit_of(dataset)["missing_images"]["items"]
        assert [item["image_id"] for item in missing] == [*outside, *odd]


def test_ids_out_of_the_folder_are_found_where_that_is_allowed(tmp_path: Path) -> None:
    write_images(tmp_path / "data" / "images", "1.png", "2.png")
    write_images(tmp_path / "other", "3.png", "4.png", "5.png")
    for number, name in enumerate(("3.png", "4.png", "5.png")):  # each its own
        Image.new("RGB", (40, 40), (number * 9, 200, 9)).save(tmp_path / "other" / name)
    ids = ["1", "2", "../../other/3.png", str(tmp_path / "other" / "4.png"), "../../other/5", "/" + "y" * 5000, "/\x00"]
    labels = ["cat", "dog", "cat", "dog", "cat", "dog", "dog"]
    table = tmp_path / "data" / "labels.csv"
    pd.DataFrame({"image_id": ids, "label": labels}).to_csv(table, index=False)
    dataset = prepared(table, images=tmp_path / "data" / "images", allow_outside=True)
    paths = dict(zip(dataset.manifest["image_id"], dataset.manifest["path"], strict=True))
    assert {name: Path(path).resolve() for name, path in paths.items()} == {
        "1": tmp_path / "data" / "images" / "1.png",
        "2": tmp_path / "data" / "images" / "2.png",
        "../../other/3.png": tmp_path / "other" / "3.png",
        ids[3]: tmp_path / "other" / "4.png",
    }
    assert all(Path(path).is_file() for path in paths.values())
    assert [item["image_id"] for item in audit_of(dataset)["missing_images"]["items"]] == ids[4:]


@pytest.mark.parametrize(("kind", "label"), [("folder", "cat"), ("file", "dog")])
def test_links_out_of_the_folder_are_followed_only_where_that_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, label: str
) -> None:
    for number, name in enumerate(("cat", "dog", "away")):
        write_images(tmp_path / ("elsewhere" if name == "away" else "pets") / name, *[f"{name}{i}.png" for i in "123"])
        for file in (tmp_path / "pets" / name).glob("*.png"):  # no copies of one another
            Image.new("RGB", (30 + number, 30 + int(file.stem[-1]))).save(file)
    target = tmp_path / "elsewhere" / "away"
    if kind == "folder":
        (tmp_path / "pets" / label / "link").symlink_to(target)
    else:
        (tmp_path / "pets" / label / "link.png").symlink_to(target / "away1.png")
    assert len(prepared(tmp_path / "pets").manifest) == 6
    said = " ".join(capsys.readouterr().err.split())
    assert "are not followed without --allow-outside, unless --images names one (1, the first is " in said
    assert f"{label}/link" in said
    dataset = prepared(tmp_path / "pets", allow_outside=True, overwrite=True)
    assert len(dataset.manifest) == (9 if kind == "folder" else 7)
    assert "not followed" not in capsys.readouterr().err
    added = dataset.manifest[dataset.manifest["image_id"].str.contains("link")]
    assert set(added["label"]) == {label}
    assert all(Path(path).resolve().parent == target for path in added["path"])


def test_a_name_that_is_not_utf8_gets_one_line(tmp_path: Path) -> None:
    write_images(tmp_path / "pets" / "cat", "1.png")
    write_images(tmp_path / "pets" / "dog", os.fsdecode(b"caf\xe9.png"))
    with pytest.raises(UserError, match=r"caf\\xe9\.png.*is not UTF-8: rename it") as caught:
        prepared(tmp_path / "pets")
    assert_one_line(caught.value)


MEASURE = """
import io, resource, sys, time
import numpy as np
from PIL import Image
from resnet50.etl.decode import decode_image
content = open(sys.argv[1], "rb").read()
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
assert decode_image(content).pixels.dtype == np.uint8
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024**2, time.process_time() - start)
"""


@pytest.mark.faults
@pytest.mark.parametrize(
    ("color", "depth", "bytes_each"), [(2, 8, 3), (6, 8, 4), (0, 16, 2), (3, 8, 1), (4, 8, 2)],
    ids=["RGB", "RGBA", "gray of 16 bits", "palette", "gray and alpha"],
)  # fmt: skip
def test_the_largest_image_that_is_read_takes_little_more_than_its_pixels(
    tmp_path: Path, color: int, depth: int, bytes_each: int
) -> None:
    side = 13_000  # just below what Pillow refuses; a file of 1 MB may hold it
    content = corpus.png(side, side, bytes(side * (1 + side * bytes_each)), depth=depth, color=color)
    if color == 3:
        at = content.index(b"IDAT") - 4
        content = content[:at] + corpus.chunk(b"PLTE", bytes(range(9))) + content[at:]
    (tmp_path / "large.png").write_bytes(content)
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "large.png")], check=True, capture_output=True, text=True
    )
    gigabytes, seconds = map(float, result.stdout.split())
    assert gigabytes < 1.3
    assert seconds < 10
