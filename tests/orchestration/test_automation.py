"""What fires by itself: months whose inputs have another version, and no others.

A tick returns what the conditions said. Dagster 1.13.27 asks for one month more of an asset that
depends on itself and has checks (it maps the execution set through the self-dependency); the last
test pins that, so that an upgrade which mends it is noticed.
"""

import datetime as dt
from pathlib import Path

import dagster as dg
import pytest

from assets.stage import Stage
from market.months import month_start
from tests.fakes.line import BTC, MONTHS, FrameProvider, Workshop, hourly, line_of, stages_of

STAGES = stages_of("H4")
ROW = 1044  # an hour of 13 April


class Daemon:
    """Evaluates the conditions tick by tick, as Dagster's daemon does."""

    def __init__(self, made: Workshop) -> None:
        self.made = made
        self.cursor: object = None
        self.now = dt.datetime(2017, 7, 1, 0, 30, tzinfo=dt.UTC)
        self.requested: dict[str, list[str]] = {}

    def tick(self, minutes: int = 1) -> dict[str, list[str]]:
        """Return group → months that the conditions want made."""
        self.now += dt.timedelta(minutes=minutes)
        paths = [stage.asset_path for stage in STAGES]
        result = dg.evaluate_automation_conditions(
            defs=self.made.definitions,
            instance=self.made.instance,
            asset_selection=dg.AssetSelection.assets(*paths),
            evaluation_time=self.now,
            cursor=self.cursor,  # type: ignore[arg-type]
        )
        self.cursor = result.cursor
        self.requested = {
            path[0]: _months(result.get_requested_partitions(dg.AssetKey(path))) for path in paths
        }
        decided = {}
        for one in result.results:
            months = _months(one.true_subset.expensively_compute_partition_keys())
            if months:
                decided[one.key.path[0]] = months
        return decided


def _months(keys: object) -> list[str]:
    return sorted(str(key).rsplit("|", 1)[1][:7] for key in keys)  # type: ignore[attr-defined]


def stage(group: str) -> Stage:
    (found,) = (s for s in STAGES if s.group == group)
    return found


@pytest.fixture
def made(tmp_path: Path) -> Workshop:
    workshop = Workshop(line_of(tmp_path, FrameProvider(hourly(BTC))))
    workshop.run(STAGES, MONTHS)
    return workshop


@pytest.fixture
def daemon(made: Workshop) -> Daemon:
    daemon = Daemon(made)
    assert daemon.tick() == {}
    assert daemon.tick() == {}
    return daemon


def provider_of(made: Workshop) -> FrameProvider:
    provider = made.line.provider_for(BTC)
    assert isinstance(provider, FrameProvider)
    return provider


@pytest.mark.slow
def test_a_restated_historic_month_fires_what_reads_it_and_nothing_else(
    made: Workshop, daemon: Daemon
) -> None:
    provider_of(made).restate(ROW, high=999.0)
    made.run(STAGES[:1], ["2017-04"])
    # March reads April's raw bars: a week, a horizon may end there
    assert daemon.tick() == {
        "candles": ["2017-03", "2017-04"],
        "levels": ["2017-03", "2017-04"],
        "labels": ["2017-03", "2017-04"],
        "features": ["2017-03", "2017-04"],
    }
    for one in STAGES[1:]:
        made.run([one], ["2017-03", "2017-04"])
    onward = daemon.tick()
    assert {group: months[-1] for group, months in onward.items()} == {
        "levels": "2017-05", "labels": "2017-05", "features": "2017-05",
    }  # fmt: skip
    assert "2017-06" not in str(onward)


@pytest.mark.slow
def test_a_month_made_again_that_came_out_as_it_was_wakes_nobody(
    made: Workshop, daemon: Daemon
) -> None:
    made.run(STAGES[:1], ["2017-04"])
    assert daemon.tick() == {}
    made.run([stage("levels")], ["2017-04"])
    assert daemon.tick() == {}


@pytest.mark.slow
def test_the_newest_month_fires_though_its_successor_is_not_there(
    made: Workshop, daemon: Daemon
) -> None:
    provider_of(made).restate(2900, high=999.0)
    made.run(STAGES[:1], ["2017-06"])
    assert daemon.tick() == {
        group: ["2017-05", "2017-06"] for group in ("candles", "levels", "labels", "features")
    }


@pytest.mark.slow
def test_nothing_fires_twice_for_one_change(made: Workshop, daemon: Daemon) -> None:
    provider_of(made).restate(2900, high=999.0)
    made.run(STAGES[:1], ["2017-06"])
    assert daemon.tick()
    assert daemon.tick() == {}


@pytest.mark.slow
def test_the_running_month_is_fetched_by_the_hour(made: Workshop) -> None:
    daemon = Daemon(made)
    assert daemon.tick() == {}
    fired = daemon.tick(minutes=60)
    assert fired["raw_candles"] == ["2017-07"]
    assert daemon.tick(minutes=20) == {}
    assert daemon.tick(minutes=40)["raw_candles"] == ["2017-07"]


@pytest.mark.slow
def test_a_month_that_arrives_matures_the_labels_of_the_month_before(tmp_path: Path) -> None:
    provider = FrameProvider(hourly(BTC))
    provider.until_us = month_start("2017-06")
    made = Workshop(line_of(tmp_path, provider))
    made.run(STAGES, MONTHS[:3])
    daemon = Daemon(made)
    daemon.tick()
    daemon.tick()
    provider.until_us = None
    made.run(STAGES[:1], ["2017-06"])
    assert daemon.tick()["labels"] == ["2017-05", "2017-06"]


@pytest.mark.slow
def test_the_extra_month_of_self_dependent_assets_is_still_there(
    made: Workshop, daemon: Daemon
) -> None:
    provider_of(made).restate(2900, high=999.0)
    made.run(STAGES[:1], ["2017-06"])
    decided = daemon.tick()
    extra = {g: sorted(set(m) - set(decided.get(g, []))) for g, m in daemon.requested.items()}
    assert {g: m for g, m in extra.items() if m} == {
        group: ["2017-04"] for group in ("levels", "labels", "features")
    }
