"""The SQL database: one suite over every kind, migrations, processes that come together, errors."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from market.errors import StorageError, UnknownRunError
from storage.backtest_runs import BacktestRuns, RunInfo, Trial
from storage.database import Database
from storage.database_migrations import upgrade
from storage.database_schema import METADATA, TRIALS
from tests.fakes.postgres import emptied

ROOT = Path(__file__).resolve().parents[2]
TOGETHER = """
import sys
from pathlib import Path
from storage.backtest_runs import BacktestRuns, RunInfo, Trial
from storage.database import Database

url, name = sys.argv[1:]
database = Database(url)
runs = BacktestRuns(database, owner=name, lease_s=60)
print("ready", flush=True)
sys.stdin.readline()
runs.submit(RunInfo(name, "run", "s", "X", "data"))
for i in range(20):
    runs.count("data", [Trial(str(i), "s", "{}", float(i))])
database.close()
"""


def info(run_id: str) -> RunInfo:
    return RunInfo(run_id, "run", "sma_crossover", "TCS", "data")


def runs_of(database: Database, owner: str = "me", lease_s: float = 60.0) -> BacktestRuns:
    return BacktestRuns(database, owner=owner, lease_s=lease_s)


# runs


def test_a_run_waits_is_computed_and_has_an_answer(database: Database) -> None:
    runs = runs_of(database)
    runs.submit(info("a"))
    waits = runs.read("a")
    assert (waits.info, waits.status, waits.answer) == (info("a"), "pending", None)
    assert runs.start("a")
    running = runs.read("a")
    assert (running.status, running.finished_us) == ("running", None)
    assert runs.complete("a", b"{}" * 1000)
    done = runs.read("a")
    assert (done.status, done.answer) == ("completed", b"{}" * 1000)
    assert (done.started_us, done.finished_us) >= (done.submitted_us, done.started_us)


def test_a_run_that_was_answered_at_once_is_kept(database: Database) -> None:
    runs = runs_of(database)
    runs.keep(info("a"), b"answer")
    assert (runs.read("a").status, runs.read("a").answer) == ("completed", b"answer")


def test_a_run_that_failed_says_why(database: Database) -> None:
    runs = runs_of(database)
    runs.submit(info("a"))
    assert runs.fail("a", "INVALID_INPUT", "grid: expected …")
    failed = runs.read("a")
    assert (failed.status, failed.error_code) == ("failed", "INVALID_INPUT")
    assert failed.error_message == "grid: expected …"


def test_what_has_ended_does_not_change(database: Database) -> None:
    runs = runs_of(database)
    runs.submit(info("a"))
    assert not runs.complete("a", b"early")  # it was not begun
    runs.start("a")
    runs.complete("a", b"first")
    assert not runs.start("a")
    assert not runs.complete("a", b"second")
    assert not runs.fail("a", "CODE", "late")
    assert runs.read("a").answer == b"first"


def test_only_its_process_changes_a_run(database: Database) -> None:
    runs_of(database).submit(info("a"))
    other = runs_of(database, owner="other")
    assert not other.start("a")
    assert not other.fail("a", "CODE", "not mine")
    assert runs_of(database).read("a").status == "pending"


@pytest.mark.parametrize("is_running", [False, True])
def test_a_run_whose_process_is_gone_has_failed(database: Database, *, is_running: bool) -> None:
    gone = runs_of(database, owner="gone", lease_s=0.0)
    gone.submit(info("a"))
    if is_running:
        gone.start("a")
    time.sleep(0.001)
    found = runs_of(database).read("a")
    assert (found.status, found.error_code) == ("failed", "PROCESS_ENDED")
    assert "ask again" in str(found.error_message)
    assert found.finished_us is not None
    assert not gone.complete("a", b"it was only away")
    assert runs_of(database).read("a").status == "failed"


def test_the_one_that_comes_next_judges_all_that_are_gone_and_no_other(database: Database) -> None:
    gone, here = runs_of(database, owner="gone", lease_s=0.0), runs_of(database, owner="here")
    for name in "abc":
        gone.submit(info(name))
    gone.start("a")
    gone.complete("a", b"in time")
    here.submit(info("d"))
    time.sleep(0.001)
    assert runs_of(database, owner="next").judge() == 2
    found = [runs_of(database).read(name).status for name in "abcd"]
    assert found == ["completed", "failed", "failed", "pending"]


@pytest.mark.slow
def test_a_lease_is_renewed_for_the_runs_that_are_named(database: Database) -> None:
    runs = runs_of(database, lease_s=1.0)
    runs.submit(info("a"))
    runs.submit(info("b"))
    deadline = time.monotonic() + 1.2
    while time.monotonic() < deadline:
        runs.renew(["a"])
        time.sleep(0.02)
    assert runs.read("a").status == "pending"
    assert runs.read("b").status == "failed"


def test_old_results_are_forgotten_and_trials_are_not(database: Database) -> None:
    runs = runs_of(database)
    runs.keep(info("a"), b"answer")
    runs.submit(info("b"))
    runs.count("data", [Trial("t", "s", "{}", 1.0)])
    time.sleep(0.001)
    assert runs.forget(older_than_s=3600) == 0
    assert runs.forget(older_than_s=0) == 1
    with pytest.raises(UnknownRunError, match="'a'"):
        runs.read("a")
    assert runs.read("b").status == "pending"
    assert runs.count("data", []).count == 1


# trials


def test_a_trial_is_counted_once_on_its_data(database: Database) -> None:
    runs = runs_of(database)
    first = [Trial("a", "s", "{}", 0.1), Trial("b", "s", "{}", 0.3), Trial("a", "s", "{}", 0.1)]
    found = runs.count("data", first)
    assert (found.count, found.variance) == (2, pytest.approx(0.02, rel=1e-12))
    assert runs.count("data", [Trial("a", "s", "{}", 9.0)]) == found
    assert runs.count("other", [Trial("a", "s", "{}", 9.0)]).count == 1
    third = runs.count("data", [Trial("c", "s", "{}", None)])
    assert (third.count, third.variance) == (3, pytest.approx(0.02, rel=1e-12))


def test_ratios_that_hardly_differ_have_a_variance(database: Database) -> None:
    sharpes = [1e3 + i * 1e-6 for i in range(5)]  # squares of these have no digits left for it
    trials = [Trial(str(i), "s", "{}", x) for i, x in enumerate(sharpes)]
    found = runs_of(database).count("data", trials)
    assert found.variance == pytest.approx(2.5e-12, rel=1e-4)


def test_nothing_tried_is_no_trial(database: Database) -> None:
    found = runs_of(database).count("data", [])
    assert (found.count, found.variance) == (0, 0.0)


def test_threads_count_together(database: Database) -> None:
    runs = runs_of(database)

    def work(worker: int) -> None:
        for i in range(20):
            runs.count(
                "data", [Trial(str(i), "s", "{}", 1.0), Trial(f"{worker}-{i}", "s", "", 1.0)]
            )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert runs.count("data", []).count == 20 + 80


def test_who_counts_at_the_same_time_is_told_different_numbers(database: Database) -> None:
    runs = runs_of(database)
    runs.count("data", [])  # migrated

    def one(i: int) -> int:
        return runs.count("data", [Trial(f"trial-{i}", "sma_crossover", "{}", 0.1)]).count

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(one, range(40)))
    assert sorted(told) == list(range(1, 41))


def test_a_schema_of_a_later_version_is_an_error_that_says_so(database: Database) -> None:
    runs_of(database).count("data", [])
    with database.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(
        StorageError, match=r"database: expected a schema of this version, was: .*9999"
    ):
        upgrade(database._engine)


# processes


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "postgres"])
def test_processes_that_start_together_migrate_once_and_count_together(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'data' / 'new.db'}"
    if kind == "postgres":
        url = emptied(request.getfixturevalue("postgres"))
    started = [
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", TOGETHER, url, f"process-{i}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd=ROOT,
        )
        for i in range(4)
    ]  # fmt: skip
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    database = Database(url)
    runs = runs_of(database)
    assert runs.count("data", []).count == 20
    assert [runs.read(f"process-{i}").status for i in range(4)] == ["pending"] * 4
    with database.reading() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM alembic_version")) == 1
    database.close()


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    database = Database.at(tmp_path / "w.db")
    runs_of(database).keep(info("a"), b"answer")
    with database.writing() as connection:
        connection.execute(sa.delete(TRIALS))
        assert runs_of(database).read("a").answer == b"answer"
    database.close()


def test_a_writer_waits_for_another(tmp_path: Path) -> None:
    database = Database.at(tmp_path / "w.db")
    runs = runs_of(database)
    runs.submit(info("a"))
    began = threading.Event()
    done: list[bool] = []

    def write() -> None:
        began.set()
        done.append(runs.start("a"))

    with database.writing() as connection:
        connection.execute(sa.delete(TRIALS))
        thread = threading.Thread(target=write)
        thread.start()
        began.wait(10)
        thread.join(0.2)
        assert done == []
    thread.join(30)
    assert done == [True]
    database.close()


# schema and errors


def test_the_migrations_make_the_schema_that_the_code_knows(database: Database) -> None:
    with database.writing() as connection:
        found = compare_metadata(MigrationContext.configure(connection), METADATA)
    assert found == []


def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    runs = runs_of(database)
    runs.submit(info("a"))
    with pytest.raises(StorageError, match="database: expected an answer"):
        runs.submit(info("a"))
    assert runs.read("a").status == "pending"
    assert runs.start("a")


@pytest.mark.parametrize("url", ["postgresql://w@127.0.0.1:1/none", "sqlite:////proc/none/w.db"])
def test_a_database_that_is_not_there_is_a_storage_error(url: str) -> None:
    database = Database(url)
    with pytest.raises(StorageError, match="database: expected an answer"):
        runs_of(database).read("a")
    database.close()


def test_it_is_asked_again_once_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a folder should be")
    database = Database.at(tmp_path / "data" / "w.db")
    with pytest.raises(StorageError):
        runs_of(database).judge()
    (tmp_path / "data").unlink()
    assert runs_of(database).judge() == 0
    database.close()


def test_a_damaged_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "w.db").write_bytes(b"not a database at all, but long enough to look at" * 100)
    database = Database.at(tmp_path / "w.db")
    with pytest.raises(StorageError, match="not a database"):
        runs_of(database).judge()
    database.close()


def test_one_in_memory_begins_anew_after_it_was_closed() -> None:
    database = Database.in_memory()
    runs_of(database).keep(info("a"), b"answer")
    database.close()
    assert runs_of(database).count("data", []).count == 0
    with pytest.raises(UnknownRunError):
        runs_of(database).read("a")
    database.close()


def test_which_databases_others_share(tmp_path: Path) -> None:
    assert Database.at(tmp_path / "w.db").is_shared
    assert Database("postgres://w@127.0.0.1/none").is_shared
    assert not Database.in_memory().is_shared
    assert not (tmp_path / "w.db").exists()  # nothing was opened
