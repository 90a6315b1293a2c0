"""The real ``wavehouse serve`` as a process of the test's own, on a free port."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 120.0
_MAIN = "from wavehouse.cli import main; main()"


class Server:
    """Serves from an empty home; ends with the block, however it was left."""

    def __init__(self, home: Path, *words: str, **environment: str) -> None:
        self._home = home
        self._words = words
        self._environment = environment
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.log = home / "log.txt"

    def __enter__(self) -> Self:
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "WAVEHOUSE_HOME": str(self._home),
            "WAVEHOUSE_SERVING_COMPUTE_WARM": "false", **self._environment,
        }  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-c", _MAIN, "serve", "--port", str(self.port), *self._words],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.until(self.answers)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)

    def until(self, is_so: object) -> None:
        """Wait until it is so."""
        deadline = time.monotonic() + DEADLINE_S
        while not is_so():  # type: ignore[operator]
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, self.log.read_text(encoding="utf-8")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Say whether a new connection is answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10.0)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def refuses(self) -> bool:
        """Say whether nobody listens."""
        with socket.socket() as link:
            link.settimeout(5.0)
            return link.connect_ex(("127.0.0.1", self.port)) != 0

    def children(self) -> set[int]:
        """Return the processes that serve for this one."""
        found = set()
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, _, rest = status.read_text().rpartition(")")
                command = (status.parent / "cmdline").read_bytes()
            except OSError:  # it has ended
                continue
            is_ours = int(rest.split()[1]) == self.process.pid
            if is_ours and b"spawn_main" in command:
                found.add(int(name.split()[0]))
        return found


class Unfinished:
    """A request whose body is on its way: half of it has been sent."""

    def __init__(self, port: int, path: str, body: bytes) -> None:
        self._rest = body[len(body) // 2 :]
        self._link = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        )
        self._link.sendall(head.encode())
        # the server asks for the body as soon as the app does: the request is in its hands then
        assert self._link.recv(1024).startswith(b"HTTP/1.1 100")
        self._link.sendall(body[: len(body) // 2])

    def finish(self) -> http.client.HTTPResponse:
        """Send the rest; return the answer."""
        self._link.sendall(self._rest)
        response = http.client.HTTPResponse(self._link)
        response.begin()
        return response

    def close(self) -> None:
        """Hang up."""
        self._link.close()
