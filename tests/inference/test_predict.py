"""The predict command: the classifier's answers, whatever the images, in parts that survive a kill."""

import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import resnet50
from resnet50 import cli
from resnet50.inference import work
from resnet50.inference.parts import PartFolder
from resnet50.inference.predict import predict
from resnet50.options import PredictOptions
from resnet50.runtime.errors import Incomplete, UserError

SUBMITS = ("labels", "probability:dog", "probability:cat")

FIXED: dict[str, Any] = {"device": "cpu", "precision": "fp32", "engine": "torch", "workers": 0, "batch_size": 8}


@pytest.fixture
def images(competition: Path) -> Path:
    """Return a folder of 60 images."""
    return competition / "images"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out" / "p.csv"


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "PART_IMAGES", 16)


def options(run: Path, images: Path, out: Path | None, **changes: Any) -> PredictOptions:
    return PredictOptions(run=run, images=(str(images),), out=out, **(FIXED | changes))


def run_until_killed(what: PredictOptions, parts: int) -> None:
    """Run until so many parts are written."""
    write = PartFolder.write
    written: list[slice] = []

    def interrupted(self: PartFolder, rows: slice, *content: Any) -> None:
        if len(written) == parts:
            raise KeyboardInterrupt
        written.append(rows)
        write(self, rows, *content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PartFolder, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict(what)


def test_the_command_and_python_agree(trained: Path, images: Path, out: Path) -> None:
    predict(options(trained, images, out))
    written = pd.read_csv(out, dtype={"image_id": str})
    assert list(written.columns) == ["image_id", "path", "prediction", "p_cat", "p_dog"]
    assert len(written) == 60
    assert written["image_id"][7] == "007"
    classifier = resnet50.Classifier.load(trained, device="cpu", precision="fp32", engine="torch")
    predictions = classifier.predict([Path(path) for path in written["path"]])
    assert [prediction.label for prediction in predictions] == written["prediction"].tolist()
    assert np.allclose([prediction.probabilities["dog"] for prediction in predictions], written["p_dog"], atol=1e-6)
    assert sorted(path.name for path in out.parent.iterdir()) == ["p.csv"]


def test_names_with_commas_quotes_and_line_breaks_come_back(trained: Path, images: Path, out: Path) -> None:
    (images / "000.jpg").rename(images / 'a, "b"\n.jpg')
    predict(options(trained, images, out))
    assert pd.read_csv(out)["image_id"].isin(['a, "b"\n']).sum() == 1


def test_the_command_says_which_engine_and_why(trained: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict(options(trained, images / "003.jpg", None))
    shown = capsys.readouterr().out
    assert "torch (as asked), fp32 on cpu (as asked)" in shown
    assert "003.jpg: " in shown


def test_unreadable_images_are_listed_and_the_others_unchanged(trained: Path, images: Path, out: Path) -> None:
    predict(options(trained, images, out))
    whole = pd.read_csv(out, index_col="image_id", dtype={"image_id": str})
    for name in ("010.jpg", "059.jpg"):
        (images / name).write_bytes(b"damaged")
    other = out.with_name("q.csv")
    with pytest.raises(Incomplete, match=r"2 of 60 images can't be read.*q\.errors\.csv"):
        predict(options(trained, images, other))
    rest = pd.read_csv(other, index_col="image_id", dtype={"image_id": str})
    pd.testing.assert_frame_equal(rest, whole.drop(index=["010", "059"]), check_exact=True)
    errors = pd.read_csv(out.with_name("q.errors.csv"), dtype=str)
    assert errors["image_id"].tolist() == ["010", "059"]
    assert errors["path"].tolist() == [str(images / "010.jpg"), str(images / "059.jpg")]
    assert errors["error"].str.startswith("cannot be read as an image").all()


def test_unreadable_images_exit_with_3_and_are_said_last(
    trained: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "002.jpg").write_bytes(b"damaged")
    assert cli.run(["predict", str(trained), str(images), "--device=cpu", "--workers=0"]) == 3
    shown = capsys.readouterr()
    assert "001.jpg: " in shown.out
    assert "002.jpg: cannot be read" in shown.err
    assert shown.err.splitlines()[-1].startswith("1 of 60 images can't be read")


def test_strict_stops_at_an_unreadable_image(trained: Path, images: Path, out: Path) -> None:
    (images / "020.jpg").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"--strict: .*020\.jpg: cannot be read"):
        predict(options(trained, images, out, strict=True))
    assert not out.exists()
    run_until_killed(options(trained, images, out, overwrite=True), parts=3)
    with pytest.raises(UserError, match=r"--strict: .*020\.jpg: cannot be read"):
        predict(options(trained, images, out, strict=True, resume=True))
    with pytest.raises(Incomplete):
        predict(options(trained, images, out, resume=True))


def test_files_that_are_all_gone_are_no_results(
    trained: Path, images: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classify = work.classify_parts

    def with_the_disk_gone(*arguments: Any, **keywords: Any) -> Any:
        images.rename(images.with_name("elsewhere"))
        return classify(*arguments, **keywords)

    monkeypatch.setattr(work, "classify_parts", with_the_disk_gone)
    with pytest.raises(UserError, match=r"000\.jpg and the 15 images after it are gone"):
        predict(options(trained, images, out))


def test_a_resumed_run_writes_the_same_bytes_and_reads_only_the_rest(
    trained: Path, images: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "003.jpg").write_bytes(b"damaged")
    with pytest.raises(Incomplete):
        predict(options(trained, images, out.with_name("whole.csv")))
    run_until_killed(options(trained, images, out), parts=2)
    assert not out.exists()
    with pytest.raises(UserError, match="--resume to continue it, or --overwrite") as error:
        predict(options(trained, images, out))
    assert error.value.choices == ({"resume": "true"}, {"overwrite": "true"})
    (images / "000.jpg").write_bytes(bytes((images / "000.jpg").stat().st_size))  # the same size, and not read again
    with pytest.raises(Incomplete, match="1 of 60"):
        predict(options(trained, images, out, resume=True))
    assert "32 of 60 images are done already" in capsys.readouterr().out
    assert out.read_bytes() == out.with_name("whole.csv").read_bytes()
    assert out.with_name("p.errors.csv").read_bytes() == out.with_name("whole.errors.csv").read_bytes()
    assert not Path(f"{out}.parts").exists()


@pytest.mark.parametrize("change", ["image", "option", "damage"])
def test_resume_refuses_parts_of_other_work(change: str, trained: Path, images: Path, out: Path) -> None:
    run_until_killed(options(trained, images, out), parts=2)
    if change == "image":
        (images / "new.jpg").write_bytes((images / "000.jpg").read_bytes())
    part = next(Path(f"{out}.parts").iterdir())
    if change == "damage":
        part.write_bytes(part.read_bytes()[:-3])
    changed = {"batch_size": 4} if change == "option" else {}
    message = "is damaged: delete it" if change == "damage" else "from other images, another model or other options"
    with pytest.raises(UserError, match=message):
        predict(options(trained, images, out, resume=True, **changed))
    predict(options(trained, images, out, overwrite=True, **changed))
    assert len(pd.read_csv(out)) == 60 + (change == "image")


def test_resume_without_parts_begins(trained: Path, images: Path, out: Path) -> None:
    predict(options(trained, images, out, resume=True))
    assert len(pd.read_csv(out)) == 60


def test_a_better_result_takes_old_errors_away(trained: Path, images: Path, out: Path) -> None:
    good = (images / "000.jpg").read_bytes()
    (images / "000.jpg").write_bytes(b"damaged")
    with pytest.raises(Incomplete):
        predict(options(trained, images, out))
    (images / "000.jpg").write_bytes(good)
    predict(options(trained, images, out, overwrite=True))
    assert not out.with_name("p.errors.csv").exists()


def test_only_one_part_is_held_in_memory(
    trained: Path, images: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    write = PartFolder.write

    def recording(self: PartFolder, rows: slice, *content: Any) -> None:
        sizes.append(rows.stop - rows.start)
        write(self, rows, *content)

    monkeypatch.setattr(PartFolder, "write", recording)
    predict(options(trained, images, out))
    assert sizes == [16, 16, 16, 12]


def submission(trained: Path, images: Path, out: Path, sample: str, **changes: Any) -> PredictOptions:
    template = out.parent.parent / "sample_submission.csv"
    template.write_text(sample)
    return options(trained, images, out, format="submission", template=template, **changes)


def test_a_submission_has_the_ids_order_and_separator_of_its_sample(
    trained: Path, images: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict(submission(trained, images, out, "image_id;dog;cat\n005;0,5;0,5\n004;0,5;0,5\n"))
    rows = [line.split(";") for line in out.read_text().splitlines()]
    assert rows[0] == ["image_id", "dog", "cat"]
    assert [row[0] for row in rows[1:]] == ["005", "004"]
    dog, cat = (float(cell.replace(",", ".")) for cell in rows[1][1:])
    assert dog + cat == pytest.approx(1)
    shown = capsys.readouterr().out
    assert "58 images are not among the ids" in shown
    assert "columns 'dog', 'cat': the probability of the class of that name" in shown


def test_an_unreadable_image_leaves_its_id_empty(trained: Path, images: Path, out: Path) -> None:
    (images / "004.jpg").write_bytes(b"damaged")
    for sample in ("id,label\n004,?\n005,?\n", "id,cat,dog\n004,0,0\n005,0,0\n"):
        with pytest.raises(Incomplete, match=r"1 of 2 ids are left empty in .*p\.csv.*p\.errors\.csv has the reasons"):
            predict(submission(trained, images, out, sample, overwrite=True))
        filled = pd.read_csv(out, dtype=str).set_index("id")
        assert filled.loc["004"].isna().all()
        assert filled.loc["005"].notna().all()


def test_an_ambiguous_sample_is_asked_about_with_commands_that_work(
    trained: Path, images: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question = submission(trained, images, out, "id,target\n005,0\n004,1\n")
    arguments = shlex.split(cli.command("predict", question, {}))[1:]
    assert cli.run(arguments) == 2
    shown = capsys.readouterr()
    assert "005.jpg: " not in shown.out
    commands = [line for line in shown.err.splitlines() if line.startswith("resnet50 predict ")]
    assert [f"--submit {submit} " in line for submit, line in zip(SUBMITS, commands, strict=True)] == [True] * 3
    assert all("--batch-size 8" in line and "--workers 0" in line for line in commands)
    for number, line in enumerate(commands):
        assert cli.run([*shlex.split(line)[1:], *(["--overwrite"] if number else [])]) == 0
        labels = pd.read_csv(out)["target"]
        assert pd.api.types.is_float_dtype(labels) == ("probability" in line)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("id,cat,Hund\n005,0,0\n", "'Hund' is not a class"),
        ("id,label\n005,?\nnowhere,?\n", "1 of 2 ids have no image"),
        ("id,is_cat\n005,0.5\n", "of which class"),
    ],
)
def test_a_sample_that_does_not_fit_is_told_before_the_first_image(
    sample: str, message: str, trained: Path, images: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(work, "classify_parts")
    with pytest.raises(UserError, match=message):
        predict(submission(trained, images, out, sample))
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": ()}, "no images given"),
        ({"images": ("nothing/*.jpg",)}, r"no image at nothing/\*\.jpg"),
        ({"format": "submission"}, "needs --template"),
        ({"submit": "labels"}, "need --format submission"),
        ({"batch_size": 0}, "--batch-size"),
        ({"resume": True}, "need --out"),
        ({"resume": True, "overwrite": True, "out": Path("p.csv")}, "one of the two"),
    ],
)
def test_options_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        predict(PredictOptions(run=tmp_path, **({"images": ("x.jpg",)} | changes)))


@pytest.mark.parametrize("name", ["p.csv", "p.errors.csv"])
def test_existing_files_are_not_overwritten(name: str, trained: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(UserError, match=rf"{name} already exists.*--overwrite"):
        predict(options(trained, images, tmp_path / "p.csv"))
    assert (tmp_path / name).read_text() == "precious"


def test_what_is_read_is_never_overwritten(trained: Path, images: Path, tmp_path: Path) -> None:
    image = images / "004.jpg"
    content = image.read_bytes()
    with pytest.raises(UserError, match=r"would replace .*004\.jpg, which is read"):
        predict(options(trained, images, image, overwrite=True))
    assert image.read_bytes() == content
    template = tmp_path / "sample.csv"
    template.write_text("id,label\n004,?\n")
    asked = options(trained, images, template, overwrite=True, format="submission", template=template)
    with pytest.raises(UserError, match=r"would replace .*sample\.csv"):
        predict(asked)


def test_an_output_that_cannot_be_written_is_told_before_anything_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/p\.csv can't be written to \(Not a directory\)"):
        predict(PredictOptions(run=tmp_path, images=("x.jpg",), out=tmp_path / "file" / "p.csv"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told_before_anything_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        predict(PredictOptions(run=tmp_path, images=("x.jpg",), out=tmp_path / "p.csv"))
