"""A run in a notebook: trained, opened again at any stage, plotted, evaluated."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

import resnet50 as rn
from resnet50.options import TrainOptions
from tests.conftest import TINY, with_random_statistics

QUICK = {"device": "cpu", "precision": "fp32", "workers": 0}


def test_train_returns_the_run_and_takes_the_dataset_object(prepared: Path, tmp_path: Path) -> None:
    run = rn.train(rn.Dataset(prepared), tmp_path / "run", epochs=1, batch_size=8, **TINY)
    assert isinstance(run, rn.Run)
    assert run.path == tmp_path / "run"
    assert run.status == "finished"
    assert run.dataset == rn.Dataset(prepared)
    assert len(run.history) == 1


def test_a_finished_run_shows_what_it_did(trained: Path) -> None:
    run = rn.load_run(trained)
    assert run == rn.Run(trained)
    assert isinstance(run.options, TrainOptions)
    assert (run.options.epochs, run.options.depth) == (3, 18)
    pd.testing.assert_frame_equal(run.history, pd.read_csv(trained / "metrics.csv"))
    assert run.info["best_epoch"] in run.history["epoch"].tolist()
    assert repr(run).startswith(f"Run({str(trained)!r}, status: finished, network: ResNet-18, epochs: 3 of 3")
    assert "3 of 3" in run._repr_html_()


def test_plot_draws_loss_and_accuracy_of_both_splits(trained: Path) -> None:
    loss, accuracy = rn.Run(trained).plot().axes
    history = rn.Run(trained).history
    drawn = {line.get_label(): list(line.get_ydata()) for line in loss.lines}
    assert drawn["training"] == history["train_loss"].tolist()
    assert drawn["validation"] == history["val_loss"].tolist()
    assert [list(line.get_ydata()) for line in accuracy.lines][:2] == [
        history["train_accuracy"].tolist(),
        history["val_accuracy"].tolist(),
    ]


@pytest.fixture
def begun(trained: Path) -> Path:
    """Return a run that was killed in its first epoch."""
    about = json.loads((trained / "run.json").read_text())
    (trained / "run.json").write_text(json.dumps(about | {"stopped": "not yet", "epochs_done": 0, "best_epoch": 0}))
    (trained / "metrics.csv").write_text((trained / "metrics.csv").read_text().splitlines()[0] + "\n")
    (trained / "model.safetensors").unlink()
    return trained


def test_a_run_without_an_epoch_says_what_it_cannot_do(begun: Path) -> None:
    run = rn.load_run(begun)
    assert run.status == "interrupted"
    assert run.history.empty
    assert "val_loss" in run.history
    assert "epochs: 0 of 3" in repr(run)
    with pytest.raises(rn.UserError, match="no complete epoch to plot"):
        run.plot()
    with pytest.raises(rn.UserError, match="no weights to evaluate"):
        run.evaluate("val")
    with pytest.raises(rn.UserError, match="no model"):
        rn.load(run)


def test_a_run_with_nothing_but_its_config_opens(begun: Path) -> None:
    for path in begun.iterdir():
        if path.name != "config.yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    run = rn.load_run(begun)
    assert (run.status, len(run.history), dict(run.info), run.evaluations) == ("interrupted", 0, {}, {})


def test_a_run_whose_folder_is_locked_is_running(begun: Path) -> None:
    with FileLock(begun / ".lock"):
        assert rn.Run(begun).status == "running"
    assert rn.Run(begun).status == "interrupted"


def test_a_folder_that_is_no_run_says_so_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(rn.UserError, match=r"not a run folder \(it has no config\.yaml\)"):
        rn.load_run(tmp_path)
    run = rn.Run(tmp_path)
    assert "not a run folder" in repr(run)
    for ask in (lambda: run.history, lambda: run.options, run.plot, lambda: run.dataset):
        with pytest.raises(rn.UserError, match="not a run folder"):
            ask()


def test_history_follows_the_file(trained: Path) -> None:
    run = rn.Run(trained)
    assert len(run.history) == 3
    rows = (trained / "metrics.csv").read_text().splitlines()
    (trained / "metrics.csv").write_text("\n".join(rows[:3]) + "\n")
    assert len(run.history) == 2


def test_evaluate_measures_and_the_run_lists_it(trained: Path) -> None:
    run = rn.Run(trained)
    assert run.evaluations == {}
    measured = run.evaluate("val", **QUICK)
    assert run.evaluations == {"val": measured}
    assert f"accuracy on val: {measured.accuracy:.1%}" in repr(run)


def test_load_and_create_model_take_the_run(trained: Path, prepared: Path) -> None:
    run = rn.Run(trained)
    image = rn.Dataset(prepared).split("test")["path"].iloc[0]
    model = rn.load(run, device="cpu", precision="fp32", engine="torch")
    assert model.predict(image).label in ("cat", "dog")
    network = rn.create_model("resnet18", weights=run)
    assert network.fc.out_features == 2
    for ours, theirs in zip(network.state_dict().values(), model.model.network.state_dict().values(), strict=True):
        assert ours.equal(theirs)


def test_train_starts_from_another_run(prepared: Path, trained: Path, tmp_path: Path) -> None:
    options = TINY | {"weights": rn.Run(trained)}
    run = rn.train(prepared, tmp_path / "next", epochs=1, batch_size=8, **options)
    assert run.info["weights"]["source"] == str(trained)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_create_model_builds_the_network_of_its_name(name: str) -> None:
    network = rn.create_model(name, num_classes=7)
    assert (network.depth, network.fc.out_features) == (int(name[6:]), 7)


def test_create_model_takes_variant_and_head_from_the_weights(tmp_path: Path) -> None:
    from resnet50.data import Preprocess
    from resnet50.model.file import Model, save_model

    saved = with_random_statistics(50, "v1", "B")
    save_model(Model(saved, tuple("abcdefg"), Preprocess()), tmp_path / "model.safetensors")
    assert rn.create_model(weights=tmp_path).fc.weight.equal(saved.fc.weight)
    network = rn.create_model("resnet50", weights=tmp_path / "model.safetensors", num_classes=3)
    assert (network.variant, network.fc.out_features) == ("v1", 3)
    assert network.conv1.weight.equal(saved.conv1.weight)


def test_create_model_names_the_nearest_model() -> None:
    with pytest.raises(rn.UserError, match=r"'resnet51' \(did you mean 'resnet50'"):
        rn.create_model("resnet51")
