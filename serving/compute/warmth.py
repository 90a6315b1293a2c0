"""Kernels compiled before they are asked for.

Belongs here: the thread that runs every indicator once, and what it has come to. Keep out: what a
request does with a kernel that is not ready (it goes to a worker thread, so that only it waits).
"""

import logging
import threading
from typing import Final

import numpy as np

from kernels import engine
from kernels.gate import Series
from serving.compute.computing import computed, computed_rows
from serving.compute.contracts import CONTRACTS, Contract

log = logging.getLogger("wavehouse.compute")

_BARS: Final = 600  # more than any default waits for


class Warmth:
    """Which indicators have run in this process."""

    def __init__(self) -> None:
        self.failed: set[str] = set()
        self._ready: set[str] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether kernels are being compiled."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def count(self) -> int:
        """How many indicators are ready."""
        return len(self._ready)

    def is_ready(self, indicator: str) -> bool:
        """Say whether an indicator can run without compiling anything."""
        return indicator in self._ready

    def mark(self, indicator: str) -> None:
        """Note that an indicator has run."""
        self._ready.add(indicator)

    def start(self) -> None:
        """Begin to run every indicator, in the background."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="warm-kernels", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the kernel that is being compiled."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        for contract in CONTRACTS.values():
            if self._stop.is_set():
                return
            try:
                warm(contract)
            except Exception:  # the others can be served
                log.exception("%s: expected to run, did not", contract.name)
                self.failed.add(contract.name)
                continue
            self.mark(contract.name)
        log.info("%d indicators are ready", self.count)


def warm(contract: Contract) -> None:
    """Run an indicator on both engines."""
    parameters, bars = contract.resolved({}), _bars()
    with engine.forced("numba"):
        computed(contract, parameters, bars)
        computed_rows(contract, parameters, {name: x[np.newaxis] for name, x in bars.items()})
    computed(contract, parameters, bars)


def _bars() -> dict[str, Series]:
    close = 100.0 + np.sin(np.arange(_BARS, dtype=np.float64))
    return {
        "close": close,
        "high": close + 0.5,
        "low": close - 0.5,
        "volume": np.full(_BARS, 1000.0),
        "session": np.arange(_BARS, dtype=np.float64) // 100,
    }
