"""The verb: selection of rows, direction of ratios, written results, and failures of single rows."""

import inspect
import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from resnet50.bench import clock, epoch, loader, predict, prepare, run
from resnet50.bench.limits import flops_per_image
from resnet50.bench.results import summarize
from resnet50.bench.rounds import Rounds
from resnet50.bench.rows import Row, Scratch, Side, Sides
from resnet50.options import BenchOptions
from resnet50.runtime.errors import UserError

KEYS = [
    "name", "ours", "baseline", "baseline_name", "ratio", "ratio_low", "ratio_high", "limit", "share_of_limit",
    "unit", "rounds",
]  # fmt: skip


def row(name: str = "speed", **changes: Any) -> Row:
    sides = Sides(constant(6.0), constant(2.0), constant(8.0))
    return Row(name, "subject", "what is done", "the others", lambda scratch: sides, **changes)


def constant(value: float) -> Side:
    return Side("tests.bench.processes:constant", {"value": value})


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)


def names(*asked: str, full: bool = False) -> list[str]:
    return [row.name for row in run.choose(asked, full=full)]


def test_rows_are_chosen_by_subject_by_name_or_all() -> None:
    assert names("loader") == ["loader_store", "loader_jpeg"]
    assert names("startup_import", "step_128") == ["step_128", "startup_import"]
    assert names("step") == ["step", "step_128", "step_beside_a_busy_process", "auto_precision"]
    assert {"step", "epoch", "loader_store", "inference_openvino_b1", "prepare", "startup_help"} < set(names())
    assert "step_without_bf16" in names("step", full=True)
    assert "step_without_bf16" not in names()
    assert names("step_without_bf16") == ["step_without_bf16"]


def test_names_of_rows_are_unique() -> None:
    every = [row.name for row in run.all_rows()]
    assert len(set(every)) == len(every)


def test_settings_of_every_side_match_its_function(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "COUNT", 2)
    scratch = Scratch(tmp_path, prepared, full=False)
    for row in run.all_rows():
        for side in row.sides(scratch):
            if side is not None:
                module, function = side.function.split(":")
                inspect.signature(getattr(import_module(module), function)).bind(
                    **json.loads(json.dumps(side.settings))
                )


@pytest.mark.slow
def test_step_epoch_and_loaders_yield_rates(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock.repeated, "__defaults__", (0.01,))  # rounds of a moment, in this process
    monkeypatch.setattr(epoch, "STEP_SECONDS", 0.01)
    monkeypatch.setattr(loader, "on_one_core", lambda: None)
    step = {"dataset": str(prepared), "size": 32, "batch": 4, "depth": 18, "precision": "fp32", "threads": 1}
    for function, settings, workloads in [
        ("step:candidate", step | {"channels_last": False, "fused": False}, ["round"]),
        ("epoch:candidate", step | {"out": str(tmp_path / "epoch"), "batches": 2}, ["epoch", "step", "epoch"]),
        ("loader:candidate", {"dataset": str(prepared), "store": True}, ["round"]),
        ("loader:pil", {"dataset": str(prepared)}, ["round"]),
    ]:
        module, name = function.split(":")
        rounds = getattr(import_module(f"resnet50.bench.{module}"), name)(**json.loads(json.dumps(settings)))
        assert all(rounds[workload]() > 0 for workload in workloads), function


def test_unknown_row_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"'loader_stor' \(did you mean 'loader_store'\?\); there are step, epoch"):
        run.bench(BenchOptions(rows=("loader_stor",)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rounds": 1}, "--rounds 1"),
        ({"json": Path("nowhere/bench.json")}, "nowhere"),
        ({"dataset": Path("nowhere")}, "nowhere"),
    ],
)
def test_bad_options_are_refused_before_measuring(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        run.bench(BenchOptions(**changes))


def test_higher_rate_and_shorter_time_give_ratios_above_one() -> None:
    fast, slow = [4.0, 4.4], [2.0, 2.1]
    rate = summarize(row(), Rounds(fast, slow, [5.0, 4.9]))
    seconds = summarize(row(unit="s"), Rounds(slow, fast, [1.0, 1.1]))
    assert rate.ratio == seconds.ratio == pytest.approx(2.05, abs=0.01)
    assert rate.ratio_low < rate.ratio < rate.ratio_high
    assert (rate.limit, rate.share_of_limit) == pytest.approx((5.0, 4.2 / 5.0))
    assert (seconds.limit, seconds.share_of_limit) == pytest.approx((1.0, 1.0 / 2.05), rel=1e-4)


def test_limit_may_be_missing_or_the_baseline() -> None:
    rounds = Rounds([1.9, 1.9], [2.0, 2.0], [])
    assert summarize(row(), rounds).share_of_limit is None
    assert summarize(row(limited_by_baseline=True), rounds).share_of_limit == pytest.approx(0.95)


def test_failed_row_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(scratch: Scratch) -> Sides:
        assert not scratch.full
        return Sides(Side("tests.bench.processes:dying", {}), constant(1.0))

    broken = Row("broken", "subject", "fails", "the others", failing)
    absent = row("absent", needs="no_such_package_anywhere")
    monkeypatch.setattr(run, "all_rows", lambda: [row("first"), broken, absent, row("last")])
    path = tmp_path / "bench.json"
    with pytest.raises(UserError, match=r"could not be measured.*: broken$"):
        run.bench(BenchOptions(json=path, rounds=2))
    written = json.loads(path.read_text())
    assert [result["name"] for result in written] == ["first", "last"]
    assert list(written[0]) == KEYS
    assert (written[0]["ratio"], written[0]["share_of_limit"], written[0]["rounds"]) == (3.0, 0.75, 2)
    assert json.loads((tmp_path / "bench.machine.json").read_text())["versions"]["torch"]
    shown = capsys.readouterr()
    assert "absent: skipped" in shown.out
    assert "the last words" in shown.err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells the memory of processes")
def test_predict_yields_its_rate_and_its_peaks_of_memory(tmp_path: Path) -> None:
    settings = {"folder": str(tmp_path / "predict"), "count": 70, "depth": 18, "size": 32}
    assert predict.candidate(**settings)["round"]() > 0
    peaks = predict.memory(**settings)
    whole, first = peaks["whole"](), peaks["first"]()
    assert whole >= first > 50  # Python and torch alone take more
    assert len(list((tmp_path / "predict" / "images").iterdir())) == 70


@pytest.mark.slow
def test_startup_is_measured_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    run.bench(BenchOptions(rows=("startup_import",), json=path, rounds=2))
    (result,) = json.loads(path.read_text())
    assert list(result) == KEYS
    assert result["unit"] == "s"
    assert result["ratio"] > 0
    shown = capsys.readouterr().out
    assert "import resnet50 in a fresh Python" in shown
    assert "torch starts" in shown.splitlines()[0]


@pytest.mark.slow
def test_flops_per_image_equal_the_published_ones() -> None:
    # 4.09 GMAC at 224 pixels, as torchvision publishes of its ResNet-50 weights; two operations each
    assert flops_per_image(50, 224, training=False) == pytest.approx(2 * 4.09e9, rel=0.01)
    assert flops_per_image(50, 224, training=True) == 3 * flops_per_image(50, 224, training=False)
