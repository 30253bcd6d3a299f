"""The verb and its page: every experiment once, in one shape, and a page that stands alone."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure

from resnet50.cli import run as run_cli
from resnet50.options import StudyName
from resnet50.study import run as verb
from resnet50.study.estimate import QUICK_SECONDS, estimate
from resnet50.study.experiment import Experiment, Measured, Rule
from resnet50.study.figures import new_figure
from resnet50.study.lab import FULL, QUICK, SLOW, Lab, Plan
from resnet50.study.page import cell, inline, write_page
from resnet50.study.pages import Page, Source

EXPERIMENTS = [verb.load(name) for name in verb.COURSE]


def made_up(name: str = "made_up", calls: list[int] | None = None) -> Experiment:
    def measure(lab: Lab) -> Measured:
        if calls is not None:
            calls.append(1)
        table = pd.DataFrame({"network": ["<b>none"], "quantity": ["loss"], "value": [0.5]})
        return Measured(table, {"image": np.zeros((2, 2), np.uint8)})

    def draw(measured: Measured) -> Figure:
        figure, axes = new_figure(1, 1, 2)
        axes[0, 0].plot([0, 1], [0, 1])
        axes[0, 0].set_title("a < b")
        return figure

    page = Page(
        name=name,
        title="Made up",
        question="Is it?",
        claim="It is.",
        setting="{plan.seeds} seeds",
        caption="A line.",
        sources=(Source("Nobody", 2026, "Nothing", "0000.00000", "page 1"),),
    )
    rule = Rule(lambda table: ("seen", f"It is {table['value'].item()}."), "rule", per_network=False)
    return Experiment(page, measure, draw, summarize=lambda table: table, rules=(rule,))


def test_the_course_has_every_experiment_that_can_be_asked_for() -> None:
    assert {*verb.COURSE, "all"} == set(StudyName.__args__)  # type: ignore[attr-defined]
    assert set(QUICK_SECONDS) == set(verb.COURSE)
    assert [experiment.name for experiment in EXPERIMENTS] == list(verb.COURSE)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_every_experiment_says_what_it_asks_claims_does_and_cites(experiment: Experiment) -> None:
    assert experiment.page.question.endswith("?")
    assert len(experiment.page.claim) > 100
    assert experiment.page.sources
    for source in experiment.page.sources:
        assert re.fullmatch(r"\d{4}\.\d{4,5}", source.arxiv)
    for plan in (QUICK, SLOW, FULL):
        assert len(experiment.setting(plan)) > 100
    assert experiment.setting(QUICK) != experiment.setting(FULL)  # it says how much was done


def test_a_finished_experiment_is_read_not_measured_again(lab: Lab) -> None:
    calls: list[int] = []
    first, again = (made_up(calls=calls).conduct(lab) for _ in range(2))
    assert len(calls) == 1
    pd.testing.assert_frame_equal(first.table, again.table)
    assert np.array_equal(again.images["image"], np.zeros((2, 2)))
    assert again.reading[0].text == "It is 0.5."
    assert isinstance(again.figure, Figure)
    assert {"made_up.csv", "made_up.npz", "made_up.svg"} <= {path.name for path in lab.folder.iterdir()}


def test_the_same_figure_gives_the_same_file(lab: Lab) -> None:
    made_up().conduct(lab)
    first = (lab.folder / "made_up.svg").read_bytes()
    made_up().conduct(lab)
    assert (lab.folder / "made_up.svg").read_bytes() == first


def test_the_page_stands_alone(lab: Lab) -> None:
    about = {"runs": [], "effort": "quick", "seed": 0, "device": "cpu", "precision": "fp32", "versions": {}}
    (lab.folder / "study.yaml").write_text(yaml.safe_dump(about))
    experiments = [made_up("one"), made_up("two")]
    for experiment in experiments:
        experiment.conduct(lab)
    html = write_page(lab, experiments, {"one": 3.0}).read_text()
    assert "&lt;b&gt;none" in html  # what comes from data is escaped
    assert "<b>none" not in html
    assert not re.search(r'(src|href)="(?!#|https://arxiv|one\.csv|two\.csv)', html)
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))  # two drawings on one page
    for target in re.findall(r'(?:href="#|url\(#)([^")]+)', html):
        assert target in ids
    assert "measured in 3 s" in html
    assert "seen here" in html


def test_numbers_are_shown_as_people_read_them() -> None:
    assert [cell(value) for value in (0.12345, 1234.5, 25557032, 3.8e9, 1e-7, float("nan"), "none", 7)] == [
        "0.1235", "1234", "25,557,032", "3,800,000,000", "1.00e-07", "–", "none", "7",
    ]  # fmt: skip


def test_a_drawings_style_does_not_reach_the_page(lab: Lab) -> None:
    made_up().conduct(lab)
    element = inline((lab.folder / "made_up.svg").read_text(), made_up())
    assert element.startswith("<svg viewBox=")
    assert "<style" not in element


def test_an_estimate_grows_with_the_plan(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet50.study.estimate.BATCH_SIZE", 2)
    small = estimate(lab, ["degradation"])
    lab.plan = FULL
    assert estimate(lab, ["degradation"]) > 10 * small > 0


@pytest.mark.slow
def test_the_verb_from_dataset_to_page(
    prepared: Path,
    tmp_path: Path,
    tiny_plan: Plan,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = dataclasses.replace(tiny_plan, images=8, epochs=1, seeds=1)
    monkeypatch.setattr("resnet50.study.lab.plan_for", lambda effort, device: plan)
    monkeypatch.setattr("resnet50.study.estimate.BATCH_SIZE", 2)
    arguments = ["study", "degradation", str(prepared), "--out", str(tmp_path / "s"), "--device", "cpu"]
    assert run_cli([*arguments, "--precision", "fp32"]) == 0
    out = capsys.readouterr().out
    assert "degradation: Why shortcuts at all?" in out
    assert (tmp_path / "s" / "index.html").is_file()
    assert run_cli([*arguments, "--precision", "fp32"]) == 0
    assert "was finished before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study"], "NAME is missing"),
        (["study", "everything"], "expected one of all"),
        (["study", "all"], "--out is missing"),
        (["study", "all", "nowhere", "--out", "s"], "nowhere"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_cli(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "s").exists()
