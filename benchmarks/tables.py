"""What README's table says of each benchmark's figures: what, the figure, what stands beside it."""

from collections.abc import Callable
from typing import Any, Final

from benchmarks import label_tables, load_table

Figures = dict[str, Any]
Row = tuple[str, str, str]


def _candles(figures: Figures) -> list[Row]:
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


def _lake(figures: Figures) -> list[Row]:
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


def _graph(figures: Figures) -> list[Row]:
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


def _compute(figures: Figures) -> list[Row]:
    by_name = {(row["group"], row["name"]): row for row in figures["rows"]}
    rows = []
    for form in ("JSON", "Arrow"):
        ours, echo = by_name["sma", form], by_name["sma", f"echo of the {form} bytes"]
        peer = by_name["sma", "pydantic lists"]["p50_ms"] / ours["p50_ms"]
        rows.append(
            (
                f"`POST /compute/sma`, {figures['points']:,} points over HTTP, {form}",
                f"p50 **{ours['p50_ms']:.2f} ms**, p99 {ours['p99_ms']:.2f} ms",
                f"bare echo of these bytes {echo['p50_ms']:.2f} ms, pydantic lists {peer:.1f} x",
            )
        )
    for form in ("JSON", "Arrow"):
        ours, echo = by_name["batch", form], by_name["batch", f"echo of the {form} bytes"]
        rows.append(
            (
                f"`POST /compute/batch`, {figures['symbols']:,} x {figures['bars']} x 3, {form}",
                f"**{ours['symbols_per_s']:,.0f} symbols/s**",
                (
                    f"{ours['symbols_per_busy_s']:,.0f} a second of the server's own time, "
                    f"bare echo {echo['symbols_per_s']:,.0f}"
                ),
            )
        )
    return rows


def _indicators(figures: Figures) -> list[Row]:
    rows = []
    for points, mean in figures["mean_over_talib"].items():
        found = [row for row in figures["rows"] if row["points"] == int(points)]
        parts = []
        for row in found:
            copy = f" ({1 / row['copy_over_ours']:.1f})" if "copy_over_ours" in row else ""
            parts.append(f"{row['name']} {row['talib_over_ours']:.1f}{copy}")
        note = (
            "; in brackets our time over a copy's of the same bytes"
            if "copy_over_ours" in found[0]
            else ""
        )
        rows.append(
            (
                f"eight indicators, one series of {int(points):,} points, against TA-Lib's C",
                f"**{mean:.1f} x**, geometric mean",
                ", ".join(parts) + note,
            )
        )
    return rows


def _backtests(figures: Figures) -> list[Row]:
    rows = []
    for case, found in figures["cases"].items():
        ours = found[0]
        beside = ", ".join(
            f"{row['name']} {row['ratio']:.1f} x" for row in found if "wavehouse" not in row["name"]
        )
        rows.append((f"backtest, {case}", f"**{ours['seconds'] * 1e3:.2f} ms**", beside))
    return rows


def _wavelets(figures: Figures) -> list[Row]:
    shown = {
        ("a candle", "batch"): ("pywt.wavedec", "a window"),
        ("a candle", "stream"): ("pywt.wavedec", "a window"),
        ("a series", "batch"): ("pywt.swt", "the series"),
        ("a series", "batch, new arrays"): ("pywt.swt", "the series"),
    }
    rows = []
    for row in figures["rows"]:
        if (peer := shown.get((row["work"], row["name"]))) is None:
            continue
        faster = row["times_faster_than"]
        what = f"causal MODWT, {figures['wavelet']}, {figures['levels']} levels"
        rows.append(
            (
                f"{what}, {row['name']}, {row['candles']:,} candles",
                f"**{row['ns_a_candle']:.1f} ns** a candle",
                (
                    f"`{peer[0]}` of {peer[1]} takes {faster[peer[0]]:,.1f} x; "
                    f"a copy {faster['copy']:.2f} x"
                ),
            )
        )
    return rows


def _panels(figures: Figures) -> list[Row]:
    bar = figures["bar"]
    rows = [
        (
            f"one new bar, 8 indicators, {bar['symbols']:,} symbols",
            f"**{bar['bar_s'] * 1e3:.2f} ms**",
            (
                f"`talib.stream` takes {bar['talib_stream_over_ours']:,.0f} x a symbol, its "
                f"updates {bar['talib_update_over_ours']:,.0f} x; copying the bytes "
                f"{bar['copy_s'] * 1e3:.2f} ms"
            ),
        )
    ]
    rows.extend(
        (
            f"six indicators, {row['symbols']:,} symbols x {row['bars']:,}, {row['name']}",
            f"**{row['seconds'] * 1e3:.2f} ms**",
            (
                f"a loop over TA-Lib {row['talib_over_it']:.1f} x, "
                f"{row['it_over_copy']:.2f} x a copy"
            ),
        )
        for row in figures["rows"]
        if row["name"] not in {"talib", "copy"}
    )
    return rows


def _labels(figures: Figures) -> list[Row]:
    rows = []
    for what, found in figures["nested"].items():
        by_name = {row["name"]: row for row in found["rows"]}
        exact, lazy = by_name["exact minute"], by_name["minutes where ambiguous"]
        scan, every = by_name["plain scan"], by_name["reading every minute"]
        rows.append(
            (
                f"11.a labels of H4 candles on minutes, {what}",
                f"**{1e3 / exact['ns']:.1f} M/s**, {1e3 / lazy['ns']:.1f} M/s by the bar",
                (
                    f"a plain scan takes {scan['ratio']:.1f} x the first, reading every minute "
                    f"once {every['ratio']:.1f} x"
                ),
            )
        )
    for found in figures["passage"]:
        peers = [row for row in found["rows"] if row["name"] != "wavehouse"]
        what = (
            f"first passage at every bar, horizon {found['horizon']:,}, {found['deviations']} sigma"
        )
        beside = ", ".join(f"{row['name']} {row['ratio']:.1f} x" for row in peers) or "no peer"
        rows.append((what, f"**{found['rows'][0]['ns']:.1f} ns** a bar", beside))
    machine = figures["levels"]
    ours, *peers = machine["rows"]
    rows.append(
        (
            f"support and resistance, {machine['events_per_candle']:.1f} events a candle",
            f"**{ours['ns']:.0f} ns** a candle",
            ", ".join(f"{row['name']} {row['ratio']:,.0f} x" for row in peers),
        )
    )
    return rows


def _cold(figures: Figures) -> list[Row]:
    return [
        (f"from a cold process: {row['name']}", f"{row['seconds'] * 1e3:.0f} ms", "")
        for row in figures["rows"]
        if row["name"].startswith(("import", "first"))
    ]


def _label_service(figures: Figures) -> list[Row]:
    by_name = {row["name"]: row for row in figures["rows"]}

    def told(name: str) -> str:
        return f"p50 {by_name[name]['p50_ms']:.2f} ms, p99 {by_name[name]['p99_ms']:.2f} ms"

    def busy(name: str) -> str:
        return f"the server is busy {by_name[name]['server_ms']:.2f} ms a request"

    echo, rate = told("echo"), f"{figures['rate']} requests/s, open loop, loopback"
    every, one = told("every label, not cached"), by_name["in process: 11.a"]
    whole = by_name["in process: every label"]
    return [
        (
            f"`POST /v1/labels/compute`, 11.a of H4 on minutes, not cached; {rate}",
            f"**{told('11.a, not cached')}**",
            (
                f"{busy('11.a, not cached')}; a bare echo of the same bytes {echo}; "
                f"every label {every}"
            ),
        ),
        ("the same, cached", told("11.a, cached"), busy("11.a, cached")),
        (
            "the same, nothing decoded, one after another",
            told("11.a, cold partition"),
            "reads and replays a month of minutes and of H4",
        ),
        (
            "11.a of one candle in process, processor time",
            f"**p50 {1e3 * one['cpu_p50_ms']:.0f} us, p99 {1e3 * one['cpu_p99_ms']:.0f} us**",
            f"every label p50 {1e3 * whole['cpu_p50_ms']:.0f} us",
        ),
    ]


def _cache(figures: Figures) -> list[Row]:
    first, second, many = figures["L1"], figures["L2"], figures["stampede"]
    slow, middle, fast = figures["recent"]
    return [
        (
            "a label's answer in memory, in process",
            (
                f"p50 {first['cache, in memory']['p50_us'] / 1e3:.4f} ms, "
                f"p99 {first['cache, in memory']['p99_us'] / 1e3:.4f} ms"
            ),
            f"`dict` {first['dict']['p50_us'] / 1e3:.4f} ms",
        ),
        (
            "the same in Redis, over loopback",
            (
                f"p50 {second['cache, in Redis']['p50_us'] / 1e3:.2f} ms, "
                f"p99 {second['cache, in Redis']['p99_us'] / 1e3:.2f} ms"
            ),
            (
                f"bare `GET` p50 {second['redis-py GET']['p50_us'] / 1e3:.2f} ms, "
                f"p99 {second['redis-py GET']['p99_us'] / 1e3:.2f} ms"
            ),
        ),
        (
            f"{many['waiting']} ask at once for what nobody has",
            f"{many['computations']} computation",
            (
                f"all answered in {many['all_answered_ms']:.1f} ms, "
                f"of which {many['computation_ms']:g} ms to compute"
            ),
        ),
        (
            (
                f"hit rate of a day from cold, {middle['questions']:,} questions by Zipf's law "
                "about the last 24 hours of 80 series, bars arriving every hour"
            ),
            f"**{middle['hit_rate']:.1%}**",
            (
                f"{slow['hit_rate']:.1%} at {slow['questions_a_second']} question a second, "
                f"{fast['hit_rate']:.1%} at {fast['questions_a_second']}; "
                f"{figures['often']['hit_rate']:.1%} with bars every quarter of an hour; "
                f"{figures['all']['hit_rate']:.1%} about the last 500 candles"
            ),
        ),
    ]


TABLES: Final[dict[str, Callable[[Figures], list[Row]]]] = {
    "candles": _candles,
    "lake_reads": _lake,
    "graph": _graph,
    "compute_service": _compute,
    "indicators": _indicators,
    "panels": _panels,
    "wavelets": _wavelets,
    "labels": _labels,
    "label_service": _label_service,
    "load": load_table.rows,
    "label_pipeline": label_tables.pipeline,
    "label_runs": label_tables.runs,
    "backtests": _backtests,
    "cold": _cold,
    "cache": _cache,
}
"""By the name of the module that measures, in the order of the table."""
