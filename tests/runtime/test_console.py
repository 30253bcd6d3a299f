"""What a person sees while a command works."""

import pytest

from resnet50.runtime import console


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (89, "1 min 29 s"), (605, "10 min"), (3600, "1 h 00 min"), (11100, "3 h 05 min")],
)
def test_durations_are_said_as_a_person_would(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


def test_progress_without_a_terminal_is_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(console.time, "perf_counter", lambda: now)
    with console.progress("reading images", 1000, "images") as advance:
        for now in range(1, 51):  # noqa: B007  # the clock that is patched in above
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
