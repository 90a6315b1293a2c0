"""What README's table says of ``benchmarks.label_pipeline`` and ``benchmarks.label_runs``."""

from typing import Any

Figures = dict[str, Any]
Row = tuple[str, str, str]


def pipeline(figures: Figures) -> list[Row]:
    """Return the rows of labels in memory."""
    alone, every = figures["barrier"], figures["every"]
    by_name = {row["name"]: row for row in (*alone["rows"], *every["rows"])}
    whole, given = by_name["11.a from candles"], by_name["11.a, levels given"]
    windows = by_name["NumPy sliding windows, levels given"]["ns"] / given["ns"]
    copy = by_name["copying in and out"]["ratio"]
    all_labels, loop = by_name["every label"], by_name["NumPy, a row at a time, some labels"]
    return [
        (
            f"11.a of {alone['candles']:,} M5 candles in memory, levels and ATR included, one core",
            f"**{1e3 / whole['ns']:.1f} M/s**",
            (
                f"{1e3 / given['ns']:.0f} M/s with levels given, of which NumPy's windows take "
                f"{windows:.1f} x; copying in and out {copy:.2f} x"
            ),
        ),
        (
            (
                f"every label, {every['path_bars']} path bars, "
                f"{every['active_levels']:.0f} active levels, rows of the table"
            ),
            f"**{1e6 / all_labels['ns']:,.0f} k/s**",
            (
                f"a loop over rows in NumPy for five of them {loop['ratio']:.0f} x; copying path "
                f"and rows {by_name['copying path and rows']['ratio']:.3f} x"
            ),
        ),
    ]


def runs(figures: Figures) -> list[Row]:
    """Return the rows of labels through Dagster and the lake."""
    return [
        (
            f"{figures['candles']:,} M5 candles through Dagster: raw, candles, levels, labels",
            f"**{figures['wall_s']:.1f} s**, peak {figures['peak_mb']:.0f} MB",
            (
                f"{figures['cpu_s']:.1f} s of processor time, {figures['loop_cpu_s']:.1f} s of it "
                f"without Dagster; peak {figures['few_peak_mb']:.0f} MB at "
                f"{figures['few_months']} of {figures['months']} months"
            ),
        ),
        (
            f"{figures['halves_candles']:,} M5 candles the same, two instruments in two processes",
            f"**{figures['halves_wall_s']:.1f} s**",
            f"{figures['halves_cpu_s']:.1f} s of processor time",
        ),
        (
            "two instruments in two processes at once",
            f"**{figures['two_over_one']:.2f} x** as fast as both in one",
            (
                f"processor time {figures['one_cpu_s']:.1f} s in one, "
                f"{figures['two_cpu_s']:.1f} s in two"
            ),
        ),
        (
            "H4 labels on minutes out of the lake, one core, minute candles a minute",
            f"**{figures['minutes']['labels_per_min'] / 1e6:.0f} M**",
            f"reading them alone {figures['minutes']['reading_per_min'] / 1e6:.0f} M",
        ),
    ]
