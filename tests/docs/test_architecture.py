"""The architecture page keeps up with the code: its map, and every module and name that it cites."""

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "resnet50"
PAGE = ROOT / "docs" / "architecture.md"
SCRIPT = runpy.run_path(str(ROOT / "docs" / "make_architecture.py"))
PROSE = re.sub(r"<!-- map -->.*<!-- end -->", "", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def citations() -> list[tuple[str, str]]:
    """Return each module with each name that the page cites from it: `room/module.py` `name`."""
    found: list[tuple[str, str]] = []
    for chain in re.findall(r"`[\w/]+\.py`(?:,? `[\w.]+`)*", PROSE):
        module, *names = re.findall(r"`([\w/.]+)`", chain)
        for name in names:
            if name.endswith(".py"):
                module = name
            else:
                found.append((module, name))
    return found


def defined_names(path: Path) -> set[str]:
    """Return what a module defines: functions, classes, methods as `Class.method`, and constants."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef():
                names.add(node.name)
            case ast.ClassDef():
                names |= {node.name} | {f"{node.name}.{m.name}" for m in node.body if isinstance(m, ast.FunctionDef)}
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case _:
                pass
    return names


def test_the_map_is_what_its_script_writes() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert SCRIPT["page"](text) == text, "run: .venv/bin/python docs/make_architecture.py"


def test_the_map_lists_every_module_once() -> None:
    listed = re.findall(r"^\| `(\w+\.py)` \|", SCRIPT["code_map"](), re.MULTILINE)
    modules = [path.name for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    assert sorted(listed) == sorted(modules)


def test_the_map_lists_rooms_in_import_order() -> None:
    rooms = SCRIPT["rooms"]()
    assert set(rooms) == {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms[:5] == ["runtime", "options", "etl", "data", "model"]


def test_the_page_cites_the_way_of_an_image() -> None:
    assert len(citations()) > 20


@pytest.mark.parametrize(("module", "name"), citations())
def test_a_cited_name_is_defined_in_its_module(module: str, name: str) -> None:
    assert (PACKAGE / module).exists(), f"architecture.md cites {module}"
    assert name in defined_names(PACKAGE / module), f"architecture.md cites {name} of {module}"


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`([\w/]+(?:\.py|/))`", PROSE.split("## A prepared dataset")[0])))
)
def test_a_cited_module_or_room_exists(path: str) -> None:
    assert (PACKAGE / path).exists(), f"architecture.md cites {path}"
