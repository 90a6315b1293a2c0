"""An app behind a real server, in a thread of the test's process."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

DEADLINE_S = 30.0


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """Serve on a free port; give host and port."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", proxy_headers=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
        thread.start()
        try:
            deadline = time.monotonic() + DEADLINE_S
            while not server.started:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield f"127.0.0.1:{place.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(DEADLINE_S)
        assert not thread.is_alive()
