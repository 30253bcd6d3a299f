"""A dataset in a notebook: made from a DataFrame or a path, shown, and read again when it has changed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import resnet50 as rn
from resnet50.api.figures import Figure


def read(competition: Path) -> pd.DataFrame:
    return pd.read_csv(competition / "train.csv", dtype=str)


def test_a_dataframe_gives_the_dataset_that_its_file_gives(competition: Path, prepared: Path, tmp_path: Path) -> None:
    data = rn.prepare(read(competition), tmp_path / "from-table", images=competition / "images")
    assert data.fingerprint == rn.Dataset(prepared).fingerprint
    assert data.name == "from-table"
    pd.testing.assert_frame_equal(data.manifest, rn.Dataset(prepared).manifest)


def test_a_dataframe_is_kept_and_named_as_the_source(competition: Path, tmp_path: Path) -> None:
    table = read(competition).assign(weight=np.arange(60) / 2)
    data = rn.prepare(table, tmp_path / "data", images=competition / "images", label_column="label")
    pd.testing.assert_frame_equal(pd.read_parquet(data / "source.parquet"), table)
    assert f"source: {data / 'source.parquet'}" in (data / "dataset.yaml").read_text()
    again = rn.prepare(data / "source.parquet", tmp_path / "again", images=competition / "images", label_column="label")
    assert again.fingerprint == data.fingerprint


def test_a_dataset_is_made_again_from_its_own_source(competition: Path, tmp_path: Path) -> None:
    options = {"images": competition / "images", "overwrite": True}
    data = rn.prepare(read(competition), tmp_path / "data", **options)
    before = data.fingerprint
    table = pd.read_parquet(data / "source.parquet").iloc[:40]
    assert rn.prepare(table, data, **options) == data
    assert data.fingerprint != before  # the object holds nothing that is no longer there
    assert len(data) == 40


def test_paths_and_a_named_index_in_a_dataframe_are_understood(competition: Path, tmp_path: Path) -> None:
    images = competition / "images"
    table = read(competition).set_index("image_id")
    assert len(rn.prepare(table, tmp_path / "index", images=images)) == 60
    table = pd.DataFrame({"path": sorted(images.iterdir()), "label": table["label"].to_numpy()})
    assert len(rn.prepare(table, tmp_path / "paths", images=images)) == 60


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"image_id": ["000", "001"], "label": [1, "a"]}), "can't be stored as Parquet"),
        (pd.DataFrame([["000", "a", "b"]], columns=["image_id", "label", "label"]), "two columns named 'label'"),
        (pd.DataFrame({"image_id": [], "label": []}), "has no rows"),
    ],
)
def test_a_dataframe_that_is_no_table_is_refused(
    table: pd.DataFrame, message: str, competition: Path, tmp_path: Path
) -> None:
    with pytest.raises(rn.UserError, match=message):
        rn.prepare(table, tmp_path / "data", images=competition / "images")
    assert not (tmp_path / "data").exists()


def test_shards_of_a_dataframe_merge_into_its_dataset(competition: Path, prepared: Path, tmp_path: Path) -> None:
    table, options = read(competition), {"images": competition / "images"}
    for shard in ("1/2", "2/2"):
        assert "does not exist" in repr(rn.prepare(table, tmp_path / "data", shard=shard, **options))
    data = rn.prepare(table, tmp_path / "data", merge=2, **options)
    assert data.fingerprint == rn.Dataset(prepared).fingerprint
    assert len(pd.read_parquet(data / "source.parquet")) == 60


def test_what_is_neither_path_nor_dataframe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(rn.UserError, match="expected a path"):
        rn.prepare([{"image_id": "1"}], tmp_path / "data")


def test_a_dataframe_needs_the_folder_of_its_images(competition: Path, tmp_path: Path) -> None:
    with pytest.raises(rn.UserError, match="--images"):
        rn.prepare(read(competition), tmp_path / "data")


def test_choices_select_each_reading_of_the_labels(competition: Path, tmp_path: Path) -> None:
    table = read(competition).rename(columns={"label": "animal"})
    table["mood"] = ["glad", "sad", "glad"] * 20
    with pytest.raises(rn.UserError, match="--label-column") as caught:
        rn.prepare(table, tmp_path / "data", images=competition / "images")
    assert caught.value.choices == ({"label_column": "animal"}, {"label_column": "mood"})
    classes = [
        rn.prepare(table, tmp_path / str(number), images=competition / "images", **choice).classes
        for number, choice in enumerate(caught.value.choices)
    ]
    assert classes == [("cat", "dog"), ("glad", "sad")]
    shown = caught.value._render_traceback_()[1]
    assert shown.startswith("    resnet50.prepare(table, ") and shown.endswith(", label_column='animal')")


def test_choices_select_among_id_columns_folders_and_tables(competition: Path, tmp_path: Path) -> None:
    table = read(competition)
    ids = table.assign(file=list(reversed(table["image_id"])))
    with pytest.raises(rn.UserError, match="--id-column") as caught:
        rn.prepare(ids, tmp_path / "data", images=competition / "images")
    assert caught.value.choices == ({"id_column": "image_id"}, {"id_column": "file"})

    table.assign(label=list(reversed(table["label"]))).to_csv(competition / "more.csv", index=False)
    (competition / "train.csv").rename(competition / "some.csv")
    with pytest.raises(rn.UserError, match="several tables") as caught:
        rn.prepare(competition, tmp_path / "data")
    assert [Path(choice["source"]).name for choice in caught.value.choices] == ["more.csv", "some.csv"]

    (competition / "images").rename(competition / "large")
    (competition / "small").symlink_to(competition / "large")
    for path in (competition / "large").iterdir():
        (competition / "medium").mkdir(exist_ok=True)
        (competition / "medium" / path.name).write_bytes(path.read_bytes() + b"other content")
    with pytest.raises(rn.UserError, match="several folders") as caught:
        rn.prepare(competition / "some.csv", tmp_path / "data")
    assert {"images": str(competition / "medium")} in caught.value.choices


def test_splits_counts_images_by_class_and_split(prepared: Path) -> None:
    data = rn.Dataset(prepared)
    assert data.splits.columns.tolist() == ["train", "val", "test"]
    assert data.splits.index.tolist() == ["cat", "dog"]
    for split in ("train", "val", "test"):
        assert data.splits[split].to_dict() == data.split(split)["label"].value_counts().to_dict()


def test_audit_lists_every_kind_of_finding(competition: Path, tmp_path: Path) -> None:
    (competition / "images" / "000.jpg").unlink()
    data = rn.prepare(competition / "train.csv", tmp_path / "data")
    assert data.audit.loc["missing_images", ["count", "action"]].tolist() == [1, "left out"]
    assert data.audit.loc["unreadable_images", ["count", "action"]].tolist() == [0, ""]
    assert data.findings("missing_images")["image_id"].tolist() == ["000"]
    with pytest.raises(rn.UserError, match="missing_images"):
        data.findings("missing_image")


def test_show_draws_the_classes_in_turn(prepared: Path) -> None:
    figure = rn.Dataset(prepared).show(4, split="val")
    assert isinstance(figure, Figure)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["cat", "dog", "cat", "dog"]
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_show_survives_an_image_that_is_gone(prepared: Path, competition: Path) -> None:
    for path in (competition / "images").iterdir():
        path.unlink()
    texts = [text.get_text() for axes in rn.Dataset(prepared).show(2).axes for text in axes.texts]
    assert texts == ["unreadable", "unreadable"]


def test_a_dataset_prints_what_is_in_it(prepared: Path) -> None:
    data = rn.Dataset(prepared)
    assert repr(data) == f"Dataset({str(prepared)!r}, images: 60 (train 42, val 9, test 9), classes: 2)"
    assert "60 (train 42, val 9, test 9)" in data._repr_html_()
    assert ">cat<" in data._repr_html_()


def test_class_names_are_escaped_in_html(competition: Path, tmp_path: Path) -> None:
    table = read(competition).replace({"cat": "<b>cat</b>"})
    data = rn.prepare(table, tmp_path / "data", images=competition / "images")
    assert "<b>cat</b>" not in data._repr_html_()


def test_a_folder_without_a_dataset_says_so_in_one_line(tmp_path: Path) -> None:
    data = rn.Dataset(tmp_path)
    assert "not a prepared dataset" in repr(data)
    assert "not a prepared dataset" in data._repr_html_()
    for ask in (lambda: data.classes, lambda: data.audit, data.show, lambda: len(data)):
        with pytest.raises(rn.UserError, match="not a prepared dataset") as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_changing_a_returned_table_leaves_the_dataset_alone(prepared: Path) -> None:
    data = rn.Dataset(prepared)
    changed = data.manifest
    changed["label"] = "bird"
    assert set(data.manifest["label"]) == {"cat", "dog"}
