"""Write the outputs that the documentation quotes, by running the commands and the Python beside them.

    .venv/bin/python docs/make_outputs.py [--clothing FOLDER] [--folder FOLDER] [PAGE ...]

In a `console` block, what follows a line `$ COMMAND` is replaced by what the command prints. A `text` block after a
`python` block is replaced by what the Python prints. Each page runs in a new folder: all of them take about five
minutes on two quiet cores. The commands on clothing/ need the clothing-dataset's folder; without it, their outputs
stay as they are. The comment "# rows not shown" leaves out the sample of rows that `prepare --dry-run` prints.
Afterwards, docs/make_recording.py draws the quick start anew.
"""

import argparse
import os
import re
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
write_sources = runpy.run_path(str(ROOT / "docs" / "example_sources.py"))["write_sources"]
PAGES = ("quickstart.md", "own-data.md", "python.md")
BLOCK = re.compile(r"^```(console|python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
UNSHOWN = "# rows not shown"
SEPARATOR = "--- end of block ---"


def page(text, folder, clothing):
    """Return the page with every output as it is now."""
    blocks = list(BLOCK.finditer(text))
    printed = iter(run_python([block[2] for block in blocks if block[1] == "python"], folder))
    parts, end, output = [], 0, None
    for block in blocks:
        kind, body = block[1], block[2]
        if kind == "console":
            body = run_console(body, folder, clothing)
        elif kind == "python":
            output = next(printed)
        elif output is not None:
            body = output
        parts += [text[end : block.start(2)], body]
        end = block.end(2)
    return "".join([*parts, text[end:]])


def run_console(body, folder, clothing):
    """Run the commands of a console block and return it with what they print."""
    lines = []
    for command, before in commands(body):
        skipped = re.search(r"\bclothing/", command) and not clothing
        printed = before if skipped else run(command, folder)
        lines += [f"$ {command}", *(without_rows(printed) if command.endswith(UNSHOWN) else printed)]
    return "\n".join([*lines, ""])


def without_rows(lines):
    """Return the output of `prepare --dry-run` without its sample of rows."""
    text = "\n".join(lines)
    return re.sub(r"^ten of its rows\n┏.*?^└\S*\n", "", text, flags=re.MULTILINE | re.DOTALL).split("\n")


def commands(body):
    """Return each command of a console block with the lines that follow it."""
    found = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def run(command, folder, stderr=subprocess.STDOUT):
    """Run a command as it is typed and return the lines that it prints."""
    print("$", command, file=sys.stderr)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "110", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 2):  # done, or an error that is meant to be shown
        raise SystemExit(f"{command} failed:\n{done.stdout}")
    return tidy(done.stdout, folder)


def run_python(blocks, folder):
    """Run a page's Python in one process and return what each block prints."""
    if not blocks:
        return []
    quiet = "from resnet50.runtime import console; console.console.quiet = True"  # the commands' own messages
    script = f"\nprint({SEPARATOR!r})\n".join([quiet, *blocks])
    (folder / "page.py").write_text(script, encoding="utf-8")
    printed = "\n".join([*run("python page.py", folder, stderr=None), ""]).split(SEPARATOR + "\n")
    if len(printed) != len(blocks) + 1:
        raise SystemExit(f"block {len(printed) - 1} of the page's Python failed")
    return printed[1:]


def tidy(output, folder):
    """Return the lines that a command printed, without those of its progress and without this machine's folders."""
    for place, shown in ((folder.resolve(), "/home/me"), (Path.home(), "~")):
        output = output.replace(str(place), shown)
    lines = [line.rstrip() for line in output.splitlines()]
    return [line for line in lines if not re.search(r"/s, [\d,]+ s left$", line)]


def main():
    """Rewrite the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", default=PAGES, metavar="PAGE", help=f"default: {' '.join(PAGES)}")
    parser.add_argument("--clothing", type=Path, metavar="FOLDER", help="the clothing-dataset: images.csv and images/")
    parser.add_argument("--folder", type=Path, help="new folder to run in, which stays; a temporary one when left out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.pages:
            rewrite(ROOT / "docs" / name, (arguments.folder or Path(temporary)).resolve() / name, arguments.clothing)


def rewrite(path, folder, clothing):
    """Run a page in a folder with what its commands need, and write its outputs."""
    write_sources(folder)
    (folder / "examples").symlink_to(ROOT / "examples")
    if clothing:
        (folder / "clothing").symlink_to(clothing.resolve())
    text = path.read_text(encoding="utf-8")
    if "demo/solar-cells" in text:
        run("python examples/solar_cells.py demo/solar-cells", folder)
    path.write_text(page(text, folder, clothing), encoding="utf-8")


if __name__ == "__main__":
    main()
