"""Bars: every published partition moves the one of its asset, and nothing asked prints nothing."""

import io

import pytest
from rich.console import Console

from assets.evaluation import Evaluation
from assets.raw import RawCandles
from assets.stage import Stage
from market.ports import PartitionKey
from market.timeframes import Timeframe
from wavehouse.console import PIPED_WIDTH, open_console
from wavehouse.progress import watched_line


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        (RawCandles(), PartitionKey("raw_candles", "H1", "EURUSD", "2017-05")),
        (Evaluation(Timeframe.H4), PartitionKey("evaluations", "H4", "pooled", "2017-12")),
    ],
)
def test_the_first_bar_moves_too(stage: Stage, key: PartitionKey) -> None:
    shown = io.StringIO()
    with watched_line(Console(file=shown)) as watch:
        watch.expect([stage], 2)
        watch.published(key)
        watch.published(PartitionKey("labels", "D", "EURUSD", "2017-05"))
    assert shown.getvalue().rstrip().endswith("1/2")


def test_without_a_bar_not_even_an_empty_line() -> None:
    shown = io.StringIO()
    with watched_line(Console(file=shown)):
        pass
    assert shown.getvalue() == ""


def test_a_pipe_breaks_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert open_console().width == PIPED_WIDTH
    monkeypatch.setenv("COLUMNS", "50")
    assert open_console().width == 50
