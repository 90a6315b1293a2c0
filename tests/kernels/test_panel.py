"""Six indicators of many symbols: against the one-series kernels and TA-Lib, on both engines."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import engine
from kernels.averages import sma
from kernels.momentum import macd, rsi
from kernels.panel import (
    Panel,
    PanelSettings,
    aligned,
    panel,
    panel_state,
    panel_tiles,
    tiled,
    untiled,
)
from kernels.volatility import bollinger
from kernels.volume import mfi, obv

Floats = npt.NDArray[np.float64]
SHORT = PanelSettings(sma=3, rsi=2, fast=2, slow=4, signal=3, bollinger=5, width=1.5, mfi=2)
BOTH = st.sampled_from((PanelSettings(), SHORT, PanelSettings(1, 1, 1, 2, 1, 1, 3.0, 1)))


@pytest.fixture(params=["numba", "mojo"])
def engine_name(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test on either engine."""
    if request.param == "mojo" and not engine.mojo_available():
        pytest.skip(f"the Mojo library: {engine.why_not()}")
    with engine.forced(request.param):
        yield request.param


def market(n_symbols: int, n: int, seed: int, *, holes: float = 0.0) -> tuple[Floats, ...]:
    """Return high, low, close, volume; some values missing, some infinite, some rows constant."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, 0.02, (n_symbols, n)), axis=1))
    high = close * (1.0 + np.abs(rng.normal(0, 0.01, close.shape)))
    low = close * (1.0 - np.abs(rng.normal(0, 0.01, close.shape)))
    volume = rng.integers(0, 1000, close.shape).astype(np.float64)
    columns = (high, low, close, volume)
    if holes:
        for x in columns:
            x[rng.random(x.shape) < holes] = np.nan
            x[rng.random(x.shape) < holes / 5] = np.inf
        for x in columns:
            x[0, : n // 3] = np.nan  # a symbol that is listed later
            x[-1] = 7.0
    return columns


def one_by_one(columns: tuple[Floats, ...], chosen: PanelSettings) -> Floats:
    """Return the ten lines from the kernels for one series."""
    lines = []
    for high, low, close, volume in zip(*columns, strict=True):
        averages = macd(close, chosen.fast, chosen.slow, chosen.signal)
        bands = bollinger(close, chosen.bollinger, width=chosen.width)
        lines.append(
            [
                sma(close, chosen.sma), rsi(close, chosen.rsi), *averages,
                bands.lower, bands.middle, bands.upper,
                obv(close, volume), mfi(high, low, close, volume, period=chosen.mfi),
            ]
        )  # fmt: skip
    return np.array(lines).transpose(1, 0, 2)


def close_to(found: Panel, expected: Floats, scale: Floats) -> None:
    """Fail unless they agree to 1e-12 of the larger of the value and the largest input."""
    for name, ours, theirs in zip(Panel._fields, found, expected, strict=True):
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs), err_msg=name)
        largest = np.maximum(np.abs(theirs), scale)
        assert not (np.abs(ours - theirs) > 1e-12 * largest).any(), name


def scales(columns: tuple[Floats, ...]) -> Floats:
    finite = [np.where(np.isfinite(x), np.abs(x), 0.0) for x in columns]
    return np.maximum(100.0, np.max(finite, axis=(0, 2)))[:, None]


@pytest.mark.usefixtures("engine_name")
@pytest.mark.parametrize("holes", [0.0, 0.03])
@pytest.mark.parametrize("chosen", [PanelSettings(), SHORT], ids=["default", "short"])
def test_each_symbol_as_the_kernels_for_one(holes: float, chosen: PanelSettings) -> None:
    columns = market(19, 203, seed=5, holes=holes)
    close_to(panel(*columns, settings=chosen), one_by_one(columns, chosen), scales(columns))


@pytest.mark.usefixtures("engine_name")
def test_prices_that_tie_but_for_rounding_move_no_money() -> None:
    pairs = ([1.11832, 1.11809], [1.11715, 1.1173], [1.11775, 1.11783])
    high, low, close = (np.tile(pair, (8, 20)) for pair in pairs)
    typical = (high + low + close) / 3.0
    assert (np.diff(typical) != 0.0).any()  # they do not tie as they are computed
    found = panel(high, low, close, np.ones_like(high))
    np.testing.assert_array_equal(found.mfi[:, 14:], 50.0)


@pytest.mark.usefixtures("engine_name")
def test_as_talib() -> None:
    high, low, close, volume = columns = market(9, 300, seed=2)
    found = panel(*columns)
    for s in range(9):
        bands = talib.BBANDS(close[s], 20)
        expected = [
            talib.SMA(close[s], 20), talib.RSI(close[s], 14), *talib.MACD(close[s]), *bands[::-1],
            talib.OBV(close[s], volume[s]), talib.MFI(high[s], low[s], close[s], volume[s], 14),
        ]  # fmt: skip
        for name, ours, theirs in zip(Panel._fields, found, expected, strict=True):
            np.testing.assert_allclose(ours[s], theirs, rtol=0, atol=1e-9, err_msg=name)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 70)),
    seed=st.integers(0, 10**6),
    chosen=BOTH,
    data=st.data(),
)
@pytest.mark.parametrize("name", ["numba", "mojo"])
def test_equal_however_it_is_cut(
    name: Any, shape: tuple[int, int], seed: int, chosen: PanelSettings, data: st.DataObject
) -> None:
    if name == "mojo" and not engine.mojo_available():
        pytest.skip(f"the Mojo library: {engine.why_not()}")
    columns = market(*shape, seed, holes=0.05)
    cuts = sorted(data.draw(st.sets(st.integers(0, shape[1]), max_size=4)))
    bounds = [0, *cuts, shape[1]]
    with engine.forced(name):
        whole_state, state = panel_state(shape[0], chosen), panel_state(shape[0], chosen)
        whole = panel(*columns, settings=chosen, state=whole_state)
        parts = [
            panel(*(x[:, a:b] for x in columns), settings=chosen, state=state)
            for a, b in pairwise(bounds)
        ]
    for line, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1), line)
    np.testing.assert_array_equal(state, whole_state)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 140), st.integers(1, 60)),
    seed=st.integers(0, 10**6),
    chosen=BOTH,
    holes=st.sampled_from((0.0, 0.02)),
)
def test_both_engines_give_the_same_bits_and_leave_the_same_state(
    shape: tuple[int, int], seed: int, chosen: PanelSettings, holes: float
) -> None:
    if not engine.mojo_available():
        pytest.skip(f"the Mojo library: {engine.why_not()}")
    columns = market(*shape, seed, holes=holes)
    found, states = [], []
    for name in ("numba", "mojo"):
        states.append(panel_state(shape[0], chosen))
        with engine.forced(name), engine.recorded() as ran:
            found.append(np.array(panel(*columns, settings=chosen, state=states[-1])))
        assert ran == {"panel_rows": name}
    np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(*states)


@pytest.mark.usefixtures("engine_name")
@pytest.mark.parametrize("n_symbols", [1, 8, 13, 70])
def test_tiles_hold_the_very_numbers_of_rows(n_symbols: int) -> None:
    columns = market(n_symbols, 83, seed=11, holes=0.02)
    state = panel_state(n_symbols)
    tile_state = state.copy()
    expected = np.array(panel(*columns, state=state))
    bars = tiled(*columns)
    out = aligned((*bars.shape[:2], 10, 8))
    found = panel_tiles(bars, state=tile_state, out=out)
    assert found is out
    np.testing.assert_array_equal(untiled(found, n_symbols), expected)
    np.testing.assert_array_equal(tile_state, state)


@pytest.mark.usefixtures("engine_name")
def test_the_future_changes_nothing() -> None:
    columns = market(10, 90, seed=1, holes=0.02)
    whole = panel(*columns)
    for x in columns:
        x[:, 61:] = -1e9
    for before, after in zip(whole, panel(*columns), strict=True):
        np.testing.assert_array_equal(before[:, :61], after[:, :61])


@pytest.mark.usefixtures("engine_name")
def test_an_outlier_leaves_no_trace_in_a_window() -> None:
    columns = market(8, 120, seed=3)
    clean = panel(*columns)
    for x in columns:
        x[:, 30] = 1e12
    for name in ("sma", "bollinger_lower", "bollinger_middle", "bollinger_upper", "mfi"):
        ours, expected = getattr(panel(*columns), name), getattr(clean, name)
        np.testing.assert_array_equal(ours[:, 60:], expected[:, 60:], err_msg=name)


@pytest.mark.usefixtures("engine_name")
def test_bands_keep_their_digits_where_the_price_is_large() -> None:
    rng = np.random.default_rng(4)
    close = 1e6 + rng.normal(0, 0.01, (8, 400))
    found = panel(close, close, close, np.ones_like(close))
    reach = (found.bollinger_upper - found.bollinger_middle) / 2.0
    for s in range(8):
        exact = [
            float(np.std((close[s, i - 19 : i + 1] - 1e6).astype(np.longdouble)))
            for i in range(19, 400)
        ]
        # the bands themselves are rounded to an ulp of the price: 1.2e-10
        np.testing.assert_allclose(reach[s, 19:], exact, rtol=0, atol=1.3e-10)


@pytest.mark.usefixtures("engine_name")
def test_results_go_where_they_are_wanted() -> None:
    columns = market(9, 21, seed=6)
    expected = panel(*columns)
    out = np.full((10, 9, 21), -1.0)
    found = panel(*columns, out=out)
    assert np.shares_memory(found.mfi, out)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.usefixtures("engine_name")
@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (3, 0)])
def test_empty(shape: tuple[int, int]) -> None:
    x = np.empty(shape)
    assert panel(x, x, x, x).rsi.shape == shape


@pytest.mark.usefixtures("engine_name")
def test_any_numbers_any_order_read_only() -> None:
    columns = [np.rint(x) for x in market(9, 40, seed=8)]
    expected = panel(*columns)
    frozen = [np.asfortranarray(x.astype(np.int64)) for x in columns]
    for x in frozen:
        x.flags.writeable = False
    for ours, theirs in zip(panel(*frozen), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_shapes_and_settings_are_checked() -> None:
    x, y = np.ones((3, 4)), np.ones((3, 5))
    with pytest.raises(ValueError, match=r"close: expected shape \(3, 4\) as high"):
        panel(x, x, y, x)
    with pytest.raises(ValueError, match=r"low: expected shape \(symbols, bars\)"):
        panel(x, x[0], x, x)
    with pytest.raises(ValueError, match="state: expected writeable float64"):
        panel(x, x, x, x, state=panel_state(9))
    with pytest.raises(ValueError, match="out: expected writeable float64"):
        panel(x, x, x, x, out=np.ones((10, 3, 5)))
    with pytest.raises(ValueError, match="bars: expected float64 of shape"):
        panel_tiles(np.ones((1, 4, 3, 8)))
    with pytest.raises(ValueError, match="out: expected an array aligned to 64 bytes"):
        panel_tiles(
            np.ones((1, 4, 4, 8)),
            out=aligned((1, 4, 10, 9)).reshape(-1)[1:321].reshape(1, 4, 10, 8),
        )
    with pytest.raises(ValueError, match="slow: expected >= 13"):
        PanelSettings(slow=12)
    with pytest.raises(ValueError, match="mfi: expected >= 1"):
        PanelSettings(mfi=0)
    with pytest.raises(ValueError, match="width: expected > 0"):
        PanelSettings(width=0.0)
