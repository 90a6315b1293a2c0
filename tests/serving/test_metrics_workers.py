"""Two workers of one server: their numbers are added up, and what a killed one held goes."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from market.errors import StorageError
from serving.metrics_workers import Workers
from tests.serving.fakes import World, mlflow_home, opens

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 120.0
LIVE = "/v1/health/live"


class Server:
    """``uvicorn --workers 2`` over a lake with labels."""

    def __init__(self, folder: Path) -> None:
        World(folder / "data")
        mlflow_home(folder)
        self.shared = folder / "metrics"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        environment = os.environ | {
            "WAVEHOUSE_HOME": str(folder),
            "WAVEHOUSE_INSTRUMENTS": str(ROOT / "instruments.toml"),
            "WAVEHOUSE_SERVING_COMPUTE_WARM": "false",
            "PROMETHEUS_MULTIPROC_DIR": str(self.shared),
        }
        self.log = folder / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and app
                [
                    sys.executable, "-m", "uvicorn", "--factory", "serving.main:app",
                    "--workers", "2", "--port", str(self.port), "--no-access-log",
                    "--timeout-worker-healthcheck", "100",
                ],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def get(self, path: str) -> bytes:
        """Ask over a connection of its own."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
            body: bytes = answer.read()
            return body

    def pids(self) -> set[int]:
        """Return the workers that have written numbers."""
        if not self.shared.exists():
            return set()
        found = (re.fullmatch(r"counter_(\d+)\.db", p.name) for p in self.shared.iterdir())
        return {int(match[1]) for match in found if match}

    def samples(self) -> dict[tuple[str, ...], float]:
        """Scrape."""
        return {
            (sample.name, *(sample.labels[k] for k in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(self.get("/metrics").decode())
            for sample in family.samples
        }

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something, within a deadline."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            with contextlib.suppress(OSError):  # not there yet; that a worker was killed under us
                if is_so():
                    return
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def alone(self, worker: int, ask: Callable[[], object]) -> None:
        """Ask while every other worker is stopped, so that this one answers."""
        others = self.pids() - {worker}
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            ask()
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """End the server and its workers."""
        self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Serve with two workers that both answer."""
    made = Server(tmp_path)
    try:
        made.until(lambda: len(made.pids()) == 2 and bool(made.get(LIVE)))
        yield made
    finally:
        made.close()


@pytest.mark.slow
def test_counts_add_up_and_a_killed_worker_s_gauges_go(server: Server) -> None:
    def count() -> float:
        return server.samples().get(("http_requests_total", "GET", LIVE, "200"), 0.0)

    def keys() -> float:
        return server.samples()["cache_keys_total",]

    one, other = sorted(server.pids())
    label = f"/v1/labels/EURUSD/H4/{opens('2018-01', 1)[0].isoformat().replace('+00:00', 'Z')}"
    server.until(lambda: bool(server.get(LIVE)))
    before = count()
    for worker, asked in ((one, 5), (other, 7)):
        server.alone(worker, lambda asked=asked: [server.get(LIVE) for _ in range(asked)])
        server.alone(worker, lambda: (server.get(label), server.get("/metrics")))
    assert count() == before + 12
    assert keys() == 2  # the same label in the memory of each
    report = orjson.loads(server.get("/v1/metrics?window=24h"))
    assert report["http"]["routes"][LIVE]["requests"] >= 12

    os.kill(other, signal.SIGKILL)
    server.until(lambda: other not in {p for p in server.pids() if _lives(p)} and keys() == 1)
    assert count() == before + 12  # what it had counted was counted
    assert not list(server.shared.glob(f"gauge_live*_{other}.db"))
    assert list(server.shared.glob(f"counter_{other}.db"))


def test_files_that_cannot_be_read_are_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="metrics: expected the workers' files"):
        Workers(tmp_path / "nowhere").collected()
    for harmed in (b"", b"\x40\0\0\0\0\0\0\0\x10\0\0\0not JSON", b"\x40\0\0\0" + b"\x7f" * 100):
        (tmp_path / "counter_1.db").write_bytes(harmed)
        with pytest.raises(StorageError, match="metrics: expected the workers' files"):
            Workers(tmp_path).collected()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
