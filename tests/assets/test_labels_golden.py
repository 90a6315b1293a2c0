"""The label source's own example, from bars through every stage: nothing is given but candles.

P 1.0965, ATR 0.0025, S 1.0920, R 1.0990 → U 1.09875, L 1.09225, and the path decides.
"""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from market.instruments import Instrument
from market.tables import INSTANT
from market.timeframes import MICROSECONDS_PER_HOUR, Timeframe
from tests.fakes.line import FrameProvider, Workshop, line_of, rows, stages_of

PAIR = Instrument("EURUSD", "crypto", "crypto", "frame", "EURUSD", Timeframe.H1, 0.00001, 1.0)
START_US = 1_488_326_400_000_000  # 1 March 2017, 00:00 UTC
WARM_UP = 16
STILL = (1.0970, 1.09825, 1.09575, 1.0970)  # neither green nor red: it makes no level

H4_BARS = (
    *(STILL,) * WARM_UP,
    (1.0970, 1.0990, 1.0965, 1.0985),  # green
    (1.0985, 1.0988, 1.0963, 1.0966),  # red behind it: the resistance at 1.0990
    (1.0966, 1.0967, 1.0942, 1.0945),
    (1.0945, 1.0945, 1.0920, 1.0924),  # red
    (1.0924, 1.0947, 1.0922, 1.0945),  # green behind it: the support at 1.0920
    (1.0945, 1.0968, 1.0943, 1.0965),  # the entry; every bar's true range is 0.0025
)
PATH_HOURS = 24


def hours(after: list[tuple[float, float, float, float]]) -> pl.DataFrame:
    """Return hourly bars that make the H4 bars, and those of the path behind them."""
    bars: list[tuple[float, float, float, float]] = []
    for open_, high, low, close in H4_BARS:
        bars += [(open_, high, low, close), *((close,) * 4,) * 3]
    bars += after
    stamps = [START_US + i * MICROSECONDS_PER_HOUR for i in range(len(bars))]
    return pl.DataFrame(bars, schema=["open", "high", "low", "close"], orient="row").select(
        pl.Series("ts", stamps).cast(INSTANT),
        pl.all(),
        volume=pl.lit(1.0),
    )


def entry_row(folder: Path, after: list[tuple[float, float, float, float]]) -> dict[str, Any]:
    """Materialise the month through Dagster and return the entry's label."""
    made = Workshop(line_of(folder, FrameProvider(hours(after)), PAIR))
    made.run(stages_of("H4", groups=["raw_candles", "candles", "levels", "labels"]), ["2017-03"],
             instrument="EURUSD")  # fmt: skip
    (labels,) = stages_of("H4", groups=["labels"])
    (logged,) = stages_of("H4", groups=["levels"])
    made_levels = rows(made.line, logged, "EURUSD").filter(pl.col("event").str.starts_with("NEW"))
    assert made_levels["price"].to_list()[:2] == [1.0990, 1.0920]
    row = rows(made.line, labels, "EURUSD").row(len(H4_BARS) - 1, named=True)
    ids = dict(zip(made_levels["price"], made_levels["level_id"], strict=True))
    assert (row["resistance_level_id"], row["support_level_id"]) == (ids[1.0990], ids[1.0920])
    return row


FLAT = [(1.0965,) * 4] * PATH_HOURS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hour", "bar", "label", "hit", "bars"),
    [
        (9, (1.0965, 1.09876, 1.0965, 1.0965), 1, "upper", (3, 10)),
        (4, (1.0965, 1.0965, 1.09224, 1.0965), -1, "lower", (2, 5)),
        (9, (1.0965, 1.09874, 1.09226, 1.0965), 0, "none", (6, 24)),
        (0, (1.0965, 1.09876, 1.09224, 1.0965), None, "ambiguous", (1, 1)),
    ],
)
def test_the_golden_barriers_and_what_the_path_made_of_them(
    tmp_path: Path,
    hour: int,
    bar: tuple[float, float, float, float],
    label: int | None,
    hit: str,
    bars: tuple[int, int],
) -> None:
    row = entry_row(tmp_path, [bar if i == hour else FLAT[i] for i in range(PATH_HOURS)])
    assert (row["entry_price"], row["atr"]) == pytest.approx((1.0965, 0.0025))
    assert (row["nearest_support"], row["nearest_resistance"]) == (1.0920, 1.0990)
    assert (row["upper_barrier"], row["lower_barrier"]) == pytest.approx((1.09875, 1.09225))
    assert (row["is_upper_adjusted"], row["is_lower_adjusted"]) == (True, True)
    assert row["status"] == "final"
    assert (row["enhanced_triple_barrier"], row["barrier_hit"]) == (label, hit)
    assert (row["time_to_barrier_bars"], row["time_to_barrier_path_bars"]) == bars
    assert row["is_ambiguous"] is (label is None)
    assert row["label_unadjusted"] == 0  # U0 1.1015 and L0 1.0915 are out of reach
    t_c = START_US + len(H4_BARS) * 4 * MICROSECONDS_PER_HOUR
    t1 = pl.Series([row["t1"]]).cast(INSTANT).to_physical()[0]
    assert t1 == t_c + bars[1] * MICROSECONDS_PER_HOUR


@pytest.mark.slow
def test_a_path_that_has_not_ended_is_pending_with_its_barriers(tmp_path: Path) -> None:
    row = entry_row(tmp_path, FLAT[:5])
    assert (row["status"], row["enhanced_triple_barrier"], row["t1"]) == ("pending", None, None)
    assert (row["upper_barrier"], row["lower_barrier"]) == pytest.approx((1.09875, 1.09225))
