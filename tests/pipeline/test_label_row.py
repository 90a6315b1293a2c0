"""A row computed alone is the batch's row, bit by bit, whatever came of it."""

import struct
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from market.calendars import calendar_for
from market.tables import LABELS
from market.timeframes import Timeframe
from pipeline import label_series, labels, levels
from pipeline.label_outcomes import SERIES_COLUMNS
from pipeline.label_row import HISTORY_COLUMNS, NAN, Entry, Place, Window, label_row
from pipeline.label_series import LabelSeries
from pipeline.labels import LabelConfig
from serving.label_compute.paths import PathBars
from tests.pipeline.label_cases import HOUR, instrument, random_raw, us
from tests.pipeline.test_label_columns import built

TYPES = frozenset(list(LABELS.schema)[list(LABELS.schema).index("forward_return") :])
SAME_IN_EVERY_ROW = {
    "instrument", "timeframe", "label_version", "horizon_bars", "path_timeframe",
}  # fmt: skip


class Batch:
    """Labels of a random walk, some of whose path bars never came, and what they were made of."""

    def __init__(
        self, seed: int, *, calendar: str, horizon: int, lost: float, unheard: int, bars: int
    ) -> None:
        self.frame, path = built(random_raw(bars, seed, calendar=calendar), calendar)
        self.config = LabelConfig(horizon=horizon)
        rng = np.random.default_rng(seed)
        is_hole = rng.random(path.height) < lost
        for first in np.flatnonzero(rng.random(path.height) < lost / 8):
            is_hole[first : first + 6] = True  # more than a bar of the label's timeframe
        is_wide = pl.Series(rng.random(path.height) < lost / 4)  # touches both barriers
        reach = {"high": 1.1, "low": 0.9}
        self.path = path.with_columns(
            pl.when(is_wide).then(pl.col(name) * by).otherwise(pl.col(name)).alias(name)
            for name, by in reach.items()
        ).filter(~pl.Series(is_hole))
        self.watermark_us = us(path["ts"][-1]) + HOUR - unheard * HOUR
        of = instrument(calendar)
        self.calendar = calendar_for(of)
        self.played = levels.extend(
            levels.initial(), self.frame, instrument=of, timeframe=Timeframe.H4
        )
        self.series = label_series.follow(
            label_series.initial(), self.played, levels.initial(),
            calendar=self.calendar, timeframe=Timeframe.H4, horizon=horizon,
        )  # fmt: skip
        self.rows = labels.compute(
            self.frame, self.played.context, self.path, instrument=of, timeframe=Timeframe.H4,
            config=self.config, watermark_us=self.watermark_us, series=self.series,
        )  # fmt: skip
        ts = self.path["ts"].to_physical().to_numpy()
        prices = (np.array(self.path[name].to_numpy()) for name in ("high", "low", "close"))
        self.bars = PathBars(ts, self.calendar.bar_ends(Timeframe.H1, ts), *prices)

    def one(self, at: int, series: LabelSeries | None) -> dict[str, Any]:
        """Return the same row, computed alone."""
        candle = self.frame.row(at, named=True)
        known = self.played.context.row(at, named=True)
        t_c, horizon = us(candle["known_at"]), self.config.horizon
        end_us = int(self.calendar.horizon_ends(Timeframe.H4, [t_c], horizon)[0])
        grid = self.calendar.grid(Timeframe.H4, t_c, end_us)
        until = max(min(end_us, self.watermark_us), t_c)
        nearest = (NAN if known[x] is None else known[x] for x in ("atr", "support", "resistance"))
        return label_row(
            Entry(candle["close"], candle["high"] - candle["low"], *nearest),
            Window(t_c, end_us, grid.open_us, grid.end_us),
            self.bars.between(t_c, end_us),
            watermark_us=self.watermark_us,
            scheduled=int(self.calendar.scheduled(Timeframe.H1, [t_c], [until])[0]),
            config=self.config,
            types=TYPES,
            place=Place(series, at) if series else None,
        )


def same(found: Any, expected: Any) -> bool:
    """Say whether two values have the same bits, an instant as its microseconds."""
    if isinstance(found, float) and isinstance(expected, float):
        return struct.pack("d", found) == struct.pack("d", expected)
    if found is not None and hasattr(expected, "tzinfo"):
        expected = us(expected)
    return type(found) is type(expected) and bool(found == expected)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    calendar=st.sampled_from(["crypto", "fx"]),
    horizon=st.sampled_from([1, 2, 6, 30]),
    lost=st.sampled_from([0.0, 0.02, 0.3]),
    unheard=st.sampled_from([0, 5, 100]),
)
def test_a_row_alone_is_the_row_of_the_batch(
    *, seed: int, calendar: str, horizon: int, lost: float, unheard: int
) -> None:
    batch = Batch(seed, calendar=calendar, horizon=horizon, lost=lost, unheard=unheard, bars=900)
    for at in range(0, batch.rows.height, 7):
        expected = batch.rows.row(at, named=True)
        event(expected["status"])
        found = batch.one(at, batch.series)
        for name in found:
            assert same(found[name], expected[name]), (at, name, found[name], expected[name])


@pytest.mark.slow
def test_every_column_and_status_is_among_them() -> None:
    batch = Batch(3, calendar="crypto", horizon=6, lost=0.05, unheard=5, bars=1500)
    expected = {*LABELS.schema} - SAME_IN_EVERY_ROW - {
        "ts", "entry_price", "atr", "nearest_support", "nearest_resistance", "support_level_id",
        "resistance_level_id",
    }  # fmt: skip
    rows = [batch.one(at, batch.series) for at in range(batch.rows.height)]
    assert {*rows[0]} == expected
    assert {row["status"] for row in rows} == {"pending", "final", "censored"}
    assert {row["barrier_hit"] for row in rows} == {None, "none", "upper", "lower", "ambiguous"}
    for name in expected:
        assert len({row[name] for row in rows}) > 1, name
    for at, row in enumerate(rows):
        batched = batch.rows.row(at, named=True)
        assert all(same(row[name], batched[name]) for name in row), at


@pytest.fixture(scope="module")
def whole() -> Batch:
    return Batch(4, calendar="crypto", horizon=6, lost=0.0, unheard=0, bars=900)


def test_without_a_place_what_needs_the_series_is_null(whole: Batch) -> None:
    row = whole.one(100, None)
    assert {row[name] for name in (*SERIES_COLUMNS, "meta_label")} == {None}
    assert row["forward_return"] is not None


def test_a_history_of_another_horizon_is_nobodys(whole: Batch) -> None:
    """Deciles of six bars say nothing of one bar's return."""
    other = Batch(4, calendar="crypto", horizon=1, lost=0.0, unheard=0, bars=900)
    row, own = other.one(190, whole.series), other.one(190, other.series)
    assert {row[name] for name in HISTORY_COLUMNS} == {None}
    assert own["return_quantile"] is not None
    others = {name: row[name] for name in row if name not in HISTORY_COLUMNS}
    assert others == {name: own[name] for name in others}
