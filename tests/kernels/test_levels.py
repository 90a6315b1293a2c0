"""The level machine: its laws, its slow twin, and each of its ten events by hand."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import level_ladders, level_machine, levels
from kernels import level_layout as lm
from kernels.levels import EVENTS, Rules, Run, extend, initial
from kernels.volatility import atr
from tests.naive import levels as naive
from tests.naive.levels import Candle

Floats = npt.NDArray[np.float64]
Bars = tuple[Floats, Floats, Floats, Floats]

QUICK = Rules(atr_period=3, flip_bars=5, expiry_bars=12, max_active=4, half_life_bars=7.0)
MIRROR = {
    "NEW_SUPPORT": "NEW_RESISTANCE",
    "FLIP_TO_SUPPORT": "FLIP_TO_RESISTANCE",
    "TOUCH_UP": "TOUCH_DOWN",
    "BREAK_SUPPORT": "BREAK_RESISTANCE",
    "DEACTIVATE_UP": "DEACTIVATE_DOWN",
}
MIRROR |= {there: here for here, there in MIRROR.items()}


def walk(n: int, seed: int, *, step: float = 1.0, tick: float = 0.25) -> Bars:
    """Bars on a coarse price grid, so that ties and exact touches happen."""
    rng = np.random.default_rng(seed)
    opens = 100.0 + np.cumsum(rng.normal(0, step, n))
    closes = opens + rng.normal(0, step, n)
    highs = np.maximum(opens, closes) + np.abs(rng.normal(0, step / 2, n))
    lows = np.minimum(opens, closes) - np.abs(rng.normal(0, step / 2, n))
    return tuple(np.round(x / tick) * tick for x in (opens, highs, lows, closes))  # type: ignore[return-value]


def play(bars: Bars, rules: Rules = QUICK) -> Run:
    return extend(initial(rules), bars, np.arange(bars[0].size), rules=rules)


def candles(bars: Bars) -> list[Candle]:
    return [Candle(*row) for row in np.column_stack(bars).tolist()]


def told(run: Run) -> list[tuple[int, str, int, str, float]]:
    e = run.events
    kinds = np.where(e.kind > 0, "resistance", "support").tolist()
    names = [EVENTS[code] for code in e.code]
    columns = (e.bar.tolist(), names, e.born_us.tolist(), kinds, e.price.tolist())
    return list(zip(*columns, strict=True))


def assert_same(a: Run, b: Run) -> None:
    """Bit by bit."""
    here, there = ((r.atr, *r.events, *r.resistance, *r.support) for r in (a, b))
    for x, y in zip(here, there, strict=True):
        np.testing.assert_array_equal(x, y)
    for name in a.state:
        np.testing.assert_array_equal(a.state[name], b.state[name])


def joined(runs: Sequence[Run], cuts: Sequence[int]) -> Run:
    """Chunks of one series as if they were one run."""
    starts = [0, *cuts]
    events = [
        r.events._replace(bar=r.events.bar + start) for r, start in zip(runs, starts, strict=True)
    ]
    return Run(
        np.concatenate([r.atr for r in runs]),
        levels.Nearest(
            *(np.concatenate(x) for x in zip(*(r.resistance for r in runs), strict=True))
        ),
        levels.Nearest(*(np.concatenate(x) for x in zip(*(r.support for r in runs), strict=True))),
        levels.Events(*(np.concatenate(x) for x in zip(*events, strict=True))),
        runs[-1].state,
    )


# --- the golden example, and the average true range -------------------------------------------


def test_golden_example_makes_a_resistance_at_the_higher_high() -> None:
    quiet = np.full(14, 1.0850)
    bars = (
        np.append(quiet, [1.0850, 1.0855]),
        np.append(quiet, [1.0860, 1.0865]),
        np.append(quiet, [1.0840, 1.0845]),
        np.append(quiet, [1.0855, 1.0848]),
    )
    state = initial()
    state["memory"][[lm.BEFORE_OPEN, lm.BEFORE_HIGH]] = 1.0850, 1.0860
    state["memory"][[lm.BEFORE_LOW, lm.BEFORE]] = 1.0840, 1.0855
    # as much of an ATR that Wilder's step over this bar's true range, 0.0020, gives 0.0010
    half = np.full(30, (14 * 0.0010 - 0.0020) / 13 / 2)
    atr(1.0855 + half, 1.0855 - half, np.full(30, 1.0855), state=state["atr"].view(np.float64))
    run = extend(state, tuple(x[-1:] for x in bars), [0])  # type: ignore[arg-type]
    assert told(run) == [(0, "NEW_RESISTANCE", 0, "resistance", 1.0865)]
    assert run.atr[0] == pytest.approx(0.0010, rel=1e-12)
    assert run.events.rebound[0] == pytest.approx(-1.7, rel=1e-9)
    assert np.isnan(run.events.penetration[0])


def test_mirrored_golden_example_makes_a_support_at_the_lower_low() -> None:
    rules = Rules(atr_period=1)
    bars = ([5.0, 4.0], [6.0, 5.0], [4.0, 3.5], [4.0, 4.5])
    run = extend(initial(rules), bars, [0, 7], rules=rules)
    assert told(run) == [(1, "NEW_SUPPORT", 7, "support", 3.5)]


def test_atr_is_ta_libs() -> None:
    bars = walk(400, 5)
    expected = talib.ATR(bars[1], bars[2], bars[3], 14)
    np.testing.assert_allclose(play(bars, Rules()).atr, expected, rtol=1e-13)


def test_atr_is_the_indicator_to_the_bit() -> None:
    bars = walk(400, 6)
    expected = atr(*bars[1:4])
    np.testing.assert_array_equal(play(bars, Rules()).atr, expected)


def test_nothing_happens_before_the_atr_is_valid() -> None:
    run = play(walk(60, 3), Rules())
    assert run.events.bar.min() >= 14
    assert np.isnan(run.atr[:14]).all()
    assert np.isfinite(run.atr[14:]).all()


# --- laws -------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 200), data=st.data())
def test_equal_however_it_is_cut(seed: int, n: int, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=6)))
    bars, ts = walk(n, seed), np.arange(n)
    state, runs = initial(QUICK), []
    for start, stop in zip([0, *cuts], [*cuts, n], strict=True):
        part: Bars = tuple(x[start:stop] for x in bars)  # type: ignore[assignment]
        runs.append(extend(state, part, ts[start:stop], rules=QUICK))
        state = runs[-1].state
    assert_same(joined(runs, cuts), play(bars))


def test_a_step_is_a_batch_of_one() -> None:
    bars, ts = walk(150, 9), np.arange(150)
    state, runs = initial(QUICK), []
    for t in range(150):
        part: Bars = tuple(x[t : t + 1] for x in bars)  # type: ignore[assignment]
        runs.append(extend(state, part, ts[t : t + 1], rules=QUICK))
        state = runs[-1].state
    assert_same(joined(runs, range(1, 150)), play(bars))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), cut=st.integers(1, 119))
def test_never_sees_the_future(seed: int, cut: int) -> None:
    bars = walk(120, seed)
    whole, part = play(bars), play(tuple(x[:cut] for x in bars))  # type: ignore[arg-type]
    assert [e for e in told(whole) if e[0] < cut] == told(part)
    np.testing.assert_array_equal(whole.resistance.strength[:cut], part.resistance.strength)
    np.testing.assert_array_equal(whole.support.price[:cut], part.support.price)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), is_price_unit=st.booleans())
def test_negated_prices_give_the_mirrored_events(seed: int, *, is_price_unit: bool) -> None:
    rules = QUICK._replace(is_price_unit=is_price_unit)
    if is_price_unit:
        rules = rules._replace(touch=0.002, break_=0.004)
    opens, highs, lows, closes = bars = walk(150, seed)
    here, there = play(bars, rules), play((-opens, -lows, -highs, -closes), rules)
    expected = [
        (t, MIRROR[e], born, "support" if kind == "resistance" else "resistance", -price)
        for t, e, born, kind, price in told(here)
    ]
    assert told(there) == expected
    np.testing.assert_array_equal(there.events.strength, here.events.strength)
    np.testing.assert_array_equal(there.events.penetration, here.events.penetration)
    np.testing.assert_array_equal(there.events.rebound, -here.events.rebound)
    np.testing.assert_array_equal(there.support.price, -here.resistance.price)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), power=st.integers(-20, 20), is_price_unit=st.booleans())
def test_scaled_prices_give_the_same_events(seed: int, power: int, *, is_price_unit: bool) -> None:
    rules = QUICK._replace(is_price_unit=is_price_unit)
    bars = walk(120, seed)
    here = play(bars, rules)
    there = play(tuple(x * 2.0**power for x in bars), rules)  # type: ignore[arg-type]
    assert [e[:4] for e in told(there)] == [e[:4] for e in told(here)]
    np.testing.assert_array_equal(there.events.price, here.events.price * 2.0**power)
    np.testing.assert_array_equal(there.events.strength, here.events.strength)


def assert_agrees_with_its_slow_twin(bars: Bars, rules: Rules) -> None:
    run, book = play(bars, rules), naive.replay(candles(bars), rules)
    assert told(run) == list(naive.rows(book.events))
    np.testing.assert_allclose(run.events.strength, [e.strength for e in book.events], rtol=1e-11)
    np.testing.assert_allclose(run.events.rebound, [e.rebound for e in book.events], rtol=1e-11)
    beyond = [np.nan if e.penetration is None else e.penetration for e in book.events]
    np.testing.assert_allclose(run.events.penetration, beyond, rtol=1e-11)
    for side, found in enumerate((run.resistance, run.support)):
        expected = [row[side] for row in book.nearest]
        prices = [np.nan if x is None else x.price for x in expected]
        np.testing.assert_array_equal(found.price, prices)
        assert found.touches.tolist() == [-1 if x is None else x.touches for x in expected]
        assert found.born_us.tolist() == [-1 if x is None else x.born for x in expected]


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    max_active=st.integers(1, 6),
    flip_bars=st.integers(0, 6),
    expiry_bars=st.integers(1, 15),
    is_price_unit=st.booleans(),
)
def test_agrees_with_its_slow_twin(
    seed: int, max_active: int, flip_bars: int, expiry_bars: int, *, is_price_unit: bool
) -> None:
    rules = QUICK._replace(
        max_active=max_active,
        flip_bars=flip_bars,
        expiry_bars=expiry_bars,
        is_price_unit=is_price_unit,
        touch=0.002 if is_price_unit else 0.125,
        break_=0.004 if is_price_unit else 0.25,
    )
    assert_agrees_with_its_slow_twin(walk(120, seed), rules)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    middle=st.sampled_from([100.0, 0.0, -100.0]),
    touch=st.sampled_from([0.0, 0.01, 0.25]),
    is_price_unit=st.booleans(),
)
def test_agrees_with_its_slow_twin_below_zero(
    seed: int, middle: float, touch: float, *, is_price_unit: bool
) -> None:
    rules = QUICK._replace(
        max_active=12, is_price_unit=is_price_unit, touch=touch, break_=1.5 * touch
    )
    assert_agrees_with_its_slow_twin(around(middle, walk(100, seed)), rules)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), touch=st.sampled_from([0.8, 1.2, 2.0]))
def test_agrees_with_its_slow_twin_where_bands_are_not_in_the_order_of_prices(
    seed: int, touch: float
) -> None:
    rules = QUICK._replace(max_active=12, is_price_unit=True, touch=touch, break_=1.5 * touch)
    assert_agrees_with_its_slow_twin(around(0.0, walk(100, seed)), rules)


def around(middle: float, bars: Bars) -> Bars:
    return tuple(x - 100.0 + middle for x in bars)  # type: ignore[return-value]


def test_a_level_untouched_for_six_hundred_bars_has_its_strength() -> None:
    rules = Rules(expiry_bars=600, half_life_bars=900.0, max_active=500, touch=0.0, break_=50.0)
    bars = walk(900, 31, tick=1e-6)
    assert_agrees_with_its_slow_twin(bars, rules)
    ended = play(bars, rules).events
    assert (ended.bar[ended.code >= lm.DEACTIVATE] >= 600).any()


def test_the_default_rules_agree_with_the_slow_twin_too() -> None:
    bars = walk(700, 21, tick=0.01)
    run, book = play(bars, Rules()), naive.replay(candles(bars), Rules())
    assert told(run) == list(naive.rows(book.events))
    assert {e[1] for e in told(run)} == set(EVENTS)


def test_events_of_ten_recorded_years_stay_what_they_were(shared_data: Path) -> None:
    rows = pl.read_parquet(shared_data / "ohlcv" / "EURUSD_1h_oanda_2007-2016_bid.parquet")
    bars: Bars = tuple(rows[c].to_numpy() for c in ("open", "high", "low", "close"))  # type: ignore[assignment]
    ts = rows["ts"].cast(pl.Datetime("us")).to_physical().to_numpy()
    log = extend(initial(), bars, ts).events
    counts = dict(zip(EVENTS, np.bincount(log.code, minlength=len(EVENTS)).tolist(), strict=True))
    assert counts == {
        "NEW_SUPPORT": 9341, "NEW_RESISTANCE": 9393,
        "FLIP_TO_SUPPORT": 12836, "FLIP_TO_RESISTANCE": 12822,
        "TOUCH_UP": 13163, "TOUCH_DOWN": 12914,
        "BREAK_SUPPORT": 19979, "BREAK_RESISTANCE": 19972,
        "DEACTIVATE_UP": 9292, "DEACTIVATE_DOWN": 9417,
    }  # fmt: skip
    # bar, code, birth, kind and price: nothing here has gone through an exponential
    digest = hashlib.sha256(b"".join(column.tobytes() for column in log[:5])).hexdigest()
    assert digest.startswith("a4265cc2ce4eac28")


def test_a_log_that_fills_up_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = walk(300, 4)
    whole = play(bars)
    real, logs = np.empty, 0

    def small(shape: tuple[int, ...], *, dtype: type = float) -> npt.NDArray[Any]:
        nonlocal logs
        is_log = shape[0] == lm.LOGGED
        logs += is_log
        # room for what one candle can do, and five events more
        return real(
            (lm.LOGGED, 2 * (QUICK.max_active + 1) + 2 + 5) if is_log else shape, dtype=dtype
        )

    monkeypatch.setattr(np, "empty", small)
    assert_same(play(bars), whole)
    assert logs > 20  # so it did fill up


def test_a_state_does_not_tell_where_its_history_began() -> None:
    bars = walk(900, 8)
    late: Bars = tuple(x[300:] for x in bars)  # type: ignore[assignment]
    whole = play(bars, QUICK)
    part = extend(initial(QUICK), late, np.arange(300, 900), rules=QUICK)
    # levels of the first 300 bars are gone; the ATR forgets by (2 / 3)^n
    np.testing.assert_array_equal(part.state["slots"], whole.state["slots"])
    np.testing.assert_array_equal(part.state["memory"], whole.state["memory"])


def test_the_given_state_is_left_as_it_was() -> None:
    state = play(walk(80, 2)).state
    before = {name: x.copy() for name, x in state.items()}
    extend(state, walk(40, 3), np.arange(80, 120), rules=QUICK)
    for name, x in before.items():
        np.testing.assert_array_equal(state[name], x)


def test_compiled_equals_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = walk(200, 12)
    whole = play(bars)
    for module in (level_machine, level_ladders):
        for name, member in list(vars(module).items()):
            if hasattr(member, "py_func"):
                monkeypatch.setattr(module, name, member.py_func)
    assert_same(play(bars), whole)


# --- each event by hand: distances in shares of price, one resistance at 100 ---------------------
# touch band 99.9 ... 100.1, break above 100.2; the level is made by bars 1 and 2

HAND = Rules(atr_period=1, is_price_unit=True, touch=0.001, break_=0.002)
MADE = [(99.0, 99.0, 99.0, 99.0), (99.0, 100.0, 99.0, 99.5), (99.5, 99.8, 98.0, 98.0)]
FAR = (98.0, 98.5, 97.5, 98.0)
IN_BAND = (98.0, 99.95, 98.0, 98.0)
BROKEN = (98.0, 101.0, 98.0, 101.0)
FAR_ABOVE = (101.0, 101.5, 100.5, 101.0)
RETEST = (101.0, 101.0, 100.05, 100.5)


def of_level(rows: Sequence[tuple[float, ...]], rules: Rules = HAND) -> list[tuple[int, str]]:
    """Play the rows after the making of the level; return its own events by bar after birth."""
    columns = np.array([*MADE, *rows]).T
    run = play(tuple(np.ascontiguousarray(x) for x in columns), rules)  # type: ignore[arg-type]
    assert told(run)[0] == (2, "NEW_RESISTANCE", 2, "resistance", 100.0)
    return [(t - 2, e) for t, e, born, _, _ in told(run) if born == 2]


def test_bars_in_the_band_are_one_touch_until_a_gap_of_more_than_two() -> None:
    rows = [FAR, FAR, IN_BAND, IN_BAND, FAR, FAR, FAR, IN_BAND]
    assert of_level(rows) == [(0, "NEW_RESISTANCE"), (3, "TOUCH_UP"), (8, "TOUCH_UP")]


def test_a_gap_of_two_bars_does_not_end_an_episode() -> None:
    one = [FAR, FAR, IN_BAND, FAR, IN_BAND, FAR, IN_BAND]
    assert of_level(one) == [(0, "NEW_RESISTANCE"), (3, "TOUCH_UP")]
    # birth counts as a contact
    assert of_level([FAR, IN_BAND]) == [(0, "NEW_RESISTANCE")]


def test_a_close_beyond_the_break_distance_breaks() -> None:
    within = (98.0, 100.19, 98.0, 100.19)
    assert of_level([FAR] * 3 + [within]) == [(0, "NEW_RESISTANCE"), (4, "TOUCH_UP")]
    assert of_level([BROKEN]) == [(0, "NEW_RESISTANCE"), (1, "BREAK_RESISTANCE")]


def test_a_retest_from_the_far_side_flips_within_twenty_bars() -> None:
    for waited, event in ((20, "FLIP_TO_SUPPORT"), (21, None)):
        rows = [BROKEN, *[FAR_ABOVE] * (waited - 1), RETEST]
        last = of_level(rows)[2:]
        assert last == ([(1 + waited, event)] if event else [(21, "DEACTIVATE_UP")])


def test_a_retest_that_closes_below_does_not_flip() -> None:
    failed = (101.0, 101.0, 99.9, 99.9)
    rows = [BROKEN, FAR_ABOVE, failed, *[FAR] * 18]
    assert of_level(rows)[2:] == [(21, "DEACTIVATE_DOWN")]


def test_a_flipped_level_is_touched_from_above_and_breaks_as_support() -> None:
    rows = [BROKEN, FAR_ABOVE, RETEST, *[FAR_ABOVE] * 3, RETEST, (101.0, 101.0, 98.0, 98.0)]
    assert of_level(rows)[2:] == [(3, "FLIP_TO_SUPPORT"), (7, "TOUCH_DOWN"), (8, "BREAK_SUPPORT")]


def test_a_broken_support_flips_to_resistance() -> None:
    down = [
        BROKEN, FAR_ABOVE, RETEST, (101.0, 101.0, 98.0, 98.0), FAR, (98.0, 99.95, 98.0, 98.5),
    ]  # fmt: skip
    assert of_level(down)[-1] == (6, "FLIP_TO_RESISTANCE")


def test_two_hundred_bars_without_a_touch_end_a_level() -> None:
    assert of_level([FAR] * 199) == [(0, "NEW_RESISTANCE")]
    assert of_level([FAR] * 200)[1:] == [(200, "DEACTIVATE_DOWN")]
    touched = [FAR] * 100 + [IN_BAND] + [FAR] * 199
    assert of_level(touched)[1:] == [(101, "TOUCH_UP")]


def test_a_broken_level_is_no_barrier_until_it_has_flipped() -> None:
    rows = np.array([*MADE, BROKEN, FAR_ABOVE, RETEST]).T
    run = play(tuple(np.ascontiguousarray(x) for x in rows), HAND)  # type: ignore[arg-type]
    assert run.resistance.price[2] == 100.0
    assert run.support.price[3:5].tolist() == [98.0, 98.0]  # a support made by the turn
    assert run.support.price[5] == 100.0


def test_a_level_within_the_band_of_another_is_a_contact_of_it() -> None:
    again = [FAR, FAR, FAR, (98.0, 99.95, 98.0, 99.0), (99.0, 99.0, 98.0, 98.0)]
    columns = np.array([*MADE, *again]).T
    run = play(tuple(np.ascontiguousarray(x) for x in columns), HAND)  # type: ignore[arg-type]
    assert [e[:2] for e in told(run)] == [(2, "NEW_RESISTANCE"), (6, "TOUCH_UP")]


def test_the_weakest_level_goes_and_of_equals_the_oldest() -> None:
    rules = HAND._replace(max_active=2, atr_period=1)
    # three resistances of one rebound, 1 ATR, none touched, at 120, 90 and 60
    rows: list[tuple[float, ...]] = []
    for base in (100.0, 70.0, 40.0):
        rows += [
            (base, base + 0.5, base - 0.5, base),
            (base, base + 2.0, base, base + 1.0),
            (base + 1.0, base + 20.0, base, base),
        ]
    columns = np.array(rows).T
    rules = rules._replace(half_life_bars=1e300)  # so that age alone does not decide
    run = play(tuple(np.ascontiguousarray(x) for x in columns), rules)  # type: ignore[arg-type]
    gone = [(t, e, born) for t, e, born, _, _ in told(run) if e.startswith("DEACTIVATE")]
    assert gone == [(8, "DEACTIVATE_DOWN", 2)]
    assert np.unique(run.events.strength[run.events.code <= 1]).size == 1


def test_sixty_four_levels_stand_and_no_more() -> None:
    bars = walk(4000, 77, tick=1e-9)
    rules = Rules(touch=0.0, break_=1e9, expiry_bars=10**6)
    run = play(bars, rules)
    assert levels.table(run.state).price.size == 64


def test_rules_and_shapes_are_checked() -> None:
    for bad in (
        Rules(atr_period=0), Rules(touch=0.3), Rules(half_life_bars=0.0), Rules(max_active=0),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="expected"):
            initial(bad)
    with pytest.raises(ValueError, match=r"state: expected slots of shape \(65, 10\)"):
        extend(initial(QUICK), walk(5, 1), np.arange(5))
    with pytest.raises(ValueError, match="open: expected shape"):
        extend(initial(), walk(5, 1), np.arange(4))
