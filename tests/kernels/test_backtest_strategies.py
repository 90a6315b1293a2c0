"""Each strategy against its naive twin, and against days computed by hand."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.averages import sma
from kernels.backtest import Backtest, backtest
from kernels.backtest_lines import average_crossover, deviation_score
from kernels.backtest_orders import Account, Bars
from kernels.backtest_signals import (
    DIRECTIONS,
    ENTER_LONG,
    ENTER_SHORT,
    TAKE_LONG,
    TAKE_SHORT,
    crossover,
    ordered,
)
from kernels.backtest_words import changes, packed_bytes, words
from kernels.gate import series
from kernels.strategies import (
    STRATEGIES,
    bollinger_reversion,
    donchian_breakout,
    opening_range_breakout,
    rsi_reversal,
    sma_crossover,
    strategy_named,
)
from tests.naive import strategies as naive

SIDES = st.sampled_from(["long", "short", "both"])


@st.composite
def bars(draw: st.DrawFn, most: int = 80) -> Bars:
    """Draw a random walk; a coarse tick makes equal averages, flat windows and closes at bands."""
    n, seed = draw(st.integers(0, most)), draw(st.integers(0, 2**32 - 1))
    tick = draw(st.sampled_from([1e-6, 0.1, 3.0]))
    path = 50.0 + np.cumsum(np.random.default_rng(seed).normal(0.0, 0.6, 4 * n)).reshape(n, 4)
    path = np.maximum(np.round(path / tick) * tick, tick)
    return Bars(
        open=path[:, 0],
        close=path[:, 3],
        high=path.max(axis=1, initial=0.0),
        low=path.min(axis=1, initial=1e9),
    )


@settings(deadline=None, max_examples=150)
@given(given_bars=bars(), fast=st.integers(1, 6), more=st.integers(1, 8), side=SIDES)
def test_crossover_agrees(given_bars: Bars, fast: int, more: int, side: str) -> None:
    got = sma_crossover(given_bars, fast=fast, slow=fast + more, direction=side).position
    close = given_bars.close.tolist()
    assert got.tolist() == naive.sma_crossover(close, fast, fast + more, side)


@pytest.mark.parametrize("n", [8191, 8192, 8193, 20_001])
@pytest.mark.parametrize(("fast", "slow"), [(1, 2), (7, 300), (3, 9000)])
def test_a_crossover_in_pieces_is_that_of_the_whole_averages(n: int, fast: int, slow: int) -> None:
    close = 50.0 + np.random.default_rng(n).normal(0.0, 0.6, n).cumsum() / 10.0
    close[100:130] = close[99]  # equal averages for a while
    whole, pieces = words(n), words(n)
    mask = DIRECTIONS["both"]
    crossover(sma(close, fast), sma(close, slow), mask, whole.view(np.uint8))
    average_crossover(series(close, "close"), fast, slow, mask, pieces.view(np.uint8))
    assert pieces.tolist() == whole.tolist()


@settings(deadline=None, max_examples=150)
@given(
    given_bars=bars(),
    period=st.integers(1, 9),
    lower=st.sampled_from([10.0, 30.0, 50.0]),
    method=st.sampled_from(["cutler", "wilder"]),
    side=SIDES,
)
def test_reversal_agrees(
    given_bars: Bars, period: int, lower: float, method: str, side: str
) -> None:
    got = rsi_reversal(
        given_bars, period=period, lower=lower, upper=70.0, method=method, direction=side
    )
    close = given_bars.close.tolist()
    expected = naive.rsi_reversal(close, period, (lower, 70.0), method, side)
    assert got.position.tolist() == expected


@settings(deadline=None, max_examples=150)
@given(
    given_bars=bars(),
    period=st.integers(3, 9),  # of two bars, each is one deviation off: rounding decides
    width=st.sampled_from([0.5, 1.0, 1.5, 2.0]),
    side=SIDES,
)
def test_reversion_agrees(given_bars: Bars, period: int, width: float, side: str) -> None:
    got = bollinger_reversion(given_bars, period=period, width=width, direction=side).position
    open_, close = given_bars.open.tolist(), given_bars.close.tolist()
    assert got.tolist() == naive.bollinger_reversion(open_, close, period, width, side)


@settings(deadline=None, max_examples=150)
@given(given_bars=bars(), entry=st.integers(1, 8), leave=st.integers(1, 8), side=SIDES)
def test_breakout_agrees(given_bars: Bars, entry: int, leave: int, side: str) -> None:
    got = donchian_breakout(given_bars, entry=entry, leave=leave, direction=side).position
    _, high, low, close = (x.tolist() for x in given_bars.all)
    assert got.tolist() == naive.donchian_breakout(high, low, close, (entry, leave), side)


@settings(deadline=None, max_examples=150)
@given(
    given_bars=bars(),
    range_bars=st.integers(1, 5),
    lengths=st.lists(st.integers(1, 12), min_size=80, max_size=80),
    side=SIDES,
)
def test_opening_range_agrees(
    given_bars: Bars, range_bars: int, lengths: list[int], side: str
) -> None:
    session = np.repeat(np.arange(80), lengths)[: given_bars.size]
    got = opening_range_breakout(given_bars, session=session, range_bars=range_bars, direction=side)
    _, high, low, close = (x.tolist() for x in given_bars.all)
    position, stop, last = naive.opening_range_breakout(
        high, low, close, session.tolist(), range_bars, side
    )
    assert got.position.tolist() == position
    assert got.is_flat_at_close.tolist() == last
    np.testing.assert_array_equal(got.stop, stop)


def closes(*values: float) -> Bars:
    return Bars(open=values, close=values, high=values, low=values)


def test_the_side_on_which_the_averages_begin_is_no_crossing() -> None:
    rising = closes(1, 2, 3, 4, 5, 6)
    assert not sma_crossover(rising, fast=1, slow=2).position.any()
    falling = closes(6, 5, 4, 3, 2, 1)
    assert not sma_crossover(falling, fast=1, slow=2, direction="both").position.any()


@pytest.mark.parametrize("price", [0.1, 1 / 3, 1e6 + 0.1])
@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_a_flat_price_wants_nothing(name: str, price: float) -> None:
    options: dict[str, Any] = {}
    if name == "opening_range_breakout":
        options["session"] = np.arange(300) // 50
    flat = closes(*[price] * 300)
    for direction in ("long", "short", "both"):
        assert not STRATEGIES[name].kernel(flat, direction=direction, **options).position.any()


def test_averages_that_meet_after_a_move_do_not_cross_by_rounding() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        path = np.concatenate([rng.normal(100.0, 1.0, 60), np.full(100, 0.1 + rng.random())])
        position = sma_crossover(closes(*path), fast=7, slow=23, direction="both").position
        assert len(set(position[81:].tolist())) == 1  # the last bar that the slow one saw move


def test_what_left_the_window_leaves_no_strength_behind() -> None:
    """9 to 1 and back to 5, then nothing: a residue of the sums would read as 0 or 100."""
    still = closes(9, 1, 5, 5, 5, 5)
    out = rsi_reversal(still, period=2, lower=40.0, upper=60.0, direction="both")
    assert out.position.tolist() == [0, 0, 1, -1, -1, -1]


def test_bands_of_no_width_score_nothing() -> None:
    np.testing.assert_allclose(
        deviation_score(closes(2, 2, 2, 4).close, 2), [math.nan, math.nan, math.nan, 1.0]
    )


def test_the_channel_leaves_out_the_bar_itself_and_counts_every_bar_before() -> None:
    """The source took one bar too few: 3 at bar 0 would have been forgotten."""
    bars_ = closes(3, 1, 2.5, 2.9, 3.1)
    assert donchian_breakout(bars_, entry=3, leave=1).position.tolist() == [0, 0, 0, 0, 1]
    assert donchian_breakout(bars_, entry=2, leave=1).position.tolist() == [0, 0, 0, 1, 1]


def test_an_opening_range_day_by_hand() -> None:
    bars_ = closes(10, 12, 11, 13, 12, 9, 8)
    out = opening_range_breakout(bars_, session=[5, 5, 5, 5, 5, 6, 6], range_bars=2)
    assert out.position.tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert out.is_flat_at_close.tolist() == [False, False, False, False, True, False, False]
    np.testing.assert_array_equal(out.stop, [np.nan, np.nan, np.nan, 10, np.nan, np.nan, np.nan])


def test_a_reversion_is_left_at_the_middle_only_in_profit() -> None:
    closes_ = [3.0, 3.0, 3.0, 1.0, 2.0, 2.4, 2.3]
    for filled, expected in ((2.2, [0, 0, 0, 1, 1, 0, 0]), (2.6, [0, 0, 0, 1, 1, 1, 1])):
        bars_ = Bars(open=[3.0, 3.0, 3.0, 3.0, filled, 2.0, 2.5], close=closes_)
        got = bollinger_reversion(bars_, period=4, width=1.7).position
        assert got.tolist() == expected


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("gains_at", [2, 7, 8, 23, 24, 39])
def test_a_gain_is_looked_for_at_every_bar_of_a_condition_that_lasts(
    side: int, gains_at: int
) -> None:
    enter, take = (ENTER_LONG, TAKE_LONG) if side > 0 else (ENTER_SHORT, TAKE_SHORT)
    packed = words(40)
    packed.view(np.uint8)[:40] = take
    packed.view(np.uint8)[1] = enter
    opens = np.full(40, 8.0)
    closes_ = np.full(40, 8.0)
    closes_[gains_at] += side
    bars_, targets = np.empty(40, dtype=np.int64), np.empty(40, dtype=np.int8)
    count = ordered(packed, opens, closes_, bars_, targets)
    assert bars_[:count].tolist() == [1, gains_at]
    assert targets[:count].tolist() == [side, 0]


@settings(deadline=None)
@given(values=st.lists(st.sampled_from([0, 0, 0, 1, -1, 127]), max_size=60))
def test_changes_of_bytes_are_those_of_neighbours(values: list[int]) -> None:
    given_bytes = np.array(values, dtype=np.int8)
    out = np.empty(given_bytes.size, dtype=np.int64)
    count = changes(packed_bytes(given_bytes), given_bytes.size, out)
    expected = np.flatnonzero(np.diff(given_bytes.astype(int), prepend=0))
    assert out[:count].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: sma_crossover(b, fast=5, slow=5), "slow: expected >= 6, was 5"),
        (lambda b: sma_crossover(b, fast=0), "fast: expected >= 1"),
        (lambda b: sma_crossover(b, direction="up"), "direction: expected one of"),
        (lambda b: rsi_reversal(b, lower=70.0), "expected 0 <= lower < upper <= 100"),
        (lambda b: rsi_reversal(b, lower=math.nan), "expected 0 <= lower < upper <= 100"),
        (
            lambda b: rsi_reversal(b, method="ema"),
            "method: expected",
        ),
        (lambda b: rsi_reversal(b, period=0), "period: expected >= 1"),
        (lambda b: bollinger_reversion(b, width=0.0), "width: expected > 0"),
        (lambda b: bollinger_reversion(b, period=1), "period: expected >= 2"),
        (lambda b: donchian_breakout(b, entry=0), "period: expected >= 1"),
        (lambda b: donchian_breakout(Bars(open=b.open, close=b.close)), "which a channel reads"),
        (lambda b: opening_range_breakout(b, session=[1]), "session: expected 3 bars, was 1"),
        (lambda b: opening_range_breakout(b, session=[1, 1, 1], range_bars=0), "range_bars"),
        (lambda _: strategy_named("sma_crosover"), "did you mean sma_crossover"),
    ],
)
def test_what_cannot_be_computed_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(closes(1, 2, 3))


def test_sessions_are_integers() -> None:
    with pytest.raises(TypeError, match="session: expected integers"):
        opening_range_breakout(closes(1, 2), session=[1.0, 2.0])


def test_defaults_are_those_of_the_source() -> None:
    assert {
        name: {p.name: p.default for p in strategy.parameters}
        for name, strategy in STRATEGIES.items()
    } == {
        "sma_crossover": {"fast": 20, "slow": 50},
        "rsi_reversal": {"period": 14, "lower": 30.0, "upper": 70.0},
        "bollinger_reversion": {"period": 20, "width": 2.0},
        "donchian_breakout": {"entry": 20, "leave": 10},
        "opening_range_breakout": {"range_bars": 15},
    }
    for strategy in STRATEGIES.values():
        defaults = strategy.kernel.__kwdefaults__
        assert {p.name: defaults[p.name] for p in strategy.parameters} == {
            p.name: p.default for p in strategy.parameters
        }


def test_a_session_that_breaks_off_is_left_at_the_next_one_s_first_open() -> None:
    close = [10.0, 11.0, 11.0, 12.0, 9.0, 9.0]
    open_ = [10.0, 10.0, 11.0, 11.0, 8.0, 9.0]
    bars = Bars(
        open=open_, close=close,
        high=np.maximum(open_, close), low=np.minimum(open_, close),
    )  # fmt: skip
    session, last = np.array([1, 1, 1, 1, 2, 2]), np.array([False] * 5 + [True])

    def run(n: int, ends: npt.NDArray[np.bool_] | None) -> Backtest:
        part = Bars(*(x[:n] for x in (bars.open, bars.close, bars.high, bars.low)))
        signals = opening_range_breakout(
            part, session=session[:n], last=None if ends is None else ends[:n], range_bars=1
        )
        return backtest(part, signals, bars_per_year=252.0)

    found, before = run(6, last), run(4, last)
    assert (found.trades.entry_bar.tolist(), found.trades.exit_bar.tolist()) == ([2], [4])
    assert found.trades.exit_price[0] == pytest.approx(8.0 * (1.0 - Account().slippage))
    np.testing.assert_array_equal(found.equity[:4], before.equity)  # bar 4 changes none
    assert run(6, None).trades.exit_bar.tolist() == [3]  # as if the calendar had ended it there
    with pytest.raises(ValueError, match="last: expected 6 bars, was 5"):
        opening_range_breakout(bars, session=session, last=last[1:])
