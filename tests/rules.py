"""The conventions that no linter knows, as one script: ``python -m tests.rules``.

A module has one subject (under 400 lines), a function fits a screen (under 50), ``__init__.py`` is
empty, nothing is called utils or helpers, nothing names one machine's folders.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    "market", "kernels", "pipeline", "learning", "providers", "storage", "assets",
    "orchestration", "serving", "wavehouse", "benchmarks",
)  # fmt: skip
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 50
FRONT_DOOR = "wavehouse/__init__.py"
BANNED_NAMES = {"utils.py", "helpers.py", "common.py", "misc.py"}
ONE_MACHINE = re.compile(r"(?<![\w.])/(?:work|root|farm)/")


def complaints() -> Iterator[str]:
    """Yield each broken rule as ``file:line: what``."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield from _of_module(path, path.relative_to(ROOT).as_posix())
    for path in sorted((ROOT / "tests").rglob("*.py")):
        yield from _of_text(path, path.relative_to(ROOT).as_posix())


def _of_module(path: Path, name: str) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if path.name in BANNED_NAMES:
        yield f"{name}:1: name the module for its subject"
    if path.name == "__init__.py" and text.strip() and name != FRONT_DOOR:
        yield f"{name}:1: __init__.py is empty, one import path a name"
    lines = text.count("\n") + 1
    if lines > MAX_MODULE_LINES:
        yield f"{name}:1: {lines} lines, at most {MAX_MODULE_LINES}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            long = _code_lines(node)
            if long > MAX_FUNCTION_LINES:
                most = f"at most {MAX_FUNCTION_LINES}"
                yield f"{name}:{node.lineno}: {node.name} has {long} lines, {most}"
    yield from _of_text(path, name)


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count a function's lines without its docstring: words may take room, code may not."""
    total = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        total -= (first.end_lineno or first.lineno) - first.lineno + 1
    return total


def _of_text(path: Path, name: str) -> Iterator[str]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if ONE_MACHINE.search(line) and name != "tests/rules.py":
            yield f"{name}:{number}: a path of one machine"


if __name__ == "__main__":
    found = list(complaints())
    sys.stdout.write("\n".join([*found, f"{len(found)} broken rules\n"]))
    sys.exit(bool(found))
