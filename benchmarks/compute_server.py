"""The server that ``benchmarks.compute_service`` asks: the app, an echo, and a pydantic peer.

Run ``python -m benchmarks.compute_server PORT FOLDER``; FOLDER holds an empty lake.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from kernels.averages import sma
from market import logs
from market.errors import ModelNotFoundError
from market.ports import ModelVersion
from market.settings import LogSettings, ServingSettings
from serving.app import create_app
from storage.lake import ParquetLake


class NoModels:
    """A registry without models."""

    def names(self) -> Sequence[str]:
        """Return none."""
        return ()

    def by_alias(self, name: str, alias: str) -> ModelVersion:
        """Find none."""
        raise ModelNotFoundError(f"model {name}: expected alias {alias}, was none")

    def by_version(self, name: str, version: int) -> ModelVersion:
        """Find none."""
        raise ModelNotFoundError(f"model {name}: expected version {version}, was none")


class Question(BaseModel):
    """The request, as a model with lists."""

    symbol: str
    prices: Annotated[list[Annotated[float, Field(gt=0)]], Field(max_length=1_000_000)]
    period: Annotated[int, Field(ge=2, le=500)] = 20


class Answer(BaseModel):
    """The answer, as a model with lists."""

    symbol: str
    indicator: str
    period: int
    values: list[float | None]
    computation_time_ms: float
    mojo_used: bool


def peer(question: Question) -> Answer:
    """Answer as FastAPI's own documentation would."""
    values = sma(np.array(question.prices), question.period)
    return Answer(
        symbol=question.symbol,
        indicator="sma",
        period=question.period,
        values=[None if np.isnan(x) else x for x in values.tolist()],
        computation_time_ms=0.0,
        mojo_used=False,
    )


class WithEcho:
    """``/echo?N`` reads a body and answers N bytes; everything else goes to the app."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] != "/echo":
            await self._app(scope, receive, send)
            return
        body: Any = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        size = int(scope["query_string"])
        headers = [(b"content-length", str(size).encode()), (b"x-read", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(size)})


def main() -> None:
    """Serve until told to stop."""
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    settings = ServingSettings(compute_rate_limit="", compute_cache_bytes=0)
    app = create_app(settings, lake=ParquetLake(folder, fsync=False), registry=NoModels())
    app.add_api_route("/pydantic", peer, methods=["POST"])
    logs.configure(LogSettings())
    uvicorn.run(
        WithEcho(app), port=port, access_log=False, log_level="warning", server_header=False
    )


if __name__ == "__main__":
    main()
