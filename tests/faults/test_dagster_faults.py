"""A Dagster daemon that is killed amid a backfill: webserver, daemon and SIGKILL are real.

The run dies with the daemon, and Dagster goes on to call it started. The worker waits, calls the
run cancelled once it has said nothing for a while, and launches what is left.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from market.settings import HomeSettings
from orchestration.runs import prepare_home
from tests.fakes.backfills import (
    PARTITIONS,
    PATIENT_S,
    ROOT,
    Home,
    amid,
    check_whole,
    home_in,
    server,
    submitted,
    until,
)
from wavehouse.backfilling import JOB_TAG
from wavehouse.dagster_server import DagsterServer, DagsterUnavailableError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("backfill-faults")]

STALL_S = 30.0
"""More than a run takes to start on a busy machine."""


@contextmanager
def running(home: Home, script: str, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a script of Dagster's in a session of its own; leave nothing of it behind."""
    folder = HomeSettings(home=home.folder).dagster_home
    environment = home.environment | {"DAGSTER_HOME": str(folder), "PYTHONPATH": str(ROOT)}
    program = str(Path(sys.executable).with_name(script))
    with (home.folder / f"{script}.log").open("ab") as said:
        process = subprocess.Popen(  # noqa: S603 - Dagster's own programs
            [program, *words, "-w", str(ROOT / "workspace.yaml")],
            cwd=home.folder, env=environment, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        killed(process)


def killed(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and all that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait(PATIENT_S)


def answers(url: str, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None
    try:
        unfinished(url, "any")
    except DagsterUnavailableError:
        return False
    return True


def unfinished(url: str, job_id: str) -> list[str]:
    with closing(DagsterServer(url)) as server:
        return server.unfinished(JOB_TAG, job_id)


def test_a_daemon_that_is_killed_with_its_run_and_comes_back(
    tmp_path: Path, undisturbed_backfill: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    home_in(tmp_path)
    settings = {"WAVEHOUSE_BACKFILL_DAGSTER_URL": url, "WAVEHOUSE_BACKFILL_STALL_S": str(STALL_S)}
    home = Home(tmp_path, settings)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "yes")
    prepare_home(HomeSettings(home=tmp_path).dagster_home)
    words = ("-h", "127.0.0.1", "-p", str(port))
    with running(home, "dagster-webserver", *words) as web, server(home) as (base, _):
        until(lambda: answers(url, web), bool)
        with submitted(home, base) as job_id:
            with running(home, "dagster-daemon", "run") as daemon:
                amid(home, job_id, PARTITIONS // 3)
                killed(daemon)
            made = home.job(job_id).progress.completed
            with running(home, "dagster-daemon", "run"):
                check_whole(home, job_id, undisturbed_backfill)
            assert made < PARTITIONS
            assert home.job(job_id).starts == 1  # the worker has outlived it
            assert unfinished(url, job_id) == []
