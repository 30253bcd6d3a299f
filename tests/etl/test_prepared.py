from pathlib import Path

import pandas as pd
import pytest
import yaml

from resnet50.etl.prepared import (
    COLUMNS,
    PreparedDataset,
    atomic_folder,
    check_output,
    fingerprint_of,
    load_prepared,
    write_prepared,
)
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError


def manifest() -> pd.DataFrame:
    rows = [
        ("b", "/x/b.jpg", "dog", 1, "b", "train", 4, 3, "22"),
        ("a", "/x/a.jpg", "cat", 0, "a", "val", 4, 3, "11"),
        ("c", "/x/c.jpg", "cat", 0, "c", "train", 4, 3, "33"),
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def written(out: Path, table: pd.DataFrame | None = None) -> PreparedDataset:
    options = PrepareOptions(source=Path("/x/t.csv"), out=out)
    with atomic_folder(out) as folder:
        audit = {"kind": {"count": 0, "items": []}}
        return write_prepared(folder, options, "pets", manifest() if table is None else table, audit, 5)


def test_written_dataset_is_read_back(tmp_path: Path) -> None:
    first, second = written(tmp_path / "d"), load_prepared(tmp_path / "d")
    pd.testing.assert_frame_equal(first.manifest, second.manifest)
    assert (second.name, second.classes, second.folder) == ("pets", ("cat", "dog"), tmp_path / "d")
    assert first.fingerprint == second.fingerprint


def test_split_returns_its_rows_in_manifest_order(tmp_path: Path) -> None:
    dataset = written(tmp_path / "d")
    assert dataset.split("train")["image_id"].tolist() == ["b", "c"]
    assert dataset.split("train").index.tolist() == [0, 1]
    with pytest.raises(UserError, match="has no test split, only train, val"):
        dataset.split("test")


def test_description_has_classes_counts_and_options(tmp_path: Path) -> None:
    written(tmp_path / "d")
    description = yaml.safe_load((tmp_path / "d" / "dataset.yaml").read_text())
    assert description["classes"] == ["cat", "dog"]
    assert description["counts"] == {
        "rows": 5,
        "images": 3,
        "by_split": {"train": 2, "val": 1, "test": 0},
        "by_class": {"cat": 2, "dog": 1},
    }
    assert description["options"]["split"] == "0.7/0.15/0.15"
    assert "out" not in description["options"]


@pytest.mark.parametrize("label", ["NA", "no", "1", "1e3", "null", "a: b", "Käse", "#x", "2020-01-01"])
def test_labels_that_yaml_could_misread_are_preserved(tmp_path: Path, label: str) -> None:
    table = manifest()
    table.loc[table["label"] == "cat", "label"] = label
    written(tmp_path / "d", table)
    assert set(load_prepared(tmp_path / "d").classes) == {label, "dog"}


def test_fingerprint_depends_on_the_data_and_not_its_location(tmp_path: Path) -> None:
    first = written(tmp_path / "a").fingerprint
    moved = manifest().assign(path=["/y/1", "/y/2", "/y/3"])
    assert written(tmp_path / "b", moved).fingerprint == first
    for column in ("image_id", "label", "split", "sha256"):
        changed = manifest()
        changed.loc[0, column] = "val" if column == "split" else "other"
        assert written(tmp_path / f"c-{column}", changed).fingerprint != first


def test_fingerprint_depends_on_values_and_not_on_their_storage(tmp_path: Path) -> None:
    table = manifest()
    first = fingerprint_of(table, ("cat", "dog"))
    pieces = pd.concat([table.iloc[:1], table.iloc[1:]], ignore_index=True)
    assert fingerprint_of(pieces, ("cat", "dog")) == first
    assert fingerprint_of(table.astype("object"), ("cat", "dog")) == first
    table.to_parquet(tmp_path / "t.parquet", row_group_size=1)
    assert fingerprint_of(pd.read_parquet(tmp_path / "t.parquet"), ("cat", "dog")) == first
    moved = [fingerprint_of(table.assign(image_id=ids), ("cat", "dog")) for ids in (["xy", "", ""], ["x", "y", ""])]
    others = {*moved, fingerprint_of(table, ("ca", "tdog")), fingerprint_of(table, ("cat", "dog", ""))}
    assert len(others | {first}) == 5


def test_only_the_three_files_remain(tmp_path: Path) -> None:
    written(tmp_path / "deep" / "er" / "d")
    written(tmp_path / "deep" / "er" / "d")
    assert sorted(path.name for path in (tmp_path / "deep" / "er").rglob("*")) == [
        "audit.json", "d", "dataset.yaml", "manifest.parquet",
    ]  # fmt: skip


def test_failed_write_leaves_the_old_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = written(tmp_path / "d").fingerprint

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", fail)
    with pytest.raises(OSError, match="disk full"):
        written(tmp_path / "d")
    with pytest.raises(OSError, match="disk full"):
        written(tmp_path / "e")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]
    assert load_prepared(tmp_path / "d").fingerprint == before


def test_folder_that_is_not_a_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        load_prepared(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"not a prepared dataset \(it has no dataset\.yaml\)"):
        load_prepared(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.parquet", b"PAR1 damaged"),
        ("manifest.parquet", b""),
        ("dataset.yaml", b"{"),
        ("dataset.yaml", b""),
        ("dataset.yaml", b"name: x\n"),
        ("dataset.yaml", b"\xff\xfe\xff"),
    ],
)
def test_damaged_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    written(tmp_path / "d")
    (tmp_path / "d" / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} is damaged") as caught:
        load_prepared(tmp_path / "d")
    assert "\n" not in str(caught.value)


def test_manifest_of_another_dataset_or_without_a_column_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "d")
    manifest().iloc[:2].to_parquet(tmp_path / "d" / "manifest.parquet")
    with pytest.raises(UserError, match=r"does not belong to the dataset.yaml beside it"):
        load_prepared(tmp_path / "d")
    manifest().drop(columns="sha256").to_parquet(tmp_path / "d" / "manifest.parquet")
    with pytest.raises(UserError, match="no column 'sha256'"):
        load_prepared(tmp_path / "d")


def test_nonempty_output_is_refused_unless_a_dataset_to_overwrite(tmp_path: Path) -> None:
    source = tmp_path / "src" / "t.csv"
    check_output(tmp_path / "new", False, source, None)
    (tmp_path / "empty").mkdir()
    check_output(tmp_path / "empty", False, source, None)
    written(tmp_path / "d")
    with pytest.raises(UserError, match=r"is not empty.*--overwrite"):
        check_output(tmp_path / "d", False, source, None)
    check_output(tmp_path / "d", True, source, None)


def test_overwrite_refuses_a_folder_that_is_not_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(UserError, match="thesis is not a prepared dataset"):
        check_output(tmp_path / "thesis", True, tmp_path / "t.csv", None)


@pytest.mark.parametrize("what", ["source", "images"])
def test_overwrite_refuses_a_folder_with_the_source_in_it(tmp_path: Path, what: str) -> None:
    written(tmp_path / "d")
    inside = tmp_path / "d" / "inside"
    inside.mkdir()
    source, images = (inside, None) if what == "source" else (tmp_path / "t.csv", inside)
    with pytest.raises(UserError, match="contains"):
        check_output(tmp_path / "d", True, source, images)


def test_output_that_is_a_file_or_below_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        check_output(tmp_path / "file", False, tmp_path / "t.csv", None)
    with pytest.raises(UserError, match="file is not writable"):
        check_output(tmp_path / "file" / "d", False, tmp_path / "t.csv", None)
