"""The server that ``benchmarks.load`` asks: the app as ``wavehouse serve`` builds it, one worker.

Run ``python -m benchmarks.load_server PORT HOME CONNECTIONS CACHE_BYTES``; HOME holds a lake and
``instruments.toml``. Rates are not limited; access, the audit log, metrics and the log are on.
``/objects`` says how many objects the collector knows.
"""

import gc
import sys
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.client import allow_files
from market import logs
from market.settings import (
    HomeSettings,
    LearningSettings,
    LogSettings,
    ServingSettings,
    StorageSettings,
)
from serving.main import build, server_options


class WithObjects:
    """``/objects`` collects and counts; everything else goes to the app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] != "/objects":
            await self._app(scope, receive, send)
            return
        gc.collect()
        body = str(len(gc.get_objects())).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve until told to stop."""
    port, home = int(sys.argv[1]), Path(sys.argv[2])
    allow_files(int(sys.argv[3]))
    settings = ServingSettings(
        default_rate_limit="",
        labels_rate_limit="",
        labels_compute_rate_limit="",
        cache_bytes=int(sys.argv[4]),
    )
    logs.configure(LogSettings())
    app = build(
        settings,
        home=HomeSettings(home=home, instruments=home / "instruments.toml"),
        storage=StorageSettings(),
        learning=LearningSettings(),
    )
    uvicorn.run(WithObjects(app), **{**server_options(settings), "port": port})


if __name__ == "__main__":
    main()
