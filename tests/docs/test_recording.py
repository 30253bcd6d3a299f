"""The README's recording shows what the quick start says."""

import html
import re
import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = runpy.run_path(str(DOCS / "make_recording.py"))
PAGE = "```console\n$ echo one\none\n$ resnet50 evaluate run\n" + "".join(f"line {n}\n" for n in range(9)) + "```\n"


def texts(svg: str) -> list[str]:
    """Return the text of an SVG, line by line."""
    return [html.unescape(text).replace("\xa0", " ") for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def test_the_recording_shows_the_quick_start() -> None:
    made = SCRIPT["recording"]((DOCS / "quickstart.md").read_text(encoding="utf-8"))
    assert texts((DOCS / "figures" / "recording.svg").read_text(encoding="utf-8")) == texts(made), (
        "run: .venv/bin/python docs/make_recording.py"
    )


def test_the_recording_has_the_four_commands() -> None:
    page = (DOCS / "quickstart.md").read_text(encoding="utf-8")
    commands = [command.split()[1] for command, _ in SCRIPT["transcript"](page)]
    assert commands == ["prepare", "train", "evaluate", "predict"]


def test_long_outputs_are_cut_to_their_last_lines() -> None:
    shown = [text.strip() for text in texts(SCRIPT["recording"](PAGE)) if text.strip()]
    assert shown[1:] == ["$", "resnet50 evaluate run", "…", *(f"line {number}" for number in range(3, 9))]


def test_the_recording_loads_nothing_from_the_network() -> None:
    svg = SCRIPT["recording"](PAGE)
    assert set(re.findall(r"https?://[\w.]+", svg)) <= {"http://www.w3.org", "https://www.textualize.io"}
