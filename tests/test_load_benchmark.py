"""``benchmarks.load``: growth is told as it is, and no error is left out of the table."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks import load, load_table
from benchmarks.client import Outcome

FLAT = {"rss_mb": 500.0, "files": 20, "threads": 90}
ROW: dict[str, Any] = {
    "connections": 1000, "requests": 12_000, "requests_per_s": 200.0, "p50_ms": 5.0, "p99_ms": 50.0,
    "server_ms": 3.0, "errors": 0, "first_error": "", "before": FLAT, "after": FLAT, "most": FLAT,
    "growth_mb_per_10k": 0.04, "growth_error": 0.05, "objects": [10, 11], "server_errors": [],
}  # fmt: skip


def test_growth_is_the_slope_of_the_last_half() -> None:
    filling = [load.Look(100.0 + i, 20, 90) for i in range(50)]
    growing = [load.Look(150.0 + 0.1 * i, 20, 90) for i in range(50)]
    found = load.growth([*filling, *growing])
    assert found["growth_mb_per_10k"] == pytest.approx(1.0)
    assert found["growth_error"] == pytest.approx(0.0, abs=1e-6)
    wavering = [replace(x, rss_mb=x.rss_mb + i % 2) for i, x in enumerate(growing)]
    assert load.growth([*filling, *wavering])["growth_error"] > 0.01


def test_percentiles_are_those_of_a_kind_and_a_failure_is_no_time() -> None:
    kinds = list(load.SHARES)
    spent = np.arange(2.0 * len(kinds))
    spent[1] = np.nan
    found = load.told(Outcome(spent, 2.0, {"status 503": 1}, "busy", 0), kinds)
    assert found["kinds"][kinds[0]]["p50_ms"] == len(kinds) / 2
    assert found["kinds"][kinds[1]]["p50_ms"] == len(kinds) + 1.0
    assert (found["errors"], found["first_error"]) == (1, "busy")
    assert found["requests_per_s"] == (spent.size - 1) / 2.0
    assert sum(load.SHARES.values()) == pytest.approx(1.0)


def test_the_table_says_no_error_only_where_there_was_none() -> None:
    figures = {"rate": 200.0, "for_s": 60.0, "rows": [ROW, ROW, ROW]}
    assert [("no error" in figure) for _, figure, _ in load_table.rows(figures)] == [True] * 3
    bad = ROW | {"errors": 2, "first_error": "closed: reset"}
    logged = ROW | {"server_errors": ["unhandled error"]}
    rows = load_table.rows(figures | {"rows": [bad, bad, logged]})
    assert [("no error" in figure) for _, figure, _ in rows] == [False] * 3
    assert "2 errors (closed: reset)" in rows[0][1]
    assert "1 in the server's log (unhandled error)" in rows[2][1]
    assert "+0.04 ± 0.05 MB" in rows[2][1]
