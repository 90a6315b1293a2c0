"""``/compute`` over HTTP: the app in uvicorn on loopback, one connection, peers in the same run.

Run ``python -m benchmarks.compute_service --json OUT``. The server is a process of its own (uvloop,
httptools, one worker) with the app as it ships, but for the rate limit (off) and the cache (off, as
the same question is asked again and again). In the same process answer the peers:

*echo*: a bare ASGI function that reads as much and answers as much: the floor of HTTP, the kernel's
loopback and the client for these bytes; *pydantic lists*: the same route as FastAPI's own pages
would write it, with lists of floats in models in and out, over our own kernel.

The client is a blocking socket that sends prepared bytes and counts what comes back: it parses
nothing but headers. Answers are compared with the kernel before anything is timed. Contenders
alternate, each with a few requests in a row. The first of them finds the processor's caches full of
another's work (the pydantic peer touches megabytes), and is told apart: *first*. *server busy* is
what the server ran meanwhile (its clock): on a machine that others use, the time that a
request takes is mostly theirs.
"""

import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from kernels.averages import sma
from serving.compute.content import ARROW, JSON

POINTS, PERIOD = 10_000, 20
SYMBOLS, BARS = 1000, 250
ROUNDS, BATCH_ROUNDS, WARM_UP = 100, 20, 10
IN_A_ROW, BATCH_IN_A_ROW = 5, 3
INDICATORS = (
    {"type": "sma", "params": {"period": 20}},
    {"type": "rsi", "params": {"period": 14}},
    {"type": "macd", "params": {"fast_period": 12, "slow_period": 26, "signal_period": 9}},
)


@dataclass(slots=True)
class Contender:
    """One prepared request; the milliseconds that it took each time, and those of the server.

    ``first`` are those of the requests that came after another contender's.
    """

    name: str
    group: str
    request: bytes
    first: list[float] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)


class Client:
    """One connection that is kept."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(1 << 20)

    def ask(self, request: bytes) -> tuple[int, bytes, int]:
        """Send a request; return the status, the head, and the length of the whole answer."""
        self._socket.sendall(request)
        view = memoryview(self._buffer)
        got = self._socket.recv_into(view)
        while (end := self._buffer.find(b"\r\n\r\n", 0, got)) < 0:
            got += self._socket.recv_into(view[got:])
        head = bytes(view[:end]).lower()
        length = _length(head)
        if length is not None:
            left = length - (got - end - 4)
            while left > 0:
                left -= self._socket.recv_into(view, min(left, len(view)))
            return int(head[9:12]), head, length
        total, last = got, bytes(view[max(0, got - 7) : got])
        while not last.endswith(b"\r\n0\r\n\r\n"):
            count = self._socket.recv_into(view)
            total += count
            last = (last + bytes(view[max(0, count - 7) : count]))[-7:]
        return int(head[9:12]), head, total

    def body(self, request: bytes) -> bytes:
        """Send a request and return the answer's body, for checks."""
        self._socket.sendall(request)
        raw = b""
        while b"\r\n\r\n" not in raw:
            raw += self._socket.recv(1 << 20)
        head, _, raw = raw.partition(b"\r\n\r\n")
        length = _length(head.lower())
        while length is not None and len(raw) < length:
            raw += self._socket.recv(1 << 20)
        if length is not None:
            return raw
        while not raw.endswith(b"\r\n0\r\n\r\n"):
            raw += self._socket.recv(1 << 20)
        return b"".join(_chunks(raw))


def _length(head: bytes) -> int | None:
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return None


def _chunks(raw: bytes) -> Iterator[bytes]:
    at = 0
    while True:
        end = raw.index(b"\r\n", at)
        size = int(raw[at:end], 16)
        if not size:
            return
        yield raw[end + 2 : end + 2 + size]
        at = end + size + 4


def post(path: str, body: bytes, media_type: str) -> bytes:
    """Return a request as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: {media_type}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def stream(columns: Mapping[str, Any]) -> bytes:
    """Return columns as an Arrow stream."""
    table = pa.table(dict(columns))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def prices(n: int, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a random walk with four decimals."""
    steps = np.random.default_rng(seed).standard_normal(n) * 0.001
    walk: np.ndarray[Any, np.dtype[np.float64]] = (100.0 * np.exp(np.cumsum(steps))).round(4)
    return walk


def singles(client: Client) -> list[Contender]:
    """Return who answers SMA of ten thousand points, checked."""
    close = prices(POINTS, 1)
    expected = sma(close, PERIOD)
    fields = {"symbol": "BENCH", "prices": close.tolist(), "period": PERIOD}
    text, arrow = orjson.dumps(fields), stream({"close": close})
    in_json = post("/compute/sma", text, JSON)
    in_arrow = post(f"/compute/sma?symbol=BENCH&period={PERIOD}", arrow, ARROW)
    in_pydantic = post("/pydantic", text, JSON)
    values = orjson.loads(client.body(in_json))["values"]
    np.testing.assert_array_equal(np.array(values, dtype=np.float64), expected)
    table = pa.ipc.open_stream(client.body(in_arrow)).read_all()
    np.testing.assert_array_equal(table.column("values").to_numpy(), expected)
    values = orjson.loads(client.body(in_pydantic))["values"]
    np.testing.assert_array_equal(np.array(values, dtype=np.float64), expected)
    sizes = {name: len(client.body(x)) for name, x in (("json", in_json), ("arrow", in_arrow))}
    group = "sma"
    return [
        Contender("JSON", group, in_json),
        Contender("Arrow", group, in_arrow),
        Contender("pydantic lists", group, in_pydantic),
        Contender("echo of the JSON bytes", group, post(f"/echo?{sizes['json']}", text, JSON)),
        Contender("echo of the Arrow bytes", group, post(f"/echo?{sizes['arrow']}", arrow, ARROW)),
    ]


def batches(client: Client) -> list[Contender]:
    """Return who answers three indicators of a thousand symbols, checked."""
    closes = [prices(BARS, i) for i in range(SYMBOLS)]
    names = [f"S{i:04d}" for i in range(SYMBOLS)]
    requests = [
        {"symbol": name, "prices": x.tolist(), "indicators": INDICATORS}
        for name, x in zip(names, closes, strict=True)
    ]
    text = orjson.dumps({"requests": requests})
    arrow = stream({"symbol": names, "close": pa.array(closes)})
    query = orjson.dumps(INDICATORS).decode().replace('"', "%22")
    in_json = post("/compute/batch", text, JSON)
    in_arrow = post(f"/compute/batch?indicators={query}", arrow, ARROW)
    body, table = client.body(in_json), pa.ipc.open_stream(client.body(in_arrow)).read_all()
    for row, (x, result) in enumerate(zip(closes, orjson.loads(body)["results"], strict=True)):
        found = np.array(result["indicators"]["sma"]["values"], dtype=np.float64)
        np.testing.assert_array_equal(found, sma(x, 20))
        lists = table.column("sma")[row].values.to_numpy(zero_copy_only=False)
        np.testing.assert_array_equal(lists, found)
    group, sizes = "batch", (len(body), len(client.body(in_arrow)))
    return [
        Contender("JSON", group, in_json),
        Contender("Arrow", group, in_arrow),
        Contender("echo of the JSON bytes", group, post(f"/echo?{sizes[0]}", text, JSON)),
        Contender("echo of the Arrow bytes", group, post(f"/echo?{sizes[1]}", arrow, ARROW)),
    ]


def measure(
    client: Client, contenders: list[Contender], rounds: int, in_a_row: int, server: int
) -> None:
    """Ask everyone in turn; the first rounds are not counted. ``server`` is its process."""
    for i in range(-WARM_UP, rounds):
        for contender in contenders:
            for turn in range(in_a_row):
                spent, busy = timed(client, contender, server)
                if i >= 0 and turn:
                    contender.spent.append(spent)
                    contender.server.append(busy)
                elif i >= 0:
                    contender.first.append(spent)


def timed(client: Client, contender: Contender, server: int) -> tuple[float, float]:
    """Return the milliseconds that one request took, and those that the server was busy."""
    busy = busy_ms(server)
    began = time.perf_counter()
    status, _, _ = client.ask(contender.request)
    spent = (time.perf_counter() - began) * 1e3
    assert status == 200, (contender.name, status)
    return spent, busy_ms(server) - busy


def busy_ms(process: int) -> float:
    """Return how long a process has run, by the kernel's own clock, threads that ended included."""
    return 1e3 * time.clock_gettime(~process << 3 | 2)  # clock_getcpuclockid(3)


@contextmanager
def server() -> Iterator[tuple[int, int]]:
    """Run the server in a process group of its own; give its port and process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.compute_server", str(port), folder]
        process = subprocess.Popen(  # noqa: S603 - our own module
            command, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            _wait(port, process)
            yield port, process.pid
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            body = Client(port).body(b"GET /health HTTP/1.1\r\nhost: bench\r\n\r\n")
        except OSError:
            time.sleep(0.1)
            continue
        if json.loads(body)["checks"]["kernels"]["status"] == "ok":
            return
        time.sleep(0.1)
    raise TimeoutError("server: expected to be ready in 180 s, was not")


def _row(contender: Contender) -> dict[str, Any]:
    p50, p99 = np.percentile(contender.spent, [50, 99])
    row = {
        "group": contender.group, "name": contender.name, "p50_ms": p50, "p99_ms": p99,
        "first_p50_ms": np.median(contender.first), "server_ms": np.median(contender.server),
    }  # fmt: skip
    if contender.group == "batch":
        row["symbols_per_s"] = SYMBOLS / p50 * 1e3
        row["symbols_per_busy_s"] = SYMBOLS / np.median(contender.server) * 1e3
    return {k: float(v) if isinstance(v, np.floating) else v for k, v in row.items()}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--batch-rounds", type=int, default=BATCH_ROUNDS)
    options = parser.parse_args(arguments)
    with server() as (port, process):
        client = Client(port)
        contenders = singles(client)
        measure(client, contenders, options.rounds, IN_A_ROW, process)
        many = batches(client)
        measure(client, many, options.batch_rounds, BATCH_IN_A_ROW, process)
    result: dict[str, Any] = {
        "benchmark": "compute_service",
        "points": POINTS,
        "symbols": SYMBOLS,
        "bars": BARS,
        "client": "one blocking socket, prepared bytes, nothing parsed but headers",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "load": os.getloadavg()[0],
        "rows": [_row(contender) for contender in contenders + many],
    }
    for row in result["rows"]:
        rate = (
            f" {row['symbols_per_s']:10,.0f} symbols/s, "
            f"{row['symbols_per_busy_s']:,.0f} a second of the server's"
            if "symbols_per_s" in row
            else ""
        )
        print(
            f"{row['group']:6} {row['name']:26} p50 {row['p50_ms']:8.2f} ms "
            f"p99 {row['p99_ms']:8.2f} ms, first {row['first_p50_ms']:7.2f} ms, "
            f"server busy {row['server_ms']:7.2f} ms{rate}"
        )
    print(f"{result['machine']}, load {result['load']:.1f}; client: {result['client']}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
