"""``wavehouse compute`` file to file gives the rows that partitions hold: made bars and real ones.

Only ``candles.source`` differs: it says where the bars came from.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from market.instruments import Instrument
from market.months import month_bounds, month_of, month_range, shift_month
from market.settings import ProviderSettings
from market.tables import TABLES
from market.timeframes import Timeframe
from orchestration.resources import provider_factory
from tests.fakes.line import BTC, EUR, FrameProvider, Workshop, hourly, line_of, rows, stages_of
from wavehouse.cli import app

SPX = Instrument("SPX", "us_equity", "us_equity", "frame", "SPX", Timeframe.M30, 0.01, 1.0)
TABLE_OF = {
    "candles": "candles",
    "levels": "level_events",
    "labels": "labels",
    "features": "features",
}


def compute(group: str, source: Path, out: Path, *options: str) -> pl.DataFrame:
    result = CliRunner().invoke(app, ["compute", group, str(source), "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    made = pl.read_parquet(out)
    assert dict(made.schema) == dict(TABLES[TABLE_OF[group]].schema)
    assert f"{made.height} rows" in result.output
    return made


def same(made: Workshop, instrument: Instrument, timeframe: str, source: Path) -> None:
    """Compare all four tables of one timeframe."""
    for group in TABLE_OF:
        (stage,) = (s for s in stages_of(timeframe, groups=[group]) if s.timeframe)
        partitions = rows(made.line, stage, instrument.id)
        file = compute(
            group, source, source.with_name(f"{group}.parquet"),
            "--timeframe", timeframe, "--calendar", instrument.calendar,
            "--instrument", instrument.id,
        )  # fmt: skip
        assert partitions.height > 0, group
        if group == "candles":
            assert file["source"].unique().to_list() == ["file"]
            partitions, file = partitions.drop("source"), file.drop("source")
        assert file.equals(partitions), (group, timeframe, instrument.id)


CASES = [
    (BTC, "H1", "2017-03", "2017-06", "csv"),
    (BTC, "H4", "2017-03", "2017-06", "parquet"),
    (BTC, "D", "2017-03", "2017-06", "parquet"),
    (BTC, "W", "2017-03", "2017-12", "parquet"),  # 1 March is a Wednesday: its week opened before
    (EUR, "H4", "2017-03", "2017-06", "csv"),  # so did its first four hours
    (EUR, "D", "2017-03", "2017-06", "parquet"),
    (EUR, "W", "2017-03", "2017-12", "csv"),
    (SPX, "H1", "2017-04", "2017-07", "csv"),
    (SPX, "D", "2017-03", "2017-06", "parquet"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("instrument", "timeframe", "first", "until", "form"),
    CASES,
    ids=[f"{i.id}-{t}-{form}" for i, t, _, _, form in CASES],
)
def test_made_bars(
    tmp_path: Path, instrument: Instrument, timeframe: str, first: str, until: str, form: str
) -> None:
    frame = hourly(instrument, first, until, seed=5)
    source = tmp_path / f"bars.{form}"
    if form == "csv":
        frame.write_csv(source)
    else:
        frame.write_parquet(source)
    made = Workshop(line_of(tmp_path / "lake", FrameProvider(frame), instrument))
    months = list(month_range(first, shift_month(until, -1)))
    made.run(stages_of(timeframe), months, instrument=instrument.id)
    same(made, instrument, timeframe, source)


@dataclass(frozen=True)
class Recording:
    """A recorded file, and what an instrument says of it."""

    file: str
    calendar: str
    base: Timeframe
    timeframes: tuple[str, ...]
    volume: str = "reported"


RECORDINGS = [
    Recording("BTCUSDT_1h_binance_202012-202107", "crypto", Timeframe.H1, ("H4", "W")),
    Recording("BTCUSD_4h_coinbase_2016-2025", "crypto", Timeframe.H4, ("D",)),
    Recording("EURUSD_1h_backtestingpy_2017-2018", "fx", Timeframe.H1, ("H4", "D")),
    Recording("EURUSD_1m_oanda_201405_bid", "fx", Timeframe.M1, ("M15", "H1"), "none"),
    Recording("SP500_1m_mplfinance_201911", "us_equity", Timeframe.M1, ("M5", "H1"), "zero"),
]


@pytest.mark.slow
@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda r: r.file)
def test_recorded_bars(shared_data: Path, tmp_path: Path, recording: Recording) -> None:
    path = shared_data / "ohlcv" / f"{recording.file}.parquet"
    frame = pl.read_parquet(path)
    if recording.base is Timeframe.H4:
        frame = frame.filter(pl.col("ts").dt.year() >= 2024)
    source = tmp_path / "bars.parquet"
    frame.write_parquet(source)
    instrument = Instrument(
        "REC", recording.calendar, recording.calendar, "csv", "REC", recording.base, 0.01, 1.0,
        None, {"path": str(source), "volume": recording.volume},
    )  # fmt: skip
    line = line_of(tmp_path / "lake", FrameProvider(frame), instrument)
    object.__setattr__(line, "provider_for", provider_factory(ProviderSettings()))
    made = Workshop(line)
    first_us, end_us = line.provider_for(instrument).span(instrument)
    months = list(month_range(month_of(first_us), month_of(end_us - 1)))
    made.run(stages_of(*recording.timeframes), months, instrument="REC")
    assert month_bounds(months[0])[0] <= first_us
    for timeframe in recording.timeframes:
        same(made, instrument, timeframe, source)
