"""What the command line prints and how it exits."""

import subprocess
import sys
from pathlib import Path

import pytest

from resnet50 import cli
from resnet50.runtime.errors import UserError


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "resnet50", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_of_every_command_shows_its_options_with_defaults(verb: str) -> None:
    done = run(verb, "--help")
    assert done.returncode == 0
    assert f"usage: resnet50 {verb}" in done.stdout
    assert verb == "check" or "Default:" in done.stdout  # its only option is a switch
    assert not done.stderr


def test_bare_command_lists_every_verb() -> None:
    done = run()
    assert done.returncode == 0
    assert all(f"  {verb} " in done.stdout for verb in cli.VERBS)


@pytest.mark.parametrize("statement", ["import resnet50", "import resnet50.cli, resnet50.options"])
def test_nothing_heavy_is_imported_before_it_is_needed(statement: str) -> None:
    heavy = "{'torch', 'torchvision', 'pandas', 'sklearn', 'matplotlib', 'tensorboard'}"
    code = f"import sys; {statement}; sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "there is no command 'trian' (did you mean 'train'?)"),
        (["train"], "DATASET is missing"),
        (["train", "nowhere", "--out", "r"], "nowhere"),
        (["prepare", "nowhere.csv", "--out", "d"], "nowhere.csv"),
        (["evaluate", "nowhere"], "nowhere"),
        (["predict", "nowhere", "x.jpg"], "x.jpg"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(arguments) == 2
    told = capfd.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert message in told
    assert not list(tmp_path.iterdir())


def test_a_bug_keeps_its_traceback_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "dispatch", lambda verb, rest: 1 / 0)
    assert cli.run(["model"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(verb: str, rest: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "dispatch", interrupted)
    assert cli.run(["model"]) == 130


def test_square_brackets_in_user_data_are_printed_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(verb: str, rest: list[str]) -> None:
        raise UserError("column '[red]x[/red]' is missing")

    monkeypatch.setattr(cli, "dispatch", fail)
    assert cli.run(["model"]) == 2
    assert "[red]x[/red]" in capsys.readouterr().err
