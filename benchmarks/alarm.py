"""Wakes an event loop to the microsecond: its own timers are whole milliseconds (Linux)."""

import asyncio
import ctypes
import os
import time
from typing import Final, Self

_ABSOLUTE: Final = 1  # TFD_TIMER_ABSTIME


class Alarm:
    """A timer of the kernel (``timerfd``); for the time of its block, in a running loop."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._file = -1
        self._woken = asyncio.Event()

    def __enter__(self) -> Self:
        """Open it."""
        self._file = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        _raise_if(self._file < 0)
        asyncio.get_running_loop().add_reader(self._file, self._rings)
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        asyncio.get_running_loop().remove_reader(self._file)
        os.close(self._file)

    async def until(self, instant: float) -> None:
        """Return at that instant of ``time.perf_counter``; where it has passed, let others run."""
        seconds, nanoseconds = divmod(round(instant * 1e9), 1_000_000_000)
        when = (ctypes.c_long * 4)(0, 0, seconds, nanoseconds)
        self._woken.clear()
        is_refused = self._libc.timerfd_settime(self._file, _ABSOLUTE, ctypes.byref(when), None)
        _raise_if(bool(is_refused))
        await self._woken.wait()

    def _rings(self) -> None:
        os.read(self._file, 8)
        self._woken.set()


def _raise_if(is_refused: bool) -> None:  # noqa: FBT001 - one value, looked at
    if is_refused:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
