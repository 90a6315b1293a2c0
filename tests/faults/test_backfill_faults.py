"""Backfills while worker, server or both are killed: the job is finished, nothing missing or twice.

Real processes over a synthetic market: a server, the workers that it starts, the lake they share.
"""

import json
import os
import signal
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest

from market.settings import HomeSettings
from tests.fakes.backfills import (
    BODY,
    PARTITIONS,
    Home,
    amid,
    ask,
    check_whole,
    home_in,
    kill,
    server,
    submitted,
    until,
)
from tests.fakes.line import contents

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("backfill-faults")]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return home_in(tmp_path)


def runs_of(home: Home, job_id: str) -> list[dg.DagsterRunStatus]:
    """Return how Dagster has the runs of a job."""
    folder = HomeSettings(home=home.folder).dagster_home
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        runs = instance.get_runs(dg.RunsFilter(tags={"wavehouse/job": job_id}))
    assert len(runs) > 2
    return [run.status for run in runs]


def test_a_worker_that_is_killed_or_asked_to_end_is_followed_by_another(
    home: Home, undisturbed_backfill: dict[str, str]
) -> None:
    with server(home) as (base, _), submitted(home, base) as job_id:
        (worker,) = amid(home, job_id, PARTITIONS // 4)
        kill(worker)
        until(lambda: home.workers(job_id), lambda workers: workers not in ([], [worker]))
        (worker,) = amid(home, job_id, PARTITIONS // 2)
        os.kill(worker, signal.SIGTERM)
        check_whole(home, job_id, undisturbed_backfill)
        answer = ask(base, f"/v1/batch/jobs/{job_id}")
        assert (answer["status"], answer["workers_started"]) == ("completed", 3)
        assert answer["progress"]["percentage"] == 100.0
    assert {status.value for status in runs_of(home, job_id)} <= {"SUCCESS", "FAILURE"}


def test_a_server_that_is_killed_costs_the_job_nothing(
    home: Home, undisturbed_backfill: dict[str, str]
) -> None:
    with server(home) as (base, process), submitted(home, base) as job_id:
        amid(home, job_id)
        process.kill()
        check_whole(home, job_id, undisturbed_backfill)
        assert home.job(job_id).starts == 1
        with server(home) as (again, _):
            assert ask(again, f"/v1/batch/jobs/{job_id}")["status"] == "completed"


def test_server_and_worker_killed_the_next_server_goes_on(
    home: Home, undisturbed_backfill: dict[str, str]
) -> None:
    with server(home) as (base, process), submitted(home, base) as job_id:
        (worker,) = amid(home, job_id)
        process.kill()
        kill(worker)
        made = home.job(job_id).progress.completed
        with server(home):
            check_whole(home, job_id, undisturbed_backfill)
        assert home.job(job_id).starts == 2
        assert made < PARTITIONS


def test_of_two_servers_that_are_asked_at_once_one_takes_the_backfill(home: Home) -> None:
    def post(base: str) -> tuple[int, str]:
        try:
            return 202, ask(base, "/v1/batch/backfill", "POST", BODY)["job_id"]
        except urllib.error.HTTPError as e:
            with e:
                return e.code, json.loads(e.read())["error"]["code"]

    with server(home) as (one, _), server(home) as (two, _):
        with ThreadPoolExecutor(4) as pool:
            answers = sorted(pool.map(post, [one, two, one, two]))
        job_id = answers[0][1]
        assert answers == [(202, job_id)] + [(409, "BACKFILL_IN_PROGRESS")] * 3
        assert ask(two, "/v1/batch/jobs")["pagination"]["total"] == 1
        ask(two, f"/v1/batch/jobs/{job_id}", "DELETE")
        until(lambda: home.job(job_id).status, lambda status: status == "cancelled")
        until(lambda: home.workers(job_id), lambda workers: not workers)


def test_cancelled_in_the_middle_what_was_made_is_whole(
    home: Home, undisturbed_backfill: dict[str, str]
) -> None:
    with server(home) as (base, _), submitted(home, base) as job_id:
        amid(home, job_id)
        ask(base, f"/v1/batch/jobs/{job_id}", "DELETE")
        job = until(lambda: home.job(job_id), lambda job: job.status != "running")
        assert job.status == "cancelled"
        until(lambda: home.workers(job_id), lambda workers: not workers)
        there = contents(home.lake)
        assert {name: undisturbed_backfill[name] for name in there} == there
        made = [name for name in there if name.endswith("current.json")]
        assert PARTITIONS // 4 <= len(made) == job.progress.completed < PARTITIONS
        with submitted(home, base) as again:
            job = until(lambda: home.job(again), lambda job: job.status == "completed")
            assert job.progress.completed == PARTITIONS - len(made)
        assert contents(home.lake) == undisturbed_backfill
