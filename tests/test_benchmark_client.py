"""``benchmarks.client``: what it counts, and that no error is lost."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest

from benchmarks import client
from benchmarks.alarm import Alarm

ANSWERS = {
    b"/ok": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: y\r\n\r\nhello",
    b"/slow": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"/broken": b"HTTP/1.1 500 Oh\r\ncontent-length: 4\r\n\r\ngone",
    b"/chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    b"/more": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nhello",
    b"/never": b"",
}
SLOW_S = 0.1


class Peer:
    """Answers by path: prepared bytes in two parts, or hangs up (``/reset``, ``/leave``)."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._server: asyncio.Server | None = None
        self.asked: list[bytes] = []
        self.open = self.most = 0
        self.port = 0

    def start(self) -> None:
        """Listen on a free port."""
        self._thread.start()
        starting = asyncio.start_server(self._serve, client.HOST, 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Hang up, and end."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    if not await self._answer(head.split()[1], head, reader, writer):
                        return
        finally:
            self.open -= 1
            writer.close()

    async def _answer(
        self, path: bytes, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        self.asked.append(path + await reader.readexactly(int(length or 0)))
        if path == b"/reset":
            return False
        if path == b"/slow":
            await asyncio.sleep(SLOW_S)
        answer = ANSWERS.get(path, ANSWERS[b"/ok"])
        writer.write(answer[:25])
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(answer[25:])
        await writer.drain()
        return path != b"/leave"


@pytest.fixture
def peer() -> Iterator[Peer]:
    found = Peer()
    found.start()
    yield found
    found.stop()


def test_a_closed_loop_asks_in_turn_and_every_turn_is_answered(peer: Peer) -> None:
    told: list[int] = []
    requests = [client.get("/ok"), client.post("/other", b"{}", {"X-Cache-Strategy": "x"})]
    found = client.closed_loop(peer.port, requests, 101, connections=7, told=told.append).checked()
    assert sorted(peer.asked) == [b"/ok"] * 51 + [b"/other{}"] * 50
    assert found.answered.size == found.spent_ms.size == 101
    assert (found.spent_ms > 0).all()
    assert told == list(range(1, 102))
    assert (peer.most, found.closed) == (7, 0)


def test_an_open_loop_counts_from_when_it_was_due_also_where_nothing_is_free(peer: Peer) -> None:
    due = np.zeros(4)
    found = client.open_loop(peer.port, [client.get("/slow")], due, connections=2).checked()
    waited = np.sort(found.spent_ms)
    assert (waited[:2] >= 1e3 * SLOW_S).all()
    assert (waited[2:] >= 2e3 * SLOW_S).all()  # of which half was spent before it was sent


def test_requests_leave_when_they_are_due(peer: Peer) -> None:
    due = client.evenly(100, 0.2)
    found = client.open_loop(peer.port, [client.get("/ok")], due, connections=3).checked()
    assert due.tolist() == pytest.approx([turn / 100 for turn in range(20)])
    assert found.seconds >= due[-1]
    assert client.by_chance(100, 50).mean() == pytest.approx(25, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("/broken", "status 500", "gone"),
        ("/chunked", "protocol", "expected HTTP/1.1 and a Content-Length"),
        ("/more", "protocol", "expected 4 bytes less"),
        ("/reset", "closed", ""),
        ("/never", "timeout", "expected an answer in 0.3 s"),
    ],
)
def test_what_is_no_200_is_an_error_that_is_told_and_the_others_are_answered(
    peer: Peer, path: str, kind: str, said: str
) -> None:
    requests = [client.get(x) for x in ("/ok", "/ok", path, "/ok")]
    due = client.evenly(200, 0.1)
    for found in (
        client.open_loop(peer.port, requests, due, connections=4, timeout_s=0.3),
        client.closed_loop(peer.port, requests, 20, connections=4, timeout_s=0.3),
    ):
        assert found.errors == {kind: 5}
        assert found.failed == 5
        assert said in found.first_error
        assert np.isnan(found.spent_ms[2::4]).all()
        assert found.answered.size == 15
        with pytest.raises(RuntimeError, match=kind):
            found.checked()


def test_a_connection_that_is_closed_while_it_rests_is_replaced_and_is_no_error(peer: Peer) -> None:
    requests = [client.get("/leave")]
    found = client.open_loop(peer.port, requests, client.evenly(20, 0.5), connections=2).checked()
    assert found.answered.size == 10
    assert found.closed >= 8


def test_a_server_that_is_gone_ends_the_load_with_errors() -> None:
    peer = Peer()
    peer.start()

    def gone(answered: int) -> None:
        if answered == 10:
            peer.stop()

    requests = [client.get("/ok")]
    found = client.closed_loop(peer.port, requests, 1000, connections=4, timeout_s=0.5, told=gone)
    assert found.failed
    assert found.answered.size < 1000


def test_an_alarm_never_rings_early() -> None:
    async def waited() -> None:
        with Alarm() as alarm:
            loop = asyncio.get_running_loop()
            for _ in range(20):
                instant = loop.time() + 0.0007
                await alarm.until(instant)
                assert loop.time() >= instant

    asyncio.run(waited())
