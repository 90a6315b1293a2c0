"""A job whose runs a Dagster server makes; every question is held against Dagster's schema."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from market.errors import ProviderDataError
from market.ports import PartitionKey
from market.settings import BackfillSettings
from storage.backfill_jobs import Backfill, BackfillJobs
from storage.database import Database
from tests.fakes.dagster_server import FakeDagster, listening
from tests.fakes.line import BTC, FrameProvider, Workshop, contents, hourly, line_of
from wavehouse.backfilling import Hold, Worker
from wavehouse.dagster_server import DagsterRefusedError, DagsterServer, DagsterUnavailableError
from wavehouse.server_engine import ServerEngine

pytestmark = pytest.mark.slow

ASKED = Backfill("bf_1", "BTC", "H4", "2017-04", "2017-05", request_id="req_1")


@dataclass(slots=True)
class World:
    """A lake that a Dagster server writes, and workers that ask it to."""

    folder: Path
    provider: FrameProvider
    database: Database
    stopping: threading.Event = field(default_factory=threading.Event)
    stall_s: float = 60.0
    on: Callable[[PartitionKey], None] = lambda _key: None
    fake: FakeDagster = field(init=False)
    url: str = ""

    def __post_init__(self) -> None:
        self.fake = FakeDagster(self._workshop)

    def _workshop(self, published: Callable[[PartitionKey], None]) -> Workshop:
        def tell(key: PartitionKey) -> None:
            self.on(key)
            published(key)

        return Workshop(line_of(self.folder / "lake", self.provider, published=tell))

    def jobs(self, owner: str = "worker") -> BackfillJobs:
        """Return the jobs as a process sees them."""
        return BackfillJobs(self.database, owner=owner, lease_s=60.0)

    def work(self, job_id: str = "bf_1", owner: str = "worker") -> str:
        """Be a worker; return how the job ended."""
        settings = BackfillSettings(retry_s=0.001, attempts=3)

        server = DagsterServer(self.url)

        def engine(line: object, hold: Hold) -> ServerEngine:
            return ServerEngine(server, line, hold, self.stall_s, poll_s=0.01)  # type: ignore[arg-type]

        worker = Worker(
            self.jobs(owner),
            settings,
            lambda _published: line_of(self.folder / "lake", self.provider),
            engine,
            lambda line, hold: engine(line, hold).take_up(),
        )
        with closing(server):
            return worker.work(job_id, self.stopping)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, FrameProvider(hourly(BTC)), Database.at(tmp_path / "w.db"))
    with listening(made.fake) as url:
        made.url = url
        yield made
    made.database.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the bytes that the lake has when nothing happens."""
    made = World(
        tmp_path_factory.mktemp("undisturbed"), FrameProvider(hourly(BTC)), Database.in_memory()
    )
    made.jobs().submit(ASKED)
    with listening(made.fake) as url:
        made.url = url
        assert made.work() == "completed"
    made.database.close()
    return dict(contents(made.folder / "lake"))


def test_a_server_makes_the_runs_and_its_events_are_the_progress(world: World) -> None:
    world.jobs().submit(ASKED)
    assert world.work() == "completed"
    job = world.jobs().read("bf_1")
    assert (job.progress.completed, job.progress.total, job.progress.failed) == (13, 13, 0)
    assert job.pace.candles == 92 * 6
    assert set(world.fake.partitions) == {"BTC"}
    for run in world.fake.runs.values():
        assert run.tags["wavehouse/job"] == "bf_1"
        assert run.tags["wavehouse/request"] == "req_1"
        assert run.status == "SUCCESS"
    assert 1 < len(world.fake.runs) < 5  # a range a run, not a partition a run


def test_a_job_that_is_cancelled_ends_its_run(world: World, undisturbed: dict[str, str]) -> None:
    seen: list[str] = []

    def cancel(key: PartitionKey) -> None:
        seen.append(key.path)
        if len(seen) == 6:
            world.jobs("api").cancel("bf_1")

    world.on = cancel
    world.jobs().submit(ASKED)
    assert world.work() == "cancelled"
    world.fake.join()
    assert [policy for _, policy in world.fake.ended] == ["SAFE_TERMINATE"]
    there = contents(world.folder / "lake")
    assert {name: undisturbed[name] for name in there} == there


def test_a_worker_that_goes_leaves_its_run_to_the_next(
    world: World, undisturbed: dict[str, str]
) -> None:
    gone = threading.Event()

    def go(key: PartitionKey) -> None:
        if key.table == "candles" and not gone.is_set():
            world.stopping.set()
            assert gone.wait(60)

    world.on = go
    world.jobs().submit(ASKED)
    assert world.work() == ""
    before = len(world.fake.runs)
    assert world.fake.ended == []
    assert [run.status for run in world.fake.runs.values()][-1] == "STARTED"
    world.stopping.clear()
    threading.Timer(0.2, gone.set).start()
    assert world.work(owner="another") == "completed"
    assert len(world.fake.runs) == before  # it was taken up
    assert contents(world.folder / "lake") == undisturbed
    done = world.jobs().read("bf_1").progress
    assert (done.completed, done.total) == (13, 13)


def test_a_server_that_is_away_is_waited_for(world: World, undisturbed: dict[str, str]) -> None:
    def leave(key: PartitionKey) -> None:
        if key.path == "candles/H4/BTC/2017-04":
            world.fake.is_away = True
            threading.Timer(0.3, lambda: setattr(world.fake, "is_away", False)).start()

    world.on = leave
    world.jobs().submit(ASKED)
    assert world.work() == "completed"
    assert contents(world.folder / "lake") == undisturbed


def test_an_answer_that_was_lost_is_no_second_run(world: World) -> None:
    real = world.fake.answer
    launched: list[str] = []
    asked = threading.Event()

    def lose(document: str, variables: object) -> object:
        if "launchRun" in document and not launched:
            launched.append("lost")
            world.fake.loses_answers = 1
        elif "runsOrError" in document and launched:
            asked.set()
        return real(document, variables)  # type: ignore[arg-type]

    def hold(_key: PartitionKey) -> None:
        assert asked.wait(60)  # the run has not ended when it is looked for

    world.on = hold
    world.fake.answer = lose  # type: ignore[assignment, method-assign]
    world.jobs().submit(ASKED)
    assert world.work() == "completed"
    first = [tuple(map(tuple, run.paths)) for run in world.fake.runs.values()]
    assert len(first) == len(set(first))


def test_a_run_that_says_nothing_more_is_called_cancelled_and_launched_again(
    world: World, undisturbed: dict[str, str]
) -> None:
    """What a killed Dagster leaves behind: a run that is started for ever."""
    world.stall_s = 0.2
    world.fake.is_deaf = True
    real = world.fake._terminate

    def wake(**words: str) -> object:
        world.fake.is_deaf = False
        world.stall_s = 60.0
        return real(**words)

    world.fake._terminate = wake  # type: ignore[assignment, method-assign]
    world.jobs().submit(ASKED)
    assert world.work() == "completed"
    assert world.fake.ended == [("run-1", "MARK_AS_CANCELED_IMMEDIATELY")]
    job = world.jobs().read("bf_1")
    assert (job.progress.completed, job.progress.failed) == (13, 1)
    assert contents(world.folder / "lake") == undisturbed


def test_a_server_that_never_comes_fails_the_job(world: World) -> None:
    world.stall_s = 0.05
    world.fake.is_away = True
    world.jobs().submit(ASKED)
    assert world.work() == "failed"
    assert world.jobs().read("bf_1").error_code == "DAGSTER_UNAVAILABLE"


def test_a_run_that_fails_says_why(world: World) -> None:
    def before(month: str) -> None:
        if month == "2017-05":
            raise ProviderDataError("frame: expected bars, was rubbish")

    world.provider.before = before
    world.jobs().submit(ASKED)
    assert world.work() == "failed"
    job = world.jobs().read("bf_1")
    assert (job.error_code, job.progress.completed) == ("RUN_FAILED", 2)
    assert "raw_candles/H1/BTC/2017-05: frame: expected bars" in (job.error_message or "")


def test_what_a_server_refuses_is_told(world: World) -> None:
    with (
        closing(DagsterServer(world.url)) as server,
        pytest.raises(DagsterRefusedError, match=r"expected Run, was RunNotFoundError"),
    ):
        server.follow("none", "")
    with (
        closing(DagsterServer("http://127.0.0.1:1")) as nobody,
        pytest.raises(DagsterUnavailableError, match="expected an answer"),
    ):
        nobody.unfinished("a", "b")
