"""The notebook: committed as executed, and it runs on a home made from nothing."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
ONE_MACHINE = re.compile(r"(?<![\w.:/])/(?:work|root|home|tmp|Users|usr|var|opt)/")
MAX_BYTES = 1_500_000


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the notebook's cells of code."""
    document = json.loads((folder / "line.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in document["cells"] if cell["cell_type"] == "code"]


def texts(cell: dict[str, Any]) -> str:
    """Return what a cell printed and showed as text."""
    shown = [o.get("text") or o.get("data", {}).get("text/plain", []) for o in cell["outputs"]]
    return "\n".join("".join(text) for text in shown)


def pictures(cell: dict[str, Any]) -> list[bytes]:
    """Return what a cell drew."""
    found = [o["data"]["image/png"] for o in cell["outputs"] if "image/png" in o.get("data", {})]
    return [base64.b64decode("".join(png)) for png in found]


def check_executed(cells: list[dict[str, Any]]) -> None:
    """Every cell ran once, in order, without an error or a warning, and shows something."""
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert cell["outputs"], "".join(cell["source"])[:80]
        for output in cell["outputs"]:
            assert output["output_type"] != "error", output
            assert output.get("name") != "stderr", output["text"]
        found = ONE_MACHINE.search(texts(cell))
        assert found is None, f"names a folder of one machine: {texts(cell)[found.start() :][:80]}"


def test_it_is_committed_as_executed() -> None:
    cells = read(DOCS)
    check_executed(cells)
    assert sum(len(pictures(cell)) for cell in cells) >= 8
    assert (DOCS / "line.ipynb").stat().st_size < MAX_BYTES


def test_the_picture_of_the_readme_is_the_notebooks() -> None:
    tagged = [c for c in read(DOCS) if "levels.png" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    assert pictures(tagged[0]) == [(DOCS / "images" / "levels.png").read_bytes()], (
        "run `python docs/build_notebook.py`"
    )


@pytest.mark.slow
def test_it_runs_on_a_home_made_from_nothing(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "MLFLOW"))}
    environment |= {"WAVEHOUSE_HOME": str(tmp_path / "home"), "DO_NOT_TRACK": "1"}
    materialize = [Path(sys.executable).with_name("wavehouse"), "materialize", "--json"]
    build = [sys.executable, DOCS / "build_notebook.py", tmp_path / "docs"]
    for argv in ([*materialize, "-t", "H1", "-t", "H4"], build):
        done = subprocess.run(  # noqa: S603 - our own programs
            [str(word) for word in argv], cwd=ROOT, env=environment, capture_output=True,
            text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    fresh, committed = read(tmp_path / "docs"), read(DOCS)
    check_executed(fresh)
    # the first cell names data versions: the same bytes here as where it was committed
    assert texts(fresh[0]) == texts(committed[0]), "run `python docs/build_notebook.py`"
