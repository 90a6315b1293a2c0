"""The kernels of labels, compiled before a label is asked for."""

import logging
import threading
from typing import Final

import numpy as np
import polars as pl

from market.calendars import calendar_named
from market.tables import CANDLES, INSTANT
from market.timeframes import Timeframe
from pipeline import label_series, levels
from pipeline.label_row import Entry, Place, label_row
from pipeline.labels import DEFAULT
from pipeline.level_spans import active_levels
from serving.label_compute.paths import PathBars, schedule
from serving.label_types import LABEL_TYPES

log = logging.getLogger("wavehouse.labels")

_BARS: Final = 60
_ENTRY: Final = 50
_MONTH, _START_US = "2024-01", 1_704_067_200_000_000  # its first instant


class Warmth:
    """The thread that computes a label of made-up bars."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._is_done = False

    @property
    def is_running(self) -> bool:
        """Whether kernels are being compiled."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_done(self) -> bool:
        """Whether a label compiles nothing any more."""
        return self._is_done

    def start(self) -> None:
        """Begin, in the background."""
        self._thread = threading.Thread(target=self._run, name="warm-labels", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait until it is done."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            warm()
        except Exception:  # the first label that is asked for compiles, and says what is wrong
            log.exception("labels: expected to warm, did not")
        else:
            self._is_done = True


def warm() -> None:
    """Compute every label of one made-up candle, by all that a request goes through."""
    calendar, hour = calendar_named("crypto"), Timeframe.H1
    candles = _candles()
    done = levels.extend(levels.initial(), candles, instrument="WARM", timeframe=hour)
    active_levels(done, levels.initial())
    series = label_series.follow(
        label_series.initial(),
        done,
        levels.initial(),
        calendar=calendar,
        timeframe=hour,
        horizon=DEFAULT.horizon,
    )
    high, low, close, atr = series.prices
    bars = PathBars(series.ts_us, series.known_us, high, low, close)
    plan = schedule(calendar, hour, hour, _MONTH)
    window = plan.window(int(series.known_us[_ENTRY]), DEFAULT.horizon)
    price = float(close[_ENTRY])
    row = label_row(
        Entry(price, 1.0, float(atr[_ENTRY]), price - 1.0, price + 1.0),
        window,
        bars.between(window.start_us, window.end_us),
        watermark_us=window.end_us,
        scheduled=plan.scheduled(window, window.end_us),
        config=DEFAULT,
        types=LABEL_TYPES,
        place=Place(series, _ENTRY),
    )
    if row["status"] != "final":
        raise ValueError(f"warming: expected a final label, was {row['status']}")


def _candles() -> pl.DataFrame:
    ts = _START_US + np.arange(_BARS) * Timeframe.H1.microseconds
    close = 100.0 + 3.0 * np.sin(np.arange(_BARS, dtype=np.float64))
    return CANDLES.conform(
        pl.DataFrame(
            {
                "instrument": "WARM",
                "timeframe": Timeframe.H1.value,
                "ts": pl.Series(ts).cast(INSTANT),
                "open": np.append(close[:1], close[:-1]),
                "high": close + 3.0,
                "low": close - 3.0,
                "close": close,
                "volume": 1.0,
                "n_missing": pl.Series([0] * _BARS, dtype=pl.Int32),
                "complete": True,
                "source": "warming",
                "known_at": pl.Series(ts + Timeframe.H1.microseconds).cast(INSTANT),
            }
        )
    )
