"""The laws that every stateful indicator passes, by registry."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import pairwise, product
from math import inf
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import kernels
from kernels import blocks, window_sums
from kernels.indicator import Parameter, StatefulKernel
from kernels.registry import BY_NAME, STATEFUL_KERNELS

Bars = Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]

WITH_A_SUITE_OF_THEIR_OWN = {"levels", "panel"}  # a state of another form
PRICES = ("high", "low", "close")


def made_bars(n: int, seed: int, tick: float) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Return a random walk of bars; a coarse tick makes equal prices, flat bars and no volume."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0.0, 0.3, (n, 4))
    path = 50.0 + np.cumsum(steps.ravel()).reshape(n, 4)
    path = np.maximum(np.round(path / tick) * tick, tick)
    return {
        "high": path.max(axis=1, initial=tick),
        "low": path.min(axis=1, initial=1e9),
        "close": path[:, -1].copy(),
        "volume": np.round(rng.exponential(3.0, n) / tick) * tick,
        "session": np.arange(n) // 7 * 25_200_000_000 + 1_500_000_000_000_000,
    }


@st.composite
def bars(draw: st.DrawFn, least: int = 0, most: int = 140) -> dict[str, Any]:
    n, seed = draw(st.integers(least, most)), draw(st.integers(0, 2**32 - 1))
    return made_bars(n, seed, draw(st.sampled_from([1e-6, 0.5, 4.0])))


@st.composite
def bars_with_gaps(draw: st.DrawFn) -> dict[str, Any]:
    out = draw(bars(least=1))
    n = out["close"].size
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    for name in (*PRICES, "volume"):
        out[name][rng.random(n) < draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))] = np.nan
    return out


def part(given: Bars, start: int, end: int | None = None) -> dict[str, Any]:
    return {name: column[start:end] for name, column in given.items()}


def bits(x: np.ndarray[Any, np.dtype[np.float64]]) -> bytes:
    """Return what tells any two floats apart, -0.0 from 0.0 too, but no NaN from another."""
    return np.where(np.isnan(x), np.nan, x).tobytes()


def assert_same_bits(got: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_array_equal(g, e)
        assert bits(g) == bits(e)


def by_registry(test: Callable[..., None]) -> Callable[..., None]:
    mark = pytest.mark.parametrize("kernel", STATEFUL_KERNELS, ids=lambda k: k.name)
    marked: Callable[..., None] = mark(test)
    return marked


def in_chunks(
    kernel: StatefulKernel, given: Bars, cuts: list[int], parameters: Mapping[str, float]
) -> tuple[tuple[Any, ...], Any]:
    state = kernel.init(**parameters)
    edges = [0, *sorted(cuts), given["close"].size]
    pieces = [kernel.run(part(given, a, b), state, **parameters) for a, b in pairwise(edges)]
    joined = [np.concatenate(line, axis=-1) for line in zip(*pieces, strict=True)]
    return tuple(joined), state


def some_parameters(data: st.DataObject, kernel: StatefulKernel, most: float) -> dict[str, float]:
    """Return parameters within the service's limits, up to ``most``, that go together."""
    out: dict[str, float] = {}
    for p in kernel.parameters:
        top = min(p.most, max(most, p.least))
        drawn = st.integers(int(p.least), int(top)) if p.is_integer else st.floats(p.least, top)
        out[p.name] = data.draw(drawn, label=p.name)
    try:
        resolved = kernel.resolved(out)
        kernel.run(made_bars(0, 0, 1.0), None, **resolved)
    except ValueError:  # slow below fast, and the like
        reject()
    return resolved


@pytest.mark.slow
@by_registry
@settings(max_examples=40, deadline=None)
@given(given_bars=bars_with_gaps(), data=st.data())
def test_equal_bit_by_bit_however_the_input_is_cut(
    kernel: StatefulKernel, given_bars: Bars, data: st.DataObject
) -> None:
    n = given_bars["close"].size
    cuts = data.draw(st.lists(st.integers(0, n), max_size=8))
    parameters = some_parameters(data, kernel, most=40)
    whole = kernel.init(**parameters)
    expected = kernel.run(given_bars, whole, **parameters)
    got, state = in_chunks(kernel, given_bars, cuts, parameters)
    assert_same_bits(got, expected)
    assert bits(state) == bits(whole)


@by_registry
@pytest.mark.parametrize("gaps", [0.0, 0.001])
def test_equal_bit_by_bit_across_the_edges_of_blocks(kernel: StatefulKernel, gaps: float) -> None:
    wide = window_sums.WIDE_BLOCK
    given_bars = made_bars(wide + 900, 11, 1e-6)
    rng = np.random.default_rng(12)
    for name in (*PRICES, "volume"):
        given_bars[name][rng.random(wide + 900) < gaps] = np.nan
    cuts = [1, wide, wide + 1]
    for block in (blocks.BLOCK, blocks.WINDOW_BLOCK):
        cuts += [block - 1, block, block + 1, 2 * block + 7, 2 * block + 8]
    parameters = kernel.resolved({"period": 200} if _has_long_period(kernel) else {})
    expected = kernel.run(given_bars, None, **parameters)
    got, _ = in_chunks(kernel, given_bars, cuts, parameters)
    assert_same_bits(got, expected)
    tail = kernel.run(part(given_bars, 0, wide + 3), None, **parameters)
    assert_same_bits(tail, tuple(x[..., : wide + 3] for x in expected))


def _has_long_period(kernel: StatefulKernel) -> bool:
    return any(p.name == "period" and p.most >= 200 for p in kernel.parameters)


def limits(kernel: StatefulKernel) -> list[dict[str, float]]:
    """Return the ends of the service's limits, in every way in which parameters go together."""
    ends = [[(p.name, end) for end in (p.least, p.most)] for p in kernel.parameters]
    found = []
    for each in product(*ends):
        with suppress(ValueError):  # slow below fast, and the like
            resolved = kernel.resolved(dict(each))
            kernel.run(made_bars(0, 0, 1.0), None, **resolved)
            found.append(resolved)
    return found


@pytest.mark.slow
@by_registry
def test_equal_bit_by_bit_at_the_limits_of_every_parameter(kernel: StatefulKernel) -> None:
    for parameters in limits(kernel):
        first = kernel.warmup(**parameters)
        given_bars = made_bars(3 * first + 600, 17, 1e-6)
        expected = kernel.run(given_bars, None, **parameters)
        by_bars = [1, 2, first // 2, first - 1, first, first + 1, first + 2, first + 513]
        by_windows = [first, 2 * first, 3 * first + 1, 3 * first + 2]
        for cuts in (by_bars, by_windows):
            got, _ = in_chunks(kernel, given_bars, [c for c in cuts if c > 0], parameters)
            assert_same_bits(got, expected)
        known = np.all([np.isfinite(np.atleast_2d(x)).all(axis=0) for x in expected], axis=0)
        assert not known[:first].any()
        assert known[first:].all()


@by_registry
def test_a_state_does_not_grow_and_is_all_that_a_step_needs(kernel: StatefulKernel) -> None:
    for parameters in limits(kernel):
        given_bars = made_bars(3_001, 18, 1e-6)
        state = kernel.init(**parameters)
        size = state.nbytes
        for start, end in ((0, 40), (40, 1_000), (1_000, 3_000)):
            kernel.run(part(given_bars, start, end), state, **parameters)
            stored = state.tobytes()
            assert len(stored) == size
            state = np.frombuffer(stored).copy()
        last = kernel.step(state, {k: v[-1] for k, v in given_bars.items()}, **parameters)
        batch = kernel.run(given_bars, None, **parameters)
        assert_same_bits((np.array(last),), (np.concatenate([x[..., -1:].ravel() for x in batch]),))


@by_registry
def test_a_step_is_a_batch_of_one_bar(kernel: StatefulKernel) -> None:
    given_bars = made_bars(120, 1, 1e-6)
    state = kernel.init()
    rows = [kernel.step(state, {k: v[i] for k, v in given_bars.items()}) for i in range(120)]
    batch = [line for x in kernel.run(given_bars) for line in np.atleast_2d(x)]
    assert_same_bits(tuple(np.array(rows).T), tuple(batch))


@pytest.mark.slow
@by_registry
def test_a_step_takes_as_long_after_a_million_bars_as_after_a_thousand(
    kernel: StatefulKernel,
) -> None:
    given_bars = made_bars(1_000_000, 2, 1e-6)
    early, late = kernel.init(), kernel.init()
    kernel.run(part(given_bars, 0, 1_000), early)
    kernel.run(given_bars, late)
    assert early.shape == late.shape
    bar = {k: v[-1] for k, v in given_bars.items()}
    least = {id(early): inf, id(late): inf}
    for rounds in range(4_000):  # past 40, for a busy machine that has not shown its best
        if rounds >= 40 and least[id(late)] < 1.5 * least[id(early)]:
            break
        for state in (early, late):
            began = perf_counter()
            for _ in range(10):
                kernel.step(state, bar)
            least[id(state)] = min(least[id(state)], perf_counter() - began)
    assert least[id(late)] < 1.5 * least[id(early)]


@pytest.mark.slow
@by_registry
@settings(max_examples=25, deadline=None)
@given(given_bars=bars_with_gaps(), other=bars(least=140), data=st.data())
def test_the_future_changes_nothing(
    kernel: StatefulKernel, given_bars: Bars, other: Bars, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, given_bars["close"].size))
    expected = tuple(x[..., :cut] for x in kernel.run(given_bars))
    assert_same_bits(kernel.run(part(given_bars, 0, cut)), expected)
    altered = {
        name: np.concatenate([column[:cut], other[name][cut:]])
        for name, column in given_bars.items()
    }
    assert_same_bits(tuple(x[..., :cut] for x in kernel.run(altered)), expected)


@by_registry
def test_warm_up_is_as_long_as_the_registry_says(kernel: StatefulKernel) -> None:
    out = kernel.run(made_bars(200, 2, 1e-6))
    last = np.max([np.isnan(np.atleast_2d(x)).sum(axis=1).max() for x in out])
    assert last == kernel.warmup()
    assert all(np.isfinite(x[..., kernel.warmup() :]).all() for x in out)


@by_registry
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_warm_up_follows_from_the_parameters(kernel: StatefulKernel, data: st.DataObject) -> None:
    parameters = some_parameters(data, kernel, most=60)
    first = kernel.warmup(**parameters)
    out = kernel.run(made_bars(first + 2, 13, 1e-6), None, **parameters)
    known = [np.isfinite(np.atleast_2d(x)).all(axis=0) for x in out]
    assert list(np.flatnonzero(np.all(known, axis=0))) == [first, first + 1]


@pytest.mark.slow
@by_registry
@settings(max_examples=25, deadline=None)
@given(given_bars=bars(least=1), data=st.data())
def test_a_missing_bar_is_forgotten_by_policy(
    kernel: StatefulKernel, given_bars: Bars, data: st.DataObject
) -> None:
    n = given_bars["close"].size
    missing = np.zeros(n, dtype=bool)
    missing[data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=3))] = True
    holed = {
        k: v if k == "session" else np.where(missing, np.nan, v) for k, v in given_bars.items()
    }
    out, clean = kernel.run(holed), kernel.run(given_bars)
    if kernel.is_recursive:
        dense = kernel.run({k: v[~missing] for k, v in given_bars.items()})
        assert_same_bits(tuple(x[..., ~missing] for x in out), dense)
        assert all(np.isnan(x[..., missing]).all() for x in out)
        return
    reach = np.convolve(missing, np.ones(kernel.warmup() + 1))[:n] > 0
    assert_same_bits(tuple(x[..., ~reach] for x in out), tuple(x[..., ~reach] for x in clean))
    assert all(np.isnan(x[..., missing]).all() for x in out)
    for x, y in zip(out, clean, strict=True):  # inside, either NaN or as if nothing were missing
        assert (np.isnan(x) | (x == y)).all()


@by_registry
def test_an_infinity_counts_as_missing(kernel: StatefulKernel) -> None:
    given_bars = made_bars(150, 3, 1e-6)
    for bad in (np.inf, -np.inf):
        holed = {k: v.copy() for k, v in given_bars.items()}
        missing = {k: v.copy() for k, v in given_bars.items()}
        for name in kernel.inputs:
            if name != "session":
                holed[name][[60, 61, 90]] = bad
                missing[name][[60, 61, 90]] = np.nan
        assert_same_bits(kernel.run(holed), kernel.run(missing))


@by_registry
def test_no_bars_give_no_values_and_leave_the_state(kernel: StatefulKernel) -> None:
    state = kernel.init()
    out = kernel.run(made_bars(0, 0, 1.0), state)
    assert all(x.shape[-1] == 0 for x in out)
    assert bits(state) == bits(kernel.init())


@by_registry
def test_fewer_bars_than_the_warm_up_give_nan(kernel: StatefulKernel) -> None:
    out = kernel.run(made_bars(kernel.warmup(), 4, 1e-6))
    assert any(np.isnan(line).all() for x in out for line in np.atleast_2d(x))


@by_registry
def test_inputs_are_left_alone_and_state_is_not_handed_out(kernel: StatefulKernel) -> None:
    given_bars = made_bars(90, 5, 1e-6)
    before = {k: v.copy() for k, v in given_bars.items()}
    state = kernel.init()
    out = kernel.run(given_bars, state)
    assert all(np.array_equal(before[k], v) for k, v in given_bars.items())
    assert not any(np.shares_memory(x, state) for x in out)


@by_registry
def test_a_state_of_another_form_is_refused(kernel: StatefulKernel) -> None:
    given_bars = made_bars(5, 6, 1e-6)
    fresh = kernel.init()
    with pytest.raises(ValueError, match=r"state: expected writeable float64 of shape"):
        kernel.run(given_bars, np.zeros(fresh.size + 1))
    with pytest.raises(ValueError, match=r"state: expected"):
        kernel.run(given_bars, fresh.astype(np.float32))
    frozen = kernel.init()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match=r"writeable False"):
        kernel.run(given_bars, frozen)


@pytest.mark.parametrize(
    "kernel", [k for k in STATEFUL_KERNELS if len(k.inputs) > 1], ids=lambda k: k.name
)
def test_columns_of_different_lengths_are_refused(kernel: StatefulKernel) -> None:
    given_bars = made_bars(5, 7, 1e-6)
    given_bars[kernel.inputs[-1]] = given_bars[kernel.inputs[-1]][:-1]
    with pytest.raises(ValueError, match=rf"{kernel.inputs[-1]}: expected 5 values"):
        kernel.run(given_bars)


def test_no_stateful_kernel_escapes() -> None:
    found = set()
    for module in pkgutil.iter_modules(kernels.__path__, "kernels."):
        if module.name.split(".")[-1] in WITH_A_SUITE_OF_THEIR_OWN:
            continue
        for name, member in inspect.getmembers(importlib.import_module(module.name)):
            if inspect.isfunction(member) and member.__module__ == module.name:
                parameter = inspect.signature(member).parameters.get("state")
                if parameter is not None and parameter.default is None:
                    found.add(name)
    assert found == {k.name for k in STATEFUL_KERNELS}


@by_registry
def test_outputs_and_columns_are_as_the_registry_says(kernel: StatefulKernel) -> None:
    given_bars = made_bars(60, 14, 1e-6)
    out = kernel.batch(
        *(given_bars[c] for c in kernel.inputs if c != "session"),
        **({"session": given_bars["session"]} if "session" in kernel.inputs else {}),
    )
    names = out._fields if isinstance(out, tuple) else (kernel.name,)
    assert kernel.outputs == tuple(names)
    assert len(kernel.step(kernel.init(), {k: v[0] for k, v in given_bars.items()})) >= len(names)
    assert kernel.title
    assert kernel.resolved({}) == {p.name: p.default for p in kernel.parameters}
    signature = inspect.signature(kernel.batch).parameters
    for parameter in kernel.parameters:
        assert signature[parameter.name].default == parameter.default
        assert parameter.least <= parameter.default <= parameter.most


@by_registry
def test_what_numba_compiles_does_what_python_does(
    kernel: StatefulKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_bars = made_bars(90, 15, 0.5)
    for name in (*PRICES, "volume"):
        given_bars[name][[40, 41, 77]] = np.nan
    expected_state, state = kernel.init(), kernel.init()
    pieces = [part(given_bars, 0, 33), part(given_bars, 33)]
    expected = [kernel.run(piece, expected_state) for piece in pieces]
    for module in pkgutil.iter_modules(kernels.__path__, "kernels."):
        for name, member in list(vars(importlib.import_module(module.name)).items()):
            if hasattr(member, "py_func"):
                monkeypatch.setattr(f"{module.name}.{name}", member.py_func)
    assert not hasattr(blocks.gather, "py_func")
    with np.errstate(all="ignore"):
        got = [kernel.run(piece, state) for piece in pieces]
    for g, e in zip(got, expected, strict=True):
        assert_same_bits(g, e)
    assert bits(state) == bits(expected_state)


def test_a_parameter_beyond_its_limits_is_refused() -> None:
    sma, macd, bands = (BY_NAME[name] for name in ("sma", "macd", "bollinger"))
    for given_parameters, message in (
        ({"period": 1}, "period: expected a whole number from 2 to 500, was 1"),
        ({"period": 501}, "period: expected a whole number from 2 to 500, was 501"),
        ({"period": 20.5}, r"was 20\.5"),
        (
            {"perid": 20},
            r"sma: expected parameters \['period'\], was perid \(did you mean period\?\)",
        ),
        ({"width": 2.0}, r"sma: expected parameters \['period'\], was width"),
    ):
        with pytest.raises(ValueError, match=message):
            sma.resolved(given_parameters)
    with pytest.raises(ValueError, match="slow: expected >= 31, was 26"):
        macd.resolved({"fast": 30})
    with pytest.raises(ValueError, match=r"width: expected from 0\.1 to 5\.0, was nan"):
        bands.resolved({"width": float("nan")})
    assert bands.resolved({"period": 30.0}) == {"period": 30, "width": 2.0}
    assert isinstance(bands.resolved({"period": 30.0})["period"], int)
    assert Parameter("k", 1.0, 0.0, 2.0, is_integer=False).checked(1) == 1.0
