"""A pending label becomes final by the line's own conditions, over a month's edge, by the hour."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets.stage import Stage
from market.months import month_start
from market.timeframes import MICROSECONDS_PER_HOUR
from tests.fakes.line import BTC, FrameProvider, Workshop, hourly, line_of, rows, stages_of

MONTHS = ("2017-04", "2017-05")
JUNE_US = month_start("2017-06")


class Clock:
    """The daemon by the hour: what the conditions ask for is made, until they ask for nothing."""

    def __init__(self, made: Workshop, provider: FrameProvider, stages: list[Stage]) -> None:
        self.made, self.provider, self.stages = made, provider, stages
        self.cursor: Any = None
        self.hours = 0

    def advance(self, hours: int) -> None:
        """Let the source speak until so many hours into June, and the daemon notice."""
        self.hours = hours
        self.provider.until_us = JUNE_US + hours * MICROSECONDS_PER_HOUR
        for minute in range(10, 20):
            wanted = self._wanted(minute)
            if not wanted:
                return
            for stage in self.stages:
                if months := wanted.get(stage.group):
                    self.made.run([stage], months)
        raise AssertionError(f"conditions: expected rest at hour {hours}, was {wanted}")

    def _wanted(self, minute: int) -> Mapping[str, list[str]]:
        now = dt.datetime(2017, 6, 1, tzinfo=dt.UTC) + dt.timedelta(hours=self.hours)
        result = dg.evaluate_automation_conditions(
            defs=self.made.definitions,
            instance=self.made.instance,
            asset_selection=dg.AssetSelection.assets(*(s.asset_path for s in self.stages)),
            evaluation_time=now + dt.timedelta(minutes=minute),
            cursor=self.cursor,
        )
        self.cursor = result.cursor
        return {
            one.key.path[0]: sorted(
                str(key).rsplit("|", 1)[1][:7]
                for key in one.true_subset.expensively_compute_partition_keys()
            )
            for one in result.results
            if not one.true_subset.is_empty
        }


def last_of_may(made: Workshop, labels: Stage) -> dict[str, Any]:
    """Return the label of the last bar that opens in May."""
    stamps = pl.col("ts").dt.timestamp("us")
    return rows(made.line, labels).filter(stamps < JUNE_US).row(-1, named=True)


@pytest.mark.slow
@pytest.mark.parametrize(("timeframe", "hours"), [("H4", 24), ("D", 144)])
def test_the_last_bar_of_a_month_matures_in_the_next_one(
    tmp_path: Path, timeframe: str, hours: int
) -> None:
    """It closes at the month's end, so that its whole horizon lies behind the edge."""
    provider = FrameProvider(hourly(BTC, "2017-04"))
    provider.until_us = JUNE_US
    made = Workshop(line_of(tmp_path, provider))
    stages = stages_of(timeframe)
    (labels,) = (stage for stage in stages if stage.group == "labels")
    made.run(stages, MONTHS)
    clock = Clock(made, provider, stages)
    clock.advance(1)

    clock.advance(hours - 1)
    before = last_of_may(made, labels)
    assert before["status"] == "pending"
    assert before["upper_barrier"] is not None
    nothing = ("matured_at", "t1", "is_ambiguous", "enhanced_triple_barrier", "forward_return")
    assert {before[name] for name in nothing} == {None}

    clock.advance(hours)
    after = last_of_may(made, labels)
    end = dt.datetime(2017, 6, 1, tzinfo=dt.UTC) + dt.timedelta(hours=hours)
    assert (after["status"], after["matured_at"], after["known_at"]) == ("final", end, end)
    assert after["t1"] <= end
    assert after["is_ambiguous"] is not None
    assert after["forward_return"] is not None
    known = ("upper_barrier", "lower_barrier", "entry_price", "atr")
    assert {name: after[name] for name in known} == {name: before[name] for name in known}
