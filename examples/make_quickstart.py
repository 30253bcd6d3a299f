"""Make the notebook quickstart.ipynb from quickstart.py, whose comments `# %%` begin its cells, and execute it.

.venv/bin/python examples/make_quickstart.py
"""

import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

SCRIPT = Path(__file__).with_name("quickstart.py")


def notebook(script: str) -> NotebookNode:
    """Return the notebook of a script, without outputs."""
    _, *parts = re.split(r"^# %%", script, flags=re.MULTILINE)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    cells = [cell(part, f"cell-{number}") for number, part in enumerate(parts)]
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def cell(part: str, name: str) -> NotebookNode:
    """Return the cell of what follows its `# %%`: Markdown, in comments, or Python."""
    kind, _, body = part.partition("\n")
    if kind.strip() == "[markdown]":
        return new_markdown_cell(re.sub(r"^# ?", "", body.strip(), flags=re.MULTILINE), id=name)
    return new_code_cell(body.strip(), id=name)


def execute(book: NotebookNode, folder: Path) -> None:
    """Execute a notebook in a folder, which adds the outputs; progress bars are removed, and the folder's path."""
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(folder)}}, record_timing=False).execute()
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("data", {}).get("text/html") != ""]
            join_streams(cell)
            for output in cell.outputs:
                if output.output_type == "stream":
                    output.text = output.text.replace(str(folder), "/home/me")


def join_streams(cell: NotebookNode) -> None:
    """Join the lines that were printed one after another, as Jupyter does."""
    joined: list[NotebookNode] = []
    for output in cell.outputs:
        if joined and output.output_type == "stream" and output.get("name") == joined[-1].get("name"):
            joined[-1].text += output.text
        else:
            joined.append(output)
    cell.outputs = joined


def main() -> None:
    """Write the notebook beside its script."""
    book = notebook(SCRIPT.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        execute(book, Path(folder))
    nbformat.write(book, SCRIPT.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
