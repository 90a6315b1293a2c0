"""Purge and embargo as a property of the splitter; the well-known wrong formula fails it."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from learning.splitter import parts, purged
from learning.training_set import TrainingSet

Mask = npt.NDArray[np.bool_]
Splitter = Callable[[TrainingSet, Mask, int], Mask]
Case = tuple[TrainingSet, Mask, int]


def rows_of(
    t_c: npt.NDArray[np.int64], length: npt.NDArray[np.int64], instrument: npt.NDArray[np.str_]
) -> TrainingSet:
    order = np.lexsort((instrument, t_c))
    n = t_c.size
    return TrainingSet(
        features=(),
        x=np.empty((n, 0)),
        y=np.zeros(n, dtype=np.int8),
        t_c=t_c[order],
        matured_at=(t_c + length)[order],
        instrument=instrument[order],
        weight=np.ones(n),
        cutoff_us=10_000,
        horizon_bars=3,
        timeframe="H1",
        label_version="v1",
        data_version="",
        dropped={},
        dropped_features={},
        inputs={},
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw spans of one or two instruments with gaps and uneven lengths, and a test block."""
    t_c, instrument = [], []
    for name in ("A", "B")[: draw(st.integers(1, 2))]:
        times = draw(st.lists(st.integers(0, 60), min_size=2, max_size=25, unique=True))
        t_c += times
        instrument += [name] * len(times)
    n = len(t_c)
    length = draw(st.lists(st.integers(1, 12), min_size=n, max_size=n))
    rows = rows_of(np.array(t_c), np.array(length), np.array(instrument))
    first = draw(st.integers(0, 60))
    test = (rows.t_c >= first) & (rows.t_c < first + draw(st.integers(1, 20)))
    return rows, test, draw(st.integers(0, 4))


def leaks(case: Case, splitter: Splitter) -> bool:
    """Whether a kept row's span meets a test row's, or fewer bars than the embargo lie between."""
    rows, test, embargo = case
    keep = splitter(rows, test, embargo)
    for i in np.flatnonzero(keep):
        bars = rows.t_c[rows.instrument == rows.instrument[i]]
        for j in np.flatnonzero(test):
            if rows.t_c[i] <= rows.matured_at[j] and rows.t_c[j] <= rows.matured_at[i]:
                return True
            early, late = (i, j) if rows.t_c[i] < rows.t_c[j] else (j, i)
            between = (bars > rows.matured_at[early]) & (bars < rows.t_c[late])
            if between.sum() < embargo:
                return True
    return bool((keep & test).any())


def ours(rows: TrainingSet, test: Mask, embargo_bars: int) -> Mask:
    return purged(rows, test, embargo_bars=embargo_bars)


def window_from_first_labels_end(rows: TrainingSet, test: Mask, embargo_bars: int) -> Mask:
    """Do as the ports that leak: the window begins at the END of the first test label."""
    if not test.any():
        return np.ones(len(rows), dtype=np.bool_)
    start, end = rows.matured_at[test][0], rows.matured_at[test].max()
    bars = np.sort(rows.t_c)
    after = np.searchsorted(bars, rows.t_c) - np.searchsorted(bars, end, side="right")
    outside = (rows.matured_at < start) | ((rows.t_c > end) & (after >= embargo_bars))
    out: Mask = outside & ~test
    return out


def window_to_last_rows_maturity(rows: TrainingSet, test: Mask, embargo_bars: int) -> Mask:
    """Do as those who take the last test ROW's label for the last label to mature."""
    if not test.any():
        return np.ones(len(rows), dtype=np.bool_)
    last = np.flatnonzero(test)[-1]
    shortened = rows_of(
        rows.t_c, np.minimum(rows.matured_at, rows.matured_at[last]) - rows.t_c, rows.instrument
    )
    return ours(shortened, test, embargo_bars)


@pytest.mark.slow
@given(case=cases())
@settings(max_examples=300, deadline=None)
def test_no_kept_row_meets_a_test_row_nor_comes_within_the_embargo(case: Case) -> None:
    assert not leaks(case, ours)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [window_from_first_labels_end, window_to_last_rows_maturity])
def test_the_wrong_formulas_fail_the_same_property(wrong: Splitter) -> None:
    try:
        find(cases(), lambda case: leaks(case, wrong), settings=settings(max_examples=3000))
    except NoSuchExample:
        pytest.fail(f"{wrong.__name__}: expected a leak that the property sees, was none")


def test_the_wrong_formula_leaks_on_the_plainest_case() -> None:
    rows = rows_of(np.arange(20), np.full(20, 5), np.array(["A"] * 20))
    test = (rows.t_c >= 10) & (rows.t_c < 15)
    wrong = window_from_first_labels_end(rows, test, 0) & (rows.t_c < 10)
    right = ours(rows, test, 0) & (rows.t_c < 10)
    assert rows.t_c[right].max() == 4  # its label is known at 9, before the first decision at 10
    assert rows.t_c[wrong].max() == 9  # its label is known at 14: it has seen four test bars


@given(case=cases())
@settings(max_examples=200, deadline=None)
def test_blocks_of_a_walk_forward_do_not_know_each_other(case: Case) -> None:
    rows, _, embargo = case
    cut = parts(rows, (0.5, 0.25, 0.25), embargo_bars=embargo)
    for i, earlier in enumerate(cut):
        for later in cut[i + 1 :]:
            if not len(earlier) or not len(later):
                continue
            assert earlier.matured_at.max() < later.t_c.min()


@pytest.mark.slow
@given(case=cases())
@settings(max_examples=200, deadline=None)
def test_nothing_more_is_dropped_than_purge_and_embargo_ask(case: Case) -> None:
    rows, test, _ = case
    if not test.any():
        return
    keep = ours(rows, test, 0)
    clear = (rows.matured_at < rows.t_c[test].min()) | (rows.t_c > rows.matured_at[test].max())
    np.testing.assert_array_equal(keep, clear & ~test)
