"""Progress in a Jupyter notebook, with nothing but IPython, which is there if a notebook is."""

import sys
from html import escape
from importlib import import_module
from typing import Any


def notebook_shell() -> Any:
    """Return IPython's shell if this is the process of a notebook, else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell if hasattr(shell, "kernel") else None


class NotebookBar:
    """A progress bar in the output of a cell. All tasks of the cell use the same one, one after another."""

    latest: "tuple[int, NotebookBar] | None" = None
    """The number of the cell that was executed last, and its bar."""

    def __init__(self) -> None:
        self.module = import_module("IPython.display")
        self.handle = self.module.display(self.module.HTML(""), display_id=True)

    @classmethod
    def of_cell(cls, shell: Any) -> "NotebookBar":
        """Return the bar of the cell that is being executed."""
        if cls.latest is None or cls.latest[0] != shell.execution_count:
            cls.latest = shell.execution_count, cls()
        return cls.latest[1]

    def show(self, text: str, done: int, total: int) -> None:
        bar = f'<progress value="{done}" max="{total}" style="width:40%"></progress>'
        self.handle.update(self.module.HTML(f"{bar} {escape(text)}"))

    def clear(self) -> None:
        self.handle.update(self.module.HTML(""))
