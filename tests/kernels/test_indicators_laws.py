"""The laws that every stateful indicator passes, by registry."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels import recurrences, windows
from kernels.registry import STATEFUL_KERNELS, StatefulKernel

Bars = Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]

WITH_A_SUITE_OF_THEIR_OWN = {"levels"}  # a state of another form
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


def in_chunks(kernel: StatefulKernel, given: Bars, cuts: list[int]) -> tuple[tuple[Any, ...], Any]:
    state = kernel.state()
    edges = [0, *sorted(cuts), given["close"].size]
    pieces = [kernel.run(part(given, a, b), state) for a, b in pairwise(edges)]
    joined = [np.concatenate(line, axis=-1) for line in zip(*pieces, strict=True)]
    return tuple(joined), state


@by_registry
@settings(max_examples=25, deadline=None)
@given(given_bars=bars_with_gaps(), data=st.data())
def test_equal_bit_by_bit_however_the_input_is_cut(
    kernel: StatefulKernel, given_bars: Bars, data: st.DataObject
) -> None:
    n = given_bars["close"].size
    cuts = data.draw(st.lists(st.integers(0, n), max_size=8))
    whole = kernel.state()
    expected = kernel.run(given_bars, whole)
    got, state = in_chunks(kernel, given_bars, cuts)
    assert_same_bits(got, expected)
    assert bits(state) == bits(whole)


@by_registry
def test_a_step_is_a_batch_of_one_bar(kernel: StatefulKernel) -> None:
    given_bars = made_bars(120, 1, 1e-6)
    got, _ = in_chunks(kernel, given_bars, list(range(1, 120)))
    assert_same_bits(got, kernel.run(given_bars))


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
    assert last == kernel.warmup
    assert all(np.isfinite(x[..., kernel.warmup :]).all() for x in out)


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
    reach = np.convolve(missing, np.ones(kernel.warmup + 1))[:n] > 0
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
    state = kernel.state()
    out = kernel.run(made_bars(0, 0, 1.0), state)
    assert all(x.shape[-1] == 0 for x in out)
    assert bits(state) == bits(kernel.state())


@by_registry
def test_fewer_bars_than_the_warm_up_give_nan(kernel: StatefulKernel) -> None:
    out = kernel.run(made_bars(kernel.warmup, 4, 1e-6))
    assert any(np.isnan(line).all() for x in out for line in np.atleast_2d(x))


@by_registry
def test_inputs_are_left_alone_and_state_is_not_handed_out(kernel: StatefulKernel) -> None:
    given_bars = made_bars(90, 5, 1e-6)
    before = {k: v.copy() for k, v in given_bars.items()}
    state = kernel.state()
    out = kernel.run(given_bars, state)
    assert all(np.array_equal(before[k], v) for k, v in given_bars.items())
    assert not any(np.shares_memory(x, state) for x in out)


@by_registry
def test_a_state_of_another_form_is_refused(kernel: StatefulKernel) -> None:
    given_bars = made_bars(5, 6, 1e-6)
    fresh = kernel.state()
    with pytest.raises(ValueError, match=r"state: expected writeable float64 of shape"):
        kernel.run(given_bars, np.zeros(fresh.size + 1))
    with pytest.raises(ValueError, match=r"state: expected"):
        kernel.run(given_bars, fresh.astype(np.float32))
    frozen = kernel.state()
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


def compiled() -> list[tuple[str, Any]]:
    members = [*vars(windows).items(), *vars(recurrences).items()]
    return [(name, member) for name, member in members if hasattr(member, "py_func")]


def test_every_compiled_function_is_known_below() -> None:
    assert {name for name, _ in compiled()} == set(ARGUMENTS)


WALK = made_bars(60, 8, 0.5)["close"]
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "_weighted_sum": (WALK, np.arange(5.0)),
    "_deviations": (WALK, 6),
    "_highest": (np.where(WALK.mean() < WALK, WALK, np.nan), 3),
    "_logarithm": (WALK,),
    "_exponential": (np.where(WALK.mean() < WALK, WALK, np.nan), 4, np.array([-2.0, 0.0])),
    "_wilder": (np.where(WALK.mean() < WALK, WALK, np.nan), 4, np.array([0.0, 0.0])),
    "_session_average": (WALK, WALK * 3, np.arange(60) // 7 * 1.0, np.array([np.nan, 0.0, 0.0])),
}


@pytest.mark.parametrize(("name", "function"), compiled())
def test_compiled_equals_interpreted(name: str, function: Any) -> None:
    runs = []
    for call in (function, function.py_func):
        arguments = [a.copy() if isinstance(a, np.ndarray) else a for a in ARGUMENTS[name]]
        out = call(*arguments)
        after = [a for a in arguments if isinstance(a, np.ndarray)]
        runs.append((*(out if isinstance(out, tuple) else (out,)), *after))
    for got, expected in zip(*runs, strict=True):
        np.testing.assert_array_equal(got, expected)
