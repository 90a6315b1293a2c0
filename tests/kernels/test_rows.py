"""Many symbols at once: the bits of each alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import engine
from kernels.registry import BY_NAME
from kernels.rows import ROWS, rows


def engines() -> list[engine.Choice]:
    return ["numba", "mojo"] if engine.mojo_available() else ["numba"]


@pytest.mark.parametrize("name", ROWS)
@given(
    seed=st.integers(0, 2**31),
    symbols=st.integers(1, 4),
    bars=st.integers(0, 300),
    missing=st.floats(0.0, 0.3),
    data=st.data(),
)
@settings(deadline=None, max_examples=25)
def test_a_row_has_the_bits_that_it_has_alone(
    name: str, seed: int, symbols: int, bars: int, missing: float, data: st.DataObject
) -> None:
    kernel, random = BY_NAME[name], np.random.default_rng(seed)
    shape = (symbols, bars)
    close = 100.0 + random.standard_normal(shape).cumsum(axis=1)
    close[random.random(shape) < missing] = np.nan
    columns = {"close": close, "high": close + 1.0, "low": close - 1.0}
    columns["volume"] = random.poisson(50, shape).astype(np.float64)
    columns["session"] = np.broadcast_to(np.arange(bars) // 24, shape).astype(np.float64)
    chosen = {}
    if any(parameter.name == "period" for parameter in kernel.parameters):
        chosen["period"] = data.draw(st.integers(2, 60))
    parameters = kernel.resolved(chosen)
    given = tuple(columns[c] for c in kernel.inputs)
    for which in engines():
        with engine.forced(which):
            together = rows(name, given, *parameters.values())
        assert together is not None
        for i in range(symbols):
            alone = kernel.run({c: columns[c][i] for c in kernel.inputs}, None, **parameters)
            for line, row in zip(together, alone, strict=True):
                np.testing.assert_array_equal(line[i], row)


@pytest.mark.parametrize("name", ROWS)
def test_lines_are_those_of_the_registry(name: str) -> None:
    assert ROWS[name].lines == len(BY_NAME[name].outputs)


def test_what_has_no_loop_is_left_to_the_caller() -> None:
    x = np.ones((2, 30))
    assert rows("hma", (x,), 5) is None


def test_columns_are_matrices_of_one_shape() -> None:
    with engine.forced("numba"):
        with pytest.raises(ValueError, match="columns: expected matrices of one shape"):
            rows("obv", (np.ones((2, 3)), np.ones((2, 4))))
        with pytest.raises(ValueError, match="columns: expected matrices of one shape"):
            rows("sma", (np.ones(3),), 2)  # type: ignore[arg-type]
