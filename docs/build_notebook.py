# ruff: noqa: INP001 - a script beside the notebook that it executes
"""Executes ``docs/line.ipynb`` on what is materialised, and takes README's picture from it.

``python docs/build_notebook.py`` after ``make demo``; with a folder, the results go there instead.
"""

import base64
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).resolve().parent
NOTEBOOK = "line.ipynb"
PICTURE = "levels.png"  # also the tag of the cell that draws it
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def main(folder: Path) -> None:
    """Execute the notebook as it is in ``docs/`` and write it, and the picture, to ``folder``."""
    notebook = nbformat.read(DOCS / NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(DOCS)}}
    NotebookClient(notebook, timeout=300, record_timing=False, resources=resources).execute()
    notebook.metadata = METADATA  # what depends on the machine is left out
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    (images / PICTURE).write_bytes(picture_of(notebook))
    nbformat.write(notebook, folder / NOTEBOOK)


def picture_of(notebook: nbformat.NotebookNode) -> bytes:
    """Return the PNG that the tagged cell shows."""
    cell = next(c for c in notebook.cells if PICTURE in c.metadata.get("tags", ()))
    shown = next(o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {}))
    return base64.b64decode(shown)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
