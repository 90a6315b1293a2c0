"""Batch is stream: whatever is cut into chunks, down to one bar, comes out bit for bit the same.

By registry for the kernels (a kernel that is added is tested), and for the stages with a state,
through the frames in which the state rests between two months.
"""

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import levels as level_kernel
from kernels import registry
from kernels.indicator import StatefulKernel
from kernels.registry import STATEFUL_KERNELS
from market.instruments import Instrument
from market.tables import FEATURES, LEVEL_EVENTS
from market.timeframes import Timeframe
from pipeline import features, levels
from pipeline.comparison import differences
from tests.proofs import synthetic

Columns = Mapping[str, npt.NDArray[np.float64]]

BITCOIN = Instrument("BTC", "crypto", "crypto", "csv", "BTC", Timeframe.H1, 0.01, 1e-6)
LONGEST = max(kernel.warmup() for kernel in STATEFUL_KERNELS)


def columns(seed: int, n: int, missing: float) -> Columns:
    """Return a market's columns as arrays, a share of each of them NaN."""
    rng = np.random.default_rng(seed)
    bars = synthetic.bars(n, seed=seed)
    names = ("open", "high", "low", "close", "volume")
    made = {name: bars[name].to_numpy().copy() for name in names}
    for values in made.values():
        values[rng.random(n) < missing] = np.nan
    return {**made, "session": np.arange(n) // 24}


def pieces(n: int, cuts: Sequence[int]) -> list[slice]:
    """Return the slices between sorted cuts; equal cuts make an empty one."""
    bounds = [0, *sorted(min(cut, n) for cut in cuts), n]
    return [slice(a, b) for a, b in pairwise(bounds)]


def assert_same_bits(was: object, now: object, name: str) -> None:
    """Fail if two arrays differ in a bit; every NaN is the same nothing."""
    left, right = np.asarray(was), np.asarray(now)
    assert left.dtype == right.dtype, name
    assert left.shape == right.shape, name
    if left.dtype.kind == "f":
        left = np.where(np.isnan(left), np.nan, left).view(np.int64)
        right = np.where(np.isnan(right), np.nan, right).view(np.int64)
    np.testing.assert_array_equal(left, right, err_msg=name)


def in_pieces(kernel: StatefulKernel, bars: Columns, cut: Sequence[slice]) -> None:
    """Compare a kernel over all bars with the same kernel over pieces, states and all."""
    n = bars["close"].size
    once, many = kernel.init(), kernel.init()
    whole = kernel.run(bars, once)
    parts = [kernel.run({k: v[piece] for k, v in bars.items()}, many) for piece in cut]
    assert sum(part[0].shape[-1] for part in parts) == n
    for i, column in enumerate(whole):
        together = np.concatenate([part[i] for part in parts], axis=-1)
        assert_same_bits(column, together, f"{kernel.name}, output {i}")
    assert_same_bits(once, many, f"{kernel.name}, state")


@pytest.mark.parametrize("kernel", STATEFUL_KERNELS, ids=lambda kernel: kernel.name)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32), n=st.integers(0, 3 * LONGEST),
    cuts=st.lists(st.integers(0, 3 * LONGEST), max_size=6),
    missing=st.sampled_from([0.0, 0.0, 0.1]),
)  # fmt: skip
def test_a_kernel_gives_the_same_bits_however_its_input_is_cut(
    kernel: StatefulKernel, seed: int, n: int, cuts: list[int], missing: float
) -> None:
    in_pieces(kernel, columns(seed, n, missing), pieces(n, cuts))


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("kernel", STATEFUL_KERNELS, ids=lambda kernel: kernel.name)
def test_a_kernel_gives_the_same_bits_bar_by_bar(kernel: StatefulKernel, missing: float) -> None:
    n = 4 * LONGEST
    in_pieces(kernel, columns(1, n, missing), pieces(n, range(1, n)))


def test_every_kernel_that_takes_a_state_is_in_the_registry() -> None:
    takes_state = {
        function.__name__
        for module in {sys.modules[kernel.batch.__module__] for kernel in STATEFUL_KERNELS}
        for _, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not function.__name__.startswith("_")
        and "state" in inspect.signature(function).parameters
    }
    listed = {kernel.batch.__name__ for kernel in registry.STATEFUL_KERNELS}
    assert takes_state - listed == set()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32), n=st.integers(0, 400),
    cuts=st.lists(st.integers(0, 400), max_size=6),
    rules=st.sampled_from(
        [
            level_kernel.Rules(),
            level_kernel.Rules(max_active=3, expiry_bars=15, flip_bars=4),
            level_kernel.Rules(is_price_unit=True, touch=0.001, break_=0.002),
        ]
    ),
)  # fmt: skip
def test_the_level_machine_gives_the_same_bits_however_its_input_is_cut(
    seed: int, n: int, cuts: list[int], rules: level_kernel.Rules
) -> None:
    made = columns(seed, n, 0.0)
    bars = tuple(made[name] for name in ("open", "high", "low", "close"))
    ts = np.arange(n, dtype=np.int64) * 3_600_000_000

    def play(cut: Sequence[slice]) -> tuple[list[level_kernel.Run], level_kernel.State]:
        state, runs = level_kernel.initial(rules), list[level_kernel.Run]()
        for piece in cut:
            given_bars = tuple(x[piece] for x in bars)
            runs.append(level_kernel.extend(state, given_bars, ts[piece], rules=rules))  # type: ignore[arg-type]
            state = runs[-1].state
        return runs, state

    cut = pieces(n, cuts)
    (whole,), once = play([slice(0, n)])
    parts, many = play(cut)
    assert_same_bits(whole.atr, np.concatenate([p.atr for p in parts]), "atr")
    for side in ("resistance", "support"):
        for name in level_kernel.Nearest._fields:
            together = np.concatenate([getattr(getattr(p, side), name) for p in parts])
            assert_same_bits(getattr(getattr(whole, side), name), together, f"{side} {name}")
    for name in level_kernel.Events._fields:
        shift = [piece.start if name == "bar" else 0 for piece in cut]
        joined = [
            getattr(p.events, name) + by if name == "bar" else getattr(p.events, name)
            for p, by in zip(parts, shift, strict=True)
        ]
        assert_same_bits(getattr(whole.events, name), np.concatenate(joined), f"event {name}")
    for name, array in once.items():
        assert_same_bits(array, many[name], f"state {name}")


def frames(seed: int, n: int, *, no_volume: bool) -> pl.DataFrame:
    """Return complete candles with holes, and no volume where told."""
    candles = synthetic.candles(BITCOIN, n, seed=seed, missing=0.05)
    return candles.with_columns(volume=pl.lit(None, pl.Float64)) if no_volume else candles


def chained(
    candles: pl.DataFrame, cut: Sequence[slice]
) -> tuple[dict[str, pl.DataFrame], Mapping[str, npt.NDArray[np.generic]]]:
    """Return levels, context and features of consecutive pieces, and the states at the end."""
    levels_state, features_state = dict(levels.initial()), dict(features.initial())
    events, contexts, rows = [LEVEL_EVENTS.empty()], [], [FEATURES.empty()]
    for piece in cut:
        part = candles[piece]
        played = levels.extend(levels_state, part, instrument=BITCOIN, timeframe=Timeframe.H1)
        done = features.extend(
            features_state, part, played.context,
            instrument=BITCOIN, timeframe=Timeframe.H1,
        )  # fmt: skip
        levels_state, features_state = dict(played.state), dict(done.state)
        events.append(played.events)
        contexts.append(played.context)
        rows.append(done.rows)
    made = {"events": pl.concat(events), "context": pl.concat(contexts), "rows": pl.concat(rows)}
    return made, {**levels_state, **{f"features.{k}": v for k, v in features_state.items()}}


KEYS = {"events": ("event_id",), "context": ("ts",), "rows": ("ts",)}


def assert_stages_agree(candles: pl.DataFrame, cut: Sequence[slice]) -> None:
    """Compare levels and features over all candles with the same over pieces."""
    whole, once = chained(candles, [slice(0, candles.height)])
    parts, many = chained(candles, cut)
    for name, key in KEYS.items():
        assert differences(whole[name], parts[name], key) == [], name
    assert once.keys() == many.keys()
    for name, array in once.items():
        assert_same_bits(array, many[name], f"state {name}")


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32), n=st.integers(0, 300), no_volume=st.booleans(),
    cuts=st.lists(st.integers(0, 300), max_size=5),
)  # fmt: skip
def test_stages_give_the_same_rows_however_their_candles_are_cut(
    *, seed: int, n: int, no_volume: bool, cuts: list[int]
) -> None:
    candles = frames(seed, n, no_volume=no_volume)
    assert_stages_agree(candles, pieces(candles.height, cuts))


def test_stages_give_the_same_rows_bar_by_bar() -> None:
    candles = frames(5, 150, no_volume=False)
    assert_stages_agree(candles, pieces(candles.height, range(1, candles.height)))


def test_a_stage_leaves_the_state_that_it_was_given_as_it_was() -> None:
    candles = frames(6, 120, no_volume=False)
    levels_state, features_state = dict(levels.initial()), dict(features.initial())
    before = {k: v.copy() for k, v in {**levels_state, **features_state}.items()}
    played = levels.extend(levels_state, candles, instrument=BITCOIN, timeframe=Timeframe.H1)
    features.extend(
        features_state, candles, played.context,
        instrument=BITCOIN, timeframe=Timeframe.H1,
    )  # fmt: skip
    for name, array in {**levels_state, **features_state}.items():
        assert_same_bits(before[name], array, name)


def test_the_comparison_can_fail() -> None:
    # a kernel that forgets a bar of its state at each cut
    kernel = STATEFUL_KERNELS[0]

    def forgetful(close: npt.ArrayLike, *, state: npt.NDArray[np.float64]) -> object:
        out = kernel.batch(close, state=state)
        state[:1] = 1.0
        return out

    broken = replace(kernel, name="forgetful", batch=forgetful)
    with pytest.raises(AssertionError, match="forgetful"):
        in_pieces(broken, columns(0, 100, 0.0), pieces(100, [50]))
