import hashlib
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from resnet50.etl.audit import KINDS, Audit, audit, fail_on_findings, read_images, small_classes
from resnet50.runtime.errors import UserError

WriteImage = Callable[..., Path]
CountCalls = Callable[..., int]


def rows_of(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["image_id", "label", "file"], dtype="str")


def found(folder: Path, *rows: tuple[str, str, str], unlisted: tuple[str, ...] = ()) -> Audit:
    return audit(read_images(rows_of(*rows), folder), list(unlisted))


def ids(result: Audit, kind: str) -> list[str]:
    return [item["image_id"] for item in result.items[kind]]


def test_images_are_read_with_upright_size_and_hash_in_row_order(tmp_path: Path, write_image: WriteImage) -> None:
    for number in range(70):  # more than a chunk
        write_image(tmp_path / f"{number}.png", size=(10 + number, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 10)).save(tmp_path / "turned.jpg", exif=exif)
    rows = rows_of(*[(str(n), "a", f"{n}.png") for n in range(70)], ("t", "a", "turned.jpg"), ("none", "a", ""))
    read = read_images(rows, tmp_path)
    assert read["width"].tolist() == [*range(10, 80), 10, 0]
    assert read["height"].tolist() == [20] * 70 + [30, 0]
    assert read["sha256"][3] == hashlib.sha256((tmp_path / "3.png").read_bytes()).hexdigest()
    assert set(read["reason"]) == {""}


def test_clean_table_has_no_findings(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "1.png")
    write_image(tmp_path / "2.png")
    result = found(tmp_path, ("1", "a", "1.png"), ("2", "b", "2.png"))
    assert result.to_json() == {kind: {"count": 0, "action": "", "items": []} for kind in KINDS}
    assert result.cause.tolist() == ["", ""]


def test_row_without_image_and_image_without_row_are_listed(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "1.png")
    result = found(tmp_path, ("1", "a", "1.png"), ("2", "b", ""), unlisted=("extra.png",))
    assert result.items["missing_images"] == [{"image_id": "2", "label": "b"}]
    assert result.items["unlisted_images"] == [{"file": "extra.png"}]
    assert result.cause.tolist() == ["", "missing_images"]


def test_unreadable_images_are_listed_with_the_reason(tmp_path: Path, write_image: WriteImage) -> None:
    whole = write_image(tmp_path / "1.png", size=(200, 200)).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) - 30])
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").touch()
    result = found(
        tmp_path, ("1", "a", "1.png"), ("h", "a", "half.png"), ("t", "b", "text.jpg"), ("e", "b", "empty.jpg")
    )
    assert ids(result, "unreadable_images") == ["h", "t", "e"]
    reasons = {item["image_id"]: item["reason"] for item in result.items["unreadable_images"]}
    assert "not an image" in reasons["t"]
    assert all("these bytes" not in reason and reason for reason in reasons.values())
    assert result.cause.tolist() == ["", *["unreadable_images"] * 3]


def test_first_of_identical_images_is_kept(tmp_path: Path, write_image: WriteImage) -> None:
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"{name}.png", number=1)
    write_image(tmp_path / "d.png", number=2)
    result = found(tmp_path, *[(name, "x", f"{name}.png") for name in "bacd"])
    assert ids(result, "duplicate_images") == ["a", "c"]
    assert {item["same_as"] for item in result.items["duplicate_images"]} == {"b"}
    assert result.cause.tolist() == ["", "duplicate_images", "duplicate_images", ""]


def test_identical_images_with_different_labels_are_all_excluded(tmp_path: Path, write_image: WriteImage) -> None:
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"{name}.png", number=1)
    result = found(tmp_path, ("a", "x", "a.png"), ("b", "y", "b.png"), ("c", "x", "c.png"))
    assert ids(result, "contradictory_labels") == ["a", "b", "c"]
    assert result.items["duplicate_images"] == []
    assert result.cause.tolist() == ["contradictory_labels"] * 3


def test_copy_without_a_label_does_not_contradict(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "a.png", number=1)
    write_image(tmp_path / "b.png", number=1)
    result = found(tmp_path, ("a", "x", "a.png"), ("b", "", "b.png"))
    assert ids(result, "empty_labels") == ["b"]
    assert result.cause.tolist() == ["", "empty_labels"]


def test_repeated_id_is_kept_once_unless_its_labels_differ(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png")
    result = found(
        tmp_path, ("a", "x", "a.png"), ("b", "x", "b.png"), ("a", "x", "a.png"), ("b", "y", "b.png"), ("a", "", "a.png")
    )
    assert result.items["repeated_ids"] == [
        {"image_id": "a", "rows": 3, "labels": ["", "x"]},
        {"image_id": "b", "rows": 2, "labels": ["x", "y"]},
    ]
    assert result.items["duplicate_images"] == []
    assert result.cause.tolist() == ["", "contradictory_labels", "repeated_ids", "contradictory_labels", "empty_labels"]


def test_every_fault_of_a_row_is_listed_and_one_is_the_cause(tmp_path: Path) -> None:
    result = found(tmp_path, ("a", "", ""))
    assert ids(result, "missing_images") == ids(result, "empty_labels") == ["a"]
    assert result.cause.tolist() == ["missing_images"]


def test_small_classes_include_those_without_images() -> None:
    kept = pd.Series(["a"] * 5 + ["b"] * 2)
    assert small_classes(["a", "b", "c"], kept, 3) == [{"label": "b", "images": 2}, {"label": "c", "images": 0}]
    assert small_classes(["a", "b"], kept, 1) == []


def test_strict_reports_every_kind_of_finding(tmp_path: Path) -> None:
    result = found(tmp_path, ("a", "x", ""), ("b", "x", ""), unlisted=("c.png",))
    with pytest.raises(UserError, match="2 rows without an image, 1 images without a row; "):
        fail_on_findings(result)
    fail_on_findings(found(tmp_path))


def test_folder_named_like_an_image_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    assert ids(found(tmp_path, ("a", "x", "a.png")), "unreadable_images") == ["a"]


def test_clean_rows_are_audited_without_a_python_loop(count_calls: CountCalls) -> None:
    calls: list[int] = []
    for count in (2_000, 2_000, 20_000):  # the first call also pays for pandas' lazy imports
        names = [f"{number}" for number in range(count)]
        rows = rows_of(*[(name, name[-1], name) for name in names]).assign(sha256=names, reason="")
        calls.append(count_calls(audit, rows.astype("str").assign(out_of_range=False, clipped=0), []))
    assert calls[2] < calls[1] + 9_000, "fewer than one call per two rows"
