"""Backtests that nobody waits for: their states, the bounded queue, and an orderly end."""

import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from market.errors import InputError, StorageError
from serving.app import create_app
from serving.backtests.jobs import Jobs
from serving.errors import OverloadedError
from storage.backtest_runs import BacktestRuns, Run, RunInfo
from storage.database import Database
from storage.lake import ParquetLake
from tests.fakes import postgres
from tests.serving.backtest_world import PATIENT_S, asked, ended, prices, run, walk
from tests.serving.compute_world import SETTINGS, refusal
from tests.serving.fakes import FakeRegistry

VARYING = {"run_id", "computation_time_ms", "mojo_used"}


@contextmanager
def serving(database: Database, folder: Path, **settings: Any) -> Iterator[TestClient]:
    app = create_app(
        SETTINGS.model_copy(update=settings),
        lake=ParquetLake(folder, fsync=False),
        registry=FakeRegistry(),
        database=database,
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database.at(tmp_path / "data" / "w.db")
    yield found
    found.close()


def test_an_answer_comes_later_and_is_the_same(database: Database, tmp_path: Path) -> None:
    with serving(database, tmp_path) as client:
        assert client.get("/health").json()["checks"]["database"]["status"] == "ok"
        now = run(client, asked())
        taken = client.post("/backtest/run?async=true", json=asked())
        assert taken.status_code == 202
        run_id = taken.json()["run_id"]
        assert taken.json() == {"run_id": run_id, "status": "pending"}
        assert taken.headers["location"] == f"/backtest/results/{run_id}"
        later, _ = ended(lambda: client.get(taken.headers["location"]).json())
        assert later["run_id"] == run_id != now["run_id"]
        assert {n: x for n, x in later.items() if n not in VARYING} == {
            n: x for n, x in now.items() if n not in VARYING
        }
    with serving(database, tmp_path) as client:  # another process, after a restart
        assert client.get(f"/backtest/results/{run_id}").json() == later
        assert client.get(f"/backtest/results/{now['run_id']}").json() == now
        assert run(client, asked())["results"]["trials"] == 1


def test_a_sweep_comes_later_too(database: Database, tmp_path: Path) -> None:
    body = asked({}, grid={"fast_period": [1, 2], "slow_period": [3]})
    with serving(database, tmp_path) as client:
        taken = client.post("/backtest/sweep?async=1", json=body)
        later, _ = ended(lambda: client.get(taken.headers["location"]).json())
    assert len(later["combinations"]) == 2


def test_what_cannot_be_asked_is_refused_at_once(database: Database, tmp_path: Path) -> None:
    with serving(database, tmp_path) as client:
        body = asked(prices=prices(dates=["2023-01-03"] * 8))
        taken = client.post("/backtest/run?async=true", json=body)
        assert refusal(taken) == (400, "INVALID_INPUT", ["prices.dates.1"])


def test_what_only_the_strategy_refuses_is_a_failed_run(database: Database, tmp_path: Path) -> None:
    body = asked({"fast_period": 3, "slow_period": 2})
    with serving(database, tmp_path) as client:
        taken = client.post("/backtest/run?async=true", json=body)
        failed, _ = ended(lambda: client.get(taken.headers["location"]).json())
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "INVALID_INPUT"
    assert failed["error"]["message"].startswith("parameters.slow_period: expected >= 4")
    assert failed["finished_at"] >= failed["started_at"] >= failed["submitted_at"]


def test_a_database_that_is_away_is_not_the_caller_s_fault(tmp_path: Path) -> None:
    database = Database("postgresql://w@127.0.0.1:1/none")
    with serving(database, tmp_path) as client:
        for response in (
            client.post("/backtest/run", json=asked()),
            client.post("/backtest/run?async=true", json=asked()),
            client.get(f"/backtest/results/{uuid.uuid4()}"),
        ):
            assert refusal(response)[0] == 503
            assert "127.0.0.1" not in response.text
        health = client.get("/health").json()
        assert (health["status"], health["checks"]["database"]["status"]) == ("unhealthy", "down")
        assert "127.0.0.1" not in health["checks"]["database"]["message"]
        sma = {"symbol": "T", "prices": [1, 2, 3], "period": 2}
        assert client.post("/compute/sma", json=sma).status_code == 200


@pytest.mark.slow
@pytest.mark.skipif(not postgres.is_installed(), reason="no Postgres server on this machine")
def test_the_service_over_postgres(tmp_path: Path) -> None:
    body = asked({}, symbol="T\0S", grid={"fast_period": [1, 2], "slow_period": [3]})
    with postgres.running() as url:
        with serving(Database(url), tmp_path) as client:
            taken = client.post("/backtest/sweep?async=true", json=body)
            answer, _ = ended(lambda: client.get(taken.headers["location"]).json())
            assert (answer["status"], answer["trials"]) == ("completed", 2)
            assert client.get("/backtest/results/%00").status_code == 404
        with serving(Database(url), tmp_path) as client:
            assert client.get(taken.headers["location"]).json() == answer
            assert run(client, asked())["results"]["trials"] == 3


# the queue


class Gate:
    """Work that begins when a thread takes it, and ends when it is let."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.let = threading.Event()

    def __call__(self) -> bytes:
        """Say that it has begun, and wait."""
        self.begun.set()
        assert self.let.wait(PATIENT_S)
        return b"answer"


@contextmanager
def working(runs: BacktestRuns, *, waiting: int = 1, lease_s: float = 60.0) -> Iterator[Jobs]:
    jobs = Jobs(runs, threads=1, waiting=waiting, lease_s=lease_s, keep_s=3600.0)
    jobs.start(is_shared=False)
    try:
        yield jobs
    finally:
        jobs.close()


@pytest.fixture
def runs(database: Database) -> BacktestRuns:
    return BacktestRuns(database, owner="me", lease_s=60.0)


def info(run_id: str) -> RunInfo:
    return RunInfo(run_id, "run", "sma_crossover", "TCS", "data")


def until(runs: BacktestRuns, run_id: str, status: str) -> Run:
    deadline = time.monotonic() + PATIENT_S
    while (found := runs.read(run_id)).status != status:
        assert time.monotonic() < deadline, found
        time.sleep(0.005)
    return found


def test_a_run_is_pending_then_running_then_completed(runs: BacktestRuns) -> None:
    first, second = Gate(), Gate()
    with working(runs) as jobs:
        jobs.submit(info("first"), first)
        jobs.submit(info("second"), second)
        assert first.begun.wait(PATIENT_S)
        assert (runs.read("first").status, runs.read("second").status) == ("running", "pending")
        first.let.set()
        assert until(runs, "first", "completed").answer == b"answer"
        assert second.begun.wait(PATIENT_S)
        assert runs.read("second").status == "running"
        second.let.set()
        until(runs, "second", "completed")


def test_a_full_queue_refuses_and_leaves_no_trace(runs: BacktestRuns) -> None:
    gate = Gate()
    with working(runs) as jobs:
        jobs.submit(info("a"), gate)
        jobs.submit(info("b"), gate)
        with pytest.raises(OverloadedError) as told:
            jobs.submit(info("c"), gate)
        assert int(told.value.headers["Retry-After"]) > 0
        with pytest.raises(StorageError):
            runs.read("c")
        gate.let.set()
        until(runs, "b", "completed")
        deadline = time.monotonic() + PATIENT_S
        while True:  # a place is given back just after the answer is noted
            try:
                jobs.submit(info("d"), gate)
                break
            except OverloadedError:
                assert time.monotonic() < deadline
        until(runs, "d", "completed")


def test_a_full_queue_is_a_503(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()

    def slow(*_: object) -> Any:
        gate()
        raise InputError("run: expected nothing, was held up")

    monkeypatch.setattr("serving.backtests.service.computed_run", slow)
    with serving(database, tmp_path, backtest_threads=1, backtest_queue=1) as client:
        for _ in range(2):
            assert client.post("/backtest/run?async=true", json=asked()).status_code == 202
        refused = client.post("/backtest/run?async=true", json=asked())
        gate.let.set()
    assert refusal(refused)[:2] == (503, "OVERLOADED")
    assert int(refused.headers["retry-after"]) > 0


def test_a_database_that_refuses_a_run_gives_its_place_back(runs: BacktestRuns) -> None:
    gate = Gate()
    gate.let.set()
    with working(runs, waiting=0) as jobs:
        jobs.submit(info("a"), gate)
        until(runs, "a", "completed")
        for _ in range(3):
            with pytest.raises((StorageError, OverloadedError)):
                jobs.submit(info("a"), gate)  # there is one of that name
        deadline = time.monotonic() + PATIENT_S
        while True:
            try:
                jobs.submit(info("b"), gate)
                break
            except OverloadedError:
                assert time.monotonic() < deadline
        until(runs, "b", "completed")


def test_an_unexpected_error_is_told_without_its_words(
    runs: BacktestRuns, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> bytes:
        raise RuntimeError("a path of ours")

    with caplog.at_level(logging.ERROR, "wavehouse.backtests"), working(runs) as jobs:
        jobs.submit(info("a"), broken)
        failed = until(runs, "a", "failed")
    assert (failed.error_code, "path of ours" in str(failed.error_message)) == ("INTERNAL", False)
    assert "a path of ours" in caplog.text


def test_a_stop_lets_what_runs_end_and_fails_what_waits(runs: BacktestRuns) -> None:
    gate = Gate()
    jobs = Jobs(runs, threads=1, waiting=5, lease_s=60.0, keep_s=3600.0)
    jobs.start(is_shared=False)
    for name in ("runs", "waits", "waits too"):
        jobs.submit(info(name), gate)
    assert gate.begun.wait(PATIENT_S)
    stop = threading.Thread(target=jobs.close)
    stop.start()
    until(runs, "waits too", "failed")
    assert runs.read("runs").status == "running"
    with pytest.raises(OverloadedError):
        jobs.submit(info("late"), gate)
    gate.let.set()
    stop.join(PATIENT_S)
    assert not stop.is_alive()
    assert runs.read("runs").status == "completed"
    assert runs.read("waits").error_code == "SERVER_STOPPED"


def test_a_run_that_comes_amid_a_stop_fails_too(
    runs: BacktestRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs(runs, threads=1, waiting=5, lease_s=60.0, keep_s=3600.0)
    jobs.start(is_shared=False)
    submit = runs.submit

    def stopped(info: RunInfo) -> None:
        submit(info)
        jobs.close()

    monkeypatch.setattr(runs, "submit", stopped)
    jobs.submit(info("late"), Gate())
    assert runs.read("late").error_code == "SERVER_STOPPED"
    jobs.close()


@pytest.mark.slow
def test_a_long_run_keeps_its_lease(database: Database) -> None:
    gate = Gate()
    short = BacktestRuns(database, owner="me", lease_s=1.0)
    with working(short, lease_s=1.0) as jobs:
        jobs.submit(info("long"), gate)
        assert gate.begun.wait(PATIENT_S)
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            assert short.read("long").status == "running"
            time.sleep(0.05)
        gate.let.set()
        until(short, "long", "completed")


def test_runs_that_others_left_fail_at_the_start(database: Database, tmp_path: Path) -> None:
    gone = BacktestRuns(database, owner="gone", lease_s=0.0)
    gone.submit(info("left"))
    time.sleep(0.001)
    with serving(database, tmp_path):
        deadline = time.monotonic() + PATIENT_S
        while True:  # nobody asks for it: the start itself judges
            with database.reading() as connection:
                status = connection.exec_driver_sql("SELECT status FROM backtest_runs").scalar()
            if status == "failed":
                break
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.slow
def test_two_servers_share_a_database(database: Database, tmp_path: Path) -> None:
    other = Database.at(tmp_path / "data" / "w.db")
    with serving(database, tmp_path) as one, serving(other, tmp_path) as two:
        taken = one.post("/backtest/run?async=true", json=asked(prices=walk(300)))
        answer, _ = ended(lambda: two.get(taken.headers["location"]).json())
        assert answer["status"] == "completed"
        body = asked({"fast_period": 2, "slow_period": 3}, prices=walk(300))
        assert run(two, body)["results"]["trials"] == 2
