"""``backfill --job``: the worker of one job, which the API starts as a process of its own."""

import logging
import signal
import sys
import threading
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from market.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from assets.line import Line
    from market.ports import PartitionKey
    from wavehouse.backfilling import Hold
    from wavehouse.updating import Engine


def work(job_id: str) -> None:
    """Make a job until it is done, cancelled or given back (SIGTERM, Ctrl-C)."""
    with _speaking():
        _work(job_id)


def _work(job_id: str) -> None:
    from market.settings import BackfillSettings, HomeSettings, StorageSettings  # noqa: PLC0415
    from orchestration.line import build_line  # noqa: PLC0415
    from storage.backfill_jobs import FAILED, BackfillJobs  # noqa: PLC0415
    from storage.database import Database  # noqa: PLC0415
    from wavehouse.backfilling import JOB_TAG, Worker  # noqa: PLC0415
    from wavehouse.dagster_server import DagsterServer  # noqa: PLC0415
    from wavehouse.server_engine import ServerEngine  # noqa: PLC0415

    home, settings = HomeSettings(), BackfillSettings()
    url = StorageSettings().database_url.get_secret_value()
    database = Database(url) if url else Database.at(home.database)
    jobs = BackfillJobs(database, owner=str(uuid.uuid4()), lease_s=settings.lease_s)

    def line_of(published: "Callable[[PartitionKey], None]") -> "Line":
        return build_line(home=home, on_published=published)

    server = DagsterServer(settings.dagster_url) if settings.dagster_url else None

    def engine_of(line: "Line", hold: "Hold") -> "Engine":
        if server is not None:
            return ServerEngine(server, line, hold, settings.stall_s)
        from orchestration.runs import Runner  # noqa: PLC0415 - 2 s of imports

        runner = Runner(line, home.dagster_home, hold.tags)
        runner.close_lost(JOB_TAG, job_id)
        return runner

    def take_up(line: "Line", hold: "Hold") -> None:
        if server is not None:
            ServerEngine(server, line, hold, settings.stall_s).take_up()

    stopping = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stopping.set()) for number in numbers]
    try:
        how = Worker(jobs, settings, line_of, engine_of, take_up).work(job_id, stopping)
        now = jobs.read(job_id)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        if server is not None:
            server.close()
        database.close()
    typer.echo(f"{job_id}: {how or 'not made here'}, {now.progress.completed} partitions")
    if how == FAILED:
        raise typer.Exit(1)


@contextmanager
def _speaking() -> "Iterator[None]":
    """Write what the worker does to standard error; other libraries only where they warn."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    log = logging.getLogger("wavehouse")
    level = log.level
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)


def check_alone(words: dict[str, object]) -> None:
    """Raise ``InputError`` if anything was asked beside the job: it knows what it makes."""
    given = sorted(name for name, value in words.items() if value)
    if given:
        raise InputError(f"{given[0]}: expected none beside --job, was given")
