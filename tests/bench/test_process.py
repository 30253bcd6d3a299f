"""Children run rounds, report errors, and are never left behind."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet50.bench.process import BenchmarkProcess
from resnet50.runtime.errors import UserError

HERE = "tests.bench.processes"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)


def is_gone(pid: int) -> bool:
    """Return whether a process has ended; a zombie counts as ended."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_for(condition: Callable[[], bool]) -> bool:
    """Return whether a condition becomes true within half a minute."""
    for _ in range(300):
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_child_answers_despite_other_output() -> None:
    with BenchmarkProcess(f"{HERE}:constant", {"value": 1.5}) as child:
        assert [child.workload("round")(), child.workload("twice")(), child.workload("round")()] == [1.5, 3.0, 1.5]


def test_user_error_of_a_child_is_passed_on() -> None:
    with pytest.raises(UserError, match=r"nothing here \[to be\] measured"), BenchmarkProcess(f"{HERE}:user_error", {}):
        pass


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bug", "ZeroDivisionError"),
        ("dying", r"exit code 7: the last words"),
        ("dying_with_heirs", "exit code 7: no output"),
    ],
)
def test_failure_or_death_of_a_child_is_reported(name: str, words: str) -> None:
    with BenchmarkProcess(f"{HERE}:{name}", {}) as child, pytest.raises(UserError, match=words):
        child.workload("round")()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_no_process_is_left_after_an_error_in_the_parent(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def interrupted() -> None:
        with BenchmarkProcess(f"{HERE}:parent_of_a_sleeper", {"pid_file": str(pids)}) as child:
            child.workload("round")()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(wait_for(lambda pid=int(pid): is_gone(pid)) for pid in pids.read_text().split())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os; from resnet50.bench.process import BenchmarkProcess\n"
        f"with BenchmarkProcess('{HERE}:parent_of_a_sleeper', {{'pid_file': {str(pids)!r}}}): os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, env=dict(os.environ))
    assert all(wait_for(lambda pid=int(pid): is_gone(pid)) for pid in pids.read_text().split())
