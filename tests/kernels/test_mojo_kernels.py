"""The kernels that have two bodies: numba's and Mojo's give the same bits, and one state.

1e-12 is promised; bits are what the library is built for, so bits are tested.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import engine
from kernels.averages import ema, ema_state, sma, sma_state
from kernels.first_touch import first_touch
from kernels.momentum import macd, macd_state, rsi, rsi_state
from kernels.volatility import (
    atr,
    atr_state,
    bollinger,
    bollinger_bands,
    bollinger_bands_state,
    bollinger_state,
)
from kernels.volume import mfi, mfi_state

Floats = npt.NDArray[np.float64]
Kernel = tuple[str, Callable[..., Any], Callable[..., Floats]]


def bars(x: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return high, low, close and volume made of ``x`` bar by bar, each with gaps of its own."""
    close = np.asarray(x, np.float64)
    digits = np.rint(np.where(np.abs(close) < 1e9, np.abs(close), 0.0) * 1e3) % 251
    high, low, volume = close + digits / 251.0, close - digits % 17 / 17.0, digits % 7
    high[digits == 1], low[digits == 2], volume[digits == 3] = np.nan, -np.inf, np.nan
    return high, low, close, volume


KERNELS: dict[str, Kernel] = {
    "sma": ("sma", sma, sma_state),
    "ema": ("ema", ema, ema_state),
    "rsi": ("rsi", rsi, rsi_state),
    "bollinger": ("bollinger", bollinger, bollinger_state),
    "bollinger_bands": ("bollinger", bollinger_bands, bollinger_bands_state),
    "macd": (
        "macd",
        lambda x, period, **rest: macd(x, period, 2 * period + 1, max(1, period // 2), **rest),
        lambda period: macd_state(period, 2 * period + 1, max(1, period // 2)),
    ),
    "atr": ("atr", lambda x, period, **rest: atr(*bars(x)[:3], period=period, **rest), atr_state),
    "mfi": (
        "mfi",
        lambda x, period, **rest: mfi(*bars(x), period=period, **rest),
        mfi_state,
    ),
}
EITHER = ("numba", "mojo")
MANY = 2_000_000  # bars from which the library writes past the caches


@pytest.fixture(autouse=True)
def _library() -> None:
    if not engine.mojo_available():
        pytest.skip(f"the Mojo library: {engine.why_not()}")


def walk(n: int, seed: int, kind: str) -> Floats:
    """Return a series of one of several kinds, each a way in which a kernel might go wrong."""
    rng = np.random.default_rng(seed)
    x = 100.0 + np.cumsum(rng.normal(0, 1, n))
    if kind == "holes":
        x[rng.random(n) < 0.1] = np.nan
        x[rng.random(n) < 0.03] = rng.choice([np.inf, -np.inf])
        x[n // 3 : n // 2] = np.nan
    elif kind == "edges":
        x[253::512] = np.nan  # near the end of a block, with a whole one behind it
    elif kind == "flat":
        x = np.repeat(np.round(x[:: max(1, n // 4)]), n)[:n]
    elif kind == "large":
        x = 1e6 + rng.normal(0, 0.01, n)
    elif kind == "outlier" and n:
        x[n // 2] = 1e300
    elif kind == "huge":
        x = rng.uniform(-1.0, 1.0, n) * 1.7e308
    elif kind == "tiny":
        x = rng.normal(0, 1, n) * 5e-320
    return x


KINDS = st.sampled_from(("plain", "holes", "edges", "flat", "large", "outlier", "huge", "tiny"))
LENGTHS = st.one_of(st.integers(0, 70), st.sampled_from((1023, 1024, 1025, 2500, 4200)))
PERIODS = st.one_of(st.integers(1, 40), st.sampled_from((49, 64, 200, 997, 1500, 2048)))


def lines(found: Any) -> list[Floats]:
    return list(found) if isinstance(found, tuple) else [found]


def run_in(name: str, call: Callable[[], Any], kernel: str) -> list[Floats]:
    """Return what ``call`` gives on that engine, and fail if it ran on the other."""
    with engine.forced(name), engine.recorded() as ran:
        found = lines(call())
    assert ran == {kernel: name}
    return found


def equal(found: list[Floats], expected: list[Floats]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(params=list(KERNELS))
def chosen(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    return KERNELS[request.param]


@settings(deadline=None, max_examples=60)
@given(n=LENGTHS, period=PERIODS, seed=st.integers(0, 10**6), kind=KINDS)
@pytest.mark.parametrize("name", list(KERNELS))
def test_the_same_bits(name: str, n: int, period: int, seed: int, kind: str) -> None:
    kernel, function, make_state = KERNELS[name]
    x = walk(n, seed, kind)
    found, states = [], []
    for which in EITHER:
        state = make_state(period)
        states.append(state)
        found.append(run_in(which, lambda s=state: function(x, period, state=s), kernel))
        equal(run_in(which, lambda: function(x, period), kernel), found[-1])
    equal(*found)
    equal(*[[state] for state in states])


@pytest.mark.parametrize("name", list(KERNELS))
def test_the_same_bits_at_every_period(name: str) -> None:
    kernel, function, _ = KERNELS[name]
    x = walk(181, 5, "plain")
    for period in range(1, 129):
        equal(*(run_in(which, lambda p=period: function(x, p), kernel) for which in EITHER))


@settings(deadline=None, max_examples=40)
@given(
    n=st.one_of(st.integers(1, 80), st.just(2300)),
    period=st.integers(1, 30),
    seed=st.integers(0, 10**6),
    kind=KINDS,
    data=st.data(),
)
@pytest.mark.parametrize("name", list(KERNELS))
def test_each_continues_what_the_other_began(
    name: str, n: int, period: int, seed: int, kind: str, data: st.DataObject
) -> None:
    kernel, function, make_state = KERNELS[name]
    x = walk(n, seed, kind)
    whole_state, state = make_state(period), make_state(period)
    whole = run_in("numba", lambda: function(x, period, state=whole_state), kernel)
    cuts = sorted(data.draw(st.sets(st.integers(0, n), max_size=5)))
    parts = []
    for start, end in pairwise([0, *cuts, n]):
        which = data.draw(st.sampled_from(EITHER))
        part = x[start:end]
        parts.append(run_in(which, lambda p=part: function(p, period, state=state), kernel))
    equal([np.concatenate(pieces) for pieces in zip(*parts, strict=True)], whole)
    np.testing.assert_array_equal(state, whole_state)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(KERNELS))
def test_a_long_series_is_mojo_s_to_the_same_bits(name: str) -> None:
    kernel, function, make_state = KERNELS[name]
    x = walk(MANY + 13, 8, "plain")
    x[[70_001, 200_000]] = np.nan
    states = make_state(20), make_state(20)
    with engine.forced("numba"):
        function(x[:100], 20)  # numba is ready
        expected = lines(function(x, 20, state=states[0]))
    with engine.recorded() as ran:
        found = lines(function(x, 20, state=states[1]))
        assert ran == {kernel: "mojo"}
        function(x[: engine.FASTER_FROM[kernel] - 1], 20)
        assert ran == {kernel: "numba"}
    equal(found, expected)
    np.testing.assert_array_equal(*states)


def test_any_numbers_any_order_read_only(chosen: Kernel) -> None:
    kernel, function, _ = chosen
    prices = np.rint(walk(300, 3, "plain"))
    expected = run_in("numba", lambda: function(prices, 5), kernel)
    frozen = prices.copy()
    frozen.flags.writeable = False
    strided = np.repeat(prices, 2)[::2]
    for given_ in (prices.astype(np.int32), prices.astype(np.float32), frozen, strided):
        equal(run_in("mojo", lambda x=given_: function(x, 5), kernel), expected)


def test_a_period_beyond_its_room_is_numba_s() -> None:
    x = walk(5000, 1, "plain")
    for name in ("sma", "bollinger", "mfi"):
        kernel, function, _ = KERNELS[name]
        with engine.forced("mojo"), engine.recorded() as ran:
            found = lines(function(x, 2049))
        assert ran == {kernel: "numba"}
        equal(found, run_in("numba", lambda f=function: f(x, 2049), kernel))


def test_many_threads_at_once(chosen: Kernel) -> None:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - this test alone

    _, function, _ = chosen
    series = [walk(3000, seed, "holes") for seed in range(16)]

    def in_mojo(x: Floats) -> list[Floats]:
        with engine.forced("mojo"):
            return lines(function(x, 20))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(in_mojo, series))
    for ours, x in zip(found, series, strict=True):
        equal(ours, in_mojo(x))


@settings(deadline=None, max_examples=200)
@given(
    n=st.integers(0, 90), rows=st.integers(0, 12), seed=st.integers(0, 10**6), holes=st.booleans()
)
def test_first_touch_is_the_same_touch(n: int, rows: int, seed: int, *, holes: bool) -> None:
    rng = np.random.default_rng(seed)
    middle = np.cumsum(rng.normal(0, 1, n)).round()
    high, low = middle + rng.integers(0, 3, n), middle - rng.integers(0, 3, n)
    upper, lower = rng.integers(0, 6, rows).astype(float), -rng.integers(0, 6, rows).astype(float)
    if holes:
        high[rng.random(n) < 0.2] = np.nan
        low[rng.random(n) < 0.2] = np.nan
        upper[rng.random(rows) < 0.2] = np.nan
    first, last = rng.integers(0, n + 1, (2, rows))
    equal(
        *(
            run_in(
                which, lambda: first_touch((high, low), (first, last), upper, lower), "first_touch"
            )
            for which in EITHER
        )
    )
