"""``make bench``: run every benchmark and rewrite README's table from what came out."""

import importlib.metadata
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
MODULES = ("candles", "lake_reads", "graph")
PACKAGES = ("polars", "duckdb", "numba", "numpy", "dagster")


def main() -> None:
    """Run the modules in processes of their own and write the table."""
    figures = {name: _run(name) for name in MODULES}
    (ROOT / "benchmarks" / "latest.json").write_text(
        json.dumps(figures, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )
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
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES)
    return f"{model}, Python {platform.python_version()}, {versions}"


def table(figures: dict[str, Any]) -> str:
    """Return the table in Markdown."""
    rows = [*_candles(figures["candles"]), *_lake(figures["lake_reads"]), *_graph(figures["graph"])]
    lines = ["| what | figure | beside it |", "|---|---|---|"]
    lines += [f"| {what} | {figure} | {beside} |" for what, figure, beside in rows]
    return "\n".join([*lines, "", f"Measured on {machine()}; medians of alternations in one run."])


def _candles(figures: dict[str, Any]) -> list[tuple[str, str, str]]:
    by_name = {row["name"]: row for row in figures["rows"]}
    ours = by_name["wavehouse build_all M5..W"]
    polars = by_name["polars group_by_dynamic M5..W"]
    copy = by_name["memcpy of the columns"]
    month, month_polars = by_name["wavehouse, one month"], by_name["polars, one month"]
    first, last = figures["peak_rss_mb_by_partition"][0], figures["peak_rss_mb_by_partition"][-1]
    return [
        (
            "a year of M1 → M5 … W, base candles a second, one core",
            f"**{ours['base_candles_per_s'] / 1e6:.1f} M**",
            (
                f"Polars `group_by_dynamic` takes {polars['ratio_to_wavehouse']:.1f} x our time, "
                f"copying the columns {copy['ratio_to_wavehouse']:.2f} x"
            ),
        ),
        (
            "one month of M1 → M5 … W",
            f"{month['seconds'] * 1e3:.1f} ms",
            f"Polars takes {month_polars['ratio_to_wavehouse']:.2f} x our time",
        ),
        (
            "peak memory, first to twelfth month",
            f"{first:.0f} → {last:.0f} MB",
            "bounded by a partition",
        ),
    ]


def _lake(figures: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    for cache in ("warm", "cold"):
        found = [r for r in figures["rows"] if r["cache"] == cache]
        ours, peers = found[0], found[1:]
        beside = ", ".join(f"{p['name']} {p['ratio_to_wavehouse']:.1f} x" for p in peers)
        rows.append(
            (
                (
                    f"newest {figures['rows_wanted']} bars of one series out of "
                    f"{figures['partitions']:,} partitions, {cache}"
                ),
                f"p50 {ours['p50_ms']:.1f} ms, p99 {ours['p99_ms']:.1f} ms",
                beside,
            )
        )
    return rows


def _graph(figures: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (
            (
                f"the whole graph over a year of M1 ({figures['bars']:,} bars, "
                f"{figures['partitions']} partitions) through Dagster"
            ),
            f"**{figures['dagster_s']:.1f} s**, peak {figures['peak_mb']:.0f} MB",
            (
                f"compute {figures['compute_s']:.1f} s, checks {figures['checks_s']:.1f} s, "
                f"I/O {figures['io_s']:.1f} s, Dagster "
                f"{figures['dagster_overhead_ms_per_partition']:.0f} "
                "ms a partition"
            ),
        ),
        (
            "Dagster's overhead a partition, 120 partitions against 10",
            f"**{figures['overhead_ratio_120_to_10']:.2f} x**",
            f"{figures['overhead_ms_at_10']:.0f} ms and {figures['overhead_ms_at_120']:.0f} ms",
        ),
    ]


if __name__ == "__main__":
    main()
