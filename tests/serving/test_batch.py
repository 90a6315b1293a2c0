"""``/v1/batch``: a backfill is asked for, followed, listed, cancelled; who looks after jobs."""

import datetime as dt
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from market.calendars import calendar_for
from market.errors import InputError, ProviderUnavailableError, WavehouseError
from market.months import month_bounds
from market.settings import BackfillSettings, ServingSettings
from market.timeframes import Timeframe
from serving.app import create_app
from serving.backfills.launching import ProcessLauncher, Question, kind_of
from serving.backfills.service import scheduled
from storage.backfill_jobs import Backfill, BackfillJobs, Made
from storage.database import Database
from storage.lake import ParquetLake
from tests.serving.fakes import FakeRegistry, book

PATIENT_S = 30.0
JOB_ID = re.compile(r"^bf_[0-9]{8}_[a-z0-9]+_[a-z0-9]+_[a-z0-9]{6}$")
BODY = {
    "instrument_id": "EURUSD",
    "granularity": "H4",
    "start_date": "2017-03-10",
    "end_date": "2017-05-02",
}


@dataclass(slots=True)
class FakeLauncher:
    """Remembers which workers it was to start; ``rows`` is what a plan says."""

    started: list[str] = field(default_factory=list)
    rows: Sequence[Mapping[str, str]] = ()
    error: Exception | None = None
    planned: list[Question] = field(default_factory=list)

    def start(self, job_id: str) -> None:
        """Start none, and remember it."""
        if isinstance(self.error, OSError):
            raise self.error
        self.started.append(job_id)

    def look(self) -> None:
        """Find that nothing has ended."""

    def plan(self, question: Question) -> Sequence[Mapping[str, str]]:
        """Say what was put here."""
        self.planned.append(question)
        if self.error is not None:
            raise self.error
        return self.rows


@dataclass(slots=True)
class Server:
    """A client, the launcher behind it, and the jobs as a worker sees them."""

    client: TestClient
    launcher: FakeLauncher
    worker: BackfillJobs

    def ask(self, **words: Any) -> Any:
        """Ask for a backfill."""
        return self.client.post("/v1/batch/backfill", json=BODY | words)

    def job(self, job_id: str) -> Any:
        """Return a job."""
        return self.client.get(f"/v1/batch/jobs/{job_id}").json()


@contextmanager
def serving(
    folder: Path, launcher: FakeLauncher | None = None, **settings: Any
) -> Iterator[Server]:
    found = launcher or FakeLauncher()
    database, other = (Database.at(folder / "wavehouse.db") for _ in range(2))
    app = create_app(
        ServingSettings(compute_warm=False, anonymous="all"),
        lake=ParquetLake(folder / "lake"),
        registry=FakeRegistry(),
        book=book(),
        database=database,
        backfill=BackfillSettings(
            **{"lease_s": 60.0, "start_s": settings.get("lease_s", 60.0), **settings}
        ),
        launcher=found,
    )
    worker = BackfillJobs(other, owner="worker", lease_s=settings.get("lease_s", 60.0))
    try:
        with TestClient(app, raise_server_exceptions=False) as client:
            yield Server(client, found, worker)
    finally:
        other.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as found:
        yield found


def until(is_it: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENT_S
    while not is_it():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def error_of(answer: Any, status: int) -> Any:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "details", "trace_id"}
    return error


def test_a_backfill_is_taken_and_its_worker_is_started(server: Server) -> None:
    answer = server.client.post(
        "/v1/batch/backfill", json=BODY, headers={"X-Request-ID": "req_mine"}
    )
    assert answer.status_code == 202, answer.text
    taken = answer.json()
    job_id = taken["job_id"]
    assert JOB_ID.fullmatch(job_id)
    assert job_id.split("_")[2:4] == ["eurusd", "h4"]
    assert server.launcher.started == [job_id]
    own = f"/v1/batch/jobs/{job_id}"
    assert answer.headers["Location"] == own
    assert taken == {
        "job_id": job_id,
        "status": "started",
        "priority": "normal",
        "estimated_candles": taken["estimated_candles"],
        "estimated_duration_minutes": None,
        "_links": {
            "self": {"href": own, "method": "GET"},
            "cancel": {"href": own, "method": "DELETE"},
            "jobs": {"href": "/v1/batch/jobs", "method": "GET"},
        },
    }
    assert 3 * 20 * 6 < taken["estimated_candles"] < 3 * 24 * 6
    job = server.job(job_id)
    assert (job["status"], job["first_month"], job["last_month"]) == (
        "pending", "2017-03", "2017-05"
    )  # fmt: skip
    assert (job["request_id"], job["workers_started"]) == ("req_mine", 1)
    assert job["progress"] == {
        "completed": 0, "total": None, "percentage": None, "current_date": None,
        "current_partition": None, "chunks_completed": 0, "chunks_total": None, "chunks_failed": 0,
    }  # fmt: skip
    assert set(job["performance"].values()) == {None}


def test_a_second_backfill_of_the_instrument_is_a_conflict_that_names_the_first(
    server: Server,
) -> None:
    first = server.ask().json()["job_id"]
    for words in (
        {},
        {"granularity": "H1"},
        {"start_date": "2019-01-01", "end_date": "2019-02-01"},
    ):
        error = error_of(server.ask(**words), 409)
        assert (error["code"], first in error["message"]) == ("BACKFILL_IN_PROGRESS", True)
    assert server.client.get("/v1/batch/jobs").json()["pagination"]["total"] == 1
    server.client.delete(f"/v1/batch/jobs/{first}")
    assert server.ask().status_code == 202
    report = server.client.get("/metrics").text
    assert 'backfills_asked_total{outcome="accepted"} 2.0' in report
    assert 'backfills_asked_total{outcome="BACKFILL_IN_PROGRESS"} 3.0' in report


def test_of_backfills_that_race_one_is_taken(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.ask().status_code, range(8)))
    assert sorted(answers) == [202] + [409] * 7


def test_progress_pace_and_the_time_that_is_left(server: Server) -> None:
    job_id = server.ask(options={"force_recompute": True, "priority": "high"}).json()["job_id"]
    worker = server.worker
    assert worker.take(job_id)
    worker.expect(job_id, 10)
    for path, candles in (("candles/H4/EURUSD/2017-03", 0), ("labels/H4/EURUSD/2017-04", 130)):
        worker.made(job_id, Made(path, "v", candles))
    worker.stumble(job_id)
    job = server.job(job_id)
    assert (job["status"], job["force_recompute"], job["priority"]) == ("running", True, "high")
    assert job["progress"] == {
        "completed": 2, "total": 10, "percentage": 20.0, "current_date": "2017-04-01",
        "current_partition": "labels/H4/EURUSD/2017-04",
        "chunks_completed": 2, "chunks_total": 10, "chunks_failed": 1,
    }  # fmt: skip
    pace = job["performance"]
    assert pace["error_rate"] == pytest.approx(1 / 3)
    assert pace["candles_per_minute"] == pytest.approx(65 * pace["partitions_per_minute"])
    assert pace["avg_compute_time_ms"] == pytest.approx(60_000 / pace["partitions_per_minute"])
    assert job["eta_seconds"] == pytest.approx(8 * pace["avg_compute_time_ms"] / 1000)
    assert job["estimated_completion"] > job["started_at"] > job["submitted_at"]
    worker.finish(job_id, "completed")
    done = server.job(job_id)
    assert (done["status"], done["eta_seconds"], done["error"]) == ("completed", None, None)
    assert done["finished_at"] >= done["started_at"]
    again = server.ask().json()
    usual = done["performance"]["candles_per_minute"]
    assert again["estimated_duration_minutes"] == pytest.approx(
        again["estimated_candles"] / usual, rel=0.05
    )


@pytest.mark.parametrize(
    ("code", "message", "is_told"),
    [
        ("INVALID_INPUT", "EURUSD: expected months from 2017-03", True),
        ("PROVIDER_DATA", "/srv/prices/eurusd.csv: expected a column, was none", False),
        ("RUN_FAILED", "run 1: ZeroDivisionError in /srv/x.py", False),
    ],
)
def test_why_a_job_failed(server: Server, code: str, message: str, *, is_told: bool) -> None:
    job_id = server.ask().json()["job_id"]
    server.worker.take(job_id)
    server.worker.finish(job_id, "failed", code, message)
    error = server.job(job_id)["error"]
    assert error["code"] == code
    assert (error["message"] == message) == is_told
    assert is_told or "worker's log" in error["message"]


def test_a_job_that_is_being_made_is_asked_to_end(server: Server) -> None:
    job_id = server.ask().json()["job_id"]
    server.worker.take(job_id)
    asked = server.client.delete(f"/v1/batch/jobs/{job_id}")
    assert (asked.status_code, asked.json()["status"]) == (202, "running")
    assert asked.json()["is_cancel_asked"]
    assert not server.worker.beat(job_id)
    server.worker.finish(job_id, "cancelled")
    ended = server.client.delete(f"/v1/batch/jobs/{job_id}")
    assert (ended.status_code, ended.json()["status"]) == (200, "cancelled")
    assert ended.json() == server.job(job_id)


def test_a_job_that_nobody_asked_for(server: Server) -> None:
    for ask in (server.client.get, server.client.delete):
        assert error_of(ask("/v1/batch/jobs/bf_0"), 404)["code"] == "UNKNOWN_JOB"
        assert error_of(ask(f"/v1/batch/jobs/{'x' * 101}"), 422)["code"] == "VALIDATION_ERROR"


@pytest.mark.parametrize(
    ("words", "status", "field"),
    [
        ({"instrument_id": "NONE"}, 404, "instrument"),
        ({"granularity": "M1"}, 400, "granularity"),
        ({"granularity": "H2"}, 422, "granularity"),
        ({"start_date": "2017-06-01"}, 400, "end_date"),
        ({"start_date": "1969-12-31"}, 400, "start_date"),
        ({"end_date": "9999-12-31"}, 400, "start_date"),
        ({"end_date": 2017}, 422, "end_date"),
        ({"label_types": ["none_such"]}, 400, "label_types"),
        ({"options": {"chunk_size": 999}}, 422, "options.chunk_size"),
        ({"options": {"parallel_workers": 17}}, 422, "options.parallel_workers"),
        ({"options": {"priority": "urgent"}}, 422, "options.priority"),
        ({"options": {"force_recompute": "yes"}}, 422, "options.force_recompute"),
        ({"other": 1}, 422, "other"),
    ],
)
def test_what_cannot_be_asked(
    server: Server, words: dict[str, Any], status: int, field: str
) -> None:
    error = error_of(server.ask(**words), status)
    assert error["details"][0]["field"] == field
    assert server.launcher.started == []


def test_what_the_source_sends_is_taken(server: Server) -> None:
    options = {
        "chunk_size": 10_000, "parallel_workers": 8, "force_recompute": False, "priority": "low"
    }  # fmt: skip
    asked = {"label_types": ["enhanced_triple_barrier", "mfe"], "options": options}
    assert server.ask(**asked).json()["priority"] == "low"


# a dry run


def test_a_dry_run_says_what_is_out_of_date_and_makes_no_job(server: Server) -> None:
    rows = [
        {"partition": "raw_candles/H1/EURUSD/2017-03", "reason": "data"},
        {"partition": "candles/H4/EURUSD/2017-03", "reason": "upstream"},
        {"partition": "labels/H4/EURUSD/2017-03", "reason": "upstream"},
    ]
    server.launcher.rows = rows
    answer = server.client.post("/v1/batch/backfill?dry_run=true", json=BODY)
    assert answer.status_code == 200
    assert answer.json() == {
        "dry_run": True,
        "instrument_id": "EURUSD",
        "granularity": "H4",
        "first_month": "2017-03",
        "last_month": "2017-05",
        "out_of_date": 3,
        "by_reason": {"missing": 0, "code": 0, "data": 1, "upstream": 2},
        "partitions": rows,
    }
    assert server.launcher.planned == [Question("EURUSD", "H4", "2017-03", "2017-05")]
    assert server.launcher.started == []
    assert server.client.get("/v1/batch/jobs").json()["data"] == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("EURUSD: expected months from 2017-03 to 2017-05, was 2019"), 400),
        (ProviderUnavailableError("binance: expected an answer"), 503),
        (WavehouseError("dry_run: expected a plan, was: Traceback"), 500),
    ],
)
def test_a_dry_run_that_cannot_be_told(server: Server, error: WavehouseError, status: int) -> None:
    server.launcher.error = error
    answer = server.client.post("/v1/batch/backfill?dry_run=true", json=BODY)
    assert error_of(answer, status)["code"] == error.code
    assert "Traceback" not in answer.text


def test_a_dry_run_by_force_makes_no_sense(server: Server) -> None:
    body = BODY | {"options": {"force_recompute": True}}
    error = error_of(server.client.post("/v1/batch/backfill?dry_run=true", json=body), 400)
    assert error["details"][0]["field"] == "options.force_recompute"


@pytest.mark.slow
def test_the_real_planner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic = (
        '[SYN]\nasset_class = "crypto"\ncalendar = "crypto"\nprovider = "synthetic"\n'
        'base_timeframe = "H4"\ntick_size = 0.01\n[SYN.options]\nseed = 3\n'
        "start = 2017-03-01\nend = 2017-06-01\n"
    )
    (tmp_path / "instruments.toml").write_text(synthetic, encoding="utf-8")
    monkeypatch.setenv("WAVEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("WAVEHOUSE_INSTRUMENTS", str(tmp_path / "instruments.toml"))
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    launcher = ProcessLauncher(tmp_path / "logs", 60.0)
    rows = launcher.plan(Question("SYN", "H4", "2017-03", "2017-05"))
    assert {row["reason"] for row in rows} == {"missing"}
    assert len(rows) == 12
    with pytest.raises(InputError, match=r"^SYN: expected months from 2017-03 to 2017-05"):
        launcher.plan(Question("SYN", "H4", "2019-03", "2019-05"))


def test_codes_name_their_classes() -> None:
    assert kind_of("INVALID_INPUT") is InputError
    assert kind_of("PROVIDER_UNAVAILABLE") is ProviderUnavailableError
    assert kind_of("RUN_FAILED") is None


# the list


def test_the_list_is_filtered_sorted_and_paged(server: Server) -> None:
    for i, (instrument, timeframe) in enumerate([("A", "H1"), ("B", "H4"), ("C", "H1")]):
        server.worker.submit(Backfill(f"bf_{i}", instrument, timeframe, "2017-03", "2017-04"))
    server.worker.cancel("bf_1")

    def names(**query: Any) -> list[str]:
        answer = server.client.get("/v1/batch/jobs", params=query)
        assert answer.status_code == 200, answer.text
        return [job["job_id"] for job in answer.json()["data"]]

    assert names() == ["bf_2", "bf_1", "bf_0"]
    assert names(sort="submitted_asc") == ["bf_0", "bf_1", "bf_2"]
    assert names(status="cancelled") == ["bf_1"]
    assert names(granularity="h1") == ["bf_2", "bf_0"]
    assert names(instrument="C", granularity="H1") == ["bf_2"]
    assert names(per_page=2, page=2) == ["bf_0"]
    page = server.client.get("/v1/batch/jobs", params={"per_page": 2}).json()
    assert page["pagination"] == {
        "page": 1, "per_page": 2, "total": 3, "total_pages": 2, "has_next": True, "has_prev": False
    }  # fmt: skip
    assert page["data"][0] == server.job("bf_2")
    for query in ({"status": "paused"}, {"sort": "up"}, {"page": 0}, {"other": 1}):
        error_of(server.client.get("/v1/batch/jobs", params=query), 422)


# the caretaker


def test_the_most_urgent_of_those_that_wait_is_next(tmp_path: Path) -> None:
    with serving(tmp_path, lease_s=0.3) as server:
        first = server.ask().json()["job_id"]
        assert server.worker.take(first)
        for i, priority in enumerate(["low", "normal", "high"]):
            server.worker.submit(
                Backfill(f"bf_{i}", str(i), "H4", "2017-03", "2017-04", priority=priority)
            )
        server.worker.finish(first, "completed")
        until(lambda: len(server.launcher.started) > 1)
        assert server.launcher.started[:2] == [first, "bf_2"]


def test_a_job_whose_worker_was_killed_gets_another(tmp_path: Path) -> None:
    with serving(tmp_path, lease_s=0.3) as server:
        job_id = server.ask().json()["job_id"]
        assert server.worker.take(job_id)
        server.worker.made(job_id, Made("candles/H4/EURUSD/2017-03", "v", 0))
        until(lambda: len(server.launcher.started) == 2)  # it is heard of no more
        assert server.launcher.started == [job_id, job_id]
        assert server.job(job_id)["progress"]["completed"] == 1
        assert BackfillJobs(server.worker._database, owner="next", lease_s=60.0).take(job_id)
        assert server.job(job_id)["workers_started"] == 2


def test_a_job_that_a_server_left_is_looked_after_by_the_next(tmp_path: Path) -> None:
    with serving(tmp_path, lease_s=0.3) as server:
        job_id = server.ask().json()["job_id"]
    with serving(tmp_path, lease_s=0.3) as server:
        until(lambda: bool(server.launcher.started))
        assert server.launcher.started[0] == job_id


def test_workers_are_no_more_than_a_setting_says(tmp_path: Path) -> None:
    with serving(tmp_path, workers=1) as server:
        server.worker.submit(Backfill("bf_0", "A", "H4", "2017-03", "2017-04"))
        assert server.ask().json()["status"] == "queued"
        until(lambda: bool(server.launcher.started))
        assert server.launcher.started == ["bf_0"]


def test_a_process_that_does_not_start_leaves_the_job_to_wait(tmp_path: Path) -> None:
    launcher = FakeLauncher(error=OSError(11, "Resource temporarily unavailable"))
    with serving(tmp_path, launcher, lease_s=0.3) as server:
        taken = server.ask().json()
        assert launcher.started == []
        launcher.error = None
        until(lambda: taken["job_id"] in launcher.started)


def test_a_database_of_one_process_takes_no_backfill(world: Any) -> None:
    world.register(1)
    with world.client() as client:
        error = error_of(client.post("/v1/batch/backfill", json=BODY), 503)
        assert error["code"] == "OVERLOADED"
        assert client.get("/v1/batch/jobs").json()["data"] == []


def test_a_caretaker_outlives_a_database_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()
    real = BackfillJobs.start_next

    def broken(self: BackfillJobs, **words: Any) -> Any:
        if not asked.is_set():
            asked.set()
            raise ProviderUnavailableError("database: expected an answer")
        return real(self, **words)

    monkeypatch.setattr(BackfillJobs, "start_next", broken)
    with serving(tmp_path, lease_s=0.3) as server:
        until(asked.is_set)
        job_id = server.ask().json()["job_id"]
        until(lambda: job_id in server.launcher.started)


# the estimate


@pytest.mark.parametrize("timeframe", ["H1", "H4", "D", "W"])
def test_scheduled_candles_are_those_of_the_calendar(timeframe: str) -> None:
    instrument = book()["EURUSD"]
    found = scheduled(Question("EURUSD", timeframe, "2017-02", "2017-04"), instrument)
    bounds = month_bounds("2017-02")[0], month_bounds("2017-04")[1]
    exact = calendar_for(instrument).grid(Timeframe(timeframe), *bounds).open_us.size
    assert abs(found - exact) <= 2  # sessions and weeks at both ends


def test_nothing_is_scheduled_in_the_future() -> None:
    later = f"{dt.datetime.now(dt.UTC).year + 2}-01"
    assert scheduled(Question("EURUSD", "H4", later, later), book()["EURUSD"]) == 0
