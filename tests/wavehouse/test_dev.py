"""``dev`` for real: Dagster, MLflow and the API come up, and go down with one signal."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.fakes.terminal import foreground
from wavehouse.processes import script

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("dev"),
    pytest.mark.skipif(shutil.which("ps") is None, reason="ps is not installed"),
]
PATIENT_S = 240.0
FEW = 3  # dg, mlflow and the API, before what they start themselves
MANY = 8  # dg, its code server and gRPC server, webserver, daemon; mlflow and its server; the API


@dataclass
class Dev:
    """The command, where its three answer, and the file of all that it prints."""

    process: subprocess.Popen[bytes]
    urls: dict[str, str]
    output: Path

    def await_up(self) -> None:
        """Wait until all three answer."""
        deadline = time.monotonic() + PATIENT_S
        waiting = dict(self.urls)
        with httpx2.Client(timeout=5.0) as client:
            while waiting:
                assert self.process.poll() is None, self.said
                assert time.monotonic() < deadline, f"{waiting}: {self.said}"
                for name, url in list(waiting.items()):
                    with suppress(httpx2.TransportError):
                        if client.get(url).status_code == httpx2.codes.OK:
                            del waiting[name]
                time.sleep(0.2)

    @property
    def said(self) -> str:
        """What it has printed up to now."""
        return self.output.read_text(encoding="utf-8")


def processes() -> dict[int, tuple[int, str]]:
    """Return pid → (parent, state) of every process."""
    table = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat="],  # noqa: S607
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    rows = [line.split() for line in table.splitlines()]
    return {int(pid): (int(parent), state) for pid, parent, state in rows}


def below(pid: int) -> set[int]:
    """Return all that a process has started, and what those have."""
    parents = {child: parent for child, (parent, _) in processes().items()}
    found: set[int] = set()
    while True:
        more = {c for c, parent in parents.items() if parent in found | {pid}} - found
        if not more:
            return found
        found |= more


def running(pids: set[int]) -> set[int]:
    """Return those that are still there (a zombie is not)."""
    return {pid for pid, (_, state) in processes().items() if pid in pids and state[0] != "Z"}


@pytest.fixture
def dev(home: Path) -> Iterator[Dev]:
    """Start it in an empty home on free ports."""
    with started(home) as made:
        yield made


@contextmanager
def started(home: Path, *, api: int | None = None) -> Iterator[Dev]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        dagster, mlflow, free = (int(s.getsockname()[1]) for s in sockets)
    api = api or free
    output = home / "output"
    with output.open("wb") as file, foreground(), subprocess.Popen(  # noqa: S603
        [script("wavehouse"), "dev", "--dagster-port", str(dagster),
         "--mlflow-port", str(mlflow), "--api-port", str(api)],
        stdout=file, stderr=subprocess.STDOUT, cwd=home,
        env={k: v for k, v in os.environ.items() if k not in ("DAGSTER_HOME", "COLUMNS")},
    ) as process:  # fmt: skip
        urls = {
            "dagster": f"http://127.0.0.1:{dagster}/server_info",
            "mlflow": f"http://127.0.0.1:{mlflow}/health",
            "api": f"http://127.0.0.1:{api}/health",
        }
        try:
            yield Dev(process, urls, output)
        finally:
            for pid in below(process.pid) | {process.pid}:
                if process.poll() is None or pid != process.pid:
                    os.kill(pid, signal.SIGKILL)


def test_a_signal_stops_all_and_nobody_is_left(dev: Dev) -> None:
    dev.await_up()
    theirs = below(dev.process.pid)
    assert len(running(theirs)) >= MANY
    for _ in range(2):
        dev.process.send_signal(signal.SIGINT)
    assert dev.process.wait(PATIENT_S) == 0, dev.said
    assert running(theirs) == set()
    assert "Traceback" not in dev.said
    assert "Warning" not in dev.said  # Dagster's SupersessionWarning, Starlette's in MLflow
    (long,) = [line for line in dev.said.splitlines() if "following daemons" in line]
    assert long.endswith("'SensorDaemon']")  # whole, though it is 300 columns wide


def test_a_terminal_that_is_closed_while_all_start_leaves_nobody(dev: Dev) -> None:
    deadline = time.monotonic() + PATIENT_S
    while len(theirs := running(below(dev.process.pid))) < FEW:
        assert time.monotonic() < deadline, dev.said
        time.sleep(0.2)
    dev.process.send_signal(signal.SIGHUP)
    assert dev.process.wait(PATIENT_S) == 0, dev.said
    assert running(theirs) == set()


def test_one_that_ends_is_named_and_the_others_are_stopped(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        with started(home, api=port) as dev:
            theirs: set[int] = set()
            deadline = time.monotonic() + PATIENT_S
            while dev.process.poll() is None:
                theirs |= below(dev.process.pid)
                assert time.monotonic() < deadline, dev.said
                time.sleep(0.2)
    assert dev.process.returncode == 1
    assert running(theirs) == set()
    *_, last = dev.said.splitlines()
    assert last.startswith("error [PROCESS] api: expected it to run, was ended with exit code")
    assert f"('127.0.0.1', {port}): address already in use" in dev.said
    assert "Traceback" not in dev.said


def test_a_home_that_cannot_be_is_one_line(home: Path) -> None:
    (home / "mlruns").write_text("in the way")
    with started(home) as dev:
        assert dev.process.wait(PATIENT_S) == 1
    (line,) = dev.said.splitlines()
    assert line.startswith("error [STORAGE]")
    assert "mlruns" in line
