"""Messages and progress as the user sees them."""

import io
import sys
from pathlib import Path

import pytest

from resnet50.runtime import console


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (89, "1 min 29 s"), (605, "10 min"), (3600, "1 h 00 min"), (11100, "3 h 05 min")],
)
def test_durations_are_formatted_for_people(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


def test_progress_without_a_terminal_prints_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(console.time, "perf_counter", lambda: now)
    with console.progress("reading images", 1000, "images") as advance:
        for now in range(1, 51):  # noqa: B007  # read by the patched clock above
            advance(10)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "reading images: 100/1,000 images, 10.0/s, 90 s left"
    assert len(lines) == 5


def test_a_quick_task_prints_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("reading", 3, "images") as advance:
        advance(3)
    assert capsys.readouterr().err == ""


def test_square_brackets_are_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("[red]label[/red]")
    console.warn("[red]label[/red]")
    captured = capsys.readouterr()
    assert captured.out == "[red]label[/red]\n"
    assert captured.err == "warning: [red]label[/red]\n"


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("ascii", r"caf\xe9 3\xd72 \u4e00 \udce9"),
        ("latin-1", r"café 3×2 \u4e00 \udce9"),
        ("cp1252", r"café 3×2 \u4e00 \udce9"),
        ("utf-8", r"café 3×2 一 \udce9"),
    ],
)
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_what_the_encoding_lacks_is_written_as_an_escape_sequence(
    name: str, encoding: str, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, name, io.TextIOWrapper(raw, encoding, newline=""))
    target = console.console if name == "stdout" else console.errors
    target.print("café 3×2 一 \udce9")
    getattr(sys, name).flush()
    assert raw.getvalue().decode(encoding) == written + "\n"


def test_a_progress_bar_needs_no_more_than_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    terminal = io.TextIOWrapper(raw, "ascii")
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(console.errors, "_force_terminal", True)
    with console.progress("thé 一", 3, "images") as advance:
        console.warn("café")
        advance(3)
    terminal.flush()
    assert rb"warning:" in raw.getvalue()
    assert rb"caf\xe9" in raw.getvalue()


def test_a_process_without_standard_output_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    console.say("nobody reads this")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device of Linux that is always full")
def test_output_on_a_full_disk_ends_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        for _ in range(2):
            console.say("a message")
        monkeypatch.undo()
