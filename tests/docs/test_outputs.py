"""The outputs that the documentation quotes are what the code prints today."""

import ast
import re
import runpy
import shlex
from pathlib import Path

import pytest

from resnet50.cli import run
from tests.conftest import MakeImage

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SCRIPT = runpy.run_path(str(DOCS / "make_outputs.py"))

INSERTED = (
    r"keras|adamw|bf16|cpu|defective|functional|test|demo|not|finished|Not sure|Skip|healthy|sick|rust|scab|columns"
)
NOT_FIXED = re.compile(rf"""\S*\d\S*|['"“][^'"”]*['"”]|\S*/\S*|\S*\.\w+|\b(?:{INSERTED})\b|[^\w\s-]""")
"""What varies in a line of output: numbers, quoted names, paths, values of options, punctuation."""


def transcripts() -> list[tuple[str, str, list[str]]]:
    """Return each command of the documentation's `console` blocks: page, command, lines that it prints."""
    return [
        (page, command, lines)
        for page in SCRIPT["PAGES"]
        for kind, body in SCRIPT["BLOCK"].findall((DOCS / page).read_text(encoding="utf-8"))
        if kind == "console"
        for command, lines in SCRIPT["commands"](body)
    ]


def from_error(lines: list[str]) -> list[str]:
    """Return an error and the commands below it, if there is one among the lines."""
    return next((lines[at:] for at, line in enumerate(lines) if line.startswith("error: ")), [])


ERRORS = [(command, error) for _, command, lines in transcripts() if (error := from_error(lines))]


def string_constants() -> str:
    """Return every string of the package, one a line; what an f-string inserts separates its parts."""
    strings = [
        node.value
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return "\n".join(" ".join(string.split()) for string in strings)


def fixed_phrases(line: str) -> list[str]:
    """Return the runs of several words in a line that no option, path or number changes."""
    return [" ".join(part.split()) for part in NOT_FIXED.split(line) if len(part.split()) > 1]


@pytest.fixture
def examples(tmp_path: Path, make_image: MakeImage) -> Path:
    """Return a folder like the one that the documentation's commands run in, with a few images of noise."""
    SCRIPT["write_sources"](tmp_path)
    images = tmp_path / "clothing" / "images"
    images.mkdir(parents=True)
    rows = ["image,sender_id,label,kids"]
    for number in range(12):
        label = ("Hat", "Dress", "Not sure", "Skip")[number % 4]
        rows.append(f"{number},s{number},{label},False")
        if number:  # the first row has no image; three images are the same, one of them with another label
            make_image(seed=4 if number in (4, 5, 8) else number).save(images / f"{number}.jpg", quality=80 + number)
    make_image(seed=99).save(images / "unlisted.jpg")
    (tmp_path / "clothing" / "images.csv").write_text("\n".join([*rows, ""]), encoding="utf-8")
    return tmp_path


def test_outputs_are_quoted_for_every_command_and_the_errors_among_them() -> None:
    assert [command for _, command, lines in transcripts() if not lines] == []
    assert len(ERRORS) > 8


@pytest.mark.parametrize(("command", "quoted"), ERRORS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_quoted_error_is_printed(
    command: str, quoted: list[str], examples: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(examples)
    assert run(shlex.split(command)[1:]) == 2
    printed = from_error(SCRIPT["tidy"](capfd.readouterr().err, examples))
    numbers = [[re.sub(r"[\d,]*\d", "N", line) for line in lines] for lines in (printed, quoted)]
    assert numbers[0] == numbers[1], "run: .venv/bin/python docs/make_outputs.py"


def test_the_words_of_quoted_outputs_are_in_the_code() -> None:
    strings = string_constants()
    for page, command, lines in transcripts():
        if not command.startswith("resnet50 ") or from_error(lines):
            continue
        for phrase in [phrase for line in lines for phrase in fixed_phrases(line)]:
            assert phrase in strings, f"{page}: no message has the words {phrase!r}"


def test_text_blocks_follow_the_python_that_prints_them() -> None:
    for page in SCRIPT["PAGES"]:
        kinds = [kind for kind, _ in SCRIPT["BLOCK"].findall((DOCS / page).read_text(encoding="utf-8"))]
        assert all(kinds[number - 1] == "python" for number, kind in enumerate(kinds) if kind == "text")


def test_outputs_are_replaced_command_by_command(tmp_path: Path) -> None:
    page = "a\n```console\n$ echo one\nold\n$ echo two; echo three\n```\nb\n```console\n$ cat clothing/x\nkept\n```\n"
    written = SCRIPT["page"](page, tmp_path, None)
    assert "$ echo one\none\n$ echo two; echo three\ntwo\nthree\n```\nb" in written
    assert "$ cat clothing/x\nkept\n```" in written
    assert SCRIPT["page"](written, tmp_path, None) == written


def test_python_blocks_share_names_and_fill_the_text_after_them(tmp_path: Path) -> None:
    page = "```python\nx = 2\n```\n\n```python\nprint(x + 1)\n```\n\n```text\nold\n```\n"
    assert "```text\n3\n```" in SCRIPT["page"](page, tmp_path, None)
