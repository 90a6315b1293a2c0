"""``make bench``: run every benchmark and rewrite README's table from what came out.

``python -m benchmarks cache labels`` runs these alone; the rows of the others stay as they were.
"""

import importlib.metadata
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.tables import TABLES

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
PACKAGES = (
    "polars", "duckdb", "numba", "numpy", "dagster", "ta-lib", "pywavelets", "vectorbt",
    "vectorbt-rust", "raptorbt",
)  # fmt: skip


LATEST = ROOT / "benchmarks" / "latest.json"


def main(asked: list[str]) -> None:
    """Run the modules that are asked for, else all, each in a process, and write the table."""
    if unknown := set(asked) - set(TABLES):
        raise SystemExit(f"benchmarks: expected some of {', '.join(TABLES)}, was {min(unknown)}")
    figures = json.loads(LATEST.read_text(encoding="utf-8")) if asked else {}
    figures |= {name: _run(name) for name in asked or TABLES}
    LATEST.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{table(figures)}\n{END}{after}", encoding="utf-8")


def _run(name: str) -> dict[str, Any]:
    print(f"benchmarks.{name}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(out)]
        subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603 - our own modules
        figures: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return figures


def machine() -> str:
    """Say what this was measured on."""
    model = "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x
        ]
        model = f"{len(names)} x {names[0]}" if names else model
    versions = ", ".join(_version(p) for p in PACKAGES)
    return f"{model}, Python {platform.python_version()}, {versions}"


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"no {package}"


def table(figures: dict[str, Any]) -> str:
    """Return the table in Markdown."""
    lines = ["| what | figure | beside it |", "|---|---|---|"]
    for name, rows in TABLES.items():
        lines += [
            f"| {what} | {figure} | {beside} |" for what, figure, beside in rows(figures[name])
        ]
    return "\n".join([*lines, "", f"Measured on {machine()}; medians of alternations in one run."])


if __name__ == "__main__":
    main(sys.argv[1:])
