"""Pages that a benchmark writes say what was measured, and multiply right."""

import json
from typing import Any

import pytest

from benchmarks import certificates, pages, scaling


@pytest.mark.parametrize("benchmark", [scaling, certificates], ids=["scaling", "certificates"])
def test_a_page_is_what_its_benchmark_wrote(benchmark: Any) -> None:
    figures = json.loads(benchmark.FIGURES.read_text(encoding="utf-8"))
    text = benchmark.PAGE.read_text(encoding="utf-8")
    assert benchmark.render(figures) in text
    assert text == pages.page(text, benchmark.render(figures))


def test_every_table_of_data_is_measured() -> None:
    figures = json.loads(scaling.FIGURES.read_text(encoding="utf-8"))
    assert set(figures["tables"]) == {
        "raw_candles", "candles", "level_events", "labels", "features",
    }  # fmt: skip
    figures = json.loads(certificates.FIGURES.read_text(encoding="utf-8"))
    certified = {x["table"] for x in figures["partitions"]}
    assert certified == {"level_events", "labels", "features"}


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
