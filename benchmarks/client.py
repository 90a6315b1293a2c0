"""One lean HTTP client for benchmarks: thousands of kept connections, one thread, prepared bytes.

Of an answer the status line and ``Content-Length`` are read and the rest is counted; a chunked
answer is refused. *Open loop*: requests are due at given instants, whether answers came or not, and
an answer's time counts from when its request was due, on whichever connection has been free for the
longest. *Closed loop*: each connection asks again as soon as it is answered.

What is no 200 is an error: another status, a reset, an answer that does not come in time. Errors
are counted and the first is told; a connection that broke is replaced, so that the load stays.
A kept connection that the server closes while it has nothing to answer is replaced and counted
apart (``closed``): HTTP allows it.

The loop is uvloop where that is there, else asyncio. Timers of both are whole milliseconds, so what
is due is woken by a timer of the kernel (``timerfd``, Linux). The collector of garbage rests while
requests are out: it would stop the client for as long as the caller's modules are large.
"""

import asyncio
import gc
import resource
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self, cast

import numpy as np
import numpy.typing as npt

from benchmarks.alarm import Alarm

HOST: Final = "127.0.0.1"
TIMEOUT_S: Final = 30.0
AT_ONCE: Final = 100  # connections that are opened at the same time
_SWEEP_S: Final = 0.25
_SPARE_FILES: Final = 200
_SAID: Final = 500  # bytes of an answer that an error tells
_OK: Final = 200

Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a load: milliseconds by turn (NaN where it failed), and every error."""

    spent_ms: npt.NDArray[np.float64]
    seconds: float
    errors: dict[str, int]
    first_error: str
    closed: int

    @property
    def failed(self) -> int:
        """Return how many errors there were."""
        return sum(self.errors.values())

    @property
    def answered(self) -> npt.NDArray[np.float64]:
        """Return the milliseconds of what was answered."""
        return self.spent_ms[~np.isnan(self.spent_ms)]

    def checked(self) -> Self:
        """Return this; raise if anything failed."""
        if self.failed:
            raise RuntimeError(f"load: expected no error, was {self.errors}; {self.first_error}")
        return self


def get(path: str) -> bytes:
    """Return a question as it goes over the wire."""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def post(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return a question with a JSON body as it goes over the wire."""
    more = {"Host": HOST, "Content-Type": "application/json", "Content-Length": len(body)}
    lines = [f"POST {path} HTTP/1.1", *(f"{k}: {v}" for k, v in {**more, **headers}.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def evenly(rate: float, seconds: float) -> npt.NDArray[np.float64]:
    """Return instants at a fixed rate."""
    return np.arange(round(rate * seconds)) / rate


def by_chance(rate: float, seconds: float, *, seed: int = 1) -> npt.NDArray[np.float64]:
    """Return instants of a Poisson process: callers that know nothing of one another."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, round(rate * seconds))
    return np.asarray(np.cumsum(gaps), dtype=np.float64)


def open_loop(
    port: int, requests: Sequence[bytes], due: npt.NDArray[np.float64], *,
    connections: int, timeout_s: float = TIMEOUT_S, told: Told | None = None,
) -> Outcome:  # fmt: skip
    """Ask the requests in turn, one at each of the instants (seconds from the start)."""
    load = _Load(port, requests, due.size, timeout_s=timeout_s, told=told)
    return _run(_open(load, due, connections))


def closed_loop(
    port: int, requests: Sequence[bytes], turns: int, *,
    connections: int, timeout_s: float = TIMEOUT_S, told: Told | None = None,
) -> Outcome:  # fmt: skip
    """Ask the requests in turn, each connection as soon as it is answered, so many in all."""
    load = _Load(port, requests, turns, timeout_s=timeout_s, told=told)
    return _run(_closed(load, connections))


def allow_files(connections: int) -> None:
    """Raise this process's soft limit of open files where so many connections need it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _run(loading: Coroutine[Any, Any, Outcome]) -> Outcome:
    try:
        import uvloop  # noqa: PLC0415 - it may not be there
    except ImportError:
        factory = asyncio.new_event_loop
    else:
        factory = uvloop.new_event_loop
    with _no_collector(), asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(loading)


@contextmanager
def _no_collector() -> Iterator[None]:
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


async def _open(load: "_Load", due: npt.NDArray[np.float64], connections: int) -> Outcome:
    await load.connect(connections)
    with Alarm() as alarm:
        began = load.begin() + 0.01
        for turn, at in enumerate(due.tolist()):
            await alarm.until(began + at)
            load.take(turn, began + at)
    return await load.end()


async def _closed(load: "_Load", connections: int) -> Outcome:
    await load.connect(connections)
    load.begin()
    load.asks_again = True
    for _ in range(connections):
        load.again()
    return await load.end()


class _Load:
    """Connections, what is asked, and what came of it."""

    def __init__(
        self, port: int, requests: Sequence[bytes], turns: int, *, timeout_s: float,
        told: Told | None,
    ) -> None:  # fmt: skip
        self._port = port
        self._requests = requests
        self._turns = turns
        self._timeout_s = timeout_s
        self._told = told
        self._links: set[_Link] = set()
        self._free: deque[_Link] = deque()
        self._waiting: deque[tuple[int, float]] = deque()  # due, and no connection is free
        self._opening: set[asyncio.Task[None]] = set()
        self._out = 0  # turns that were taken and have no answer
        self._next = 0
        self._spent: list[float] = []
        self._errors: Counter[str] = Counter()
        self._first_error = ""
        self._closed = 0
        self._answered = 0
        self._began = self._ended = 0.0
        self._is_ending = False
        self._all_closed = asyncio.Event()
        self.asks_again = False

    async def connect(self, count: int) -> None:
        """Open the connections; raise what the first that fails says."""
        allow_files(count)
        for at in range(0, count, AT_ONCE):
            await asyncio.gather(*(self._open() for _ in range(min(AT_ONCE, count - at))))

    def begin(self) -> float:
        """Return the instant from which on is measured."""
        self._began = self._ended = time.perf_counter()
        return self._began

    def take(self, turn: int, due: float) -> None:
        """Ask a turn's request, or let it wait for a connection."""
        self._spent.append(np.nan)
        self._out += 1
        if self._free:
            link = self._free.popleft()
            link.ask(turn, due, self._requests[turn % len(self._requests)])
        else:
            self._waiting.append((turn, due))

    def again(self) -> None:
        """Take the next turn, if one is left, as of now."""
        if self._next < self._turns:
            self._next += 1
            self.take(self._next - 1, time.perf_counter())

    async def end(self) -> Outcome:
        """Wait until every turn is answered or given up; close all."""
        while self._out:
            await asyncio.sleep(_SWEEP_S)
            self._sweep()
        self._is_ending = True
        for link in list(self._links):
            link.close()
        await asyncio.gather(*self._opening, return_exceptions=True)
        if self._links:
            await self._all_closed.wait()
        spent, took = np.array(self._spent), self._ended - self._began
        return Outcome(spent, took, dict(self._errors), self._first_error, self._closed)

    def answered(self, link: "_Link", turn: int, due: float) -> None:
        """Keep how long it took."""
        self._ended = time.perf_counter()
        self._spent[turn] = 1e3 * (self._ended - due)
        self._answered += 1
        if self._told is not None:
            self._told(self._answered)
        self._done(link)

    def failed(self, link: "_Link", kind: str, why: str) -> None:
        """Count an error, and go on."""
        self._error(kind, why)
        self._done(link)

    def _error(self, kind: str, why: str) -> None:
        self._errors[kind] += 1
        self._first_error = self._first_error or f"{kind}: {why}"

    def _done(self, link: "_Link") -> None:
        self._out -= 1
        if link.is_open:
            self._rests(link)
        if self.asks_again:
            self.again()

    def _rests(self, link: "_Link") -> None:
        if self._waiting:
            turn, due = self._waiting.popleft()
            link.ask(turn, due, self._requests[turn % len(self._requests)])
        else:
            self._free.append(link)

    def lost(self, link: "_Link") -> None:
        """Replace a connection that is no more."""
        self._links.discard(link)
        if link in self._free:
            self._free.remove(link)
            self._closed += not self._is_ending
        if self._is_ending and not self._links:
            self._all_closed.set()
        if not self._is_ending:
            task = asyncio.ensure_future(self._replace())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _replace(self) -> None:
        try:
            await self._open()
        except OSError as e:
            self._error("connect", str(e))

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(partial(_Link, self), HOST, self._port)
        self._links.add(link)
        if self._is_ending:
            link.close()
        else:
            self._rests(link)

    def _sweep(self) -> None:
        """Give up what has waited for too long; with no connection left, all that waits."""
        late = time.perf_counter() - self._timeout_s
        for link in [x for x in self._links if x.turn is not None and x.since < late]:
            link.give_up(f"expected an answer in {self._timeout_s:g} s, was none")
        is_lost = not self._links and not self._opening
        while self._waiting and (is_lost or self._waiting[0][1] < late):
            self._waiting.popleft()
            self._out -= 1
            self._error("timeout", "expected a free connection, was none")


class _Link(asyncio.Protocol):
    """One connection, and the request that it waits for."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._due = 0.0
        self._got = b""  # until the head is whole
        self._status = 0
        self._missing = 0  # bytes of the body, once the head is whole
        self.turn: int | None = None
        self.since = 0.0
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def ask(self, turn: int, due: float, request: bytes) -> None:
        assert self._transport is not None
        self.turn, self._due, self.since = turn, due, time.perf_counter()
        self._got, self._status, self._missing = b"", 0, 0
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self.turn is None:
            self._break("protocol", f"expected nothing, was {data[:_SAID]!r}")
            return
        if self._status:
            self._missing -= len(data)
        else:
            self._got += data
            end = self._got.find(b"\r\n\r\n")
            if end < 0:
                return
            try:
                self._status, length = _head(self._got[:end])
            except ValueError as e:
                self._break("protocol", str(e))
                return
            self._missing = length - (len(self._got) - end - 4)
        if self._missing < 0:
            self._break("protocol", f"expected {-self._missing} bytes less, was more")
        elif not self._missing:
            self._answered()

    def _answered(self) -> None:
        turn, self.turn = self.turn, None
        assert turn is not None
        if self._status == _OK:
            self._load.answered(self, turn, self._due)
        else:
            self._load.failed(self, f"status {self._status}", self._got[:_SAID].decode("latin-1"))

    def give_up(self, why: str) -> None:
        self._break("timeout", why)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _break(self, kind: str, why: str) -> None:
        had, self.turn, self.is_open = self.turn is not None, None, False
        self.close()
        if had:
            self._load.failed(self, kind, why)

    def connection_lost(self, exc: Exception | None) -> None:
        had, self.turn, self.is_open = self.turn is not None, None, False
        self._load.lost(self)
        if had:
            self._load.failed(self, "closed", "before its answer" if exc is None else str(exc))


def _head(head: bytes) -> tuple[int, int]:
    """Return status and length of the body; raise ``ValueError`` for a head without them."""
    head = head.lower() + b"\r\n"
    at = head.find(b"\r\ncontent-length:")
    if not head.startswith(b"http/1.1 ") or at < 0:
        raise ValueError(f"expected HTTP/1.1 and a Content-Length, was {head[:_SAID]!r}")
    at += len(b"\r\ncontent-length:")
    return int(head[9:12]), int(head[at : head.index(b"\r\n", at)])
