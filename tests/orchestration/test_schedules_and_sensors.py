"""Ticks of the schedules and of the instruments sensor."""

import datetime as dt
from pathlib import Path

import dagster as dg
import pytest

from assets.line import Line
from orchestration.partitions import CUTOFFS, INSTRUMENTS, MONTHS
from tests.fakes.line import BTC, EUR, FrameProvider, Workshop, beside, hourly, line_of

# Dagster's own tags of a multi-dimensional partition
pytestmark = pytest.mark.filterwarnings("ignore:Non-compliant tag keys:DeprecationWarning")

NOW = dt.datetime(2017, 6, 14, 9, 5, tzinfo=dt.UTC)


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return line_of(tmp_path, FrameProvider(hourly(BTC)), BTC, EUR)


def schedule_tick(
    line: Line, name: str, now: dt.datetime, present: tuple[str, ...] = ("BTC", "EUR")
) -> list[dg.RunRequest]:
    definitions = Workshop(line).definitions
    schedule = definitions.resolve_schedule_def(name)
    with (
        dg.DagsterInstance.local_temp(beside(line)) as instance,
        dg.partition_loading_context(dynamic_partitions_store=instance),
        dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=now,
            resources={"line": line},
            repository_def=definitions.get_repository_def(),
        ) as context,
    ):
        instance.add_dynamic_partitions(str(INSTRUMENTS.name), list(present))
        return list(schedule.evaluate_tick(context).run_requests or [])


@pytest.mark.slow
def test_the_running_month_of_every_instrument_is_asked_for(line: Line) -> None:
    requests = schedule_tick(line, "running_month", NOW)
    assert [r.partition_key for r in requests] == ["BTC|2017-06-01", "EUR|2017-06-01"]
    assert len({r.run_key for r in requests}) == 2
    later = schedule_tick(line, "running_month", NOW + dt.timedelta(hours=1))
    assert not {r.run_key for r in later} & {r.run_key for r in requests}


@pytest.mark.slow
@pytest.mark.parametrize(
    "now",
    [dt.datetime(2017, 6, 1, 0, 5, tzinfo=dt.UTC), dt.datetime(2017, 6, 30, 23, 5, tzinfo=dt.UTC)],
    ids=["first hour", "last hour"],
)
def test_the_months_edges_are_in_the_month(line: Line, now: dt.datetime) -> None:
    assert schedule_tick(line, "running_month", now)[0].partition_key == "BTC|2017-06-01"


@pytest.mark.slow
def test_training_asks_for_the_cutoff_that_has_begun(line: Line) -> None:
    (request,) = schedule_tick(line, "monthly_training", dt.datetime(2017, 6, 2, 3, tzinfo=dt.UTC))
    assert request.partition_key == "2017-06-01"


@pytest.mark.slow
def test_an_instrument_that_is_no_partition_yet_does_not_stop_the_others(line: Line) -> None:
    requests = schedule_tick(line, "running_month", NOW, present=("BTC",))
    assert [r.partition_key for r in requests] == ["BTC|2017-06-01"]


def test_the_running_month_is_a_partition() -> None:
    with dg.partition_loading_context(effective_dt=NOW):
        assert MONTHS.get_last_partition_key() == "2017-06-01"
        assert CUTOFFS.get_last_partition_key() == "2017-06-01"


def sensor_tick(line: Line, present: list[str]) -> dict[str, list[str]]:
    made = Workshop(line)
    sensor = made.definitions.resolve_sensor_def("instruments_file")
    with (
        made.instance as instance,
        dg.build_sensor_context(instance=instance, resources={"line": line}) as context,
    ):
        instance.add_dynamic_partitions(str(INSTRUMENTS.name), present)
        found = sensor.evaluate_tick(context).dynamic_partitions_requests or []
        return {type(r).__name__: list(r.partition_keys) for r in found}


@pytest.mark.slow
def test_the_sensor_keeps_partitions_equal_to_the_file(line: Line) -> None:
    assert sensor_tick(line, []) == {"AddDynamicPartitionsRequest": ["BTC", "EUR"]}
    assert sensor_tick(line, ["BTC", "EUR"]) == {}
    assert sensor_tick(line, ["BTC", "OLD"]) == {
        "AddDynamicPartitionsRequest": ["EUR"],
        "DeleteDynamicPartitionsRequest": ["OLD"],
    }


def test_the_sensor_runs_without_being_switched_on(line: Line) -> None:
    sensor = Workshop(line).definitions.resolve_sensor_def("instruments_file")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
