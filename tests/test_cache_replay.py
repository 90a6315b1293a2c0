"""What ``benchmarks/cache.py`` takes for granted of the line: which rows an arrival changes."""

from pathlib import Path

import numpy as np
import pytest

from assets.line import Line
from benchmarks.cache import HORIZON
from market.months import month_start
from market.ports import PartitionKey
from serving.cached_labels import indexed
from tests.fakes.line import BTC, FrameProvider, fill, hourly, line_of, stages_of

MONTHS = ("2017-03", "2017-04")
HOUR_US = 3_600_000_000
ROW = np.dtype([("ts", "<i8"), ("hash", "V16")])


def rows(line: Line, timeframe: str) -> dict[int, bytes]:
    """Return each row's hash by its time, as the route's keys have it."""
    ref = line.lake.resolve(PartitionKey("labels", timeframe, BTC.id, MONTHS[-1]))
    index = np.frombuffer(indexed(line.lake, ref), dtype=ROW)
    return {int(x["ts"]): bytes(x["hash"]) for x in index}


@pytest.mark.slow
def test_an_hour_changes_the_rows_whose_horizon_is_not_complete_and_no_other(
    tmp_path: Path,
) -> None:
    provider, timeframes = FrameProvider(hourly(BTC, "2017-03", "2017-05")), ("H1", "H4")
    line = line_of(tmp_path / "lake", provider)
    stages = stages_of(*timeframes, groups=["raw_candles", "candles", "levels", "labels"])
    provider.until_us = month_start(MONTHS[-1]) + 13 * 24 * HOUR_US
    fill(line, stages, MONTHS)
    for hours in range(1, 5):
        before = {timeframe: rows(line, timeframe) for timeframe in timeframes}
        provider.until_us += HOUR_US
        fill(line, stages, MONTHS[-1:])
        for timeframe in timeframes:
            old, new = before[timeframe], rows(line, timeframe)
            has_closed = timeframe == "H1" or hours == 4
            assert len(new.keys() - old.keys()) == has_closed
            changed = {ts for ts in old if new[ts] != old[ts]}
            assert changed == set(sorted(old)[-HORIZON:])
