import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from resnet50.etl import prepare as prepare_module
from resnet50.etl.audit import KINDS
from resnet50.etl.files import FileIndex
from resnet50.etl.prepare import prepare
from resnet50.etl.prepared import COLUMNS, PreparedDataset, load_prepared
from resnet50.options import PrepareOptions
from resnet50.runtime.errors import UserError

WriteImage = Callable[..., Path]
CLOTHING = Path(__file__).parents[3] / "shared" / "data" / "clothing"


@pytest.fixture
def zoo(tmp_path: Path, write_image: WriteImage) -> Path:
    """Return a table of cats, dogs and 6 owls, four images per photographer, with every kind of fault."""
    lines = ["image_id,label,who"]
    for number in range(86):
        label = "owl" if number >= 80 else ("cat", "dog")[number % 2]
        write_image(tmp_path / "zoo" / "images" / f"{number:03d}.png")
        lines.append(f"{number:03d},{label},p{number // 4}")
    for name in ("same1", "same2"):
        write_image(tmp_path / "zoo" / "images" / f"{name}.png", number=1)
        lines.append(f"{name},cat,q")
    for name, label in (("both1", "cat"), ("both2", "dog")):
        write_image(tmp_path / "zoo" / "images" / f"{name}.png", number=2)
        lines.append(f"{name},{label},q")
    for name in ("blank", "unlisted"):
        write_image(tmp_path / "zoo" / "images" / f"{name}.png")
    (tmp_path / "zoo" / "images" / "text.png").write_text("not an image")
    lines += ["blank,,q", "text,dog,q", "gone,dog,q", "000,cat,p0", "gone2,what,q"]
    (tmp_path / "zoo" / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "zoo" / "labels.csv"


def prepared(source: Path, out: str = "out", **options: Any) -> PreparedDataset:
    return prepare(PrepareOptions(source=source, out=source.parents[1] / out, **options))


def test_manifest_describes_every_image(zoo: Path) -> None:
    manifest = prepared(zoo).manifest
    assert list(manifest.columns) == list(COLUMNS)
    assert len(manifest) == 87
    first = manifest.iloc[0]
    assert (first["image_id"], first["label"], first["label_index"]) == ("000", "cat", 0)
    assert first["path"] == str(zoo.parent / "images" / "000.png")
    assert (first["width"], first["height"]) == (12, 8)
    assert len(first["sha256"]) == 64
    assert manifest["image_id"].is_unique
    assert manifest["sha256"].is_unique
    assert dict(zip(manifest["label"], manifest["label_index"], strict=True)) == {"cat": 0, "dog": 1, "owl": 2}
    pd.testing.assert_frame_equal(load_prepared(zoo.parents[1] / "out").manifest, manifest)


def test_every_kind_of_fault_is_counted_listed_and_printed(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared(zoo, min_class_count=10)
    audit = json.loads((zoo.parents[1] / "out" / "audit.json").read_text())
    counts = {kind: audit[kind]["count"] for kind in audit}
    assert counts == {
        "missing_images": 2,
        "unlisted_images": 1,
        "unreadable_images": 1,
        "pixel_range": 0,
        "duplicate_images": 1,
        "contradictory_labels": 2,
        "empty_labels": 1,
        "repeated_ids": 1,
        "malformed_rows": 0,
        "clipped_pixels": 0,
        "near_duplicates": 0,
        "near_duplicates_across_splits": 0,
        "contradictory_near_duplicates": 0,
        "large_clusters": 0,
        "small_classes": 2,
    }
    assert all(len(audit[kind]["items"]) == counts[kind] for kind in audit)
    assert audit["small_classes"]["items"] == [{"label": "owl", "images": 6}, {"label": "what", "images": 0}]
    printed = capsys.readouterr()
    lines = [line.split("│") for line in printed.out.splitlines() if line.count("│") == 5]
    shown = {cells[1].strip(): (cells[2].strip(), cells[3].strip()) for cells in lines}
    for kind, (title, _) in KINDS.items():
        assert shown.get(title, ("0",))[0] == str(counts[kind])
    assert shown["7 other kinds of findings"] == ("0", "")
    assert shown["images kept"] == ("87", "8")
    assert "owl (6), what (none: the class is lost)" in " ".join(printed.err.split())


def test_decision_its_reasons_and_class_counts_are_printed(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = prepared(zoo).manifest
    printed = capsys.readouterr().out
    decision = printed.splitlines()[:3]
    assert decision[0] == "table labels.csv: images in column 'image_id', labels in column 'label'"
    assert decision[1].startswith("because: images: column 'image_id' names 93 of 95 rows' images in ")
    assert decision[2] == "because: labels: column 'label', its name"
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│ owl" in line]
    owls = manifest[manifest["label"] == "owl"]["split"].value_counts()
    assert cells == [["owl", *[str(owls.get(split, 0)) for split in ("train", "val", "test")], "6"]]


def test_guessed_options_are_written_as_values(zoo: Path) -> None:
    prepared(zoo)
    options = yaml.safe_load((zoo.parents[1] / "out" / "dataset.yaml").read_text())["options"]
    assert options["source"] == str(zoo)
    assert options["images"] == str(zoo.parent / "images")
    assert (options["id_column"], options["label_column"]) == ("image_id", "label")


def test_decision_and_its_reasons_are_written_to_dataset_yaml(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared(zoo)
    reading = yaml.safe_load((zoo.parents[1] / "out" / "dataset.yaml").read_text())["reading"]
    assert reading[0] == "table labels.csv: images in column 'image_id', labels in column 'label'"
    assert reading[2] == "because: labels: column 'label', its name"
    assert capsys.readouterr().out.splitlines()[: len(reading)] == reading


def test_dry_run_shows_ten_rows_and_writes_nothing(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(zoo.parents[1].rglob("*"))
    assert prepare(PrepareOptions(source=zoo, out=zoo.parents[1] / "out", dry_run=True)) is None
    assert sorted(zoo.parents[1].rglob("*")) == before
    printed = capsys.readouterr().out
    assert printed.startswith("table labels.csv: images in column 'image_id'")
    assert sum(line.startswith("│") for line in printed.splitlines()) == 10
    assert "95 rows, 93 with an image, 4 classes; nothing was written" in printed


def test_dry_run_asks_what_prepare_would_ask(tmp_path: Path, write_image: WriteImage) -> None:
    for fruit in ("apple", "plum", "pear"):
        for state in ("fresh", "rotten"):
            write_image(tmp_path / "fruit" / fruit / state / "1.png")
    asked: list[tuple[dict[str, str], ...]] = []
    for dry_run in (True, False):
        with pytest.raises(UserError, match="are the classes") as caught:
            prepare(PrepareOptions(source=tmp_path / "fruit", out=tmp_path / "out", dry_run=dry_run))
        asked.append(caught.value.choices)
    assert asked[0] == asked[1]
    assert not (tmp_path / "out").exists()


def test_malformed_rows_are_named_by_line_and_listed(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = zoo.read_text().splitlines()
    lines += [f"x{number},,q" for number in range(10)]  # so that one is less than a percent
    lines.insert(7, "777,cat,p1,and,more")
    zoo.write_text("\n".join(lines) + "\n")
    prepared(zoo)
    audit = json.loads((zoo.parents[1] / "out" / "audit.json").read_text())
    assert audit["malformed_rows"]["items"] == [{"line": 8, "text": "777,cat,p1,and,more"}]
    warning = " ".join(capsys.readouterr().err.split())
    assert "rows with more cells than the header are left out: line 8" in warning


def test_classes_of_few_images_are_dropped_if_asked(zoo: Path) -> None:
    assert prepared(zoo, "kept", min_class_count=10, drop_labels="what").classes == ("cat", "dog", "owl")
    dataset = prepared(zoo, "dropped", min_class_count=10, small_classes="drop")
    assert dataset.classes == ("cat", "dog")
    assert sorted(set(dataset.manifest["label_index"])) == [0, 1]
    audit = json.loads((zoo.parents[1] / "dropped" / "audit.json").read_text())
    assert audit["small_classes"]["items"][0] == {"label": "owl", "images": 6}


def test_dropping_small_classes_needs_their_size(zoo: Path) -> None:
    with pytest.raises(UserError, match="needs --min-class-count N"):
        prepared(zoo, small_classes="drop")


def many_pets(root: Path, write_image: WriteImage, count: int = 10, names: str = "{label}{number}") -> Path:
    for label in ("cat", "dog"):
        for number in range(count):
            write_image(root / label / (names.format(label=label, number=number) + ".png"))
    return root


def test_second_source_becomes_the_test_split(tmp_path: Path, write_image: WriteImage) -> None:
    source, held_out = (many_pets(tmp_path / name, write_image) for name in ("lab", "field"))
    dataset = prepare(PrepareOptions(source=source, out=tmp_path / "out", test=held_out))
    assert dataset is not None
    test = dataset.split("test")
    assert len(test) == 20
    assert all(Path(path).resolve().is_relative_to(held_out) for path in test["path"])
    assert set(dataset.manifest["split"]) == {"train", "val", "test"}
    assert dataset.manifest["image_id"].is_unique
    rest = dataset.manifest[dataset.manifest["split"] != "test"]
    assert all(Path(path).resolve().is_relative_to(source) for path in rest["path"])


def test_second_source_is_found_from_a_linked_folder(tmp_path: Path, write_image: WriteImage) -> None:
    held_out = many_pets(tmp_path / "field", write_image)
    many_pets(tmp_path / "disk" / "deep" / "lab", write_image)
    (tmp_path / "lab").symlink_to(tmp_path / "disk" / "deep" / "lab")
    dataset = prepare(PrepareOptions(source=tmp_path / "lab", out=tmp_path / "out", test=held_out))
    assert dataset is not None
    assert len(dataset.split("test")) == 20


def test_second_source_with_an_unknown_class_is_refused(tmp_path: Path, write_image: WriteImage) -> None:
    source, held_out = (many_pets(tmp_path / name, write_image) for name in ("lab", "field"))
    write_image(held_out / "owl" / "1.png")
    with pytest.raises(UserError, match=r"--test .*field has classes that .*lab lacks: owl"):
        prepare(PrepareOptions(source=source, out=tmp_path / "out", test=held_out))


def test_second_source_of_copies_alone_is_refused(tmp_path: Path, write_image: WriteImage) -> None:
    source = many_pets(tmp_path / "lab", write_image)
    with pytest.raises(UserError, match="nothing is left of the test split"):
        prepare(PrepareOptions(source=source, out=tmp_path / "out", test=source))
    assert not (tmp_path / "out").exists()


def test_second_source_beside_a_published_test_split_is_refused(tmp_path: Path, write_image: WriteImage) -> None:
    for part in ("train", "test"):
        many_pets(tmp_path / "lab" / part, write_image, 4)
    held_out = many_pets(tmp_path / "field", write_image)
    with pytest.raises(UserError, match="has a test split of its own"):
        prepare(PrepareOptions(source=tmp_path / "lab", out=tmp_path / "out", test=held_out))


def test_set_to_measure_on_is_all_test(tmp_path: Path, write_image: WriteImage) -> None:
    source = many_pets(tmp_path / "pets", write_image)
    dataset = prepare(PrepareOptions(source=source, out=tmp_path / "out", split="0/0/1"))
    assert dataset is not None
    assert set(dataset.manifest["split"]) == {"test"}


def test_nearly_equal_labels_are_warned_of(
    tmp_path: Path, write_image: WriteImage, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("cat", "Cat", "dog"):
        for number in range(8):
            write_image(tmp_path / "pets" / f"{label}" / f"{number}.png")
    prepare(PrepareOptions(source=tmp_path / "pets", out=tmp_path / "out"))
    assert "labels that are nearly equal are classes of their own: 'Cat' and 'cat'" in " ".join(
        capsys.readouterr().err.split()
    )


def test_one_image_per_class_is_refused(tmp_path: Path, write_image: WriteImage) -> None:
    for label in ("ant", "bee", "cow", "doe"):
        write_image(tmp_path / "pets" / label / "1.png")
    with pytest.raises(UserError, match="each of the 4 classes has a single image, such as 'ant'"):
        prepare(PrepareOptions(source=tmp_path / "pets", out=tmp_path / "out"))


def test_groups_by_a_column_that_straddle_the_split_are_warned_of(
    tmp_path: Path, write_image: WriteImage, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["image,label,patient_id"]
    for number in range(40):
        write_image(tmp_path / "scans" / "images" / f"{number}.png")
        lines.append(f"{number},{'ab'[number // 4 % 2]},p{number // 4}")
    table = tmp_path / "scans" / "t.csv"
    table.write_text("\n".join(lines))
    prepare(PrepareOptions(source=table, out=tmp_path / "out"))
    warning = " ".join(capsys.readouterr().err.split())
    assert "of 10 groups by column 'patient_id' have images in several splits" in warning
    assert warning.endswith("keep them together with --group-column patient_id")
    prepare(PrepareOptions(source=table, out=tmp_path / "grouped", group_column="patient_id"))
    assert capsys.readouterr().err == ""


def test_groups_by_names_that_straddle_the_split_are_warned_of_and_mended(
    tmp_path: Path, write_image: WriteImage, capsys: pytest.CaptureFixture[str]
) -> None:
    for label, first in (("a", 0), ("b", 20)):
        for number in range(first, first + 20):
            for side in ("left", "right"):
                write_image(tmp_path / "eyes" / label / f"{number}_{side}.png")
    prepare(PrepareOptions(source=tmp_path / "eyes", out=tmp_path / "out"))
    warning = " ".join(capsys.readouterr().err.split())
    found = re.search(r"of 40 groups by the names .*--group-pattern '(.*)'$", warning)
    assert found is not None
    dataset = prepare(PrepareOptions(source=tmp_path / "eyes", out=tmp_path / "grouped", group_pattern=found[1]))
    assert dataset is not None
    assert dataset.manifest.groupby("group")["split"].nunique().max() == 1
    assert dataset.manifest["group"].nunique() == 40
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_output_bytes_depend_on_input_and_seed_alone(zoo: Path) -> None:
    for out, seed in (("a", 3), ("b", 3), ("c", 4)):
        prepared(zoo, out, group_column="who", seed=seed)
    folders = [zoo.parents[1] / out for out in "abc"]
    for name in ("dataset.yaml", "manifest.parquet", "audit.json", "audit.html"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    assert load_prepared(folders[0]).fingerprint != load_prepared(folders[2]).fingerprint


def test_groups_are_not_divided_between_splits(zoo: Path) -> None:
    manifest = prepared(zoo, group_column="who").manifest
    assert manifest["group"].nunique() < len(manifest)
    assert manifest.groupby("group")["split"].nunique().max() == 1


def test_dropped_labels_are_removed_and_the_index_has_no_gaps(zoo: Path) -> None:
    dataset = prepared(zoo, drop_labels=" cat , what")
    assert dataset.classes == ("dog", "owl")
    assert sorted(set(dataset.manifest["label_index"])) == [0, 1]
    audit = json.loads((zoo.parents[1] / "out" / "audit.json").read_text())
    assert audit["missing_images"]["count"] == 2, "the audit is of the whole table"
    assert audit["duplicate_images"]["count"] == 1


def test_label_with_a_comma_can_be_dropped_in_quotes(zoo: Path) -> None:
    zoo.write_text(zoo.read_text().replace(",owl,", ',"owl, white",'))
    assert prepared(zoo, drop_labels='"owl, white",what').classes == ("cat", "dog")


def test_strict_reports_all_findings_and_writes_nothing(zoo: Path) -> None:
    with pytest.raises(UserError, match="--strict: the audit found 2 rows without an image, 1 images without a row"):
        prepared(zoo, strict=True)
    assert [path.name for path in zoo.parents[1].iterdir()] == ["zoo"]


def test_strict_accepts_a_clean_source(tmp_path: Path, write_image: WriteImage) -> None:
    for number in range(20):
        write_image(tmp_path / "pets" / ("cat", "dog")[number % 2] / f"{number}.png")
    dataset = prepare(PrepareOptions(source=tmp_path / "pets", out=tmp_path / "out", strict=True))
    assert dataset.manifest["split"].value_counts().to_dict() == {"train": 14, "val": 3, "test": 3}


def test_published_folders_are_kept_and_copies_across_them_excluded(tmp_path: Path, write_image: WriteImage) -> None:
    for split in ("train", "valid", "test"):
        for label in ("cat", "dog"):
            for number in range(4):
                write_image(tmp_path / "pets" / split / label / f"{number}.png")
    leak = (tmp_path / "pets" / "train" / "cat" / "0.png").read_bytes()
    (tmp_path / "pets" / "test" / "cat" / "leak.png").write_bytes(leak)
    manifest = prepare(PrepareOptions(source=tmp_path / "pets", out=tmp_path / "out")).manifest
    folders = manifest["image_id"].str.split("/").str[0].replace("valid", "val")
    assert (manifest["split"] == folders).all()
    assert manifest["sha256"].is_unique
    assert len(manifest) == 24


def test_split_column_is_kept(zoo: Path) -> None:
    table = pd.read_csv(zoo, dtype="str", keep_default_na=False)
    table["part"] = np.resize(["train", "train", "val", "test"], len(table))
    table.to_csv(zoo, index=False)
    manifest = prepared(zoo, split_column="part").manifest
    wanted = table.drop_duplicates("image_id").set_index("image_id")["part"]
    assert (manifest["split"] == manifest["image_id"].map(wanted)).all()


def test_small_fractions_get_a_group_each(zoo: Path) -> None:
    dataset = prepared(zoo, split="0.98/0.01/0.01", drop_labels="owl,what", group_column="who")
    assert set(dataset.manifest["split"]) == {"train", "val", "test"}


def test_zero_test_fraction_gives_no_test_split(zoo: Path) -> None:
    dataset = prepared(zoo, split="0.8/0.2/0")
    assert set(dataset.manifest["split"]) == {"train", "val"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "0.5/0.2/0.2"}, "adds up to 0.9 instead of 1"),
        ({"drop_labels": "Cat"}, r"--drop-labels: there is no label 'Cat' \(did you mean 'cat'\?\)"),
        ({"drop_labels": "cat,owl,what"}, r"only one class \('dog'\) is left"),
        ({"drop_labels": "cat,dog,owl,what"}, "no usable image"),
        ({"label_column": "lable"}, "did you mean 'label'"),
        ({"group_column": "nobody"}, "nobody"),
        ({"images": Path("nowhere")}, "nowhere does not exist"),
        ({"seed": -1}, "--seed -1: must be at least 0"),
        ({"min_class_count": -1}, "--min-class-count -1: must be at least 0"),
    ],
)
def test_bad_input_is_reported_on_one_line_and_writes_nothing(zoo: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        prepared(zoo, **options)
    assert "\n" not in str(caught.value)
    assert [path.name for path in zoo.parents[1].iterdir()] == ["zoo"]


def test_single_class_left_by_the_audit_is_refused(tmp_path: Path, write_image: WriteImage) -> None:
    for number in range(5):
        write_image(tmp_path / "pets" / "cat" / f"{number}.png")
    (tmp_path / "pets" / "dog").mkdir()
    (tmp_path / "pets" / "dog" / "1.png").write_text("not an image")
    with pytest.raises(UserError, match=r"only one class \('cat'\) is left"):
        prepare(PrepareOptions(source=tmp_path / "pets", out=tmp_path / "out"))


def test_existing_output_is_kept_without_overwrite(zoo: Path) -> None:
    before = prepared(zoo)
    with pytest.raises(UserError, match="is not empty"):
        prepared(zoo, seed=1)
    assert load_prepared(before.folder).fingerprint == before.fingerprint
    assert prepared(zoo, seed=1, overwrite=True).fingerprint != before.fingerprint


def test_square_brackets_in_labels_are_printed_as_they_are(
    tmp_path: Path, write_image: WriteImage, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(20):
        write_image(tmp_path / "pets [v2]" / ("cat [old]", "[red]dog")[number % 2] / f"{number}.png")
    prepare(PrepareOptions(source=tmp_path / "pets [v2]", out=tmp_path / "out"))
    printed = capsys.readouterr().out
    assert "cat [old]" in printed
    assert "[red]dog" in printed
    assert "pets [v2]: 20 rows" in printed


@pytest.mark.slow
def test_hundred_thousand_rows_are_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    for number in range(100):
        (tmp_path / "images" / f"{number}.png").touch()
    ids = [f"{number:06d}" for number in range(100_000)]
    (tmp_path / "t.csv").write_text("id,label\n" + "".join(f"{name},{int(name) % 300}\n" for name in ids))
    listed = FileIndex(tmp_path, [f"images/{name}.png" for name in ids])
    monkeypatch.setattr("resnet50.etl.extract.list_files", lambda *_, **__: listed)
    monkeypatch.setattr(
        prepare_module,
        "read_images",
        lambda rows, *_: rows.assign(
            width=8,
            height=8,
            sha256=rows["image_id"],
            reason="",
            thumbnail=bytes(256),
            out_of_range=False,
            clipped=0,
            peak=np.nan,
        ),
    )
    dataset = prepare(PrepareOptions(source=tmp_path / "t.csv", out=tmp_path / "out", store=False))
    sizes = dataset.manifest["split"].value_counts()
    assert sizes.to_dict() == pytest.approx({"train": 70_000, "val": 15_000, "test": 15_000}, abs=3)


@pytest.mark.skipif(not CLOTHING.is_dir(), reason="the clothing dataset is not available")
@pytest.mark.slow
def test_clothing_dataset_gives_the_known_counts(tmp_path: Path) -> None:
    options = PrepareOptions(
        source=CLOTHING, out=tmp_path / "out", group_column="sender_id", drop_labels="Not sure,Skip"
    )
    dataset = prepare(options)
    audit = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert {kind: audit[kind]["count"] for kind in audit if audit[kind]["count"]} == {
        "missing_images": 5,
        "unlisted_images": 358,
        "near_duplicates": 6,
        "contradictory_near_duplicates": 2,
    }
    assert len(dataset.manifest) == 5163
    assert len(dataset.classes) == 18
    assert dataset.manifest.groupby("group")["split"].nunique().max() == 1
    shares = pd.crosstab(dataset.manifest["label"], dataset.manifest["split"], normalize="index")
    assert (shares["val"] - 0.15).abs().max() < 0.08
    assert (shares["test"] - 0.15).abs().max() < 0.08
