"""Backfill jobs in SQL: one suite over every kind of database, races and leases included."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from market.errors import BackfillInProgressError, UnknownJobError
from storage.backfill_jobs import Backfill, BackfillJobs, Filter, Made
from storage.backfill_rows import Progress
from storage.database import Database

PATIENT_S = 30.0
ASKED = Backfill("bf_1", "EURUSD", "H4", "2017-03", "2017-06")
BTC = replace(ASKED, job_id="bf_2", instrument="BTCUSD")


def jobs_of(database: Database, owner: str = "me", lease_s: float = 60.0) -> BackfillJobs:
    return BackfillJobs(database, owner=owner, lease_s=lease_s)


def lapsed(jobs: BackfillJobs, job_id: str = "bf_1") -> None:
    """Wait until nobody has the job."""
    deadline = time.monotonic() + PATIENT_S
    while jobs.start_next(most=9, most_starts=99) != job_id:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def begun(jobs: BackfillJobs, asked: Backfill = ASKED) -> BackfillJobs:
    """Submit a job and take it."""
    jobs.submit(asked)
    assert jobs.take(asked.job_id)
    return jobs


def test_a_job_waits_is_made_and_is_done(database: Database) -> None:
    jobs = jobs_of(database)
    jobs.submit(replace(ASKED, is_forced=True, priority="high", request_id="req"))
    waits = jobs.read("bf_1")
    assert (waits.instrument, waits.timeframe, waits.first, waits.last, waits.is_forced) == (
        "EURUSD", "H4", "2017-03", "2017-06", True,
    )  # fmt: skip
    assert (waits.status, waits.request_id, waits.starts) == ("pending", "req", 0)
    assert waits.progress == Progress(None, 0, 0, None)
    assert (waits.pace.partitions_a_second, waits.error_rate, waits.remaining_s) == (None,) * 3
    assert jobs.take("bf_1")
    assert jobs.expect("bf_1", 16)
    assert jobs.made("bf_1", Made("candles/H4/EURUSD/2017-03", "v1", 0))
    assert jobs.made("bf_1", Made("labels/H4/EURUSD/2017-03", "v2", 128))
    assert jobs.stumble("bf_1")
    assert jobs.beat("bf_1")
    found = jobs.read("bf_1")
    assert found.progress == Progress(16, 2, 1, "labels/H4/EURUSD/2017-03")
    assert found.error_rate == pytest.approx(1 / 3)
    assert found.pace.candles == 128
    assert found.remaining_s == pytest.approx(14 * found.pace.took_us / 2 / 1e6)
    assert jobs.made_before("bf_1") == {"candles/H4/EURUSD/2017-03", "labels/H4/EURUSD/2017-03"}
    assert jobs.finish("bf_1", "completed")
    done = jobs.read("bf_1")
    assert (done.status, done.progress, done.remaining_s) == ("completed", found.progress, None)
    assert (done.started_us, done.finished_us) >= (done.submitted_us, done.started_us)


def test_a_partition_that_is_made_again_counts_once(database: Database) -> None:
    jobs = begun(jobs_of(database))
    for version in ("v1", "v2"):
        assert jobs.made("bf_1", Made("labels/H4/EURUSD/2017-03", version, 5))
    assert (jobs.read("bf_1").progress.completed, jobs.read("bf_1").pace.candles) == (1, 5)


def test_a_job_that_failed_says_why_and_what_has_ended_does_not_change(database: Database) -> None:
    jobs = begun(jobs_of(database))
    assert jobs.finish("bf_1", "failed", "RUN_FAILED", "run: expected …")
    failed = jobs.read("bf_1")
    assert (failed.error_code, failed.error_message) == ("RUN_FAILED", "run: expected …")
    assert not jobs.take("bf_1")
    assert not jobs.beat("bf_1")
    assert not jobs.finish("bf_1", "completed")
    assert jobs.cancel("bf_1") == failed


def test_a_job_that_nobody_asked_for(database: Database) -> None:
    jobs = jobs_of(database)
    for ask in (jobs.read, jobs.cancel):
        with pytest.raises(UnknownJobError, match="job_id: expected one that was given out"):
            ask("bf_0")
    assert not jobs.take("bf_0")


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"first": "2017-06", "last": "2017-08"},
        {"first": "2019-01", "last": "2019-02"},
        {"timeframe": "H1"},
        {"timeframe": "M1", "first": "2010-01", "last": "2010-01"},
    ],
    ids=["the same", "months in common", "other months", "another timeframe", "nothing alike"],
)
@pytest.mark.parametrize("is_running", [False, True])
def test_an_instrument_has_one_job_at_a_time(
    database: Database, other: dict[str, str], *, is_running: bool
) -> None:
    """Every job of an instrument may write its raw bars and its chained states."""
    jobs = jobs_of(database)
    jobs.submit(ASKED)
    if is_running:
        jobs.take("bf_1")
    with pytest.raises(BackfillInProgressError, match=r"EURUSD: .* was bf_1$") as refused:
        jobs.submit(replace(ASKED, job_id="bf_2", **other))
    assert refused.value.job_id == "bf_1"
    with pytest.raises(UnknownJobError):
        jobs.read("bf_2")


def test_another_instrument_or_one_whose_job_has_ended_is_free(database: Database) -> None:
    jobs = jobs_of(database)
    jobs.submit(ASKED)
    jobs.submit(BTC)
    jobs.cancel("bf_1")
    jobs.submit(replace(ASKED, job_id="bf_3"))


def test_of_many_that_ask_at_once_one_has_the_instrument(database: Database) -> None:
    def one(i: int) -> bool:
        try:
            jobs_of(database, str(i)).submit(replace(ASKED, job_id=f"bf_{i}"))
        except BackfillInProgressError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(one, range(8))) == 1


def test_of_many_that_take_at_once_one_has_the_job(database: Database) -> None:
    jobs_of(database).submit(ASKED)
    with ThreadPoolExecutor(4) as pool:
        took = pool.map(lambda i: jobs_of(database, str(i)).take("bf_1"), range(8))
        assert sum(took) == 1


def test_of_many_that_would_start_a_worker_one_does(database: Database) -> None:
    jobs_of(database).submit(ASKED)
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(
            lambda i: jobs_of(database, str(i)).start_next(most=9, most_starts=9), range(8)
        )
        assert [job_id for job_id in found if job_id] == ["bf_1"]
    assert jobs_of(database).read("bf_1").starts == 1


def test_the_most_urgent_is_first_and_the_rest_waits(database: Database) -> None:
    jobs = jobs_of(database)
    for i, priority in enumerate(["low", "normal", "high", "normal"]):
        jobs.submit(replace(ASKED, job_id=f"bf_{i}", instrument=str(i), priority=priority))
    assert jobs.start_next(most=2, most_starts=9) == "bf_2"
    assert jobs.take("bf_2")
    assert jobs.start_next(most=2, most_starts=9) == "bf_1"
    assert jobs.start_next(most=2, most_starts=9) is None
    jobs.finish("bf_2", "completed")
    assert jobs.start_next(most=2, most_starts=9) == "bf_3"


def test_a_job_that_loses_every_worker_has_failed(database: Database) -> None:
    jobs = jobs_of(database, lease_s=0.0)
    jobs.submit(ASKED)
    started = 0
    deadline = time.monotonic() + PATIENT_S
    while jobs.read("bf_1").status == "pending":
        started += jobs.start_next(most=1, most_starts=3) is not None
        assert time.monotonic() < deadline
    failed = jobs.read("bf_1")
    assert (started, failed.status, failed.error_code) == (3, "failed", "WORKER_LOST")
    jobs.submit(replace(ASKED, job_id="bf_2"))


def test_a_job_whose_process_is_gone_is_taken_up_and_lost_to_the_first(database: Database) -> None:
    gone, here = jobs_of(database, "gone", 0.0), jobs_of(database, "here")
    begun(gone)
    gone.expect("bf_1", 4)
    gone.made("bf_1", Made("a", "v", 7))
    began = gone.read("bf_1").started_us
    lapsed(here)
    assert here.start_next(most=9, most_starts=9) is None
    assert here.take("bf_1")
    found = here.read("bf_1")
    assert (found.started_us, found.progress.completed, found.pace.partitions) == (began, 1, 0)
    assert not gone.made("bf_1", Made("b", "v", 7))
    assert not gone.finish("bf_1", "completed")
    assert here.made("bf_1", Made("c", "v", 7))
    assert here.read("bf_1").pace.candles == 7  # of this worker
    assert here.finish("bf_1", "completed")


def test_a_job_whose_process_is_gone_is_anybodys_to_take(database: Database) -> None:
    begun(jobs_of(database, "gone", 0.0))
    here = jobs_of(database, "here")
    deadline = time.monotonic() + PATIENT_S
    while not here.take("bf_1"):  # by hand: no server has looked meanwhile
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert here.beat("bf_1")
    assert not jobs_of(database, "gone").beat("bf_1")


def test_a_job_that_is_given_back_is_free_at_once(database: Database) -> None:
    here, other = begun(jobs_of(database)), jobs_of(database, "other")
    here.release("bf_1")
    assert not here.beat("bf_1")
    assert other.start_next(most=9, most_starts=9) == "bf_1"
    assert other.take("bf_1")


def test_one_that_is_heard_of_keeps_its_job(database: Database) -> None:
    here, other = begun(jobs_of(database)), jobs_of(database, "other")
    assert not other.take("bf_1")
    assert not other.beat("bf_1")
    assert other.start_next(most=9, most_starts=9) is None
    assert here.beat("bf_1")


def test_a_job_that_waits_is_cancelled_at_once(database: Database) -> None:
    jobs = jobs_of(database)
    jobs.submit(ASKED)
    assert jobs.cancel("bf_1").status == "cancelled"
    assert not jobs.take("bf_1")
    assert jobs.start_next(most=9, most_starts=9) is None


def test_a_job_whose_worker_was_started_and_has_not_come_is_cancelled_at_once(
    database: Database,
) -> None:
    jobs = jobs_of(database)
    jobs.submit(ASKED)
    assert jobs.start_next(most=9, most_starts=9) == "bf_1"
    assert jobs.cancel("bf_1").status == "cancelled"
    assert not jobs.take("bf_1")


def test_a_job_that_runs_is_asked_to_end_and_says_when_it_has(database: Database) -> None:
    jobs = begun(jobs_of(database))
    asked = jobs.cancel("bf_1")
    assert (asked.status, asked.is_cancel_asked, asked.finished_us) == ("running", True, None)
    assert not jobs.made("bf_1", Made("a", "v", 0))
    assert jobs.read("bf_1").progress.completed == 1  # the partition at hand was finished
    assert jobs.finish("bf_1", "cancelled")
    assert jobs.read("bf_1").status == "cancelled"


def test_a_job_whose_process_is_gone_is_cancelled_at_once(database: Database) -> None:
    gone = begun(jobs_of(database, "gone", 0.0))
    deadline = time.monotonic() + PATIENT_S
    while gone.cancel("bf_1").status != "cancelled":
        assert time.monotonic() < deadline


def test_the_usual_pace_is_that_of_completed_jobs(database: Database) -> None:
    jobs = jobs_of(database)
    assert jobs.usual_pace("H4") is None
    begun(jobs).made("bf_1", Made("a", "v", 600))
    assert jobs.usual_pace("H4") is None
    jobs.finish("bf_1", "completed")
    found, done = jobs.usual_pace("H4"), jobs.read("bf_1")
    assert found is not None
    assert (found.partitions, found.candles) == (1, 600)
    assert found.took_us == (done.finished_us or 0) - (done.started_us or 0)
    assert jobs.usual_pace("H1") is None


def test_a_list_has_pages_filters_and_an_order(database: Database) -> None:
    jobs = jobs_of(database)
    for i, timeframe in enumerate(["H1", "H4", "H1"]):
        jobs.submit(replace(ASKED, job_id=f"bf_{i}", instrument=f"I{i}", timeframe=timeframe))
    jobs.cancel("bf_0")
    jobs.take("bf_1")
    jobs.made("bf_1", Made("a", "v", 0))

    def names(wanted: Filter, **page: int) -> tuple[list[str], int]:
        found, count = jobs.page(wanted, limit=page.get("limit", 10), offset=page.get("offset", 0))
        assert all(job == jobs.read(job.job_id) for job in found if job.status != "running")
        return [job.job_id for job in found], count

    assert names(Filter()) == (["bf_2", "bf_1", "bf_0"], 3)
    assert names(Filter(), limit=1, offset=1) == (["bf_1"], 3)
    assert names(Filter(status="cancelled")) == (["bf_0"], 1)
    assert names(Filter(instrument="I1")) == (["bf_1"], 1)
    assert names(Filter(timeframe="H1", status="pending")) == (["bf_2"], 1)
    oldest, _ = jobs.page(Filter(), limit=2, is_oldest_first=True)
    assert [(job.job_id, job.progress.completed) for job in oldest] == [("bf_0", 0), ("bf_1", 1)]
    assert jobs.counts() == {
        "pending": 1, "running": 1, "completed": 0, "failed": 0, "cancelled": 1
    }  # fmt: skip


def test_a_worker_that_was_started_may_take_its_time_to_come(database: Database) -> None:
    jobs = BackfillJobs(database, owner="api", lease_s=0.0, start_s=60.0)
    jobs.submit(ASKED)
    assert jobs.start_next(most=9, most_starts=9) == "bf_1"
    assert jobs.start_next(most=9, most_starts=9) is None
    assert jobs_of(database).take("bf_1")
