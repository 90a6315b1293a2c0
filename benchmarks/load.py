"""The app under a thousand connections, and under a hundred thousand requests.

Run ``python -m benchmarks.load --json OUT``. The server is a process of its own: what ``wavehouse
serve`` builds, over a lake that the line's own stages made, one worker; rates are not limited, and
connections are kept for 75 s. Access, the audit log, metrics and the log are on. The client
(``benchmarks.client``) shares its two cores. What is no 200, a reset and an answer that does not
come within 30 s are errors, and told; so is a line of the server's log that says error.

The questions are a mix (``SHARES``): labels computed (told to leave the cache alone; cached; of a
candle that nobody asked for), one label and pages of a hundred rows out of the lake, levels as they
stood, health. Each was asked once before anything is measured, so that what is kept is filled.

*Connections*: a thousand are open for a minute. Requests are due by chance (Poisson), ``RATE`` a
second in all (twice what the figures of one route are asked at), and take the connection that has
been free for the longest, so that each asks every five seconds. The time counts from when a request
was due. *At once*: the same thousand ask again as soon as they are answered, so that a thousand
requests are in the server's hands at any time; the time is then the queue's: a thousand by the
throughput.

*Soak*: a hundred thousand requests over 50 connections, each asking again as soon as it is
answered. Here the cache of answers is so small (``SMALL_CACHE``) that it is full before the soak
begins and gives up old answers throughout. Memory, descriptors and threads are looked at every
thousand requests, objects that the collector knows before, in the middle and after. *Growth* is
the slope of a straight line through the looks of the last half, with its standard error.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from benchmarks import client
from benchmarks.compute_service import busy_ms
from benchmarks.label_server import NAME
from benchmarks.label_service import ASKED_MONTHS, BARRIER, bodies, fill
from market.ports import PartitionKey
from storage.lake import ParquetLake

CONNECTIONS, RATE, SECONDS = 1000, 200, 60.0
AT_ONCE = 10_000  # requests
SOAK, SOAK_CONNECTIONS, LOOK_EVERY = 100_000, 50, 1000
LOOK_OFTEN = 100  # at a thousand connections: every so many answers
QUESTIONS, WARM_UP = 20_000, 3000
CACHE, SMALL_CACHE = 128_000_000, 1_000_000  # bytes
DEADLINE_S = 180.0
OPENED_LATER = 7  # descriptors, for good, by the first requests
BAR: Final = dt.timedelta(hours=4)
SHARES: Final[Mapping[str, float]] = {
    "compute, not cached": 0.15,
    "compute, cached": 0.20,
    "compute, new candle": 0.05,
    "one label": 0.35,
    "page of 100": 0.05,
    "levels": 0.15,
    "health": 0.05,
}
BOOK = f"""\
[{NAME}]
asset_class = "crypto"
calendar = "crypto"
provider = "synthetic"
symbol = "{NAME}"
base_timeframe = "M1"
tick_size = 0.01
lot_size = 1.0
"""
Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Look:
    """What the kernel says of a process."""

    rss_mb: float
    files: int
    threads: int


def look(process: int) -> Look:
    """Look at a process."""
    said = dict(
        line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines()
    )
    files = sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())
    return Look(int(said["VmRSS"].split()[0]) / 1024, files, int(said["Threads"]))


def questions(lake: ParquetLake) -> dict[str, list[bytes]]:
    """Return every question of each kind."""
    keys = [PartitionKey("candles", "H4", NAME, month) for month in ASKED_MONTHS]
    opens = lake.read(map(lake.resolve, keys))["ts"].to_list()
    asked, _ = bodies(lake, [BARRIER])
    path, bypass = "/v1/labels/compute", {"X-Cache-Strategy": "bypass_cache"}
    random = np.random.default_rng(5)
    turns = random.integers(0, len(asked), round(QUESTIONS * SHARES["compute, new candle"]))
    series = f"instrument_id={NAME}&granularity=H4"
    return {
        "compute, not cached": [client.post(path, body, bypass) for body in asked],
        "compute, cached": [client.post(path, body, {}) for body in asked],
        "compute, new candle": [
            client.post(path, _another(asked[turn], share), {})
            for turn, share in zip(turns.tolist(), random.random(turns.size).tolist(), strict=True)
        ],
        "one label": [client.get(f"/v1/labels/{NAME}/H4/{_told(ts)}") for ts in opens],
        "page of 100": [
            client.get(f"/v1/labels?{series}&start_date={_told(ts)}&end_date={_told(opens[-1])}")
            for ts in opens[:-100]
        ],
        "levels": [client.get(f"/v1/levels?{series}&as_of={_told(ts + BAR)}") for ts in opens],
        "health": [client.get("/health")],
    }


def _another(body: bytes, share: float) -> bytes:
    """Return a question about a candle that is not materialised."""
    asked = orjson.loads(body)
    candle = asked["candle"]
    candle["close"] = candle["low"] + share * (candle["high"] - candle["low"])
    return orjson.dumps(asked)


def _told(ts: dt.datetime) -> str:
    return ts.strftime("%Y-%m-%dT%H:%M:%SZ")


def mixed(every: Mapping[str, Sequence[bytes]]) -> tuple[list[str], list[bytes]]:
    """Return kinds and requests, in an order that is drawn."""
    random = np.random.default_rng(6)
    kinds = random.choice(list(SHARES), QUESTIONS, p=list(SHARES.values())).tolist()
    drawn = random.random(QUESTIONS).tolist()
    new = iter([*every["compute, new candle"]] * 2)  # each once: a draw of them would repeat some
    return kinds, [
        next(new) if kind == "compute, new candle" else every[kind][int(x * len(every[kind]))]
        for kind, x in zip(kinds, drawn, strict=True)
    ]


@contextmanager
def server(home: Path, *, connections: int, cache_bytes: int) -> Iterator[tuple[int, int]]:
    """Run the server in a process group of its own; give its port and process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    words = [str(port), str(home), str(connections), str(cache_bytes)]
    with (home / "log.txt").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "benchmarks.load_server", *words],
            stderr=log,
            start_new_session=True,
        )
    try:
        _until(lambda: process.poll() is not None or _is_warm(port), "server: expected to be ready")
        assert process.poll() is None, (home / "log.txt").read_text()[-3000:]
        yield port, process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def _until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} in {DEADLINE_S:g} s, was not")
        time.sleep(0.1)


def _is_warm(port: int) -> bool:
    try:
        return bool(json.loads(asked_once(port, "/health"))["checks"]["kernels"]["status"] == "ok")
    except OSError:
        return False


def asked_once(port: int, path: str) -> bytes:
    """Return the body of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    body = connection.getresponse().read()
    connection.close()
    return body


def server_errors(home: Path) -> list[str]:
    """Return what the server's log says went wrong."""
    lines = map(orjson.loads, (home / "log.txt").read_bytes().splitlines())
    return [x["event"] for x in lines if x["level"] in ("ERROR", "CRITICAL", "WARNING")]


def many_connections(home: Path, rate: float) -> list[dict[str, Any]]:
    """Return what a thousand connections see, at a rate and all at once."""
    every = questions(ParquetLake(home / "data" / "lake"))
    kinds, requests = mixed(every)
    rows = []
    with server(home, connections=CONNECTIONS, cache_bytes=CACHE) as (port, process):
        before = warmed(port, process, every, requests, connections=CONNECTIONS)
        runs: dict[str, Callable[[Told], client.Outcome]] = {
            "connections": lambda told: client.open_loop(
                port, requests, client.by_chance(rate, SECONDS),
                connections=CONNECTIONS, told=told,
            ),
            "at once": lambda told: client.closed_loop(
                port, requests, AT_ONCE, connections=CONNECTIONS, told=told
            ),
        }  # fmt: skip
        for name, run in runs.items():
            looks, busy = list[Look](), -busy_ms(process)
            found = run(_looking(process, looks, LOOK_OFTEN))
            busy += busy_ms(process)
            after = _settled(process, before.files)
            rows.append({
                "name": name, "connections": CONNECTIONS, **told(found, kinds),
                "before": asdict(before), "after": asdict(after),
                "most": {k: max(asdict(x)[k] for x in looks) for k in asdict(before)},
                "server_ms": busy / found.spent_ms.size,
            })  # fmt: skip
            before = after
    rows[0]["server_errors"] = server_errors(home)
    return rows


def soak(home: Path) -> dict[str, Any]:
    """Return what a hundred thousand requests leave behind."""
    every = questions(ParquetLake(home / "data" / "lake"))
    kinds, requests = mixed(every)
    with server(home, connections=SOAK_CONNECTIONS, cache_bytes=SMALL_CACHE) as (port, process):
        before = warmed(port, process, every, requests, connections=SOAK_CONNECTIONS)
        looks, objects, parts = list[Look](), [_objects(port)], []
        busy = -busy_ms(process)
        for _ in range(2):
            parts.append(
                client.closed_loop(
                    port, requests, SOAK // 2, connections=SOAK_CONNECTIONS,
                    told=_looking(process, looks, LOOK_EVERY),
                )
            )  # fmt: skip
            objects.append(_objects(port))
        busy += busy_ms(process)
        after = _settled(process, before.files)
        cache = json.loads(asked_once(port, "/v1/cache/stats"))
    return {
        "name": "soak", "connections": SOAK_CONNECTIONS, **told(_joined(parts), kinds),
        "before": asdict(before), "after": asdict(after), "objects": objects,
        **growth(looks), "server_ms": busy / SOAK, "rss_mb": [x.rss_mb for x in looks],
        "files": [x.files for x in looks], "threads": [x.threads for x in looks],
        "cache": cache, "server_errors": server_errors(home),
    }  # fmt: skip


def warmed(
    port: int, process: int, every: Mapping[str, Sequence[bytes]], requests: Sequence[bytes], *,
    connections: int,
) -> Look:  # fmt: skip
    """Ask each question once, then some of the mix on as many connections as ever ask; look."""
    idle = look(process).files
    once = [x for kind, asked in every.items() if kind != "compute, new candle" for x in asked]
    client.closed_loop(port, once, len(once), connections=8).checked()
    client.closed_loop(port, requests, WARM_UP, connections=connections).checked()
    return _settled(process, idle + OPENED_LATER)


def _looking(process: int, looks: list[Look], every: int) -> Told:
    def told(answered: int) -> None:
        if not answered % every:
            looks.append(look(process))

    return told


def _settled(process: int, files: int) -> Look:
    """Look once the server has closed what the client has, or after a while."""
    deadline = time.monotonic() + 10.0
    while (found := look(process)).files > files and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _objects(port: int) -> int:
    return int(asked_once(port, "/objects"))


def _joined(parts: Sequence[client.Outcome]) -> client.Outcome:
    errors: dict[str, int] = {}
    for part in parts:
        for kind, count in part.errors.items():
            errors[kind] = errors.get(kind, 0) + count
    return client.Outcome(
        np.concatenate([x.spent_ms for x in parts]),
        sum(x.seconds for x in parts),
        errors,
        next((x.first_error for x in parts if x.first_error), ""),
        sum(x.closed for x in parts),
    )


def growth(looks: Sequence[Look]) -> dict[str, float]:
    """Return megabytes that ten thousand requests add, by the last half; and the standard error."""
    last = [x.rss_mb for x in looks[len(looks) // 2 :]]
    (slope, _), covariance = np.polyfit(np.arange(len(last)), last, 1, cov=True)
    error = float(np.sqrt(covariance[0, 0]))
    a_look = 10_000 / LOOK_EVERY
    return {"growth_mb_per_10k": float(slope) * a_look, "growth_error": error * a_look}


def told(found: client.Outcome, kinds: Sequence[str]) -> dict[str, Any]:
    """Return percentiles and errors, of all and by kind."""
    of = np.array([kinds[turn % len(kinds)] for turn in range(found.spent_ms.size)])
    by_kind = {
        kind: {f"p{part}_ms": float(np.nanpercentile(found.spent_ms[of == kind], part))
               for part in (50, 99)}
        for kind in SHARES
    }  # fmt: skip
    p50, p99, most = np.percentile(found.answered, [50, 99, 100]).tolist()
    return {
        "requests": found.spent_ms.size, "seconds": found.seconds,
        "requests_per_s": found.answered.size / found.seconds,
        "p50_ms": p50, "p99_ms": p99, "max_ms": most, "kinds": by_kind,
        "errors": found.failed, "errors_by_kind": found.errors, "first_error": found.first_error,
        "closed": found.closed,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, and write as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--only", choices=["connections", "soak"])
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "instruments.toml").write_text(BOOK, encoding="utf-8")
        fill(home / "data" / "lake")
        if options.only != "soak":
            rows += many_connections(home, options.rate)
        if options.only != "connections":
            rows.append(soak(home))
    result = {
        "benchmark": "load", "rate": options.rate, "for_s": SECONDS, "shares": dict(SHARES),
        "rows": rows,
        "client": "benchmarks.client",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "load": os.getloadavg()[0],
    }  # fmt: skip
    for row in rows:
        print(
            f"{row['name']:12} {row['requests_per_s']:6.0f}/s, p50 {row['p50_ms']:7.1f} ms, "
            f"p99 {row['p99_ms']:7.1f} ms, errors {row['errors']} {row['first_error']}, "
            f"server busy {row['server_ms']:.2f} ms, {row['before']} -> {row['after']}"
        )
        if "growth_mb_per_10k" in row:
            error = row["growth_error"]
            print(f"growth {row['growth_mb_per_10k']:+.2f} ± {error:.2f} MB per 10,000 requests")
    print(f"{result['machine']}, load {result['load']:.1f}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
