"""Candles: against published pairs of real files, and rule by rule on small ones."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from market.calendars import calendar_named
from market.errors import InputError, MalformedBarsError, SchemaError
from market.instruments import Instrument
from market.tables import CANDLES, INSTANT
from market.timeframes import Timeframe
from pipeline import candles

PRICES = ["open", "high", "low", "close"]
FAR = 2**60  # a watermark that has passed everything
SECOND, MINUTE = 1_000_000, 60_000_000


def us(text: str) -> int:
    return int(np.datetime64(text, "us").astype(np.int64))


def market(calendar: str, base: Timeframe, anchor: str | None = None) -> Instrument:
    return Instrument("TEST", calendar, calendar, "test", "TEST", base, 0.01, 1.0, anchor)


def bars(opens: Any, **columns: Any) -> pl.DataFrame:
    """Return flat bars at 1.0 with volume 1.0, but for the columns given."""
    if opens and isinstance(opens[0], str):
        opens = [us(t) for t in opens]
    n = len(opens)
    frame: dict[str, Any] = {c: [1.0] * n for c in (*PRICES, "volume")}
    ts = pl.Series("ts", opens, dtype=pl.Int64).cast(INSTANT)
    frame = {"ts": ts, **frame, "source": ["test"] * n, **columns}
    floats = dict.fromkeys((*PRICES, "volume"), pl.Float64)
    return pl.DataFrame(frame, schema_overrides=floats)


def texts(column: pl.Series) -> list[str]:
    return column.dt.strftime("%Y-%m-%dT%H:%M").to_list()


def differences(made: pl.DataFrame, published: pl.DataFrame, decimals: int = 8) -> dict[str, int]:
    """Count bars on one side alone, and common bars that differ in a column."""
    theirs = published.select("ts", *(pl.col(c).alias(f"{c}_") for c in (*PRICES, "volume")))
    common = made.join(theirs, on="ts")
    return {
        "common": common.height,
        "made alone": made.height - common.height,
        **{c: int((common[c] != common[f"{c}_"]).sum()) for c in PRICES},
        "volume": int(
            common["volume"].round(decimals).ne_missing(common["volume_"].round(decimals)).sum()
        ),
    }


def exact(common: int, **known: int) -> dict[str, int]:
    """Return what ``differences`` says of equal bars, but for those that are known."""
    zero = dict.fromkeys(["made alone", *PRICES, "volume"], 0)
    return {"common": common, **zero, **{k.replace("_", " "): v for k, v in known.items()}}


@pytest.fixture
def recorded(shared_data: Path) -> Any:
    def read(name: str) -> pl.DataFrame:
        folder = "ticks" if "quotes" in name or "trades" in name else "ohlcv"
        frame = pl.read_parquet(shared_data / folder / f"{name}.parquet")
        return frame.with_columns(source=pl.lit(name))

    return read


# The published cross-checks, with the number of differences that they state


def test_quotes_make_oanda_s_seconds_and_seconds_its_minutes(recorded: Any) -> None:
    quotes = recorded("EURUSD_quotes_oanda_201405")
    seconds = candles.from_ticks(quotes, step_us=SECOND)
    published = recorded("EURUSD_1s_oanda_201405_bid")
    assert differences(seconds, published) == exact(208_472)
    assert seconds.height == published.height
    built = candles.build(
        seconds.with_columns(source=pl.lit("test")),
        instrument=market("fx", Timeframe.M1),
        timeframe=Timeframe.M1,
        watermark_us=FAR,
        base_step_us=SECOND,
    )
    published = recorded("EURUSD_1m_oanda_201405_bid")
    assert differences(built.rows, published) == exact(15_366)
    assert (built.rows.height, built.n_out_of_session) == (published.height, 0)


def test_coinbase_seconds_make_its_minutes(recorded: Any) -> None:
    built = candles.build(
        recorded("BTCUSD_1s_coinbase_201610"),
        instrument=market("crypto", Timeframe.M1),
        timeframe=Timeframe.M1,
        watermark_us=FAR,
        base_step_us=SECOND,
    )
    assert differences(built.rows, recorded("BTCUSD_1m_coinbase_days")) == exact(4_216)


@pytest.mark.parametrize(
    ("name", "step", "count"), [("1m", MINUTE, 2_469), ("5m", 5 * MINUTE, 706)]
)
def test_trades_make_binance_s_candles(recorded: Any, name: str, step: int, count: int) -> None:
    trades = recorded("XRPETH_trades_binance_201910").rename({"qty": "quantity"})
    made = candles.from_trades(trades, step_us=step)
    published = recorded(f"XRPETH_{name}_binance_201910")
    assert differences(made, published) == exact(count)
    assert made.height == published.height


@pytest.mark.parametrize("coin", ["BTC", "ETH"])
def test_binance_five_minutes_make_its_hours(recorded: Any, coin: str) -> None:
    minutes = recorded(f"{coin}USDT_5m_binance_202012-202107")
    built = candles.build(
        minutes,
        instrument=market("crypto", Timeframe.M5),
        timeframe=Timeframe.H1,
        watermark_us=us("2021-07-17T21:10"),
    ).rows
    published = recorded(f"{coin}USDT_1h_binance_202012-202107")
    assert differences(built, published) == exact(5_482, volume=3, made_alone=1)
    assert texts(built.filter(~pl.col("complete"))["ts"]) == ["2021-07-17T21:00"]  # the one alone
    both = built.join(published, on="ts", suffix="_published")
    odd = both.filter(pl.col("volume").round(8) != pl.col("volume_published").round(8))
    assert texts(odd["ts"]) == ["2021-04-22T02:00", "2021-04-23T01:00", "2021-04-23T02:00"]
    assert (odd["volume_published"] > odd["volume"]).all()
    assert built["n_missing"].sum() == 12 * built.height - minutes.height


@pytest.mark.parametrize(("coin", "edges"), [("BTC", 2), ("ETH", 1)])
def test_binance_minutes_make_its_five_minutes(recorded: Any, coin: str, edges: int) -> None:
    built = candles.build(
        recorded(f"{coin}USDT_1m_binance_202104-202105"),
        instrument=market("crypto", Timeframe.M1),
        timeframe=Timeframe.M5,
        watermark_us=FAR,
    ).rows
    published = recorded(f"{coin}USDT_5m_binance_202104-202105")
    known = {"volume": 16, "high": 4, "low": 2, "made_alone": edges}
    assert differences(built, published) == exact(8_583, **known)
    both = built.join(published, on="ts", suffix="_published")
    odd = texts(both.filter(pl.col("volume").round(8) != pl.col("volume_published").round(8))["ts"])
    assert all(
        "2021-04-22T02:10" <= t <= "2021-04-22T02:20"
        or "2021-04-23T01:40" <= t <= "2021-04-23T02:45"
        for t in odd
    )


def test_two_recorders_of_binance_agree_to_the_bit(recorded: Any) -> None:
    one = recorded("BTCUSDT_5m_binance_202012-202107")
    other = recorded("BTCUSDT_5m_binance_202104-202105")
    columns = ["ts", *PRICES, "volume"]
    assert_frame_equal(
        one.join(other, on="ts", how="semi").select(columns),
        other.select(columns),
        check_exact=True,
    )


def test_oanda_minutes_make_its_hours_but_for_their_opens(recorded: Any) -> None:
    built = candles.build(
        recorded("EURUSD_1m_oanda_201405_bid"),
        instrument=market("fx", Timeframe.M1),
        timeframe=Timeframe.H1,
        watermark_us=FAR,
    )
    hours = recorded("EURUSD_1h_oanda_2007-2016_bid")
    known = {"open": 198, "high": 3, "low": 4}  # Oanda's hour opens at the last hour's close
    assert differences(built.rows, hours) == exact(264, **known)
    assert built.n_out_of_session == 0


def test_histdata_minutes_lie_on_the_same_clock_as_the_hourly_file(recorded: Any) -> None:
    built = candles.build(
        recorded("EURUSD_1m_histdata_201701-201704"),
        instrument=market("fx", Timeframe.M1),
        timeframe=Timeframe.H1,
        watermark_us=FAR,
    ).rows
    both = built.join(recorded("EURUSD_1h_backtestingpy_2017-2018"), on="ts", suffix="_hourly")
    pips = (both["close"] - both["close_hourly"]).abs() * 1e4
    an_hour_off = (both["close"].shift(1) - both["close_hourly"]).abs() * 1e4
    assert both.height > 150
    assert float(pips.median() or 0) < 1.0 < float(an_hour_off.median() or 0)  # type: ignore[arg-type]


# Rule by rule


def test_rows_are_candles() -> None:
    raw = bars(["2017-01-09T10:00", "2017-01-09T10:01"])
    built = candles.build(
        raw, instrument=market("fx", Timeframe.M1), timeframe=Timeframe.H1, watermark_us=FAR
    ).rows
    assert_frame_equal(CANDLES.conform(built), built)
    assert built.row(0, named=True) == {
        "instrument": "TEST", "timeframe": "H1", "source": "test",
        "ts": dt.datetime(2017, 1, 9, 10, tzinfo=dt.UTC),
        "known_at": dt.datetime(2017, 1, 9, 11, tzinfo=dt.UTC),
        "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0,
        "volume": 2.0, "n_missing": 58, "complete": True,
    }  # fmt: skip


@pytest.mark.parametrize(("early", "complete"), [(0, True), (1, False)])
@pytest.mark.parametrize("base", [Timeframe.M1, Timeframe.M5])
def test_a_bar_is_complete_once_the_watermark_has_passed_its_scheduled_end(
    base: Timeframe,
    early: int,
    complete: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    raw = bars(["2021-01-01T00:00"])
    end = us("2021-01-01") + 5 * MINUTE
    built = candles.build(
        raw,
        instrument=market("crypto", base),
        timeframe=Timeframe.M5,
        watermark_us=end - early,
    ).rows
    assert built["complete"].to_list() == [complete]
    assert built["known_at"].to_physical().to_list() == [end]


@pytest.mark.parametrize(
    ("present", "missing"),
    [
        pytest.param([0, 1, 2, 3, 4], 0, id="none"),
        pytest.param([0, 1, 2], 2, id="at the end"),
        pytest.param([3, 4], 3, id="at the start"),
        pytest.param([0, 4], 3, id="in the middle"),
    ],
)
def test_missing_minutes_are_counted(present: list[int], missing: int) -> None:
    raw = bars([us("2021-01-01") + minute * MINUTE for minute in present])
    built = candles.build(
        raw, instrument=market("crypto", Timeframe.M1), timeframe=Timeframe.M5, watermark_us=FAR
    ).rows
    assert built["n_missing"].to_list() == [missing]
    assert texts(built["ts"]) == ["2021-01-01T00:00"]  # the schedule's open, not the first bar's


def test_a_scheduled_bar_without_a_base_bar_is_not_made() -> None:
    raw = bars(["2021-01-01T00:00", "2021-01-01T00:10"])
    built = candles.build(
        raw, instrument=market("crypto", Timeframe.M1), timeframe=Timeframe.M5, watermark_us=FAR
    ).rows
    assert texts(built["ts"]) == ["2021-01-01T00:00", "2021-01-01T00:10"]


def test_volume_is_null_where_one_part_is_and_zero_stays_zero() -> None:
    raw = bars(
        [us("2021-01-01") + minute * MINUTE for minute in (0, 1, 5, 6, 10)],
        volume=[1.0, None, 2.0, 3.0, 0.0],
    )
    built = candles.build(
        raw, instrument=market("crypto", Timeframe.M1), timeframe=Timeframe.M5, watermark_us=FAR
    ).rows
    assert built["volume"].to_list() == [None, 5.0, 0.0]
    assert not built["volume"].is_nan().any()


@pytest.mark.parametrize("second", [False, None])
def test_what_is_not_known_to_be_complete_is_not(*, second: bool | None) -> None:
    raw = bars([us("2021-01-01") + minute * MINUTE for minute in range(3)])
    built = candles.build(
        raw, instrument=market("crypto", Timeframe.M1), timeframe=Timeframe.M1, watermark_us=FAR
    ).rows
    assert candles.complete(built).equals(built)
    marked = built.with_columns(complete=pl.Series([True, second, True]))
    assert candles.complete(marked)["ts"].to_list() == built["ts"].gather([0, 2]).to_list()


def test_bars_out_of_session_are_kept_out_and_counted() -> None:
    raw = bars(
        ["2017-01-06T21:59", "2017-01-06T22:00", "2017-01-07T12:00", "2017-01-08T22:00"],
        high=[1.0, 9.0, 9.0, 1.0],
    )
    for timeframe in Timeframe:
        built = candles.build(
            raw, instrument=market("fx", Timeframe.M1), timeframe=timeframe, watermark_us=FAR
        )
        assert built.n_out_of_session == 2
        assert built.rows["high"].max() == 1.0
        assert built.rows["volume"].sum() == 2.0


def test_nothing_but_bars_out_of_session_makes_no_candle() -> None:
    built = candles.build(
        bars(["2017-01-07T12:00"]),
        instrument=market("fx", Timeframe.M1),
        timeframe=Timeframe.D,
        watermark_us=FAR,
    )
    assert (built.rows.height, built.n_out_of_session) == (0, 1)
    assert_frame_equal(built.rows, CANDLES.empty())


def test_no_bars_make_no_candles() -> None:
    built = candles.build(
        bars([]), instrument=market("fx", Timeframe.M1), timeframe=Timeframe.D, watermark_us=FAR
    )
    assert_frame_equal(built.rows, CANDLES.empty())


def test_a_week_that_straddles_months_is_whole() -> None:
    opens = (
        calendar_named("fx").grid(Timeframe.H1, us("2017-01-29T22:00"), us("2017-02-04")).open_us
    )
    raw = bars(opens.tolist(), volume=np.arange(1.0, opens.size + 1))
    week = candles.build(
        raw, instrument=market("fx", Timeframe.H1), timeframe=Timeframe.W, watermark_us=FAR
    ).rows
    assert texts(week["ts"]) == ["2017-01-29T22:00"]
    assert texts(week["known_at"]) == ["2017-02-03T22:00"]
    assert (week["n_missing"][0], week["volume"][0]) == (0, 120 * 121 / 2)


def test_a_day_across_the_change_of_clocks_follows_new_york() -> None:
    opens = calendar_named("fx").grid(Timeframe.H1, us("2017-03-09"), us("2017-03-15")).open_us
    days = candles.build(
        bars(opens.tolist()),
        instrument=market("fx", Timeframe.H1),
        timeframe=Timeframe.D,
        watermark_us=FAR,
    ).rows
    assert texts(days["ts"])[1:4] == ["2017-03-09T22:00", "2017-03-12T21:00", "2017-03-13T21:00"]
    assert days["n_missing"].to_list()[1:4] == [0, 0, 0]


def test_us_equity_s_short_bars_miss_nothing(recorded: Any) -> None:
    minutes = recorded("SP500_1m_mplfinance_201911")
    built = candles.build_all(
        minutes,
        instrument=market("us_equity", Timeframe.M1),
        timeframes=(Timeframe.H4, Timeframe.D),
        watermark_us=FAR,
    )
    assert built[Timeframe.H4].rows.height == 2 * built[Timeframe.D].rows.height == 8
    assert built[Timeframe.H4].rows["n_missing"].sum() == 4 * 390 - minutes.height + (
        built[Timeframe.D].n_out_of_session
    )


@pytest.mark.parametrize(
    ("step", "timeframe", "scheduled"),
    [
        pytest.param(SECOND, Timeframe.M1, 60, id="1 s"),
        pytest.param(2 * MINUTE, Timeframe.M30, 15, id="2 min"),
        pytest.param(2 * MINUTE, Timeframe.D, 720, id="2 min into a day"),
        pytest.param(60 * MINUTE, Timeframe.H4, 4, id="a named step"),
    ],
)
def test_a_base_step_need_not_be_a_timeframe(
    step: int, timeframe: Timeframe, scheduled: int
) -> None:
    start = us("2021-01-04")
    raw = bars([start, start + step])
    built = candles.build(
        raw,
        instrument=market("crypto", Timeframe.M1),
        timeframe=timeframe,
        watermark_us=FAR,
        base_step_us=step,
    ).rows
    assert built["n_missing"].to_list() == [scheduled - 2]


@pytest.mark.parametrize(
    ("base", "step", "timeframe", "message"),
    [
        (Timeframe.H1, None, Timeframe.M5, r"expected H1 \(the base of TEST\) or coarser, was M5"),
        (Timeframe.M1, 120 * SECOND, Timeframe.M1, r"expected 120 s .* or coarser, was M1"),
        (Timeframe.M1, 120 * SECOND, Timeframe.M5, r"expected a multiple of 120 s .*, was M5"),
        (Timeframe.W, None, Timeframe.D, r"expected W .* or coarser, was D"),
    ],
)
def test_a_base_that_cannot_make_the_timeframe_is_named(
    base: Timeframe, step: int | None, timeframe: Timeframe, message: str
) -> None:
    with pytest.raises(InputError, match=f"^timeframe: {message}$"):
        candles.build(
            bars(["2021-01-04T00:00"]),
            instrument=market("crypto", base),
            timeframe=timeframe,
            watermark_us=FAR,
            base_step_us=step,
        )


@pytest.mark.parametrize("timeframe", [Timeframe.H1, Timeframe.H4, Timeframe.W])
def test_a_bar_off_the_base_grid_is_named(timeframe: Timeframe) -> None:
    raw = bars(["2017-01-09T10:00", "2017-01-09T11:30"])
    with pytest.raises(MalformedBarsError, match=r"^ts 2017-01-09T11:30:00.*open of a H1 bar"):
        candles.build(
            raw, instrument=market("fx", Timeframe.H1), timeframe=timeframe, watermark_us=FAR
        )


def test_an_anchor_puts_a_broker_s_h4_bars_on_the_grid() -> None:
    raw = bars(["2017-07-10T21:00", "2017-07-11T01:00", "2017-12-11T21:00"])
    anchored = market("fx", Timeframe.H4, "21:00 UTC")
    built = candles.build(raw, instrument=anchored, timeframe=Timeframe.H4, watermark_us=FAR)
    assert built.rows["n_missing"].to_list() == [0, 0, 0]
    with pytest.raises(MalformedBarsError, match="2017-12-11T21:00"):
        candles.build(
            raw, instrument=market("fx", Timeframe.H4), timeframe=Timeframe.H4, watermark_us=FAR
        )


@settings(deadline=None, max_examples=30)
@given(data=st.data(), calendar=st.sampled_from(["crypto", "fx", "us_equity"]))
def test_a_timeframe_alone_and_among_all_is_the_same_bit_for_bit(
    data: st.DataObject, calendar: str
) -> None:
    grid = calendar_named(calendar).grid(Timeframe.M15, us("2019-11-22"), us("2019-12-04")).open_us
    n = grid.size
    kept = np.sort(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=80, unique=True)))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    price = random.uniform(0.5, 2.0, (2, len(kept)))
    raw = bars(
        grid[kept].tolist(),
        open=price[0],
        close=price[1],
        high=price.max(axis=0),
        low=price.min(axis=0),
        volume=random.uniform(0, 1e3, len(kept)),
    )
    instrument = market(calendar, Timeframe.M15)
    wanted = Timeframe.M15.and_coarser()
    together = candles.build_all(
        raw, instrument=instrument, timeframes=wanted, watermark_us=us("2019-12-02")
    )
    for timeframe in wanted:
        alone = candles.build(
            raw, instrument=instrument, timeframe=timeframe, watermark_us=us("2019-12-02")
        )
        assert_frame_equal(together[timeframe].rows, alone.rows, check_exact=True)
    base = together[Timeframe.M15].rows
    assert_frame_equal(base.select(raw.columns), raw, check_exact=True)
    assert base["n_missing"].sum() == 0


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("open", [1.0, None], "open at .*00:01:00.*: expected a finite price above 0, was None"),
        ("close", [1.0, float("nan")], "close at .*: expected a finite price above 0, was nan"),
        ("high", [1.0, float("inf")], "high at .*: expected a finite price above 0, was inf"),
        ("low", [1.0, 0.0], "low at .*: expected a finite price above 0, was 0"),
        ("low", [1.0, -1.0], "low at .*: expected a finite price above 0, was -1"),
        ("open", [1.0, 1.1], "high at .*: expected the bar's highest price, was 1.0"),
        ("high", [1.0, 0.9], "high at .*: expected the bar's highest price, was 0.9"),
        ("low", [1.0, 1.1], "(high|low) at .*: expected the bar's (high|low)est price"),
        ("close", [1.0, 0.9], "low at .*: expected the bar's lowest price, was 1.0"),
        ("volume", [1.0, -1.0], "volume at .*: expected null or a finite number >= 0, was -1"),
        ("volume", [1.0, float("nan")], "volume at .*: expected null or .*, was nan"),
    ],
)
def test_a_bad_bar_is_named(column: str, values: list[float | None], message: str) -> None:
    raw = bars(["2021-01-01T00:00", "2021-01-01T00:01"], **{column: values})
    with pytest.raises(MalformedBarsError, match=f"^file: {message}"):
        candles.check_bars(raw, "file")
    with pytest.raises(MalformedBarsError, match=r"^TEST base bars: "):
        candles.build(
            raw, instrument=market("crypto", Timeframe.M1), timeframe=Timeframe.M1, watermark_us=FAR
        )


def test_duplicate_disordered_and_missing_instants_are_named() -> None:
    twice = bars(["2021-01-01T00:00", "2021-01-01T00:01", "2021-01-01T00:01"])
    with pytest.raises(
        MalformedBarsError, match=r"^f: ts 2021-.*00:01.* was a duplicate in row 2$"
    ):
        candles.check_bars(twice, "f")
    back = bars(["2021-01-01T00:00", "2021-01-01T00:02", "2021-01-01T00:01"])
    with pytest.raises(MalformedBarsError, match=r"00:01.*expected ascending.*00:02.*in row 2$"):
        candles.check_bars(back, "f")
    null = bars(["2021-01-01T00:00", "2021-01-01T00:02"]).with_columns(
        pl.when(pl.col("ts").dt.minute() == 0).then("ts").alias("ts")
    )
    with pytest.raises(MalformedBarsError, match=r"ts: expected an instant, was null in row 1$"):
        candles.check_bars(null, "f")


def test_good_bars_pass() -> None:
    candles.check_bars(bars(["2021-01-01T00:00"], volume=[None]), "file")
    candles.check_bars(bars([]), "file")


def test_a_wrong_schema_is_named() -> None:
    good = bars(["2021-01-01T00:00"])
    with pytest.raises(SchemaError, match=r"^f\.volume: expected Float64, was missing$"):
        candles.check_bars(good.drop("volume"), "f")
    naive = good.with_columns(pl.col("ts").dt.replace_time_zone(None))
    with pytest.raises(SchemaError, match=r"^f\.ts: expected Datetime.*UTC.*, was Datetime"):
        candles.check_bars(naive, "f")


@pytest.mark.parametrize(
    ("calendar", "timeframe"),
    [(c, t) for c in ("crypto", "fx", "us_equity") for t in Timeframe],
)
def test_the_step_of_a_thinned_file_is_found(calendar: str, timeframe: Timeframe) -> None:
    grid = calendar_named(calendar).grid(timeframe, us("2019-02-01"), us("2019-12-01")).open_us
    kept = np.random.default_rng(4).random(grid.size) < 0.9
    assert candles.infer_step(bars(grid[kept].tolist())) == timeframe.microseconds


def test_steps_that_cannot_be_found() -> None:
    assert candles.infer_step(bars([0, 4 * MINUTE, 10 * MINUTE, 14 * MINUTE])) == 2 * MINUTE
    with pytest.raises(InputError, match="expected at least 2 bars to infer it from, was 1"):
        candles.infer_step(bars([0]))
    with pytest.raises(MalformedBarsError, match="was a duplicate in row 1"):
        candles.infer_step(bars([0, 0]))


def trades(ts: list[int], price: list[float], **columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"ts": pl.Series(ts).cast(INSTANT), "price": price, **columns})


def test_trades_without_quantity_have_no_volume() -> None:
    made = candles.from_trades(trades([0, 1, MINUTE], [1.0, 2.0, 3.0]), step_us=MINUTE)
    assert made["volume"].to_list() == [None, None]
    assert made["high"].to_list() == [2.0, 3.0]
    nothing = candles.from_trades(made.select("ts", price="close").clear(), step_us=MINUTE)
    assert nothing.schema == made.schema


def test_bad_trades_are_named() -> None:
    with pytest.raises(MalformedBarsError, match="trades: expected a finite price above 0, was 0"):
        candles.from_trades(trades([0, 1], [1.0, 0.0]), step_us=MINUTE)
    with pytest.raises(MalformedBarsError, match="trades: ts: expected ascending"):
        candles.from_trades(trades([1, 0], [1.0, 1.0]), step_us=MINUTE)
