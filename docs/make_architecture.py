"""Write the map of modules in docs/architecture.md from the modules' docstrings.

    .venv/bin/python docs/make_architecture.py

The rooms come in the order in which they may import from each other, as the import-linter contract in pyproject.toml
has it. A room is described by its package's docstring, a module by the first line of its own.
"""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGE = ROOT / "src" / "resnet50"
MARKED = re.compile(r"(?<=<!-- map -->\n).*(?=<!-- end -->)", re.DOTALL)


def page(text):
    """Return the page with the map as the code has it."""
    return MARKED.sub(lambda _: f"\n{code_map()}\n", text)


def code_map():
    """Return the rooms from the bottom up, then the modules above them."""
    above = [path for path in sorted(PACKAGE.glob("*.py")) if path.name != "__init__.py"]
    package = f"### The package\n\n{first_line(PACKAGE / '__init__.py')}\n\n{table(PACKAGE, above)}"
    return "\n\n".join([*(room(PACKAGE / name) for name in rooms()), package]) + "\n"


def rooms():
    """Return the names of the rooms, each after those that it may import from."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    names = re.findall(r"resnet50\.(\w+)", " ".join(reversed(layers)))
    return [name for name in names if (PACKAGE / name).is_dir()]


def room(folder):
    """Return a room: its docstring and its modules, those of its inner packages last."""
    parts = [f"### {folder.name}", first_line(folder / "__init__.py"), table(folder, modules(folder))]
    for inner in sorted(folder.iterdir()):
        if (inner / "__init__.py").exists():
            parts += [
                f"**{folder.name}/{inner.name}**: {first_line(inner / '__init__.py')}",
                table(inner, modules(inner)),
            ]
    return "\n\n".join(part for part in parts if part)


def modules(folder):
    """Return a folder's modules."""
    return [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]


def table(folder, paths):
    """Return a table of modules."""
    rows = [f"| `{path.relative_to(folder)}` | {first_line(path)} |" for path in paths]
    return "\n".join(["| module | what it is for |", "| --- | --- |", *rows]) if rows else ""


def first_line(path):
    """Return the first line of a module's docstring, for a table's cell."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not docstring:
        raise SystemExit(f"{path} has no docstring")
    return docstring.splitlines()[0].replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
