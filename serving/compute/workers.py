"""Threads for what is too large for the event loop, under a time limit.

Belongs here: running and giving up. Keep out: what is run.

Kernels let go of the interpreter's lock, so the loop answers others meanwhile. A job that is given
up runs on to its end, and its thread is not given to another until then: what is abandoned cannot
pile up.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

from serving.errors import OverloadedError, TimeLimitError

P = ParamSpec("P")
R = TypeVar("R")

_SOON: Final = {"Retry-After": "1"}
_QUEUE: Final = 8  # jobs that may wait, a thread


class Workers:
    """A few threads, from ``start`` to ``close``; ``timeout_s`` counts the wait for one."""

    def __init__(self, threads: int, timeout_s: float) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._most = threads * (1 + _QUEUE)
        self._timeout_s = timeout_s
        self._jobs = 0
        self._lock = threading.Lock()

    def start(self) -> None:
        """Take jobs from now on."""
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="compute")

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what ``function`` returns.

        Raise ``OverloadedError`` if too many wait, ``TimeLimitError`` when the time is over.
        """
        if self._pool is None:
            raise OverloadedError("workers: expected them to run", _SOON)
        self._count(1)
        context = contextvars.copy_context()
        job = self._pool.submit(context.run, partial(function, *args, **kwargs))
        job.add_done_callback(lambda _: self._count(-1))
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.wrap_future(job)
        except TimeoutError as e:
            raise TimeLimitError(
                f"computation: expected at most {self._timeout_s:g} s, was more"
            ) from e

    def close(self) -> None:
        """Start nothing more; what runs is left to end."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _count(self, jobs: int) -> None:
        with self._lock:
            if jobs > 0 and self._jobs >= self._most:
                raise OverloadedError("workers: expected a free one, was none", _SOON)
            self._jobs += jobs
