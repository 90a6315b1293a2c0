"""A server that is asked to stop finishes what it has begun, begins nothing, and ends."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.fakes.server import DEADLINE_S, Server, Unfinished

pytestmark = pytest.mark.slow

BODY = json.dumps({"symbol": "TCS", "prices": [1.0, 2.0, 3.0], "period": 2}).encode()


@pytest.mark.parametrize("words", [(), ("--workers", "2")], ids=["one", "workers"])
def test_a_request_in_flight_is_answered_and_no_new_one_is_taken(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    with Server(tmp_path, *words) as server:
        request = Unfinished(server.port, "/compute/sma", BODY)
        server.process.send_signal(signal.SIGTERM)
        server.until(server.refuses)
        response = request.finish()
        assert response.status == 200
        assert json.load(response)["values"] == [None, 1.5, 2.5]
        response.close()
        request.close()
        assert server.process.wait(DEADLINE_S) in {0, -signal.SIGTERM}
        lines = [json.loads(line) for line in server.log.read_text().splitlines()]
        assert any(line["event"] == "request" and line["status"] == 200 for line in lines)


def test_a_request_that_never_ends_is_waited_for_no_longer_than_the_setting_says(
    tmp_path: Path,
) -> None:
    with Server(tmp_path, WAVEHOUSE_SERVING_SHUTDOWN_S="1") as server:
        request = Unfinished(server.port, "/compute/sma", BODY)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(DEADLINE_S)
        assert 1.0 <= time.monotonic() - began < DEADLINE_S / 2
        request.close()


def test_a_worker_that_is_killed_is_replaced_and_the_others_answer(tmp_path: Path) -> None:
    with Server(tmp_path, "--workers", "2") as server:
        server.until(lambda: len(server.children()) == 2)
        before = server.children()
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        server.until(lambda: killed not in server.children() and len(server.children()) == 2)
        server.until(server.answers)
        new = server.children()
        assert len(new & before) == 1
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(DEADLINE_S)
        assert not server.children()
