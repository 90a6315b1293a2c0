"""Garbage collection in a process that serves.

A round over everything that was imported, compiled and loaded stops every answer for a fifth of a
second, and finds nothing. Belongs here: leaving that out. Keep out: what is loaded.
"""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_EVERY_S: Final = 0.5


@contextmanager
def settling(is_warming: Callable[[], bool]) -> Iterator[None]:
    """Leave out what is there now, and again what is there when all is warm; in a running loop."""
    task = asyncio.get_running_loop().create_task(_settle(is_warming))
    try:
        yield
    finally:
        task.cancel()


async def _settle(is_warming: Callable[[], bool]) -> None:
    leave_out()
    if is_warming():
        while is_warming():  # noqa: ASYNC110 - of threads, which set no event of a loop
            await asyncio.sleep(_EVERY_S)
        leave_out()


def leave_out() -> None:
    """Collect once, then look no more at what is left: it lives as long as the process."""
    gc.collect()
    gc.freeze()
