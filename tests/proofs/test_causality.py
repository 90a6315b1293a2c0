"""The certificate over the real stages: none of ours leaks, and every planted leak is found."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.instruments import Instrument
from market.months import month_bounds
from market.tables import LABELS
from market.timeframes import Timeframe
from pipeline import labels
from tests.proofs import leaks, synthetic
from tests.proofs.leaks import CHAINS, LEAKS, Month

pytestmark = pytest.mark.filterwarnings(
    "ignore:Series.values returning an ndarray"  # exchange_calendars 4.13 under pandas 3.1
)
BITCOIN = Instrument("BTC", "crypto", "crypto", "csv", "BTC", Timeframe.H1, 0.01, 1e-6)
EURO = Instrument("EURUSD", "fx", "fx", "csv", "EURUSD", Timeframe.H1, 1e-5, 1e5)
STOCK = Instrument("S", "equity", "us_equity", "csv", "S", Timeframe.M30, 0.01, 1.0)
TIMEFRAMES = (Timeframe.H1, Timeframe.H4, Timeframe.D, Timeframe.W)
AHEAD = {t: labels.months_ahead(t, leaks.CONFIG.horizon) for t in TIMEFRAMES}
SEEDS = range(4)


@pytest.fixture(scope="module")
def bitcoin() -> Month:
    """Return a month of hourly bars with holes and unknown volumes, the machines warmed up."""
    made = synthetic.raw(BITCOIN, month_bounds("2017-06")[0], seed=1, missing=0.02)
    raw = leaks.lacking_volume(made, 0.02)
    return leaks.month(BITCOIN, Timeframe.H1, raw, "2017-04")


@pytest.fixture(scope="module")
def fives() -> Month:
    """Return the same of bars of five minutes."""
    instrument = replace(BITCOIN, base_timeframe=Timeframe.M5)
    made = synthetic.raw(instrument, month_bounds("2017-06")[0], seed=1, missing=0.02)
    return leaks.month(instrument, Timeframe.M5, leaks.lacking_volume(made, 0.02), "2017-04")


@pytest.fixture(scope="module")
def euro(shared_data: Path) -> pl.DataFrame:
    """Return ten months of real EURUSD hours."""
    bars = pl.read_parquet(shared_data / "ohlcv" / "EURUSD_1h_backtestingpy_2017-2018.parquet")
    return leaks.raw_frame(bars, EURO)


@pytest.mark.slow
@pytest.mark.parametrize("table", CHAINS)
@pytest.mark.parametrize("timeframe", TIMEFRAMES)
@pytest.mark.parametrize("month", ["2017-10", "2018-02"])  # whole; and the one that still runs
def test_none_of_ours_leaks_on_real_bars(
    euro: pl.DataFrame, timeframe: Timeframe, table: str, month: str
) -> None:
    of = leaks.month(EURO, timeframe, euro, month, ahead=AHEAD[timeframe])
    schema, build = CHAINS[table]
    for seed in SEEDS:
        certificate = leaks.certify(of, schema, build(of), seed, cuts=4)
        assert certificate.violations == ()


def test_real_bars_are_compared_in_number(euro: pl.DataFrame) -> None:
    of = leaks.month(EURO, Timeframe.H1, euro, "2017-10")
    for table, (schema, build) in CHAINS.items():
        compared = leaks.certify(of, schema, build(of), 0, cuts=4).rows_compared
        assert compared > 500, table


@pytest.mark.parametrize("table", CHAINS)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    instrument=st.sampled_from([BITCOIN, EURO, STOCK]),
    timeframe=st.sampled_from(TIMEFRAMES),
    month=st.sampled_from(["2017-03", "2017-04", "2017-05"]),  # no history; DST; data ends early
    missing=st.sampled_from([0.0, 0.05, 0.5]),
)
def test_none_of_ours_leaks_on_random_bars(
    table: str,
    seed: int,
    instrument: Instrument,
    timeframe: Timeframe,
    month: str,
    missing: float,
) -> None:
    end = month_bounds("2017-05")[0] + 11 * 86_400_000_000
    raw = leaks.lacking_volume(
        synthetic.raw(instrument, end, seed=seed, missing=missing), missing, seed
    )
    of = leaks.month(instrument, timeframe, raw, month, ahead=AHEAD[timeframe])
    schema, build = CHAINS[table]
    assert leaks.certify(of, schema, build(of), seed, cuts=2).violations == ()


# How many cuts find a leak for certain. One is enough where the end of the series always differs
# from its middle; a leak that only acts beside an event or a missing volume must be met there.
CUTS = {
    "volume filled backwards": 4,
    "events stamped at the open": 4,
    "outcomes known at the touch": 4,
}


@pytest.mark.parametrize("leak", LEAKS)
def test_every_planted_leak_is_found(bitcoin: Month, leak: str) -> None:
    schema, build = LEAKS[leak]
    for seed in SEEDS:
        certificate = leaks.certify(bitcoin, schema, build(bitcoin), seed, cuts=CUTS.get(leak, 1))
        assert not certificate.passed, f"seed {seed}, cuts {certificate.cuts_us}"


@pytest.mark.slow
@pytest.mark.parametrize("leak", LEAKS)
def test_every_planted_leak_is_found_in_a_month_of_many_rows(fives: Month, leak: str) -> None:
    schema, build = LEAKS[leak]  # which is cut early, and whose future is short
    for seed in SEEDS:
        certificate = leaks.certify(fives, schema, build(fives), seed, cuts=CUTS.get(leak, 1))
        assert not certificate.passed, f"seed {seed}, cuts {certificate.cuts_us}"


@pytest.mark.slow
@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_a_path_that_starts_at_the_open_is_found_by_the_altered_path(
    euro: pl.DataFrame, timeframe: Timeframe
) -> None:
    of = leaks.month(EURO, timeframe, euro, "2017-10", ahead=AHEAD[timeframe])
    for seed in range(16):
        assert leaks.certify_entry(of, None, seed).violations == ()
        certificate = leaks.certify_entry(of, leaks.open_started(of), seed)
        assert not certificate.passed
        assert certificate.rows_compared > 0


def test_truncation_cannot_see_a_path_that_starts_at_the_open(bitcoin: Month) -> None:
    # why there is a second experiment: to a cut, the entry candle is past
    leak = leaks.open_started(bitcoin)

    def chain(raw: pl.DataFrame, until: int) -> pl.DataFrame:
        bars = bitcoin.candles(raw, until)
        path = leak(bitcoin.path(raw, until))
        series = bitcoin.series(raw, until)
        return bitcoin.labels(bars, bitcoin.levels(bars).context, path, until, series)

    assert leaks.certify(bitcoin, LABELS, chain, 0, cuts=4).passed


def test_labels_are_compared_by_maturity_and_by_entry(bitcoin: Month) -> None:
    certificate = leaks.certify(bitcoin, LABELS, leaks.label_chain(bitcoin), 3)
    rows = leaks.label_chain(bitcoin)(bitcoin.raw, bitcoin.watermark_us)
    (cut,) = certificate.cuts_us
    matured = (rows["known_at"].dt.timestamp("us") <= cut).sum()
    assert certificate.rows_compared > 2 * matured


def test_what_is_pending_at_a_cut_has_no_outcome(bitcoin: Month) -> None:
    chain = leaks.label_chain(bitcoin)
    middle = sum(bitcoin.bounds) // 2
    ends = bitcoin.raw["ts"].dt.timestamp("us") + bitcoin.instrument.base_timeframe.microseconds
    rows = chain(bitcoin.raw.filter(ends <= middle), middle)
    pending = rows.filter(pl.col("known_at").dt.timestamp("us") > middle)
    assert pending.height > 0
    assert set(pending["status"]) == {"pending"}
    outcomes = ["enhanced_triple_barrier", "forward_return", "mfe", "mae", "t1", "matured_at"]
    assert all(pending[name].null_count() == pending.height for name in outcomes)
