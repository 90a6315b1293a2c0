"""Blocks come in time order, are big enough or refused, and keep instants together."""

from collections.abc import Callable

import numpy as np
import pytest

from learning.splitter import blocks, parts, purged
from learning.training_set import TrainingSet
from market.errors import NotEnoughDataError

Simulate = Callable[..., TrainingSet]
BAR_US = 4 * 3_600_000_000


def test_blocks_lose_the_horizon_and_the_embargo_at_each_border(simulate: Simulate) -> None:
    rows = simulate(500)
    cut = blocks(rows)
    assert [len(b) for b in (cut.train, cut.calibration, cut.conformal)] == [288, 88, 100]
    gap = cut.calibration.t_c.min() - cut.train.t_c.max()
    assert gap == (6 + 6 + 1) * BAR_US  # the label's span, the embargo, and the next bar


def test_too_few_rows_are_refused_with_the_blocks_name(simulate: Simulate) -> None:
    with pytest.raises(NotEnoughDataError, match=r"calibration block: expected at least 30 rows"):
        blocks(simulate(120))


def test_bad_arguments_are_refused(simulate: Simulate) -> None:
    rows = simulate(60)
    with pytest.raises(ValueError, match="shares"):
        parts(rows, (0.5, 0.4))
    with pytest.raises(ValueError, match="embargo_bars"):
        purged(rows, np.zeros(len(rows), dtype=np.bool_), embargo_bars=-1)


def test_nothing_to_judge_purges_nothing(simulate: Simulate) -> None:
    rows = simulate(60)
    assert purged(rows, np.zeros(len(rows), dtype=np.bool_), embargo_bars=3).all()
