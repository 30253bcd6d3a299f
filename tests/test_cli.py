"""What the command line prints and how it exits."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from resnet50 import cli
from resnet50.etl.prepared import load_prepared
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


def images(folder: Path, *paths: str) -> Path:
    for number, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 99, 0)).save(folder / path)
    return folder


def ambiguous(folder: Path) -> Path:
    """Make images in two levels of folders that both may be the classes."""
    kinds = [f"{fruit}/{state}" for fruit in ("apple", "plum", "pear") for state in ("fresh", "rotten")]
    return images(folder, *[f"{kind}/{number}.png" for kind in kinds for number in range(4)])


def test_commands_that_choose_a_reading_are_each_alone_on_a_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = ambiguous(tmp_path / 'it\'s a "long" $NAME with blanks and quotes, far wider than any terminal is')
    out, keep = tmp_path / "out put", ["--seed", "7", "--no-store", "--drop-labels", "a b,c", "--min-class-count", "2"]
    assert cli.run(["prepare", str(source), "--out", str(out), *keep]) == 2
    told = capfd.readouterr().err
    commands = [line.strip() for line in told.splitlines() if line.strip().startswith("resnet50 ")]
    assert 2 <= len(commands) <= cli.MAX_COMMANDS
    assert told.endswith("".join(f"{command}\n" for command in commands))
    for command in commands:
        words = shlex.split(command)
        assert words[:3] == ["resnet50", "prepare", str(source)]
        given = dict(zip(words[3:], [*words[4:], ""], strict=True))
        assert given["--out"] == str(out)
        assert (given["--seed"], given["--drop-labels"], given["--min-class-count"]) == ("7", "a b,c", "2")
        assert "--no-store" in words
        assert "--label-pattern" in words
    assert len(set(commands)) == len(commands)


def test_a_command_that_is_printed_reads_the_source_as_it_says(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = ambiguous(tmp_path / "my fruit")
    assert cli.run(["prepare", str(source), "--out", str(tmp_path / "out"), "--no-store"]) == 2
    first = next(line for line in capfd.readouterr().err.splitlines() if line.strip().startswith("resnet50 "))
    assert cli.run(shlex.split(first)[1:]) == 0
    assert load_prepared(tmp_path / "out").classes == ("fresh", "rotten")


def test_at_most_six_commands_are_printed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def ask(options: object) -> None:
        raise UserError("which?", [{"label_column": f"c{number}"} for number in range(9)])

    monkeypatch.setattr("resnet50.etl.prepare.prepare", ask)
    assert cli.run(["prepare", "t.csv", "--out", "d"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert lines == ["error: which?", *[f"resnet50 prepare t.csv --out d --label-column c{n}" for n in range(6)]]


def test_switches_among_the_choices_are_flags(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def ask(options: object) -> None:
        raise UserError("which?", [{"class_folders": "true"}, {"exclude": "b c/*"}])

    monkeypatch.setattr("resnet50.etl.prepare.prepare", ask)
    assert cli.run(["prepare", "pets", "--out", "d", "--dry-run"]) == 2
    assert capfd.readouterr().err.splitlines()[1:] == [
        "resnet50 prepare pets --out d --dry-run --class-folders",
        "resnet50 prepare pets --out d --dry-run --exclude 'b c/*'",
    ]


def test_warnings_of_prepare_go_to_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pets = images(
        tmp_path / "pets", *[f"{label}/{number}.png" for label in ("cat", "Cat", "dog") for number in range(8)]
    )
    assert cli.run(["prepare", str(pets), "--out", str(tmp_path / "out"), "--no-store"]) == 0
    printed = capfd.readouterr()
    assert "nearly equal" in printed.err
    assert "nearly equal" not in printed.out


def test_dry_run_writes_nothing_and_exits_with_0(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pets = images(tmp_path / "pets", *[f"{label}/{number}.png" for label in ("cat", "dog") for number in range(3)])
    before = sorted(tmp_path.rglob("*"))
    assert cli.run(["prepare", str(pets), "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    assert sorted(tmp_path.rglob("*")) == before
    assert "class folders: cat, dog" in capfd.readouterr().out
