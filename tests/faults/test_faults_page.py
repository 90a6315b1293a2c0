"""``docs/faults.md`` names tests that there are, and every module of faults."""

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER.parents[1] / "docs" / "faults.md"
OTHERS = {"test_backtest_faults.py", "test_children.py", Path(__file__).name}  # of other commands


def test_every_test_that_the_page_names_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    named: set[str] = set()
    for cell in re.findall(r"\|([^|]*test_\w+\.py[^|]*)\|", text):
        module = ""
        for word in re.findall(r"`([^`]+)`", cell):
            if word.endswith(".py"):
                path = FOLDER.parents[1] / word if "/" in word else FOLDER / word
                module = path.read_text(encoding="utf-8")
                named.add(word)
            else:
                pattern = re.escape(word.strip("…"))
                assert re.search(rf"^def test_\w*{pattern}", module, re.MULTILINE), (cell, word)
    there = {path.name for path in FOLDER.glob("test_*.py")} - OTHERS
    assert there <= named
