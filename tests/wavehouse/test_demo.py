"""``demo`` when its API does not come up: it says so at once, in the API's own words."""

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from rich.console import Console
from typer.testing import CliRunner

from wavehouse.cli import app
from wavehouse.commands import demo
from wavehouse.processes import Children, Command, ProcessError, script
from wavehouse.updating import Summary

pytestmark = pytest.mark.slow

SOON_S = demo.START_S / 2


def ask(*argv: str, port: int) -> None:
    """Start an API and ask it as the demo does."""
    with Children({}) as children:
        command = Command("api", argv, f"http://127.0.0.1:{port}")
        demo._ask(Console(), children.start(command))


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_a_port_that_is_taken_is_said_at_once() -> None:
    started = time.monotonic()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        with pytest.raises(ProcessError, match=r"(?s)^api: .* ended with exit code .* in use"):
            ask(script("wavehouse"), "serve", "--port", str(port), port=port)
    assert time.monotonic() - started < SOON_S


@pytest.mark.usefixtures("home")
def test_a_setting_that_cannot_be_is_said_at_once_and_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "_update", lambda _console: Summary())
    monkeypatch.setenv("WAVEHOUSE_SERVING_ALIAS_POLL_S", "99")
    started = time.monotonic()
    result = CliRunner().invoke(app, ["demo"])
    assert time.monotonic() - started < SOON_S
    assert result.exit_code == 1
    first, last = result.stderr.splitlines()
    assert first.startswith("error [PROCESS] api: expected it to run, was ended with exit code 1")
    assert last.strip().startswith("error [INVALID_SETTING] WAVEHOUSE_SERVING_ALIAS_POLL_S: ")


class _Answers(BaseHTTPRequestHandler):
    """Healthy as its server says, and knows no label."""

    def do_GET(self) -> None:
        """Answer ``/health``, and 404 to anything else."""
        status = self.server.health if self.path == "/health" else 404  # type: ignore[attr-defined]
        body = json.dumps({"error": {"message": f"status {status} it is"}}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def server(health: int) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as made:
        made.health = health  # type: ignore[attr-defined]
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made.server_address[1]
        made.shutdown()
        thread.join()


SLEEPER = (sys.executable, "-c", "import time; time.sleep(120)")


def test_one_that_runs_and_is_not_healthy_is_named_with_what_it_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "START_S", 1.0)
    with server(503) as port, pytest.raises(ProcessError, match=r"within 1 s .* 503 it is"):
        ask(*SLEEPER, port=port)


def test_an_answer_that_is_an_error_is_named() -> None:
    with server(200) as port, pytest.raises(ProcessError, match=r"/v1/labels\?.* answered .*404"):
        ask(*SLEEPER, port=port)
