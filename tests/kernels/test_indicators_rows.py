"""Many symbols of any indicator: the bits of each alone, by registry."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.indicator import StatefulKernel
from kernels.registry import BY_NAME
from tests.kernels.test_indicators_laws import (
    assert_same_bits,
    bits,
    by_registry,
    made_bars,
    some_parameters,
)

Columns = dict[str, np.ndarray[Any, np.dtype[np.float64]]]


def made_rows(symbols: int, n: int, seed: int, missing: float = 0.0) -> Columns:
    """Return the columns of several symbols, a row each, with holes."""
    rng = np.random.default_rng(seed)
    each = [made_bars(n, seed + i, 1e-6 if i % 2 else 0.5) for i in range(symbols)]
    out = {name: np.array([bars[name] for bars in each]) for name in made_bars(0, 0, 1.0)}
    for name, x in out.items():
        out[name] = x.reshape(symbols, n).astype(np.float64)
        if name != "session":
            out[name][rng.random((symbols, n)) < missing] = np.nan
    return out


def row(columns: Columns, i: int) -> Columns:
    return {name: x[i] for name, x in columns.items()}


@pytest.mark.slow
@by_registry
@settings(max_examples=15, deadline=None)
@given(
    symbols=st.integers(1, 4), n=st.integers(0, 150), seed=st.integers(0, 2**31),
    missing=st.sampled_from([0.0, 0.1]), data=st.data(),
)  # fmt: skip
def test_a_row_has_the_bits_that_it_has_alone(
    kernel: StatefulKernel, symbols: int, n: int, seed: int, missing: float, data: st.DataObject
) -> None:
    columns = made_rows(symbols, n, seed, missing)
    parameters = some_parameters(data, kernel, most=60)
    together = kernel.run_rows(columns, None, **parameters)
    for i in range(symbols):
        alone = kernel.run(row(columns, i), None, **parameters)
        assert_same_bits(tuple(x[i] for x in together), alone)


@pytest.mark.slow
@by_registry
def test_many_groups_of_rows_have_the_bits_of_each(kernel: StatefulKernel) -> None:
    columns = made_rows(130, 600, 3, 0.01)  # more than are worked on at once
    together = kernel.run_rows(columns)
    for i in (0, 1, 52, 53, 54, 129):
        assert_same_bits(tuple(x[i] for x in together), kernel.run(row(columns, i)))


@by_registry
def test_rows_go_on_from_their_states(kernel: StatefulKernel) -> None:
    columns = made_rows(3, 90, 5, 0.05)
    states = np.array([kernel.init() for _ in range(3)])
    pieces = [
        kernel.run_rows({name: x[:, a:b] for name, x in columns.items()}, states)
        for a, b in ((0, 1), (1, 40), (40, 41), (41, 90))
    ]
    joined = tuple(np.concatenate(line, axis=-1) for line in zip(*pieces, strict=True))
    assert_same_bits(joined, kernel.run_rows(columns))
    for i in range(3):
        alone = kernel.init()
        kernel.run(row(columns, i), alone)
        assert bits(states[i]) == bits(alone)


@by_registry
def test_a_gap_leaves_a_window_as_it_was_before_the_first_bar(kernel: StatefulKernel) -> None:
    # what makes it right to run rows as one series, a gap between
    if kernel.is_recursive:
        return
    state = kernel.init()
    kernel.run(made_bars(200, 8, 1e-6), state)
    gap = {k: v if k == "session" else v * np.nan for k, v in made_bars(200, 8, 1.0).items()}
    gap = {k: v[: kernel.warmup()] for k, v in gap.items()}
    kernel.run(gap, state)
    after = made_bars(150, 9, 1e-6)
    assert_same_bits(kernel.run(after, state), kernel.run(after))


@by_registry
def test_no_symbols_and_no_bars_give_lines_of_that_shape(kernel: StatefulKernel) -> None:
    for symbols, n in ((0, 5), (0, 0), (3, 0)):
        out = kernel.run_rows(made_rows(symbols, n, 1))
        assert all((x.shape[0], x.shape[-1]) == (symbols, n) for x in out)
        assert [x.ndim for x in out] == [x.ndim for x in kernel.run_rows(made_rows(2, 3, 1))]


def test_columns_and_states_of_another_form_are_refused() -> None:
    columns = made_rows(2, 30, 1)
    bands, movement = BY_NAME["bollinger"], BY_NAME["adx"]
    with pytest.raises(ValueError, match=r"close: expected shape \(symbols, n\), was \(30,\)"):
        bands.run_rows(row(columns, 0))
    with pytest.raises(ValueError, match=r"low: expected shape \(2, 30\) as the first"):
        movement.run_rows({**columns, "low": columns["low"][:, 1:]})
    with pytest.raises(ValueError, match=r"states: expected 2 rows, was \(3, 19\)"):
        bands.run_rows(columns, np.array([bands.init()] * 3))
    with pytest.raises(ValueError, match=r"state: expected writeable float64 of shape \(19,\)"):
        bands.run_rows(columns, np.array([bands.init(period=30)] * 2))
    with pytest.raises(ValueError, match=r"width: expected > 0, was 0.0"):
        bands.run_rows(columns, width=0.0)
    with pytest.raises(TypeError):
        bands.run_rows(columns, None, perid=3)
