"""The blocking checks, one broken rule at a time, and what a failed one does to a partition."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from assets import checks
from assets.candles import Candles
from assets.features import Features
from assets.labels import Labels
from assets.levels import Levels
from assets.line import Line
from assets.stage import Inputs, Outcome, Result, Stage
from market.calendars import calendar_named
from market.months import month_bounds
from market.ports import PartitionKey
from market.tables import CANDLES
from market.timeframes import Timeframe
from pipeline import features, labels, levels
from pipeline.label_outcomes import Windows
from tests.fakes.bars import candles
from tests.fakes.line import (
    BTC,
    MONTHS,
    FrameProvider,
    Workshop,
    contents,
    failure,
    hourly,
    line_of,
    stages_of,
)

MAY = month_bounds("2017-05")
GOOD = candles("2017-05", 100)
CRYPTO = calendar_named("crypto")

NOWHERE = GOOD.head(1).with_columns(ts=pl.lit(None, GOOD.schema["ts"]))


def order(rows: pl.DataFrame) -> Outcome:
    return checks.order(CANDLES, rows, *MAY)


def test_good_rows_pass_every_check() -> None:
    for check in checks.of_table(CANDLES, GOOD, *MAY).values():
        assert check().passed
    assert checks.tiling(CRYPTO, Timeframe.H1, GOOD).passed
    assert checks.gaps(GOOD, 100).passed
    assert checks.schema(CANDLES, CANDLES.empty()).passed
    assert order(CANDLES.empty()).passed


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        (GOOD.drop("close"), "candles.close: expected Float64, was missing"),
        (
            GOOD.with_columns(pl.col("n_missing").cast(pl.Int64)),
            "candles.n_missing: expected Int32",
        ),
        (GOOD.select(sorted(GOOD.columns)), "another order"),
        (GOOD.with_columns(close=pl.lit(None, pl.Float64)), "close: 100"),
        (GOOD.with_columns(volume=pl.lit(float("nan"))), "volume (NaN): 100"),
    ],
    ids=["missing", "type", "order of columns", "null", "NaN"],
)
def test_schema_names_the_column(spoilt: pl.DataFrame, words: str) -> None:
    outcome = checks.schema(CANDLES, spoilt)
    assert not outcome.passed
    assert words in outcome.description


@pytest.mark.parametrize(
    ("spoilt", "what"),
    [
        (pl.concat([GOOD, GOOD.tail(1)]), "duplicates"),
        (pl.concat([GOOD.head(1), NOWHERE, GOOD.head(1)]), "duplicates"),
        (GOOD.reverse(), "disordered"),
        (candles("2017-06", 1), "outside_month"),
        (candles("2017-04", 1), "outside_month"),
    ],
    ids=["duplicate", "duplicate round a null", "disordered", "after", "before"],
)
def test_order_counts_what_is_wrong(spoilt: pl.DataFrame, what: str) -> None:
    outcome = order(spoilt)
    assert not outcome.passed
    assert int(outcome.metadata[what]) > 0


def test_tiling_wants_the_calendars_open_and_its_end() -> None:
    later = pl.col("known_at") + dt.timedelta(minutes=1)
    moved = GOOD.with_columns(pl.col("ts") + dt.timedelta(minutes=1), later)
    for spoilt in (GOOD.with_columns(later), moved):
        outcome = checks.tiling(CRYPTO, Timeframe.H1, spoilt)
        assert not outcome.passed
        assert outcome.metadata["off_grid"] == 100
    assert not checks.tiling(calendar_named("us_equity"), Timeframe.H1, GOOD).passed


def test_gaps_are_counted_and_a_month_that_is_mostly_hole_is_refused() -> None:
    assert checks.gaps(GOOD, 200).metadata == {
        "missing_bars": 100, "missing_share": 0.5, "missing_base_bars": 0,
    }  # fmt: skip
    assert checks.gaps(GOOD, 200).passed
    assert not checks.gaps(GOOD, 201).passed
    assert checks.gaps(CANDLES.empty(), 0).passed


def _off_grid(real: Result) -> pl.DataFrame:
    minute = dt.timedelta(minutes=1)
    return real.rows.with_columns(pl.col("ts") + minute, pl.col("known_at") + minute)


def _doubled(real: Result) -> pl.DataFrame:
    return pl.concat([real.rows.head(1), real.rows])


def spoil(monkeypatch: pytest.MonkeyPatch, kind: type[Stage], month: str, how: str) -> None:
    """Let a stage make wrong rows in one month, and see them through its own checks."""
    real = kind.compute

    def compute(self: Stage, line: Line, key: PartitionKey, inputs: Inputs) -> Result:
        made = real(self, line, key, inputs)
        if key.month != month:
            return made
        rows = {"doubled": _doubled, "off grid": _off_grid}[how](made)
        audit = checks.of_table(self.table, rows, *month_bounds(month))
        tiled = {"tiling": lambda: checks.tiling(CRYPTO, Timeframe.H4, rows)}
        merged = {**made.checks, **audit, **(tiled if "tiling" in made.checks else {})}
        return Result(rows, made.state, made.attributes, merged, made.plot)

    monkeypatch.setattr(kind, "compute", compute)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "how", "check"),
    [
        (Candles, "off grid", "tiling"),
        (Candles, "doubled", "order"),
        (Features, "doubled", "order"),
    ],
)
def test_a_failed_check_publishes_nothing_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Stage], how: str, check: str
) -> None:
    made = Workshop(line_of(tmp_path, FrameProvider(hourly(BTC))))
    stages = stages_of("H4")
    made.run(stages, MONTHS)
    before = contents(tmp_path)

    with monkeypatch.context() as patch:
        spoil(patch, kind, "2017-05", how)
        failed = made.run([s for s in stages if isinstance(s, kind)], MONTHS, succeeds=False)
    path = f"{kind.table.name}/H4/BTC/2017-05"
    assert failure(failed).startswith(f"{path}: not published, {check}: ")
    assert contents(tmp_path) == before
    refused = [e for e in made.evaluations() if not e.passed]
    assert [(e.check_name, e.partition, e.blocking) for e in refused] == [
        (check, "BTC|2017-05-01", True)
    ]
    made.run(stages, MONTHS)
    assert contents(tmp_path) == before


def _leak_of_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the level machine act on bars as if the next one were known."""
    real = levels.extend

    def peeking(state: object, rows: pl.DataFrame, **kwargs: object) -> levels.Extended:
        shifted = pl.col("close").shift(-1).fill_null(strategy="forward")
        mended = rows.with_columns(shifted).with_columns(
            high=pl.max_horizontal("high", "close"), low=pl.min_horizontal("low", "close")
        )
        return real(state, mended, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(levels, "extend", peeking)


def _leak_of_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scale a feature by the whole month's spread, as a z-score over the series would."""
    real = features.extend

    def scaled(*args: object, **kwargs: object) -> features.Extended:
        done = real(*args, **kwargs)  # type: ignore[arg-type]
        name = done.rows.columns[-1]
        rows = done.rows.with_columns(pl.col(name) / pl.col(name).std())
        return features.Extended(rows, done.state, done.null_reasons)

    monkeypatch.setattr(features, "extend", scaled)


def _leak_of_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the path begin at the entry candle's open."""
    real = labels._windows

    def early(*args: object) -> Windows:
        windows = real(*args)  # type: ignore[arg-type]
        return replace(windows, start_us=windows.start_us - Timeframe.H4.microseconds)

    monkeypatch.setattr(labels, "_windows", early)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("leak", "kind"),
    [(_leak_of_levels, Levels), (_leak_of_features, Features), (_leak_of_labels, Labels)],
)
def test_a_planted_leak_fails_the_certificate_and_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leak: object, kind: type[Stage]
) -> None:
    made = Workshop(line_of(tmp_path, FrameProvider(hourly(BTC))))
    stages = stages_of("H4")
    made.run([s for s in stages if not isinstance(s, kind | Labels | Features)], MONTHS)
    leak(monkeypatch)  # type: ignore[operator]
    failed = made.run([s for s in stages if isinstance(s, kind)], MONTHS, succeeds=False)
    path = f"{kind.table.name}/H4/BTC/2017-03"
    assert failure(failed).startswith(f"{path}: not published, causality: ")
    assert not made.line.lake.months(kind.table.name, "H4", "BTC")
