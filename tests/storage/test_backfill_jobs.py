"""Backfill jobs in SQL: one suite over every kind of database, races and leases included."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from market.errors import BackfillInProgressError, UnknownJobError
from storage.backfill_jobs import Backfill, BackfillJobs, Filter, Progress
from storage.database import Database
from tests.fakes.postgres import emptied, is_installed, running

PATIENT_S = 30.0
ASKED = Backfill("bf_1", "EURUSD", "H4", "2017-03", "2017-06", is_forced=False, priority="normal")


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    if not is_installed():
        pytest.skip("no Postgres server on this machine")
    with running() as url:
        yield url


@pytest.fixture(
    params=["memory", "file", pytest.param("postgres", marks=pytest.mark.slow)],
)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "postgres":
        found = Database(emptied(request.getfixturevalue("postgres")))
    elif request.param == "file":
        found = Database.at(tmp_path / "wavehouse.db")
    else:
        found = Database.in_memory()
    yield found
    found.close()


def jobs_of(database: Database, owner: str = "me", lease_s: float = 60.0) -> BackfillJobs:
    return BackfillJobs(database, owner=owner, lease_s=lease_s)


def lapsed(jobs: BackfillJobs) -> None:
    deadline = time.monotonic() + PATIENT_S
    while not jobs.left():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_job_waits_is_made_and_is_done(database: Database) -> None:
    jobs = jobs_of(database)
    jobs.submit(ASKED, 16)
    waits = jobs.read("bf_1")
    assert (waits.asked, waits.status, waits.takes) == (ASKED, "pending", 0)
    assert waits.progress == Progress(16, 0, 0, None)
    assert jobs.take("bf_1")
    assert jobs.advance("bf_1", Progress(16, 3, 1, "levels/EURUSD/2017-03"))
    assert jobs.read("bf_1").progress == Progress(16, 3, 1, "levels/EURUSD/2017-03")
    assert jobs.advance("bf_1")  # the lease alone
    assert jobs.read("bf_1").progress.completed == 3
    assert jobs.finish("bf_1", "completed")
    done = jobs.read("bf_1")
    assert (done.status, done.progress) == ("completed", Progress(16, 3, 1, None))
    assert (done.started_us, done.finished_us) >= (done.submitted_us, done.started_us)


def test_a_job_that_failed_says_why_and_what_has_ended_does_not_change(database: Database) -> None:
    jobs = jobs_of(database)
    jobs.submit(ASKED, 1)
    jobs.take("bf_1")
    assert jobs.finish("bf_1", "failed", "RUN_FAILED", "run: expected …")
    failed = jobs.read("bf_1")
    assert (failed.error_code, failed.error_message) == ("RUN_FAILED", "run: expected …")
    assert not jobs.take("bf_1")
    assert not jobs.advance("bf_1", Progress(1, 1, 0, None))
    assert not jobs.finish("bf_1", "completed")
    assert jobs.cancel("bf_1") == failed


def test_a_job_that_nobody_asked_for(database: Database) -> None:
    jobs = jobs_of(database)
    for ask in (jobs.read, jobs.cancel):
        with pytest.raises(UnknownJobError, match="job_id: expected one that was given out"):
            ask("bf_0")
    assert not jobs.take("bf_0")


@pytest.mark.parametrize(
    ("first", "last", "is_refused"),
    [
        ("2017-06", "2017-08", True),
        ("2017-01", "2017-03", True),
        ("2017-04", "2017-05", True),
        ("2017-01", "2017-12", True),
        ("2017-07", "2017-08", False),
        ("2017-01", "2017-02", False),
    ],
)
@pytest.mark.parametrize("is_running", [False, True])
def test_months_that_another_job_has_are_refused_by_its_name(
    database: Database, first: str, last: str, *, is_refused: bool, is_running: bool
) -> None:
    jobs = jobs_of(database)
    jobs.submit(ASKED, 1)
    if is_running:
        jobs.take("bf_1")
    other = replace(ASKED, job_id="bf_2", first=first, last=last)
    if not is_refused:
        jobs.submit(other, 1)
        return
    with pytest.raises(BackfillInProgressError, match=r"was bf_1$") as refused:
        jobs.submit(other, 1)
    assert refused.value.job_id == "bf_1"
    with pytest.raises(UnknownJobError):
        jobs.read("bf_2")


def test_another_series_or_one_whose_job_has_ended_is_free(database: Database) -> None:
    jobs = jobs_of(database)
    jobs.submit(ASKED, 1)
    jobs.submit(replace(ASKED, job_id="bf_2", timeframe="H1"), 1)
    jobs.submit(replace(ASKED, job_id="bf_3", instrument="BTCUSD"), 1)
    jobs.cancel("bf_1")
    jobs.submit(replace(ASKED, job_id="bf_4"), 1)


def test_of_many_that_ask_at_once_one_has_the_months(database: Database) -> None:
    def one(i: int) -> bool:
        try:
            jobs_of(database, str(i)).submit(replace(ASKED, job_id=f"bf_{i}"), 1)
        except BackfillInProgressError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(one, range(8))) == 1


def test_of_many_that_take_at_once_one_has_the_job(database: Database) -> None:
    jobs_of(database).submit(ASKED, 1)
    with ThreadPoolExecutor(4) as pool:
        took = pool.map(lambda i: jobs_of(database, str(i)).take("bf_1"), range(8))
        assert sum(took) == 1
    assert jobs_of(database).read("bf_1").takes == 1


def test_a_job_whose_process_is_gone_is_taken_up_and_lost_to_the_first(database: Database) -> None:
    gone, here = jobs_of(database, "gone", 0.0), jobs_of(database, "here")
    gone.submit(ASKED, 4)
    gone.take("bf_1")
    gone.advance("bf_1", Progress(4, 2, 0, "c"))
    began = gone.read("bf_1").started_us
    lapsed(here)
    assert here.left() == ("bf_1",)
    assert here.take("bf_1")
    assert here.left() == ()
    found = here.read("bf_1")
    assert (found.takes, found.started_us, found.progress.completed) == (2, began, 2)
    assert not gone.advance("bf_1", Progress(4, 4, 0, None))
    assert not gone.finish("bf_1", "completed")
    assert here.read("bf_1").progress.completed == 2
    assert here.finish("bf_1", "completed")


def test_a_job_that_waits_is_left_once_its_process_should_have_come(database: Database) -> None:
    jobs_of(database).submit(ASKED, 1)
    jobs_of(database, lease_s=0.0).submit(replace(ASKED, job_id="bf_2", timeframe="H1"), 1)
    lapsed(jobs_of(database))
    assert jobs_of(database).left() == ("bf_2",)


def test_one_that_is_heard_of_keeps_its_job(database: Database) -> None:
    here, other = jobs_of(database), jobs_of(database, "other")
    here.submit(ASKED, 1)
    here.take("bf_1")
    assert not other.take("bf_1")
    assert not other.advance("bf_1")


def test_a_job_that_waits_is_cancelled_at_once(database: Database) -> None:
    jobs = jobs_of(database)
    jobs.submit(ASKED, 1)
    assert jobs.cancel("bf_1").status == "cancelled"
    assert not jobs.take("bf_1")


def test_a_job_that_runs_is_asked_to_end_and_says_when_it_has(database: Database) -> None:
    jobs = jobs_of(database)
    jobs.submit(ASKED, 2)
    jobs.take("bf_1")
    asked = jobs.cancel("bf_1")
    assert (asked.status, asked.is_cancel_asked, asked.finished_us) == ("running", True, None)
    assert not jobs.advance("bf_1", Progress(2, 1, 0, None))
    assert jobs.read("bf_1").progress.completed == 1  # the partition at hand was finished
    assert jobs.finish("bf_1", "cancelled")
    assert jobs.read("bf_1").status == "cancelled"


def test_a_job_whose_process_is_gone_is_cancelled_at_once(database: Database) -> None:
    gone = jobs_of(database, "gone", 0.0)
    gone.submit(ASKED, 1)
    gone.take("bf_1")
    lapsed(gone)
    assert jobs_of(database).cancel("bf_1").status == "cancelled"


def test_a_list_has_pages_filters_and_an_order(database: Database) -> None:
    jobs = jobs_of(database)
    for i, (instrument, timeframe) in enumerate([("A", "H1"), ("A", "H4"), ("B", "H1")]):
        asked = replace(ASKED, job_id=f"bf_{i}", instrument=instrument, timeframe=timeframe)
        jobs.submit(asked, 1)
    jobs.cancel("bf_0")

    def names(wanted: Filter, **page: int) -> tuple[list[str], int]:
        found, count = jobs.page(wanted, limit=page.get("limit", 10), offset=page.get("offset", 0))
        return [job.asked.job_id for job in found], count

    assert names(Filter()) == (["bf_2", "bf_1", "bf_0"], 3)
    assert names(Filter(), limit=1, offset=1) == (["bf_1"], 3)
    assert names(Filter(status="cancelled")) == (["bf_0"], 1)
    assert names(Filter(instrument="A")) == (["bf_1", "bf_0"], 2)
    assert names(Filter(instrument="A", timeframe="H4", status="pending")) == (["bf_1"], 1)
    oldest, _ = jobs.page(Filter(), limit=1, is_oldest_first=True)
    assert oldest[0].asked.job_id == "bf_0"
