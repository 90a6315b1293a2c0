"""A small exchange on the loopback: ``/api/v3/klines`` and ``/api/v3/time`` as Binance answers.

Bars are handed in as frames; answers have the shape of the recorded ones (twelve fields, prices as
text with eight decimals, times in milliseconds). Faults are planned by the number of the request.
"""

import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self
from urllib.parse import parse_qsl, urlsplit

import polars as pl

INTERVAL_MS = {
    "1m": 60_000,
    "5m": 300_000,
    "15m": 900_000,
    "30m": 1_800_000,
    "1h": 3_600_000,
    "4h": 14_400_000,
    "1d": 86_400_000,
    "1w": 604_800_000,
}

Row = list[int | str]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request."""

    kind: Literal[
        "status", "truncated", "closed", "duplicate", "empty", "slow", "field", "eleven", "short"
    ]
    status: int = 500
    retry_after: str | None = None


@dataclass(slots=True)
class Asked:
    """One request as it came."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(slots=True)
class Exchange:
    """``with Exchange(now_ms=…) as exchange: …`` serves until the block ends."""

    now_ms: int
    asked: list[Asked] = field(default_factory=list)
    faults: dict[int, Fault] = field(default_factory=dict)  # by number of the klines request
    every: Fault | None = None  # instead: all of them
    markets: dict[tuple[str, str], list[Row]] = field(default_factory=dict)
    released: threading.Event = field(default_factory=threading.Event)
    _server: ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None

    def list_bars(self, symbol: str, interval: str, bars: pl.DataFrame) -> None:
        """Trade ``symbol``: ``bars`` has ts, open, high, low, close, volume."""
        step = INTERVAL_MS[interval]
        rows = bars.select(
            pl.col("ts").dt.epoch("ms"), "open", "high", "low", "close", "volume"
        ).iter_rows()
        self.markets[symbol, interval] = [_kline(row, step) for row in rows]

    def list_dump(self, symbol: str, interval: str, dump: Path) -> None:
        """Trade ``symbol`` from a headerless dump of twelve columns, as Binance publishes it."""
        whole = (0, 6, 8)
        self.markets[symbol, interval] = [
            [int(text) if i in whole else text for i, text in enumerate(line.split(","))]
            for line in dump.read_text().splitlines()
        ]

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def pages(self) -> list[Asked]:
        """Requests for klines, in order."""
        return [asked for asked in self.asked if asked.path == "/api/v3/klines"]

    def answer(self, query: Mapping[str, str]) -> tuple[int, Any]:
        """Return status and document for a klines request."""
        market = self.markets.get((query["symbol"], query["interval"]))
        if market is None:
            return 400, {"code": -1121, "msg": "Invalid symbol."}
        start, end = int(query.get("startTime", 0)), int(query.get("endTime", self.now_ms))
        limit = min(int(query.get("limit", 500)), 1000)
        found = [row for row in market if start <= int(row[0]) <= min(end, self.now_ms)]
        return 200, found[:limit]

    def __enter__(self) -> Self:
        handler = type("_Bound", (_Handler,), {"exchange": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.released.set()
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _kline(row: tuple[Any, ...], step_ms: int) -> Row:
    opened, *prices, volume = row
    quote = volume * prices[-1]
    return [
        opened,
        *(f"{price:.8f}" for price in prices),
        f"{volume:.8f}",
        opened + step_ms - 1,
        f"{quote:.8f}",
        1,
        f"{volume / 2:.8f}",
        f"{quote / 2:.8f}",
        "0",
    ]


class _Handler(BaseHTTPRequestHandler):
    """Answer one connection; ``exchange`` is bound by a subclass."""

    exchange: ClassVar[Exchange]
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two wait 40 ms for an acknowledgement in between

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        asked = Asked(parts.path, query, {k.lower(): v for k, v in self.headers.items()})
        self.exchange.asked.append(asked)
        if parts.path == "/api/v3/time":
            self._send(200, json.dumps({"serverTime": self.exchange.now_ms}))
            return
        fault = self.exchange.every or self.exchange.faults.get(len(self.exchange.pages))
        status, document = self.exchange.answer(query)
        if fault is not None and fault.kind == "status":
            self._send(fault.status, "{}", retry_after=fault.retry_after)
        elif fault is not None and fault.kind in ("truncated", "closed", "slow"):
            self._break(fault, json.dumps(document))
        else:
            self._send(status, json.dumps(_spoiled(document, fault)))

    def _break(self, fault: Fault, body: str) -> None:
        half = body[: len(body) // 2]
        if fault.kind == "truncated":
            self._send(200, half)
        elif fault.kind == "slow":
            self.exchange.released.wait(timeout=30)
            self.close_connection = True
        else:
            self._head(200, len(body))
            self.wfile.write(half.encode())
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def _send(self, status: int, body: str, *, retry_after: str | None = None) -> None:
        self._head(status, len(body.encode()), retry_after=retry_after)
        self.wfile.write(body.encode())

    def _head(self, status: int, length: int, *, retry_after: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json;charset=UTF-8")
        self.send_header("Content-Length", str(length))
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""


def _spoiled(document: Any, fault: Fault | None) -> Any:
    if fault is None:
        return document
    if fault.kind == "empty":
        return []
    if fault.kind == "duplicate":
        return [*document[:5], document[4], *document[5:]]
    if fault.kind == "short":
        return document[:7]
    if fault.kind == "eleven":
        return [*document[:2], document[2][:11], *document[3:]]
    spoiled = [list(row) for row in document]
    spoiled[2][3] = None
    return spoiled
