"""Mutants of a tiny module: which there are, how they are drawn, and what the tests say of them."""

import ast
import subprocess
from pathlib import Path

import pytest
from tools.mutants import Mutant, Workplace, draw, find_mutants, mirrored_tests, read_log, report

from tools import mutants

FILE = "src/resnet50/etl/split.py"
SOURCE = '''"""A module."""

SHARE: "Literal[1] | None" = 0.5


def total(numbers: list[int], most: int = 9) -> int:
    """Add up to 5 numbers."""
    result = 0
    while numbers:
        if len(numbers) < most and not numbers[0] == 3:
            result += numbers[0]
        numbers = numbers[1:]
    print(f"{result + 1}")
    return max(result, -7)
'''
TESTS = f"""
from pathlib import Path

def test_it_counts_what_is_there():
    module = {{}}
    exec(Path({FILE!r}).read_text(), module)
    assert module["total"]([1, 2]) == 3
    assert module["total"]([3, 1]) == 1
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tree with the module and a test of it."""
    root = tmp_path / "tree"
    for name, text in {FILE: SOURCE, "tests/etl/test_split.py": TESTS}.items():
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    return root


def mutant_of(before: str, after: str) -> Mutant:
    (found,) = [m for m in find_mutants(SOURCE.encode(), FILE) if (m.before, m.after) == (before, after)]
    return found


def test_every_kind_of_change_is_found() -> None:
    condition = "len(numbers) < most and not numbers[0] == 3"
    found = {(mutant.kind, mutant.before, mutant.after) for mutant in find_mutants(SOURCE.encode(), FILE)}
    assert found >= {
        ("comparison", "len(numbers) < most", "(len(numbers) <= most)"),
        ("comparison", "numbers[0] == 3", "(numbers[0] != 3)"),
        ("and/or", condition, "(len(numbers) < most or not numbers[0] == 3)"),
        ("negated condition", condition, "(not (len(numbers) < most and (not numbers[0] == 3)))"),
        ("negated condition", "numbers", "(not numbers)"),
        ("removed not", "not numbers[0] == 3", "(numbers[0] == 3)"),
        ("operator", "result += numbers[0]", "result -= numbers[0]"),
        ("removed statement", "result += numbers[0]", "pass"),
        ("constant", "9", "10"),
        ("constant", "9", "8"),
        ("constant", "0.5", "0.25"),
        ("swapped arguments", "max(result, -7)", "max(-7, result)"),
        ("returned None", "return max(result, -7)", "return None"),
    }


def test_texts_and_types_are_left_alone() -> None:
    lines = SOURCE.splitlines()
    for mutant in find_mutants(SOURCE.encode(), FILE):
        assert '"""' not in lines[mutant.line - 1]
        assert "Literal" not in mutant.before
        assert mutant.before != "result + 1"


def test_every_mutant_is_another_program() -> None:
    whole = ast.dump(ast.parse(SOURCE))
    for mutant in find_mutants(SOURCE.encode(), FILE):
        assert ast.dump(ast.parse(mutant.apply(SOURCE.encode()))) != whole


def test_a_diff_shows_the_change() -> None:
    diff = mutant_of("result += numbers[0]", "pass").diff(SOURCE.encode())
    assert "-            result += numbers[0]\n+            pass\n" in diff


def test_characters_of_several_bytes_move_nothing() -> None:
    source = 'x = "äöü" if 1 < 2 else "é"\n'
    changed = {mutant.apply(source.encode()).decode() for mutant in find_mutants(source.encode(), FILE)}
    assert 'x = "äöü" if (1 <= 2) else "é"\n' in changed


def test_a_seed_draws_the_same_mutants_and_another_seed_others(tree: Path) -> None:
    (tree / "src/resnet50/data").mkdir()
    (tree / "src/resnet50/data/transforms.py").write_text("x = 1 + 2\n")
    drawn = draw(tree, 12, seed=0)
    assert drawn == draw(tree, 12, seed=0) != draw(tree, 12, seed=1)
    assert [mutant.file for mutant in drawn] == ["src/resnet50/data/transforms.py"] * 5 + [FILE] * 6
    assert {mutant.file for mutant in draw(tree, 5, seed=0, only="etl/*")} == {FILE}


def test_a_module_is_tried_against_the_tests_that_mirror_it(tmp_path: Path) -> None:
    names = [
        "etl/test_split.py", "etl/test_split_groups.py", "etl/test_table.py", "evaluation/test_evaluate.py",
        "evaluation/test_report.py", "evaluation/report/test_tables.py",
    ]  # fmt: skip
    for name in names:
        (tmp_path / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests" / name).touch()

    def mirrored(module: str) -> list[str]:
        return [path.removeprefix("tests/") for path in mirrored_tests(tmp_path, f"src/resnet50/{module}")]

    assert mirrored("etl/split.py") == names[:2]
    assert sorted(mirrored("evaluation/plots.py")) == names[3:5]
    assert mirrored("evaluation/report/tables.py") == ["evaluation/report/test_tables.py", "evaluation/test_report.py"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(mutants.os, "fork"), reason="a mutant is tried in a forked process")
def test_mutants_are_killed_survive_or_never_end(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "SLOWER", 2.0)
    monkeypatch.setattr(mutants, "GRACE", 1.0)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    place = Workplace(tree, tmp_path / "place")
    killed, survived, endless = (
        place.run(mutant_of(*change))
        for change in [
            ("numbers[0] == 3", "(numbers[0] != 3)"), ("9", "10"), ("1", "0")
        ]
    )  # fmt: skip
    assert (killed.outcome, killed.by) == ("killed", "tests/etl/test_split.py::test_it_counts_what_is_there")
    assert (survived.outcome, survived.by) == ("survived", "")
    assert endless.outcome == "timeout"
    assert (place.folder / FILE).read_text() == SOURCE


def test_tests_that_fail_without_a_mutant_are_no_measure(tree: Path, tmp_path: Path) -> None:
    (tree / "tests/etl/test_split.py").write_text("def test_nothing(): assert False\n")
    with pytest.raises(RuntimeError, match=r"fail without a mutant: tests/etl/test_split\.py::test_nothing"):
        Workplace(tree, tmp_path / "place").run(mutant_of("9", "10"))


def test_a_log_that_was_cut_short_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    assert read_log(log) == {}
    log.write_text('{"key": "a", "outcome": "killed"}\n{"key": "b", "outc')
    assert list(read_log(log)) == ["a"]


def test_survivors_are_shown_with_their_change() -> None:
    drawn = find_mutants(SOURCE.encode(), FILE)[:3]
    outcomes = dict(zip((mutant.key for mutant in drawn[:2]), ("killed", "survived"), strict=True))
    log = {key: {"outcome": outcome, "diff": f"the diff of {key}"} for key, outcome in outcomes.items()}
    lines = list(report(drawn, log))
    assert lines[0].split() == ["etl/split.py", "1", "killed", "1", "survived"]
    assert lines[1] == "1 of 2 killed"
    assert f"the diff of {drawn[1].key}" in lines[2]
    assert len(lines) == 3
