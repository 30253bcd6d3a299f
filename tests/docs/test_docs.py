"""The documentation keeps up with the code: links, options, the command reference, and the Python that it shows."""

import dataclasses
import re
import runpy
import shlex
from pathlib import Path

import pandas as pd
import pytest

import resnet50
from resnet50.cli import VERBS
from resnet50.options import build, flag, from_arguments
from tests.conftest import TINY, MakeImage

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
OTHERS = {"--max-restarts", "--help", "--version", "--config", "--logdir", "--python"}
"""Flags that are no verb's option: those of the command line itself, and of other programs."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language ("" for those that name none)."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """Return what a page tells to type after `resnet50`, but for the commands that show an error."""
    lines = "\n".join(blocks(page, "")).splitlines()
    for transcript in re.split(r"^\$ ", "\n".join(blocks(page, "console")), flags=re.MULTILINE):
        if not re.search(r"^error: ", transcript, re.MULTILINE):
            lines += transcript.splitlines()[:1]
    return [
        line.removeprefix("resnet50 ").partition(" > ")[0].strip() for line in lines if line.startswith("resnet50 ")
    ]


def options_of(verb: str) -> set[str]:
    """Return a verb's flags."""
    return {flag(field.name) for field in dataclasses.fields(VERBS[verb][0])}


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_every_link_and_image_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    for target in targets:
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), f"{page.name}: {target} does not exist"
        assert not anchor or anchor in anchors(linked), f"{page.name}: {target} has no such heading"


@each_page
def test_images_have_alternative_texts(page: Path) -> None:
    assert "![](" not in prose(page)


@each_page
def test_every_command_in_a_block_is_understood(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    started = {"dataset": "dataset", "depth": 50}  # what the run that is resumed was started with
    monkeypatch.setattr(
        build, "resumed_options", lambda _, values: started | {"out": "run"} if values.get("resume") else {}
    )
    for command in commands(page):
        verb, *arguments = shlex.split(command, comments=True)
        assert verb in VERBS, f"{page.name}: resnet50 {command}"
        from_arguments(VERBS[verb][0], arguments, verb)  # a UserError says what is wrong with it


@each_page
def test_every_flag_in_the_text_is_an_option(page: Path) -> None:
    for code in re.findall(r"`([^`\n]+)`", prose(page)):
        verb = re.match(r"resnet50 (\w+)", code)
        known = options_of(verb[1]) if verb and verb[1] in VERBS else set().union(*map(options_of, VERBS))
        for name in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", code):
            assert name in known | OTHERS or name.replace("--no-", "--") in known, f"{page.name}: {name} in {code!r}"


def test_the_command_reference_is_what_its_script_writes() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "make_commands.py"))["reference"]()
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == written, (
        "run: .venv/bin/python docs/make_commands.py > docs/commands.md"
    )


def test_every_module_in_the_text_exists() -> None:
    modules = [f"/{path.relative_to(ROOT).as_posix()}" for path in ROOT.glob("[dest]*/**/*.py")]
    for page in set(PAGES) - {ROOT / "docs" / "commands.md"}:
        for name in re.findall(r"`(\w+/[\w/]+\.py)`", prose(page)):
            assert any(path.endswith(f"/{name}") for path in modules), f"{page.name}: {name} does not exist"


@pytest.mark.slow
def test_the_python_in_the_documentation_runs(
    tmp_path: Path, make_image: MakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_solar_cells(tmp_path / "demo" / "solar-cells", make_image)
    monkeypatch.chdir(tmp_path)
    train, quick = resnet50.train, TINY | {"epochs": 1, "budget": None, "eval_size": None}
    monkeypatch.setattr(resnet50, "train", lambda dataset, out, **options: train(dataset, out, **options | quick))
    code = blocks(ROOT / "docs" / "python.md", "python")
    assert len(code) > 5
    names: dict[str, object] = {}
    for block in code:
        exec(compile(block, "docs/python.md", "exec"), names)


def make_solar_cells(folder: Path, make_image: MakeImage) -> None:
    """Make a table like the demo's, with images of noise."""
    (folder / "images").mkdir(parents=True)
    ids = [f"cell{number:04d}" for number in range(80)]
    for number, name in enumerate(ids):
        make_image(seed=number).save(folder / "images" / f"{name}.png")
    table = {"image_id": ids, "label": ["defective", "functional"] * 40, "type": ["mono"] * 80}
    pd.DataFrame(table).to_csv(folder / "cells.csv", index=False)
