"""A home with a synthetic market, and the real processes that work on it: server and workers."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from market.settings import HomeSettings
from storage.backfill_jobs import BackfillJobs
from storage.database import Database
from tests.fakes.line import contents

ROOT = Path(__file__).resolve().parents[2]
PATIENT_S = 240.0
LEASE_S = 3.0
MONTHS = 24
PARTITIONS = 4 * MONTHS
SERVE = "from serving.main import run; run()"
INSTRUMENTS = """\
[SYN]
asset_class = "crypto"
calendar = "crypto"
provider = "synthetic"
base_timeframe = "H4"
tick_size = 0.01

[SYN.options]
seed = 3
start = 2015-01-01
end = 2017-01-01
"""
BODY = {
    "instrument_id": "SYN",
    "granularity": "H4",
    "start_date": "2015-01-01",
    "end_date": "2016-12-31",
}


@dataclass(frozen=True, slots=True)
class Home:
    """A folder with a market, and the processes that work on it."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Return what every process of this home is given."""
        kept = {k: v for k, v in os.environ.items() if k != "DAGSTER_HOME"}
        return kept | {
            "WAVEHOUSE_HOME": str(self.folder),
            "WAVEHOUSE_INSTRUMENTS": str(self.folder / "instruments.toml"),
            "WAVEHOUSE_BACKFILL_LEASE_S": str(LEASE_S),
            "WAVEHOUSE_SERVING_COMPUTE_WARM": "false",
            **self.settings,
        }

    @property
    def lake(self) -> Path:
        """Return the lake's folder."""
        return HomeSettings(home=self.folder).lake_root

    def job(self, job_id: str) -> Any:
        """Return a job as the database has it."""
        database = Database.at(HomeSettings(home=self.folder).database)
        try:
            return BackfillJobs(database, owner="test", lease_s=LEASE_S).read(job_id)
        finally:
            database.close()

    def workers(self, job_id: str) -> list[int]:
        """Return the processes that were started for a job and have not ended."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if path.read_bytes().rstrip(b"\0").endswith(f"--job\0{job_id}".encode()):
                    found.append(int(path.parent.name))
        return found


def home_in(folder: Path) -> Home:
    """Return a home in which nothing is materialised."""
    (folder / "instruments.toml").write_text(INSTRUMENTS, encoding="utf-8")
    return Home(folder)


def undisturbed_in(folder: Path) -> dict[str, str]:
    """Return the bytes of a lake to which nothing happened."""
    home = home_in(folder)
    words = ["backfill", "labels", "-i", "SYN", "-t", "H4"]
    program = "from wavehouse.cli import main; main()"
    subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program, *words],
        check=True, cwd=ROOT, env=home.environment, capture_output=True,
    )  # fmt: skip
    return dict(contents(home.lake))


def ask(base: str, path: str, method: str = "GET", body: Any = None) -> Any:
    """Return a server's answer; raise ``OSError`` where there is no server."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(base + path, data, headers, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=PATIENT_S) as response:  # noqa: S310
        return json.loads(response.read())


def until(read: Callable[[], Any], is_it: Callable[[Any], bool]) -> Any:
    """Read until it is so; return what was read."""
    deadline = time.monotonic() + PATIENT_S
    while not is_it(found := read()):
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return found


@contextmanager
def server(home: Home) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Serve a home; yield the address and the process, and end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", SERVE], cwd=ROOT,
        env=home.environment | {"WAVEHOUSE_SERVING_PORT": str(port)},
    )  # fmt: skip
    base = f"http://127.0.0.1:{port}"

    def is_up() -> bool:
        assert process.poll() is None
        try:
            ask(base, "/v1/batch/jobs")
        except OSError:
            return False
        return True

    try:
        until(is_up, bool)
        yield base, process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PATIENT_S)


@contextmanager
def submitted(home: Home, base: str) -> Iterator[str]:
    """Ask for a backfill and wait until a worker is amid it; leave no worker behind."""
    job_id = ask(base, "/v1/batch/backfill", "POST", BODY)["job_id"]
    try:
        yield job_id
    finally:
        for pid in home.workers(job_id):
            kill(pid)


def amid(home: Home, job_id: str, completed: int = PARTITIONS // 4) -> list[int]:
    """Wait until so many partitions are made; return the worker's number."""
    job = until(
        lambda: home.job(job_id),
        lambda job: job.progress.completed >= completed or job.finished_us is not None,
    )
    assert job.status == "running", job
    return home.workers(job_id)


def kill(pid: int) -> None:
    """Kill a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def check_whole(home: Home, job_id: str, undisturbed: dict[str, str]) -> None:
    """Every partition is there once, with the bytes that it has when nothing happens."""
    job = until(lambda: home.job(job_id), lambda job: job.status not in {"pending", "running"})
    assert (job.status, job.error_message) == ("completed", None)
    assert job.progress.completed in (PARTITIONS, PARTITIONS - 1)  # one died with its note
    assert job.progress.total == job.progress.completed
    assert contents(home.lake) == undisturbed
    journals = list(home.lake.rglob("history.jsonl"))
    assert len(journals) == PARTITIONS
    for journal in journals:
        versions = [json.loads(line)["version"] for line in journal.read_text().splitlines()]
        assert len(set(versions)) == 1, journal
    assert len(list(home.lake.rglob("*.parquet"))) == PARTITIONS
