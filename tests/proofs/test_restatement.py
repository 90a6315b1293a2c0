"""A partition deleted, a candle restated: exactly which partitions change, and which do not.

Four months of hourly BTC, its H4 levels, labels and features: twenty partitions, April is the one
that is hurt. What moved has another data version; what was computed was made again to find out.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from assets.freshness import plan
from market.months import month_start
from market.ports import PartitionKey
from market.timeframes import MICROSECONDS_PER_DAY
from tests.fakes.line import (
    BTC,
    MONTHS,
    FrameProvider,
    Workshop,
    contents,
    drop,
    hourly,
    line_of,
    pointers,
    stages_of,
)
from tests.fakes.updates import spy, updated
from wavehouse.updating import Request

pytestmark = pytest.mark.slow

STAGES = stages_of("H4")
REQUEST = Request(targets=("labels", "features"), instrument="BTC", timeframes=("H4",))
RAW = PartitionKey("raw_candles", "H1", "BTC", "2017-04")
ROW = 1044  # an hour of 13 April, in the middle of the middle

FOLLOWS_THE_PRICE = {
    "raw_candles/H1/BTC/2017-04",
    "candles/H4/BTC/2017-04",
    *(
        f"{table}/H4/BTC/2017-{month}"
        for table in ("level_events", "labels", "features")
        for month in ("04", "05", "06")
    ),
}
LAST_ROW = 2900  # the same in June, the last month
IN_THE_LAST_MONTH = {
    f"{table}/BTC/2017-06"
    for table in ("raw_candles/H1", "candles/H4", "level_events/H4", "labels/H4", "features/H4")
}


@dataclass
class Scene:
    """A lake with everything in it, its source, and what has been computed since."""

    made: Workshop
    provider: FrameProvider
    root: Path
    computed: list[str]
    patch: pytest.MonkeyPatch

    def repair(self) -> set[str]:
        """Update as the command line does; return the partitions whose version moved."""
        before = self.was
        updated(self.made, REQUEST, self.patch)
        after = pointers(self.made.line, STAGES)
        assert set(after) == set(before)
        return {path for path in after if after[path] != before[path]}

    def __post_init__(self) -> None:
        """Remember the versions from before."""
        self.was = pointers(self.made.line, STAGES)

    def restate(self, row: int, **values: float) -> None:
        """Change a bar at the source, and forget what was ingested of its month."""
        self.provider.restate(row, **values)
        drop(self.made.line, RAW)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("restatement") / "lake"
    Workshop(line_of(root, FrameProvider(hourly(BTC)))).run(STAGES, MONTHS)
    return root


@pytest.fixture
def scene(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    root = tmp_path / "lake"
    shutil.copytree(whole, root)
    provider = FrameProvider(hourly(BTC))
    made = Workshop(line_of(root, provider))
    assert plan(made.line, STAGES, "BTC", MONTHS).is_empty
    yield Scene(made, provider, root, spy(monkeypatch), monkeypatch)
    assert plan(made.line, STAGES, "BTC", MONTHS).is_empty


@pytest.mark.slow
@pytest.mark.parametrize("table", ["raw_candles", "candles", "level_events", "labels", "features"])
@pytest.mark.parametrize("how", ["pointer", "folder"])
def test_a_deleted_middle_partition_is_made_again_alone(
    scene: Scene, whole: Path, table: str, how: str
) -> None:
    key = RAW if table == "raw_candles" else PartitionKey(table, "H4", "BTC", "2017-04")
    if how == "pointer":
        drop(scene.made.line, key)
    else:
        shutil.rmtree(scene.root / key.path)
    found = plan(scene.made.line, STAGES, "BTC", MONTHS)
    assert not found.is_empty
    assert scene.repair() == set()
    assert scene.computed == [key.path]
    assert contents(scene.root) == contents(whole)


def test_a_restated_price_moves_its_month_and_every_state_behind_it(scene: Scene) -> None:
    scene.restate(ROW, high=scene.provider.frame["high"][ROW] * 1.02)
    assert scene.repair() == FOLLOWS_THE_PRICE
    # March looks into April, so it was made again, and found as it was
    assert set(scene.computed) - FOLLOWS_THE_PRICE == {
        "candles/H4/BTC/2017-03",
        "labels/H4/BTC/2017-03",
    }
    assert len(scene.computed) == len(set(scene.computed))


def test_a_restated_volume_stops_at_the_first_state_that_is_as_it_was(scene: Scene) -> None:
    scene.restate(ROW, volume=scene.provider.frame["volume"][ROW] + 1.0)
    assert scene.repair() == {
        "raw_candles/H1/BTC/2017-04",
        "candles/H4/BTC/2017-04",
        "features/H4/BTC/2017-04",
    }
    assert set(scene.computed) == {
        "raw_candles/H1/BTC/2017-04",
        "candles/H4/BTC/2017-03",
        "candles/H4/BTC/2017-04",
        "level_events/H4/BTC/2017-04",  # read the candle; its state came out as it was: stop
        "features/H4/BTC/2017-04",
        "labels/H4/BTC/2017-03",
        "labels/H4/BTC/2017-04",
    }


@pytest.mark.slow
def test_a_restatement_inside_the_bar_stops_at_the_bar(scene: Scene) -> None:
    bar = scene.provider.frame[ROW - ROW % 4 : ROW - ROW % 4 + 4]
    one = bar.with_row_index().filter(
        (pl.col("high") < pl.col("high").max())
        & (pl.col("high") > pl.max_horizontal("open", "close"))
    )
    row = ROW - ROW % 4 + int(one["index"][0])
    scene.restate(row, high=max(one["open"][0], one["close"][0]))
    assert scene.repair() == {"raw_candles/H1/BTC/2017-04"}
    assert set(scene.computed) == {
        "raw_candles/H1/BTC/2017-04",
        "candles/H4/BTC/2017-03",
        "candles/H4/BTC/2017-04",  # unchanged: levels and features were left alone
        "labels/H4/BTC/2017-03",  # the path is base bars
        "labels/H4/BTC/2017-04",
    }


@pytest.mark.slow
def test_a_candle_restated_and_stated_back_ends_where_it_began(scene: Scene, whole: Path) -> None:
    was = float(scene.provider.frame["high"][ROW])
    scene.restate(ROW, high=was * 1.02)
    assert scene.repair() == FOLLOWS_THE_PRICE
    scene.restate(ROW, high=was)
    assert scene.repair() == set()
    kept = contents(scene.root)
    assert {path: kept[path] for path in contents(whole)} == contents(whole)


@pytest.mark.slow
def test_a_restatement_is_taken_by_force_and_by_nothing_less(scene: Scene) -> None:
    """What the source said stays until somebody asks it again: ``--force`` for the month."""
    scene.provider.restate(ROW, high=scene.provider.frame["high"][ROW] * 1.02)
    assert scene.repair() == set()
    assert scene.provider.fetched == []

    request = Request(
        targets=("labels", "features"), instrument="BTC", timeframes=("H4",),
        first="2017-04", last="2017-04", is_forced=True,
    )  # fmt: skip
    updated(scene.made, request, scene.patch)
    assert scene.provider.fetched == ["2017-04"]
    after = pointers(scene.made.line, STAGES)
    assert {path for path in after if after[path] != scene.was[path]} == FOLLOWS_THE_PRICE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "follows"), [(ROW, FOLLOWS_THE_PRICE), (LAST_ROW, IN_THE_LAST_MONTH)]
)
def test_a_source_with_a_fingerprint_is_read_again_where_it_changed(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: int, follows: set[str]
) -> None:
    """No force: of four months the one that was restated is fetched, and what reads it moves."""
    provider = FrameProvider(hourly(BTC))
    provider.is_marked = True
    made = Workshop(line_of(tmp_path / "lake", provider))
    updated(made, REQUEST, monkeypatch)
    assert pointers(made.line, STAGES) == pointers(line_of(whole, provider), STAGES)
    was = pointers(made.line, STAGES)
    provider.fetched.clear()
    updated(made, REQUEST, monkeypatch)
    assert provider.fetched == []

    bar = provider.restate(row, high=provider.frame["high"][row] * 1.02)
    month = f"{bar['ts'][0]:%Y-%m}"
    updated(made, REQUEST, monkeypatch)
    assert provider.fetched == [month]
    after = pointers(made.line, STAGES)
    moved = {path for path in after if after[path] != was[path]}
    assert moved == follows
    updated(made, REQUEST, monkeypatch)
    assert provider.fetched == [month]


@pytest.mark.slow
def test_what_was_restated_last_month_does_not_touch_the_months_before(scene: Scene) -> None:
    scene.provider.restate(LAST_ROW, high=scene.provider.frame["high"][LAST_ROW] * 1.02)
    drop(scene.made.line, RAW.at("2017-06"))
    assert scene.repair() == IN_THE_LAST_MONTH


@pytest.mark.slow
def test_a_running_month_that_grows_settles_in_one_update(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """May is fresh until June has grown, and stale because it has: the plan looks further back."""
    provider = FrameProvider(hourly(BTC))
    made = Workshop(line_of(tmp_path / "lake", provider))
    provider.until_us = month_start("2017-06") + 10 * MICROSECONDS_PER_DAY
    updated(made, REQUEST, monkeypatch)
    computed = spy(monkeypatch)
    provider.until_us = None
    updated(made, REQUEST, monkeypatch)
    assert plan(made.line, STAGES, "BTC", MONTHS).is_empty
    kept = contents(tmp_path / "lake")
    assert {path: kept[path] for path in contents(whole)} == contents(whole)
    assert not [path for path in computed if path.endswith(("2017-03", "2017-04"))]
