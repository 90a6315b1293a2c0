"""``backfill --job``: a worker makes a job once, whoever was killed before it."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from market.errors import ProviderUnavailableError, WavehouseError
from market.ports import PartitionKey
from market.settings import BackfillSettings, HomeSettings
from storage.backfill_jobs import Backfill, BackfillJobs, Made
from storage.database import Database
from tests.fakes.line import BTC, FrameProvider, Workshop, contents, hourly, line_of, pointers
from tests.fakes.line import stages_of as line_stages
from tests.fakes.updates import WorkshopRunner, spy
from wavehouse.backfilling import Hold, Worker
from wavehouse.cli import app

pytestmark = pytest.mark.slow

ASKED = Backfill("bf_1", "BTC", "H4", "2017-04", "2017-05", request_id="req_1")
WHOLE = Backfill("bf_0", "BTC", "H4", "2017-03", "2017-06")
STAGES = line_stages("H4", groups=("raw_candles", "candles", "levels", "labels"))
ALL = {
    "raw_candles/H1/BTC": 4, "candles/H4/BTC": 3, "level_events/H4/BTC": 3, "labels/H4/BTC": 3
}  # fmt: skip


@dataclass(slots=True)
class World:
    """A line, its jobs, and a worker over both; ``on`` is told of every published partition."""

    folder: Path
    provider: FrameProvider
    database: Database
    settings: BackfillSettings = field(
        default_factory=lambda: BackfillSettings(retry_s=0.001, attempts=3)
    )
    on: Callable[[PartitionKey], None] = lambda _key: None
    stopping: threading.Event = field(default_factory=threading.Event)
    lease_s: float = 60.0

    def jobs(self, owner: str = "worker") -> BackfillJobs:
        """Return the jobs as a process sees them."""
        return BackfillJobs(self.database, owner=owner, lease_s=self.lease_s)

    def work(self, job_id: str = "bf_1", owner: str = "worker") -> str:
        """Be a worker; return how the job ended."""
        made: list[Workshop] = []

        def line_of_job(published: Callable[[PartitionKey], None]) -> object:
            def tell(key: PartitionKey) -> None:
                self.on(key)
                published(key)

            line = line_of(self.folder / "lake", self.provider, published=tell)
            made.append(Workshop(line))
            return line

        def engine(_line: object, _hold: Hold) -> WorkshopRunner:
            return WorkshopRunner(made[0])

        return Worker(self.jobs(owner), self.settings, line_of_job, engine).work(  # type: ignore[arg-type]
            job_id, self.stopping
        )

    def times_moved(self) -> dict[str, int]:
        """Return how often the pointer of each partition has moved."""
        lake = self.folder / "lake"
        return {
            path.parent.relative_to(lake).as_posix(): len(path.read_text().splitlines())
            for path in lake.rglob("history.jsonl")
        }

    def pointers(self) -> dict[str, str]:
        """Return partition → data version of what is there."""
        return pointers(line_of(self.folder / "lake", self.provider), STAGES)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    database = Database.at(tmp_path / "wavehouse.db")
    yield World(tmp_path, FrameProvider(hourly(BTC)), database)
    database.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the bytes that the lake has when nothing happens to the worker."""
    folder = tmp_path_factory.mktemp("undisturbed")
    made = World(folder, FrameProvider(hourly(BTC)), Database.in_memory())
    made.jobs().submit(ASKED)
    assert made.work() == "completed"
    made.database.close()
    return dict(contents(folder / "lake"))


def counted(paths: Iterator[str] | frozenset[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for path in paths:
        series = path.rsplit("/", 1)[0]
        found[series] = found.get(series, 0) + 1
    return found


def test_a_job_makes_what_was_asked_and_all_that_it_reads(world: World) -> None:
    world.jobs().submit(ASKED)
    assert world.work() == "completed"
    job = world.jobs().read("bf_1")
    assert (job.status, job.progress.completed, job.progress.total) == ("completed", 13, 13)
    assert counted(world.jobs().made_before("bf_1")) == ALL
    assert job.pace.candles == (31 + 30 + 31) * 6  # of labels, whose state comes from March
    assert job.error_rate == 0
    assert world.times_moved() == dict.fromkeys(world.jobs().made_before("bf_1"), 1)


def test_a_second_job_finds_all_fresh_and_one_by_force_writes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.jobs().submit(WHOLE)
    world.work("bf_0")
    before = contents(world.folder / "lake")
    computed = spy(monkeypatch)
    world.jobs().submit(Backfill("bf_2", "BTC", "H4", "2017-04", "2017-05"))
    assert world.work("bf_2") == "completed"
    again = world.jobs().read("bf_2").progress
    assert (again.completed, again.total, computed) == (0, 0, [])
    world.jobs().submit(Backfill("bf_3", "BTC", "H4", "2017-05", "2017-05", is_forced=True))
    assert world.work("bf_3") == "completed"
    forced = {f"{series}/2017-05" for series in ALL}
    assert set(computed) == forced
    assert world.jobs().made_before("bf_3") == forced
    assert contents(world.folder / "lake") == before


@pytest.mark.parametrize("after", [1, 5, 9, 12])
def test_a_job_that_was_stopped_goes_on_where_it_was(
    world: World, undisturbed: dict[str, str], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    seen: list[str] = []

    def stop(key: PartitionKey) -> None:
        seen.append(key.path)
        if len(seen) == after:
            world.stopping.set()

    world.on = stop
    world.jobs().submit(ASKED)
    assert world.work() == ""
    part = world.jobs().read("bf_1")
    assert (part.status, part.progress.completed) == ("running", after)
    assert set(world.pointers()) == set(seen)
    world.stopping.clear()
    told: list[tuple[int, int | None]] = []

    def look(_key: PartitionKey) -> None:
        progress = world.jobs().read("bf_1").progress
        told.append((progress.completed, progress.total))

    world.on = look
    computed = spy(monkeypatch)
    assert world.work(owner="another") == "completed"
    assert {made for made, _ in told} >= set(range(after, 13))
    assert {total for _, total in told} == {13}
    assert len(computed) == 13 - after
    assert not set(computed) & set(seen)
    done = world.jobs().read("bf_1").progress
    assert (done.completed, done.total) == (13, 13)
    assert contents(world.folder / "lake") == undisturbed
    assert set(world.times_moved().values()) == {1}


def test_a_job_by_force_does_not_make_again_what_it_has_made(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.jobs().submit(WHOLE)
    world.work("bf_0")
    world.jobs().submit(Backfill("bf_2", "BTC", "H4", "2017-04", "2017-06", is_forced=True))
    world.jobs().take("bf_2")
    before = [f"raw_candles/H1/BTC/2017-0{m}" for m in (4, 5, 6)] + ["candles/H4/BTC/2017-04"]
    for path in before:
        world.jobs().made("bf_2", Made(path, "v", 0))
    world.jobs().release("bf_2")
    computed = spy(monkeypatch)
    assert world.work("bf_2") == "completed"
    assert not set(computed) & set(before)
    assert {p for p in computed if p.startswith("candles/")} == {
        "candles/H4/BTC/2017-05", "candles/H4/BTC/2017-06"
    }  # fmt: skip
    assert {p for p in computed if p.startswith("level")} == {
        f"level_events/H4/BTC/2017-0{m}" for m in (4, 5, 6)
    }
    assert len(world.jobs().made_before("bf_2")) == 12


def test_a_job_that_is_cancelled_leaves_whole_partitions(
    world: World, undisturbed: dict[str, str]
) -> None:
    seen: list[str] = []

    def cancel(key: PartitionKey) -> None:
        seen.append(key.path)
        if len(seen) == 6:
            assert world.jobs("api").cancel("bf_1").status == "running"

    world.on = cancel
    world.jobs().submit(ASKED)
    assert world.work() == "cancelled"
    job = world.jobs().read("bf_1")
    assert (job.status, job.progress.completed, job.error_code) == ("cancelled", 6, None)
    assert set(world.pointers()) == set(seen)
    there = contents(world.folder / "lake")
    assert {name: undisturbed[name] for name in there} == there
    assert world.work(owner="another") == ""
    world.on = lambda _key: None
    world.jobs().submit(Backfill("bf_2", "BTC", "H4", "2017-04", "2017-05"))
    assert world.work("bf_2") == "completed"
    assert world.jobs().read("bf_2").progress.completed == 7
    assert contents(world.folder / "lake") == undisturbed


def test_a_worker_whose_job_another_has_stops_and_changes_nothing(world: World) -> None:
    def lose(key: PartitionKey) -> None:
        if key.month == "2017-04" and key.table == "candles":
            world.jobs().release("bf_1")
            assert world.jobs("another").take("bf_1")

    world.on = lose
    world.jobs().submit(ASKED)
    assert world.work() == ""
    job = world.jobs().read("bf_1")
    assert (job.status, job.error_code) == ("running", None)
    assert world.jobs("another").beat("bf_1")
    assert "level_events/H4/BTC/2017-03" not in world.pointers()


def test_a_source_that_breaks_off_is_asked_again(world: World, undisturbed: dict[str, str]) -> None:
    broken: list[str] = []

    def before(month: str) -> None:
        if month == "2017-05" and len(broken) < 2:
            broken.append(month)
            raise ProviderUnavailableError("frame: expected bars, was broken off")

    world.provider.before = before
    world.jobs().submit(ASKED)
    assert world.work() == "completed"
    job = world.jobs().read("bf_1")
    assert (job.progress.failed, job.error_rate) == (2, pytest.approx(2 / 15))
    assert contents(world.folder / "lake") == undisturbed


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(ProviderUnavailableError("frame: off"), 3), (WavehouseError("frame: bad"), 1)],
)
def test_a_job_that_cannot_be_made_says_why(
    world: World, error: WavehouseError, attempts: int
) -> None:
    asked: list[str] = []

    def before(month: str) -> None:
        if month == "2017-05":
            asked.append(month)
            raise error

    world.provider.before = before
    world.jobs().submit(ASKED)
    assert world.work() == "failed"
    job = world.jobs().read("bf_1")
    assert (job.error_code, len(asked)) == (error.code, attempts)
    assert f"raw_candles/H1/BTC/2017-05: {error}" in (job.error_message or "")
    assert job.progress.completed == 2  # what was made before is there


def test_months_that_there_are_not_fail_the_job(world: World) -> None:
    world.jobs().submit(Backfill("bf_1", "BTC", "H4", "2019-01", "2019-02"))
    assert world.work() == "failed"
    job = world.jobs().read("bf_1")
    assert (job.error_code, job.error_message) == (
        "INVALID_INPUT", "BTC: expected months from 2017-03 to 2017-06, was 2019-01 to 2019-02"
    )  # fmt: skip


def test_a_lease_is_renewed_while_a_partition_takes_long(world: World) -> None:
    world.settings, world.lease_s = BackfillSettings(lease_s=3.0), 3.0
    world.jobs().submit(ASKED)
    seen: list[bool] = []

    def look(_key: PartitionKey) -> None:
        if not seen:
            end = time.monotonic() + 8.0  # more than two leases
            while time.monotonic() < end:
                seen.append(world.jobs("another").take("bf_1"))
                time.sleep(0.1)

    world.on = look
    assert world.work() == "completed"
    assert len(seen) > 10
    assert not any(seen)


# the command


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["backfill", *words])


@pytest.fixture
def submitted(home: Path) -> Iterator[BackfillJobs]:
    database = Database.at(HomeSettings().database)
    jobs = BackfillJobs(database, owner="test", lease_s=60.0)
    jobs.submit(Backfill("bf_1", "SYN", "H4", "2017-03", "2017-05", request_id="req_1"))
    assert home
    yield jobs
    database.close()


def test_the_command_makes_a_job_and_dagster_knows_whose_the_runs_are(
    submitted: BackfillJobs,
) -> None:
    level = logging.getLogger("wavehouse").level
    done = run("--job", "bf_1")
    assert (done.exit_code, "bf_1: completed, 12 partitions" in done.output) == (0, True)
    assert logging.getLogger("wavehouse").level == level
    assert submitted.read("bf_1").status == "completed"
    import dagster as dg  # noqa: PLC0415

    runs = dg.DagsterInstance.get().get_runs(dg.RunsFilter(tags={"wavehouse/job": "bf_1"}))
    assert runs
    assert {run.tags["wavehouse/request"] for run in runs} == {"req_1"}
    assert json.loads(run("labels", "-i", "SYN", "-t", "H4", "--dry-run", "--json").stdout) == {
        "out_of_date": 0, "partitions": []
    }  # fmt: skip
    again = run("--job", "bf_1")
    assert (again.exit_code, "bf_1: not made here" in again.output) == (0, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--job", "bf_0"], "job_id: expected one that was given out, was 'bf_0'"),
        (["labels", "--job", "bf_1"], "target: expected none beside --job, was given"),
        (["--job", "bf_1", "--force"], "force: expected none beside --job, was given"),
        ([], "target: expected a table or --job, was none"),
    ],
)
def test_words_that_make_no_sense(submitted: BackfillJobs, words: list[str], said: str) -> None:
    told = run(*words)
    assert (told.exit_code, said in told.stderr) == (1, True)
    assert submitted.read("bf_1").status == "pending"
