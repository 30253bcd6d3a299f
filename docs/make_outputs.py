"""Write the outputs that the documentation quotes, by running the commands and the Python beside them.

    .venv/bin/python docs/make_outputs.py [CLOTHING]

In a `console` block, what follows a line `$ COMMAND` is replaced by what the command prints. A `text` block after a
`python` block is replaced by what the Python prints. All of it runs in a new folder, page by page: the demo's solar
cells (about five minutes on two cores), and the clothing-dataset if its folder is given. Without it, what depends on
it stays as it is.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("quickstart.md", "own-data.md", "python.md", "architecture.md")
BLOCK = re.compile(r"^```(console|python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
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
        lines += [f"$ {command}", *(before if skipped else run(command, folder))]
    return "\n".join([*lines, ""])


def commands(body):
    """Return each command of a console block with the lines that follow it."""
    found = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def run(command, folder):
    """Run a command as it is typed and return the lines that it prints."""
    print("$", command, file=sys.stderr)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=os.environ | {"PATH": path, "COLUMNS": "110", "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return tidy(done.stdout).splitlines()


def run_python(blocks, folder):
    """Run a page's Python in one process and return what each block prints."""
    if not blocks:
        return []
    quiet = "from resnet50.runtime import console; console.console.quiet = True"
    script = f"\nprint({SEPARATOR!r})\n".join([quiet, *blocks])
        ["from resnet50.runtime import console; console.console.quiet = True", *blocks]
    )
    (folder / "page.py").write_text(script, encoding="utf-8")
    output = "\n".join(run("python page.py 2>/dev/null", folder)) + "\n"
    printed = output.split(SEPARATOR + "\n")
    if len(printed) != len(blocks) + 1:
        raise SystemExit(f"the Python of a page failed after {len(printed) - 1} blocks:\n{output}")
    return printed[1:]


def tidy(output):
    """Return what a command printed without progress lines and without the reader's home folder."""
    lines = [line.rstrip() for line in output.replace(str(Path.home()), "~").splitlines()]
    return "\n".join(line for line in lines if not re.search(r"/s, [\d,]+ s left$", line))


def main(clothing):
    """Rewrite the pages."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "examples").symlink_to(ROOT / "examples")
        if clothing:
            (folder / "clothing").symlink_to(clothing.resolve())
        for path in (ROOT / "docs" / name for name in PAGES):
            path.write_text(page(path.read_text(encoding="utf-8"), folder, clothing), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
