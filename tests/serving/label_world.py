"""A lake with four months of H1 and H4, levels and labels, made by the line itself."""

from pathlib import Path
from typing import Any

import polars as pl
from starlette.testclient import TestClient

from market.settings import ServingSettings
from serving.app import create_app
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

    def rows(self, table: str, timeframe: str = "H4") -> pl.DataFrame:
        """Return all rows of a series."""
        return self.line.lake.newest(table, timeframe, "BTC", rows=1_000_000)


def iso(instant: Any) -> str:
    return str(instant.isoformat()).replace("+00:00", "Z")
