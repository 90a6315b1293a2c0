"""Signals as a program in a terminal's foreground has them, wherever the tests were started."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def foreground(*ignored: signal.Signals) -> Iterator[None]:
    """Start programs inside: they hear all that asks to stop, but for what is ``ignored``.

    A job in a script's background ignores SIGINT, and so does all that it starts.
    """
    before = {n: signal.getsignal(n) for n in NUMBERS}
    try:
        for number in NUMBERS:
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
