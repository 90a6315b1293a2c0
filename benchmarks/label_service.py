"""``POST /v1/labels/compute`` over HTTP and in process: H4 candles on minute paths out of a lake.

Run ``python -m benchmarks.label_service --json OUT``. The lake is made by the line's own
stages, the server is a process of its own (uvloop, httptools, one worker) with the app as it
ships, but for rates, which are not limited. Each question is another candle of the lake, in turn.

The load is an open loop: requests are due at fixed instants, whether answers came or not, and an
answer's time counts from when its request was due. The client is ``benchmarks.client``: kept
connections in one thread, prepared requests. It shares the two cores with the server, so what it
does itself is in every figure (a client of Python threads and ``http.client`` in its place, at the
same rate, over as many connections, adds more of its own). *echo* is a bare ASGI function in the
same process as the app that reads and answers as many bytes: the floor of HTTP and the client.

*not cached*: the cache is told to be left alone, decoded months are resident. *cached*: asked
before. *server busy* is what the server ran a request (the clock of its process), whatever else ran
on the machine. *cold*: nothing is kept decoded, each request reads and replays its months; one
after another. Answers are compared with the lake's own labels before anything is timed. In process
it is the service alone, without HTTP, by the clock and in the thread's processor time: ``compute``
of 11.a, of every label, and of 11.a with its pointers resolved.
"""

import argparse
import datetime as dt
import http.client
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks import client
from benchmarks.compute_service import busy_ms
from benchmarks.graph import instrument_of, line_of
from benchmarks.label_server import NAME
from market.instruments import InstrumentBook
from market.months import month_range
from market.ports import PartitionKey
from market.settings import ServingSettings
from market.timeframes import Timeframe
from orchestration.graph import data_stages
from serving.label_compute.contracts import ComputeLabelsRequest
from serving.label_compute.questions import question
from serving.label_compute.service import LabelService, Resolved
from storage.lake import ParquetLake

MONTHS = tuple(month_range("2023-01", "2023-06"))
ASKED_MONTHS = MONTHS[1:-1]  # the first has no history, the last no whole horizons
GROUPS = ("raw_candles", "candles", "levels", "labels")
RATE, SECONDS, ROUNDS, CONNECTIONS = 100, 10.0, 3, 8
COLD, WARM_UP, IN_PROCESS = 100, 10, 5_000
READY_S = 600
RESIDENT_BYTES = 256_000_000
BARRIER = "enhanced_triple_barrier"


def fill(folder: Path) -> None:
    """Make the lake by the stages' own functions."""
    instrument = instrument_of(NAME, Timeframe.M1)
    line, lake = line_of(folder, instrument)
    for stage in data_stages():
        if stage.group not in GROUPS or stage.timeframe not in (None, Timeframe.M1, Timeframe.H4):
            continue
        if stage.timeframe is Timeframe.M1 and stage.group in ("levels", "labels"):
            continue
        for month in MONTHS:
            key = stage.key(line, instrument.id, month)
            inputs = stage.inputs(line, key)
            result = stage.compute(line, key, inputs)
            lake.write(
                key, result.rows, state=result.state, code_version=stage.code_version,
                inputs=inputs.versions, attributes=result.attributes,
            )  # fmt: skip


def bodies(lake: ParquetLake, types: Sequence[str] | None) -> tuple[list[bytes], list[Any]]:
    """Return a request a candle, and the 11.a that the lake has for it."""
    keys = [PartitionKey("candles", "H4", NAME, month) for month in ASKED_MONTHS]
    candles = lake.read(map(lake.resolve, keys))
    labels = lake.read(lake.resolve(PartitionKey("labels", "H4", NAME, x.month)) for x in keys)
    chosen = {} if types is None else {"label_types": list(types)}
    found = [
        orjson.dumps(
            {
                "instrument_id": NAME,
                "granularity": "H4",
                "candle": {k: row[k] for k in ("ts", "open", "high", "low", "close")},
                **chosen,
            }
        )
        for row in candles.iter_rows(named=True)
    ]
    return found, labels[BARRIER].to_list()


@contextmanager
def server(folder: Path, resident_bytes: int) -> Iterator[tuple[int, int]]:
    """Run the server in a process group of its own; give its port and process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.label_server"]
    process = subprocess.Popen(  # noqa: S603 - our own module
        [*command, str(port), str(folder), str(resident_bytes)],
        stderr=subprocess.DEVNULL,  # a line a request, as it ships
        start_new_session=True,
    )
    try:
        _wait(port, process)
        yield port, process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until its kernels are compiled."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with suppress(OSError):
            connection.request("GET", "/health")
            checks = orjson.loads(connection.getresponse().read())["checks"]
            if checks["kernels"]["status"] == "ok":
                return
        time.sleep(0.1)
    raise TimeoutError(f"server: expected to be ready in {READY_S} s, was not")


def post(
    connection: http.client.HTTPConnection, path: str, body: bytes, headers: dict[str, str]
) -> bytes:
    """Ask once; return the answer's body."""
    connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
    response = connection.getresponse()
    answer = response.read()
    if response.status != http.client.OK:
        raise RuntimeError(f"{path}: expected 200, was {response.status} {answer[:500]!r}")
    return answer


def checked(port: int, asked: list[bytes], expected: list[Any]) -> int:
    """Compare every answer with the lake's own label; return the bytes of one."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    size = 0
    for body, label in zip(asked, expected, strict=True):
        answer = post(connection, "/v1/labels/compute", body, {"X-Cache-Strategy": "bypass_cache"})
        found = orjson.loads(answer)["labels"][BARRIER]["label"]
        assert found == label, (body, found, label)
        size = len(answer)
    return size


def open_loop(port: int, path: str, asked: list[bytes], headers: dict[str, str]) -> list[float]:
    """Return the milliseconds from when each request was due until its answer was there."""
    requests = [client.post(path, body, headers) for body in asked]
    due = client.evenly(RATE, SECONDS)
    found = client.open_loop(port, requests, due, connections=CONNECTIONS)
    spent: list[float] = found.checked().spent_ms.tolist()
    return spent


def over_http(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Return what requests take at a fixed rate, contenders in turn."""
    lake = ParquetLake(folder)
    one, expected = bodies(lake, [BARRIER])
    whole, _ = bodies(lake, None)
    with server(folder, RESIDENT_BYTES) as (port, process):
        size = checked(port, one, expected)
        checked(port, whole, expected)
        bypass, prefer = ({"X-Cache-Strategy": x} for x in ("bypass_cache", "prefer_cache"))
        open_loop(port, "/v1/labels/compute", one, prefer)  # they are cached then
        contenders = {
            "11.a, not cached": ("/v1/labels/compute", one, bypass),
            "11.a, cached": ("/v1/labels/compute", one, prefer),
            "every label, not cached": ("/v1/labels/compute", whole, bypass),
            "echo": (f"/echo?{size}", one, {}),
        }
        spent: dict[str, list[float]] = {name: [] for name in contenders}
        busy = dict.fromkeys(contenders, 0.0)
        for _ in range(rounds):
            for name, (path, asked, headers) in contenders.items():
                before = busy_ms(process)
                spent[name] += open_loop(port, path, asked, headers)
                busy[name] += busy_ms(process) - before
    return [{**_row(name, x), "server_ms": busy[name] / len(x)} for name, x in spent.items()]


def cold(folder: Path) -> dict[str, Any]:
    """Return what requests take one after another where nothing is kept decoded."""
    asked, _ = bodies(ParquetLake(folder), [BARRIER])
    headers = {"X-Cache-Strategy": "bypass_cache"}
    requests = [
        client.post("/v1/labels/compute", asked[turn * 5 % len(asked)], headers)
        for turn in range(COLD)
    ]
    with server(folder, 0) as (port, process):
        client.closed_loop(port, requests, WARM_UP, connections=1).checked()
        before = busy_ms(process)
        spent = client.closed_loop(port, requests, COLD, connections=1).checked().spent_ms.tolist()
        busy = busy_ms(process) - before
    return {**_row("11.a, cold partition", spent), "server_ms": busy / COLD}


def in_process(folder: Path) -> list[dict[str, Any]]:
    """Return what the service alone takes, everything resident."""
    lake, book = ParquetLake(folder), InstrumentBook({NAME: instrument_of(NAME, Timeframe.M1)})
    service, settings = LabelService(lake, resident_bytes=RESIDENT_BYTES), ServingSettings()
    now = dt.datetime.now(dt.UTC)

    def resolved(body: bytes) -> Resolved:
        asked = ComputeLabelsRequest.model_validate_json(body)
        instrument = book[asked.instrument_id]
        return service.resolve(question(asked, instrument, settings, now=now, is_explained=False))

    one, whole = (
        [resolved(body) for body in bodies(lake, types)[0]] for types in ([BARRIER], None)
    )
    questions = [x.question for x in one]
    calls: dict[str, tuple[Callable[[Any], object], Sequence[Any]]] = {
        "in process: 11.a": (service.compute, one),
        "in process: every label": (service.compute, whole),
        "in process: 11.a, pointers resolved": (
            lambda q: service.compute(service.resolve(q)), questions,
        ),
    }  # fmt: skip
    rows = []
    for name, (call, asked) in calls.items():
        for x in asked:
            call(x)
        spent, busy = [], []
        for turn in range(IN_PROCESS):
            began, ran = time.perf_counter(), time.thread_time()
            call(asked[turn % len(asked)])
            busy.append(1e3 * (time.thread_time() - ran))
            spent.append(1e3 * (time.perf_counter() - began))
        cpu = _row(name, busy)
        rows.append({**_row(name, spent), "cpu_p50_ms": cpu["p50_ms"], "cpu_p99_ms": cpu["p99_ms"]})
    return rows


def _row(name: str, spent: Sequence[float]) -> dict[str, Any]:
    p50, p99 = (float(x) for x in np.percentile(spent, [50, 99]))
    return {"name": name, "p50_ms": p50, "p99_ms": p99, "requests": len(spent)}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, and write as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only-in-process", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder)
        rows = in_process(folder)
        if not options.only_in_process:
            rows += [*over_http(folder, options.rounds), cold(folder)]
    result: dict[str, Any] = {
        "benchmark": "label_service",
        "rate": RATE,
        "client": f"benchmarks.client, {CONNECTIONS} connections, open loop",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "load": os.getloadavg()[0],
        "rows": rows,
    }
    for row in rows:
        busy = (
            f", processor p50 {row['cpu_p50_ms']:.4f} ms, p99 {row['cpu_p99_ms']:.4f} ms"
            if "cpu_p50_ms" in row
            else f", server busy {row['server_ms']:.3f} ms"
        )
        print(f"{row['name']:38} p50 {row['p50_ms']:8.4f} ms, p99 {row['p99_ms']:8.4f} ms{busy}")
    print(f"{result['machine']}, load {result['load']:.1f}; client: {result['client']}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
