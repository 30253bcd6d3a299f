"""Nothing that strangers send makes a reader raise anything but its own error, or take long."""

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from resnet50.etl.decode import UnreadableImageError, decode_image
from resnet50.etl.prepare import prepare
from resnet50.etl.prepared import load_prepared
from resnet50.etl.source.tables import read_table
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError
from tests.faults import corpus

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")  # as in use: see decode.py

ROOT = Path(__file__).parents[2]
VALID = [
    content
    for name, content in corpus.good_images().items()
    if name.endswith((".jpg", ".png", ".gif", ".webp", ".tif")) and len(content) < 10_000
]

few = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])


def assert_one_line(error: UserError) -> None:
    assert str(error).isprintable(), repr(str(error))


def assert_image_or_refused(content: bytes, shorter_side: int | None) -> None:
    """Decode, and fail for anything but an image or the error meant for what is none."""
    try:
        image = decode_image(content, shorter_side)
    except UnreadableImageError as error:
        assert_one_line(error)
    else:
        assert image.pixels.dtype == np.uint8
        assert image.pixels.ndim == 3
        assert image.pixels.shape[2] == 3


@settings(few, max_examples=150)
@given(content=st.binary(max_size=2000), start=st.sampled_from([b"", *{content[:8] for content in VALID}]))
def test_any_bytes_are_an_image_or_refused(content: bytes, start: bytes) -> None:
    assert_image_or_refused(start + content, None)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw an image file with some bytes changed, removed or put in; the checksums of a PNG are set right again."""
    content = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, min(len(content), 700)))  # mostly where the headers are
        kind = draw(st.sampled_from(["change", "remove", "put in", "cut"]))
        if kind == "change":
            new = draw(st.binary(min_size=1, max_size=4))
            content[at : at + len(new)] = new
        elif kind == "remove":
            del content[at : at + draw(st.integers(1, 40))]
        elif kind == "put in":
            content[at:at] = draw(st.binary(min_size=1, max_size=20))
        else:
            del content[draw(st.integers(at, len(content))) :]
    return corpus.mended(bytes(content))


@settings(few, max_examples=400)
@given(content=damaged(), shorter_side=st.sampled_from([None, 8]))
def test_a_damaged_image_is_decoded_or_refused(content: bytes, shorter_side: int | None) -> None:
    assert_image_or_refused(content, shorter_side)


cells = st.one_of(
    st.sampled_from(["1", "2.png", "3", "4", "cat", "dog", "", "../1.png", "/etc/passwd", "train", "test"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.text('",;\t\n\r|\x00 \\/.', max_size=5),
)


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Draw a table of text, sometimes with the usual columns, and with ids that have images among others."""
    usual = draw(st.booleans())
    columns = draw(st.lists(cells, min_size=1, max_size=3))
    names = (["image_id", "label"] if usual else []) + columns
    rows = draw(st.lists(st.lists(cells, min_size=len(names), max_size=len(names)), max_size=8))
    return pd.DataFrame(rows, columns=range(len(names)), dtype="str").set_axis(names, axis="columns")


def write(table: pd.DataFrame, path: Path) -> bool:
    """Write a table in the format of its suffix; return whether that format can hold it."""
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
        return True
    if table.columns.is_unique:
        table.to_parquet(path)
    return table.columns.is_unique


@settings(few, max_examples=150)
@given(table=tables(), suffix=st.sampled_from([".csv", ".parquet"]))
def test_a_table_of_any_text_is_read_or_refused(table: pd.DataFrame, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"table{suffix}"
        if not write(table, path):
            return
        try:
            found = read_table(path).frame
        except UserError as error:
            assert_one_line(error)
            return
        assert all(isinstance(cell, str) for cell in found.to_numpy().ravel())
        if suffix == ".parquet":
            expected = pd.DataFrame({name: table[name].str.strip() for name in table.columns})
            assert found.to_numpy().tolist() == expected.to_numpy().tolist()


@settings(few, max_examples=60)
@given(table=tables(), suffix=st.sampled_from([".csv", ".parquet"]), grouped=st.booleans())
def test_a_table_of_any_text_is_prepared_or_refused(table: pd.DataFrame, suffix: str, grouped: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, images, out = Path(folder) / f"table{suffix}", Path(folder) / "images", Path(folder) / "out"
        images.mkdir()
        for number in range(1, 5):
            Image.new("RGB", (33, 32), (number, 0, 0)).save(images / f"{number}.png")
        if not write(table, path):
            return
        group = table.columns[-1] if grouped else None
        try:
            prepare(PrepareOptions(source=path, out=out, images=images, group_column=group, store_size=32))
        except UserError as error:
            assert_one_line(error)
            assert not out.exists()
            return
        dataset = load_prepared(out)
        assert len(dataset.classes) >= 2
        assert {Path(file).parent for file in dataset.manifest["path"]} == {images}


def fuzz(seconds: int, *targets: str) -> subprocess.CompletedProcess[str]:
    """Run the fuzzer."""
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.fuzz", *targets],
        cwd=ROOT, env=os.environ | {"FUZZ_S": str(seconds)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


with_atheris = pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is made for Linux on x86-64 alone")


@with_atheris
def test_a_moment_of_fuzzing_finds_nothing() -> None:
    result = fuzz(2, "decode_image")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("nothing found") == 1


@with_atheris
@pytest.mark.faults
def test_minutes_of_fuzzing_find_nothing() -> None:
    result = fuzz(int(os.environ.get("FUZZ_S", "300")))
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("nothing found") == 4
