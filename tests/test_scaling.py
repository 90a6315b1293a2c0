"""``docs/scaling.md`` says what was measured, and multiplies right."""

import json

import pytest

from benchmarks import scaling


def test_the_page_is_what_the_benchmark_wrote() -> None:
    if not scaling.FIGURES.exists():
        pytest.skip("nothing was measured yet: `python -m benchmarks.scaling --write`")
    figures = json.loads(scaling.FIGURES.read_text(encoding="utf-8"))
    text = scaling.PAGE.read_text(encoding="utf-8")
    assert text == scaling.page(text, figures)
    assert set(figures["tables"]) == {
        "raw_candles", "candles", "level_events", "labels", "features",
    }  # fmt: skip


def test_needs_are_products_of_what_one_instrument_and_month_costs() -> None:
    one = {
        "partitions": 2.0, "rows": 100.0, "cpu_s": 1.0, "lake_bytes": 1000.0,
        "clickhouse_bytes": 500.0, "clickhouse_cpu_s": 0.5,
    }  # fmt: skip
    figures = {"cores": 2, "months": 1, "tables": {"a": one, "b": one}, "dagster_cpu_s": 0.25}
    need = scaling.needs(figures)
    months = 10_000 * 10 * 12
    assert need["instrument_months"] == months
    assert need["partitions"] == months * 4
    assert need["month_cpu_s"] == 2 * 1.0 + 4 * 0.25
    assert need["core_hours"] == months * 3.0 / 3600
    assert need["clickhouse_core_hours"] == months * 1.0 / 3600
    assert need["lake_tb"] == months * 2000 / 1e12
    assert need["cores_hourly"] == 10_000 * 3.0 / 3600
    assert f"= {months * 3.0 / 3600:,.0f}" in scaling.render(figures)
