"""The repository's metadata agrees with itself: workflows, templates, citation, pins and make targets."""

import json
import re
import tomllib
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
YAML_FILES = [*sorted((ROOT / ".github").rglob("*.yml")), ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff"]
NAMING_MAKE = [
    *WORKFLOWS,
    ROOT / ".ci" / "run",
    ROOT / ".devcontainer" / "devcontainer.json",
    ROOT / ".github" / "pull_request_template.md",
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=relative)


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    return load(path)["jobs"]


def actions(path: Path) -> list[str]:
    """Return every action and reusable workflow that a workflow uses."""
    users = [user for job in jobs(path).values() for user in (job, *job.get("steps", []))]
    return [user["uses"] for user in users if "uses" in user]


def code(path: Path) -> str:
    """Return what a file tells to type: a page's blocks and inline code, any other file whole."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".md":
        return text
    return "\n".join(
        block or inline for block, inline in re.findall(r"^```\w*\n(.*?)^```$|`([^`\n]+)`", text, re.M | re.S)
    )


def declared() -> set[str]:
    """Return the names of all dependencies, those of the extras included."""
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    return {distribution(line) for line in [*PROJECT["dependencies"], *extras]} - {"resnet50"}


def distribution(requirement: str) -> str:
    """Return the normalized name in a requirement or pin."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s;\[<>=!~]", requirement, maxsplit=1)[0]).lower()


@pytest.mark.parametrize("path", YAML_FILES, ids=relative)
def test_yaml_file_is_a_mapping(path: Path) -> None:
    assert load(path)


@pytest.mark.parametrize("path", NAMING_MAKE, ids=relative)
def test_every_make_target_named_exists(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:^|[\n\"]|\$ |: |&& )\s*make ([a-z][a-z-]*)", code(path)))
    assert named <= targets


@each_workflow
def test_every_job_has_a_time_limit(path: Path) -> None:
    assert all("timeout-minutes" in job for job in jobs(path).values() if "uses" not in job)


@each_workflow
def test_every_action_is_pinned_to_a_version(path: Path) -> None:
    assert all(action.startswith("./") or re.search(r"@v\d+(\.\d+)*$", action) for action in actions(path))


@each_workflow
def test_every_reusable_workflow_exists(path: Path) -> None:
    assert all((ROOT / action).is_file() for action in actions(path) if action.startswith("./"))


def test_only_publishing_may_do_more_than_read() -> None:
    defaults = {(path.stem, ""): load(path)["permissions"] for path in WORKFLOWS}
    of_jobs = {(path.stem, name): job.get("permissions", {}) for path in WORKFLOWS for name, job in jobs(path).items()}
    beyond = {place: given for place, given in (defaults | of_jobs).items() if given not in ({}, {"contents": "read"})}
    assert beyond == {("release", "publish"): {"id-token": "write"}}


def test_ci_covers_the_oldest_and_newest_python_on_each_system() -> None:
    versions = [
        found[1] for line in PROJECT["classifiers"] if (found := re.fullmatch(r"Programming .* :: (3\.\d+)", line))
    ]
    matrix = jobs(ROOT / ".github" / "workflows" / "ci.yml")["check"]["strategy"]["matrix"]
    systems = {"Operating System :: POSIX :: Linux": "ubuntu", "Operating System :: MacOS": "macos"}
    supported = {systems[line] for line in PROJECT["classifiers"] if line.startswith("Operating System")}
    tested = {(system.partition("-")[0], python) for system, python in product(matrix["os"], matrix["python"])}
    assert tested == set(product(supported, (versions[0], versions[-1])))
    assert PROJECT["requires-python"] == f">={versions[0]}"


def test_coverage_is_measured_in_a_combination_of_the_matrix() -> None:
    matrix = jobs(ROOT / ".github" / "workflows" / "ci.yml")["check"]["strategy"]["matrix"]
    measured = [entry for entry in matrix["include"] if entry.get("coverage")]
    assert [entry["os"] in matrix["os"] and entry["python"] in matrix["python"] for entry in measured] == [True]


def test_citation_names_the_version_and_license() -> None:
    citation = load(ROOT / "CITATION.cff")
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


def test_changelog_has_a_heading_for_the_version() -> None:
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_package_is_marked_as_typed() -> None:
    assert (files("resnet50") / "py.typed").is_file()


def test_every_dependency_is_pinned() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"[\w.-]+==[\w.]+(; \w+ [<>=]+ \"[\w.]+\")?$", pin) for pin in pins)
    assert pins == sorted(pins, key=str.lower)
    assert declared() <= {distribution(pin) for pin in pins}


def test_every_dependency_is_explained() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert {name for name in declared() if not re.search(rf"\b{name}\b", page)} == set()


def test_devcontainer_installs_the_environment() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert container["postCreateCommand"] == "make venv"
