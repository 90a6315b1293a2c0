"""Code versions that cannot be forgotten: the hash of what a stage's module can reach.

A stage's code version is the hash of the syntax trees (comments and docstrings left out) of its own
module and of every module of ``pipeline``, ``kernels``, ``learning`` and of those that hold
definitions (``_DEFINITIONS``), which it imports directly or through another. So it moves when
output can change, and does not when only words did. Checks (``assets.checks``) are left out: they
say whether a partition is published, not what is in it. See docs/decisions/0003.
"""

import ast
import hashlib
import importlib.util
from functools import cache
from pathlib import Path

_ROOMS = ("kernels.", "pipeline.", "learning.")
_DEFINITIONS = (
    "assets.reading",  # which partitions are read
    "market.calendars",
    "market.sessions_us_equity",
    "market.tables",
)


@cache
def code_version(module: str) -> str:
    """Return 12 hex digits that stand for everything ``module`` computes with."""
    digest = hashlib.sha256()
    for name in sorted(_closure(module)):
        digest.update(f"{name}\n{_tree(name)}\n".encode())
    return digest.hexdigest()[:12]


@cache
def _closure(module: str) -> frozenset[str]:
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        waiting.extend(m for m in _imports(name) if m.startswith(_ROOMS) or m in _DEFINITIONS)
    return frozenset(seen)


@cache
def _source(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"module: expected one with a source file, was {module!r}")
    return Path(spec.origin)


def _imports(module: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(_source(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{a.name}" for a in node.names if _is_module(node, a.name))
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return names


def _is_module(node: ast.ImportFrom, name: str) -> bool:
    if node.module is None or "." in node.module:
        return False
    found = f"{node.module}.{name}"
    return found in _DEFINITIONS or (node.module + "." in _ROOMS and _exists(found))


def _exists(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@cache
def _tree(module: str) -> str:
    tree = ast.parse(_source(module).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and _has_docstring(body):
            node.body = node.body[1:]
    return ast.dump(tree)


def _has_docstring(body: list[ast.stmt] | None) -> bool:
    return bool(
        body
        and isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and isinstance(body[0].value.value, str)
    )
