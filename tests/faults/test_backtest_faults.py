"""A server killed amid backtests: what it had is told to have failed, the rest is there."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.serving.backtest_world import asked, walk

ROOT = Path(__file__).resolve().parents[2]
PATIENT_S = 120.0
LEASE_S = 2.0
SERVE = "from serving.main import run; run()"


def ask(base: str, path: str, body: Any = None) -> Any:
    """Return a server's answer; raise ``OSError`` where there is no server."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(base + path, data, headers)  # noqa: S310 - our own server
    with urllib.request.urlopen(request, timeout=PATIENT_S) as response:  # noqa: S310
        return json.loads(response.read())


def until(read: Callable[[], Any], is_it: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + PATIENT_S
    while not is_it(found := read()):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


@contextmanager
def server(home: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "WAVEHOUSE_HOME": str(home),
        "WAVEHOUSE_INSTRUMENTS": str(ROOT / "instruments.toml"),
        "WAVEHOUSE_SERVING_PORT": str(port),
        "WAVEHOUSE_SERVING_COMPUTE_WARM": "false",
        "WAVEHOUSE_SERVING_COMPUTE_RATE_LIMIT": "",
        "WAVEHOUSE_SERVING_BACKTEST_THREADS": "1",
        "WAVEHOUSE_SERVING_BACKTEST_LEASE_S": str(LEASE_S),
    }
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", SERVE], cwd=ROOT, env={**os.environ, **settings}
    )
    base = f"http://127.0.0.1:{port}"

    def is_up() -> bool:
        assert process.poll() is None
        try:
            ask(base, "/models")
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


@pytest.mark.slow
def test_what_a_killed_server_had_has_failed_and_what_it_had_answered_is_there(
    tmp_path: Path,
) -> None:
    periods = {"fast_period": list(range(1, 70)), "slow_period": list(range(70, 140))}
    long = asked({}, prices=walk(50_000, minutes=60), grid=periods)
    with server(tmp_path) as (base, process):
        done = ask(base, "/backtest/run", asked())
        waits_for = ask(base, "/backtest/run?async=true", asked())["run_id"]
        until(
            lambda: ask(base, f"/backtest/results/{waits_for}"),
            lambda found: found["status"] == "completed",
        )
        runs, waits = (ask(base, "/backtest/sweep?async=true", long)["run_id"] for _ in range(2))
        found = until(
            lambda: ask(base, f"/backtest/results/{runs}"),
            lambda found: found["status"] != "pending",
        )
        process.send_signal(signal.SIGKILL)
        assert found["status"] == "running"
        process.wait(PATIENT_S)
    with server(tmp_path) as (base, _):
        for run_id in (runs, waits):
            failed = until(
                lambda run_id=run_id: ask(base, f"/backtest/results/{run_id}"),
                lambda found: found["status"] not in ("pending", "running"),
            )
            assert failed["status"] == "failed"
            assert failed["error"]["code"] == "PROCESS_ENDED"
            assert "process that ended" in failed["error"]["message"]
        assert ask(base, f"/backtest/results/{done['run_id']}") == done
        assert ask(base, f"/backtest/results/{waits_for}")["results"] == done["results"]
        again = ask(base, "/backtest/run", asked())
        assert again["results"]["trials"] == 1  # counted before the kill, and once
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(base, "/backtest/results/another")
