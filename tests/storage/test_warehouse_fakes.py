"""Where the engine is not installed, tests over ClickHouse are skipped and say so."""

import importlib.util

import pytest

from tests.fakes import warehouses


def test_without_the_engine_a_test_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(pytest.skip.Exception, match=r"clickhouse_connect .* is not installed"):
        warehouses.need_engine()
