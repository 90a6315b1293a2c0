"""The checker itself, on stages small enough to see through: what it compares and what it says."""

import datetime as dt
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.errors import InputError
from market.instruments import Instrument
from market.tables import INSTANT
from market.timeframes import MICROSECONDS_PER_HOUR as HOUR
from market.timeframes import Timeframe
from pipeline import candles, causality
from pipeline.causality import Certificate, Claim
from pipeline.comparison import differences

pytestmark = pytest.mark.filterwarnings(
    "ignore:Series.values returning an ndarray"  # exchange_calendars 4.13 under pandas 3.1
)
START = 1_490_000_400_000_000  # 2017-03-20 09:00 UTC
KEY = ("ts",)
BITCOIN = Instrument("BTC", "crypto", "crypto", "csv", "BTC", Timeframe.H1, 0.01, 1e-6)


def bars(n: int, *, seed: int = 0, missing: float = 0.0) -> pl.DataFrame:
    """Return hourly bars of a random walk, some of them missing, some without a volume."""
    rng = np.random.default_rng(seed)
    close = 1.1 * np.exp(np.cumsum(rng.normal(0, 0.001, n)))
    open_ = np.concatenate([[1.1], close[:-1]])
    spread = rng.exponential(0.0005, (2, n))
    volume = pl.Series(rng.integers(1, 900, n).astype(float))
    frame = pl.DataFrame(
        {
            "ts": pl.Series(START + HOUR * np.arange(n)).cast(INSTANT),
            "open": open_,
            "high": np.maximum(open_, close) + spread[0],
            "low": np.minimum(open_, close) - spread[1],
            "close": close,
            "volume": pl.select(
                pl.when(pl.Series(rng.random(n) > missing)).then(volume)
            ).to_series(),
            "source": "walk",
        }
    )
    return frame.filter(pl.Series((rng.random(n) >= missing) | (np.arange(n) == 0)))


def hourly(value: pl.Expr) -> causality.Chain:
    """Return a stage with one value a bar, known when the bar ends."""

    def chain(raw: pl.DataFrame, watermark_us: int) -> pl.DataFrame:
        rows = raw.select("ts", (pl.col("ts") + pl.duration(hours=1)).alias("known_at"), x=value)
        return rows.filter(pl.col("known_at").dt.timestamp("us") <= watermark_us)

    return chain


def certify(chain: causality.Chain, raw: pl.DataFrame, seed: int, cuts: int = 1) -> Certificate:
    """Certify what the chain makes of all bars."""
    first, last = raw["ts"].dt.timestamp("us").to_numpy()[[0, -1]]
    return causality.certify(
        chain, chain(raw, int(last) + HOUR),
        raw=raw, watermark_us=int(last) + HOUR, seed=seed, key=KEY, cuts=cuts, instrument=BITCOIN,
        start_us=int(first), end_us=int(last) + HOUR,
    )  # fmt: skip


CAUSAL = {
    "close": pl.col("close"),
    "difference": pl.col("close").diff(),
    "rolling mean": pl.col("close").rolling_mean(5),
    "running maximum": pl.col("high").cum_max(),
    "forward filled volume": pl.col("volume").forward_fill(),
}
LEAKING = {
    "next close": pl.col("close").shift(-1),
    "rolling mean in the middle": pl.col("close").rolling_mean(5, center=True, min_samples=1),
    "deviation from the series' mean": pl.col("close") - pl.col("close").mean(),
    "quantile": pl.col("close").rank() / pl.len(),
    "reversed sum": pl.col("close").cum_sum(reverse=True),
    "number of bars": pl.len().cast(pl.Float64),
}


@pytest.mark.parametrize("name", CAUSAL)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(2, 120), missing=st.sampled_from([0.0, 0.2]))
def test_a_causal_stage_passes(name: str, seed: int, n: int, missing: float) -> None:
    certificate = certify(hourly(CAUSAL[name]), bars(n, seed=seed, missing=missing), seed, cuts=3)
    assert certificate.violations == ()
    assert certificate.passed


@pytest.mark.parametrize("name", LEAKING)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(30, 120))
def test_one_cut_finds_a_stage_that_looks_ahead(name: str, seed: int, n: int) -> None:
    certificate = certify(hourly(LEAKING[name]), bars(n, seed=seed), seed)
    assert not certificate.passed
    assert certificate.rows_compared > 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_four_cuts_find_a_backward_fill_wherever_a_volume_is_missing(seed: int) -> None:
    raw = bars(200, seed=seed).with_columns(
        volume=pl.when(pl.int_range(pl.len()) != 77).then("volume")
    )
    assert not certify(hourly(pl.col("volume").backward_fill()), raw, seed, cuts=4).passed


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(2, 60), cuts=st.integers(1, 5))
def test_cuts_lie_where_something_is_known_before_and_a_bar_comes_after(
    seed: int, n: int, cuts: int
) -> None:
    raw = bars(n, seed=seed)
    certificate = certify(hourly(pl.col("close")), raw, seed, cuts)
    assert 1 <= len(certificate.cuts_us) <= cuts
    for cut in certificate.cuts_us:
        assert START + HOUR <= cut <= START + HOUR * (n - 1)
    known = [sum(START + HOUR * (i + 1) <= cut for i in range(n)) for cut in certificate.cuts_us]
    assert certificate.rows_compared == 2 * sum(known)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_rows_may_come_in_any_order(seed: int) -> None:
    raw = bars(60, seed=seed)

    def shuffled(name: pl.Expr) -> causality.Chain:
        return lambda rows, until: hourly(name)(rows, until).sample(
            fraction=1.0, shuffle=True, seed=seed % 1000
        )

    certificate = certify(shuffled(pl.col("close").diff()), raw, seed, cuts=3)
    assert certificate.violations == ()
    assert certificate.rows_compared == certify(hourly(pl.col("close")), raw, seed, 3).rows_compared
    assert not certify(shuffled(pl.col("close").shift(-1)), raw, seed).passed


def test_equal_seeds_give_equal_certificates_and_others_cut_elsewhere() -> None:
    chain, raw = hourly(pl.col("close").shift(-3)), bars(300)
    assert certify(chain, raw, 7, cuts=3) == certify(chain, raw, 7, cuts=3)
    assert len({certify(chain, raw, seed).cuts_us for seed in range(20)}) > 15


def test_a_long_partition_is_cut_early_and_its_future_is_short() -> None:
    n = 30_000
    seen = list[int]()

    def chain(raw: pl.DataFrame, watermark_us: int) -> pl.DataFrame:
        seen.append(raw.height)
        return hourly(pl.col("close"))(raw, watermark_us)

    certificate = certify(chain, bars(n), 0, cuts=6)
    assert certificate.passed
    assert max(certificate.cuts_us) <= START + HOUR * (n // causality.SHARE + 1)
    assert max(seen[1:]) <= n // causality.SHARE + 1 + causality.FUTURE_BARS


def test_it_needs_a_cut() -> None:
    with pytest.raises(InputError, match="cuts: expected >= 1, was 0"):
        certify(hourly(pl.col("close")), bars(5), 0, cuts=0)


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_cut_compares_nothing_and_says_so(n: int) -> None:
    chain = hourly(pl.col("close"))
    raw = bars(2).head(n)
    certificate = causality.certify(
        chain, chain(raw, START + HOUR),
        raw=raw, watermark_us=START + HOUR, seed=0, key=KEY, instrument=BITCOIN,
        start_us=START, end_us=START + HOUR,
    )  # fmt: skip
    assert certificate == Certificate(passed=True, cuts_us=(), rows_compared=0, violations=())


def test_a_violation_names_experiment_instant_row_column_and_both_values() -> None:
    raw = bars(5)
    (said, *_) = certify(hourly(pl.col("close").shift(-1)), raw, 3).violations
    name, rest = said.split(" at ", 1)
    assert name in ("truncated", "replaced")
    assert rest.startswith("2017-03-20T1")
    assert ".x: expected 1." in rest
    assert ", was " in rest


def test_rows_that_vanish_and_rows_that_appear_are_named() -> None:
    def vanishing(raw: pl.DataFrame, watermark_us: int) -> pl.DataFrame:
        rows = hourly(pl.col("close"))(raw, watermark_us)
        return rows.filter(pl.col("x") < pl.col("x").max())  # the maximum so far is not the last

    raw = bars(60, seed=2)
    texts = [v for s in range(8) for v in certify(vanishing, raw, s).violations]
    assert any("expected a row, was none" in text for text in texts)
    appearing = [v for v in texts if "expected no row, was one" in v]
    assert not appearing or all("2017-" in v for v in appearing)


def test_the_running_base_bar_is_not_known_at_the_cut() -> None:
    # a stage that trusts the stamp: the bar that opens before the watermark counts as known
    def hasty(raw: pl.DataFrame, watermark_us: int) -> pl.DataFrame:
        rows = raw.select("ts", known_at="ts", x="close")
        return rows.filter(pl.col("known_at").dt.timestamp("us") < watermark_us)

    texts = [v for seed in range(4) for v in certify(hasty, bars(50), seed).violations]
    assert any(t.startswith("truncated") and "expected a row, was none" in t for t in texts)
    assert any(t.startswith("replaced") and ".x: expected" in t for t in texts)


def test_the_calendar_ends_the_days_last_bar_early() -> None:
    # 15:30 to 16:00 in New York: known at 20:00 UTC, though an hourly bar is an hour long
    stock = Instrument("S", "equity", "us_equity", "csv", "S", Timeframe.H1, 0.01, 1.0)
    day = dt.datetime(2024, 6, 3, 13, 30, tzinfo=dt.UTC)
    opens = [day + dt.timedelta(days=d, hours=h) for d in range(4) for h in range(7)]
    raw = bars(28).with_columns(ts=pl.Series(opens).cast(INSTANT))

    def chain(raw: pl.DataFrame, watermark_us: int) -> pl.DataFrame:
        rows = candles.build(
            raw, instrument=stock, timeframe=Timeframe.H1, watermark_us=watermark_us
        ).rows
        return rows.filter("complete")

    start = int(day.timestamp() * 1e6)
    watermark = start + 100 * HOUR
    rows = chain(raw, watermark)
    for seed in range(40):
        certificate = causality.certify(
            chain, rows, raw=raw, watermark_us=watermark, seed=seed, key=KEY,
            start_us=start, end_us=watermark, instrument=stock, cuts=4,
        )  # fmt: skip
        assert certificate.violations == ()


def test_a_claim_checks_its_columns_by_its_own_instant() -> None:
    def own_end(rows: pl.DataFrame) -> pl.Series:
        return rows["ts"].dt.offset_by("1h")

    # x is the next bar's close: fine by the end of that bar, a leak at the end of its own
    def chain(raw: pl.DataFrame, watermark_us: int) -> pl.DataFrame:
        rows = raw.select(
            "ts", "close", x=pl.col("close").shift(-1),
            known_at=pl.col("ts") + pl.duration(hours=2),
        )  # fmt: skip
        rows = rows.filter(own_end(rows).dt.timestamp("us") <= watermark_us)
        is_due = pl.col("known_at").dt.timestamp("us") <= watermark_us
        return rows.with_columns(x=pl.when(is_due).then("x"))

    raw = bars(40)
    end = START + 40 * HOUR
    rows = chain(raw, end)

    def passes(*claims: Claim) -> bool:
        return causality.certify(
            chain, rows, raw=raw, watermark_us=end, seed=1, key=KEY, instrument=BITCOIN,
            start_us=START, end_us=end, claims=claims,
        ).passed  # fmt: skip

    assert passes(Claim())
    assert passes(Claim(), Claim(own_end, ("close",)))
    assert not passes(Claim(own_end, ("close", "x")))


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32), n=st.integers(1, 80), missing=st.sampled_from([0.0, 0.5]),
    data=st.data(),
)  # fmt: skip
def test_other_bars_are_well_formed_and_none_stays_as_it_was(
    seed: int, n: int, missing: float, data: st.DataObject
) -> None:
    raw = bars(n, seed=seed, missing=missing)
    where = np.array(data.draw(st.lists(st.booleans(), min_size=raw.height, max_size=raw.height)))
    other = causality._replaced(raw, where, np.random.default_rng(seed))
    candles.check_bars(other, "other bars")
    assert other["ts"].equals(raw["ts"])
    assert other.filter(~where).equals(raw.filter(~where))
    for price in causality.PRICES:
        assert not (other.filter(where)[price] == raw.filter(where)[price]).any()


def change(column: str, value: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Return what puts ``value`` into the first row."""
    is_first = pl.int_range(pl.len()) == 0
    return lambda f: f.with_columns(
        pl.when(is_first).then(pl.lit(value)).otherwise(column).alias(column)
    )


@pytest.mark.parametrize(
    ("altered", "said"),
    [
        (change("x", 1.0 + 2**-52), "1.x: expected 1.0, was 1.0000000000000002"),
        (change("x", None), "1.x: expected 1.0, was None"),
        (change("zero", -0.0), "1.zero: expected 0.0, was -0.0"),
        (change("null", 0.0), "1.null: expected None, was 0.0"),
        (change("word", "b"), "1.word: expected 'a', was 'b'"),
        (lambda f: f.drop("word"), "word: expected a column, was none"),
        (lambda f: f.cast({"x": pl.Float32}), "x: expected Float64, was Float32"),
        (lambda f: f.tail(2), "1: expected a row, was none"),
        (lambda f: f.vstack(f.with_columns(id=pl.col("id") + 3)), "4: expected no row, was one"),
        (lambda f: f.vstack(f), "id: expected unique rows, was a key twice"),
    ],
)  # fmt: skip
def test_a_difference_of_one_bit_is_a_difference(
    altered: Callable[[pl.DataFrame], pl.DataFrame], said: str
) -> None:
    frame = pl.DataFrame(
        {
            "id": [1, 2, 3], "x": [1.0, 2.0, 3.0], "zero": [0.0, 0.0, 0.0],
            "null": pl.Series([None, None, None], dtype=pl.Float64), "word": ["a", "a", "a"],
        }
    )  # fmt: skip
    assert differences(frame, frame.clone(), ("id",)) == []
    assert differences(frame, frame.reverse(), ("id",)) == []
    assert said in differences(frame, altered(frame), ("id",))


def test_many_differences_are_counted_and_few_shown() -> None:
    frame = pl.DataFrame({"id": range(1000), "x": np.zeros(1000)})
    texts = differences(frame, frame.with_columns(x=pl.lit(1.0)), ("id",))
    assert texts == [
        "0.x: expected 0.0, was 1.0", "1.x: expected 0.0, was 1.0", "2.x: expected 0.0, was 1.0",
        "x: 997 more",
    ]  # fmt: skip
