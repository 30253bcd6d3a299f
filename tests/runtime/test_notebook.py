"""The progress bar of a notebook, with a stand-in for IPython."""

import sys
from types import SimpleNamespace

import pytest

from resnet50.runtime import console
from resnet50.runtime.notebook import NotebookBar, notebook_shell


class Displays:
    """Stands in for IPython: remembers every display and its updates."""

    def __init__(self) -> None:
        self.shell = SimpleNamespace(kernel=object(), execution_count=1)
        self.made: list[list[str]] = []

    def display(self, html: str, display_id: bool) -> SimpleNamespace:
        updates = [html]
        self.made.append(updates)
        return SimpleNamespace(update=updates.append)


@pytest.fixture
def displays(monkeypatch: pytest.MonkeyPatch) -> Displays:
    """Return what a notebook would show."""
    displays = Displays()
    module = SimpleNamespace(HTML=str, display=displays.display)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: displays.shell))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(NotebookBar, "latest", None)
    return displays


def work(monkeypatch: pytest.MonkeyPatch, steps: int = 4) -> None:
    now = 0.0
    monkeypatch.setattr(console.time, "perf_counter", lambda: now)
    with console.progress("reading <images>", 4, "images") as advance:
        for now in range(1, steps + 1):  # noqa: B007  # read by the patched clock above
            advance()


def test_a_notebook_shows_a_bar_and_clears_it(displays: Displays, monkeypatch: pytest.MonkeyPatch) -> None:
    work(monkeypatch)
    (updates,) = displays.made
    assert updates[0] == updates[-1] == ""
    assert updates[1].startswith('<progress value="1" max="4"')
    assert updates[1].endswith("reading &lt;images&gt;: 1/4 images, 1.0/s, 3 s left")


def test_the_tasks_of_a_cell_share_one_bar(displays: Displays, monkeypatch: pytest.MonkeyPatch) -> None:
    work(monkeypatch)
    work(monkeypatch)
    assert len(displays.made) == 1
    displays.shell.execution_count = 2
    work(monkeypatch)
    assert len(displays.made) == 2


def test_the_bar_is_cleared_after_an_error(displays: Displays) -> None:
    with pytest.raises(ZeroDivisionError), console.progress("dividing", 1, "numbers"):
        raise ZeroDivisionError
    assert displays.made[0][-1] == ""


def test_ipython_on_a_terminal_is_no_notebook(displays: Displays) -> None:
    assert notebook_shell() is displays.shell
    del displays.shell.kernel
    assert notebook_shell() is None
