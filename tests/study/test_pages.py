"""The pages' front matter, in a checkout and in a wheel."""

import re
import tomllib
import zipfile
from pathlib import Path

import pytest

from resnet50.study import pages
from resnet50.study.pages import load_page, pages_folder
from resnet50.study.run import COURSE

ROOT = Path(__file__).parents[2]


def test_a_checkout_reads_the_course_itself() -> None:
    assert pages_folder() == ROOT / "docs" / "study"


@pytest.mark.parametrize("name", COURSE)
def test_a_page_states_every_part_once(name: str) -> None:
    page = load_page(name)
    text = (ROOT / "docs" / "study" / f"{name}.md").read_text(encoding="utf-8")
    code = (ROOT / "src" / "resnet50" / "study" / f"{name}.py").read_text(encoding="utf-8")
    assert page.name == name
    assert page.title
    for part in (page.claim, page.caption, *(source.title for source in page.sources)):
        assert part
        assert part not in code
    assert re.search(r"^# ", text.split(pages.FENCE, 2)[2], re.MULTILINE)  # the course's own text follows


def test_an_installed_package_reads_its_own_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "resnet50" / "study"
    (installed / "pages").mkdir(parents=True)
    (installed / "pages" / "anatomy.md").write_bytes((ROOT / "docs" / "study" / "anatomy.md").read_bytes())
    monkeypatch.setattr(pages, "__file__", str(installed / "pages.py"))
    assert pages_folder() == installed / "pages"
    assert load_page("anatomy").sources


def test_the_wheel_is_told_to_carry_every_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    carried = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert carried == {f"docs/study/{name}.md": f"resnet50/study/pages/{name}.md" for name in COURSE}


def test_a_built_wheel_contains_every_page(tmp_path: Path) -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="the build backend is not installed")
    (built,) = wheel.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(built) as file:
        packed = {Path(name).stem for name in file.namelist() if name.startswith("resnet50/study/pages/")}
    assert packed == set(COURSE)
