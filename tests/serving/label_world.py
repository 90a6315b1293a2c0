"""A lake with four months of H1 and H4, levels and labels, made by the line itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl
from starlette.testclient import TestClient

from market.settings import ServingSettings
from serving import app
from serving.app import create_app
from serving.label_compute.service import LabelService, Resolved
from storage.cache import Cache
from tests.fakes.line import BTC, MONTHS, FrameProvider, Workshop, hourly, line_of, stages_of
from tests.serving.fakes import UNLIMITED, FakeRegistry

SOURCE: dict[str, Any] = {
    "instrument_id": "BTC",
    "granularity": "H4",
    "candle": {
        "ts": "2024-01-10T13:00:00Z",
        "open": 1.0950,
        "high": 1.0970,
        "low": 1.0940,
        "close": 1.0965,
        "volume": 1250000,
        "atr_14": 0.0025,
    },
    "label_types": ["enhanced_triple_barrier"],
    "options": {"horizon_periods": 6, "use_cache": True},
    "levels": [
        {"price": 1.0920, "type": "support"},
        {"price": 1.0990, "type": "resistance"},
    ],
}


class LabelWorld:
    """The line's lake and an app over it."""

    def __init__(self, root: Path) -> None:
        self.line = line_of(root, FrameProvider(hourly(BTC)))
        Workshop(self.line).run(
            stages_of("H1", "H4", groups=["raw_candles", "candles", "levels", "labels"]), MONTHS
        )
        self.settings = ServingSettings(compute_warm=False, anonymous="all", **UNLIMITED)

    def app(self, **changes: Any) -> Any:
        """Return an app with some settings changed."""
        settings = self.settings.model_copy(update=changes)
        return create_app(
            settings, lake=self.line.lake, registry=FakeRegistry(), book=self.line.book
        )

    def client(self, **changes: Any) -> TestClient:
        """Return a client of such an app."""
        return TestClient(self.app(**changes))

    def cached(self) -> "CachedApp":
        """Return an app whose label service has a cache of its own."""
        return CachedApp(self)

    def rows(self, table: str, timeframe: str = "H4") -> pl.DataFrame:
        """Return all rows of a series."""
        return self.line.lake.newest(table, timeframe, "BTC", rows=1_000_000)


class CountingService(LabelService):
    """The label service, that counts what it computes."""

    computed = 0

    def compute(self, resolved: Resolved) -> Mapping[str, Any]:
        """Compute, and count it."""
        self.computed += 1
        return super().compute(resolved)


class CachedApp:
    """An app with a cache of labels in memory."""

    def __init__(self, world: LabelWorld) -> None:
        self.cache = Cache(memory_bytes=10_000_000)
        self.service = CountingService(world.line.lake, resident_bytes=10_000_000, cache=self.cache)
        with mock.patch.object(app, "LabelService", return_value=self.service):
            self.app = world.app()

    def client(self) -> TestClient:
        """Return a client of it."""
        return TestClient(self.app)


def candle_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a candle of the lake as a request has it."""
    return {"ts": iso(row["ts"]), **{k: row[k] for k in ("open", "high", "low", "close")}}


def iso(instant: Any) -> str:
    return str(instant.isoformat()).replace("+00:00", "Z")
