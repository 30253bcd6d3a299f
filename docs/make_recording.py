"""Draw the terminal of the README as SVG, from the commands and outputs of the quick start.

    .venv/bin/python docs/make_recording.py

docs/make_outputs.py writes the quick start from a real run. Of the long outputs, only the last lines are shown.
"""

import io
import re
import runpy
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

DOCS = Path(__file__).parent
RECORDING = DOCS / "figures" / "recording.svg"
OUTPUTS = runpy.run_path(str(DOCS / "make_outputs.py"))
SHOWN = {"prepare": 10, "train": 6, "evaluate": 6, "predict": 5}
"""The commands of the recording, with the number of lines shown."""
WIDTH = 112


def recording(page):
    """Return the SVG of the quick start's commands."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    for command, lines in transcript(page):
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        most = SHOWN[command.split()[1]]
        if len(lines) > most:
            console.print("…", style="dim")
        for line in lines[-most:]:
            console.print(Text(line), soft_wrap=False)
        console.print()
    svg = console.export_svg(title="resnet50", theme=MONOKAI, unique_id="recording")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # fonts that a browser would have to download


def transcript(page):
    """Return the recorded commands with the lines that they print."""
    blocks = [body for kind, body in OUTPUTS["BLOCK"].findall(page) if kind == "console"]
    found = [pair for body in blocks for pair in OUTPUTS["commands"](body)]
    return [(command, lines) for command, lines in found if command.startswith("resnet50 ")]


if __name__ == "__main__":
    RECORDING.write_text(recording((DOCS / "quickstart.md").read_text(encoding="utf-8")), encoding="utf-8")
