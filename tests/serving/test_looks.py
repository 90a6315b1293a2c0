"""A check of an outside that is late: what was heard a moment ago holds, silence does not."""

import asyncio
import threading

from serving.looks import HOLDS_S, Look


def test_a_check_that_is_late_is_an_outage_once_it_has_been_silent_for_a_while() -> None:
    now, let_go = 100.0, threading.Event()

    def hangs() -> str:
        assert let_go.wait(30.0)
        return "back"

    async def asked() -> None:
        nonlocal now
        look = Look[str](clock=lambda: now)
        assert await look.at(lambda: "well", within_s=30.0, late="late") == "well"
        assert await look.at(hangs, within_s=0.01, late="late") == "well"
        now += HOLDS_S
        assert await look.at(hangs, within_s=0.01, late="late") == "well"
        now += 0.1
        assert await look.at(hangs, within_s=0.01, late="late") == "late"
        let_go.set()
        assert await look.at(hangs, within_s=30.0, late="late") == "back"

    asyncio.run(asked())


def test_what_never_said_anything_is_late_at_once() -> None:
    let_go = threading.Event()

    async def asked() -> None:
        assert await Look[bool]().at(lambda: let_go.wait(30.0), within_s=0.01, late=False) is False
        let_go.set()

    asyncio.run(asked())
