"""The metrics of several workers, added up.

Belongs here: the files that ``prometheus_client`` writes where ``PROMETHEUS_MULTIPROC_DIR`` is set.
Keep out: which metrics there are.

Nobody tells a worker that another was killed, so whoever reads looks for files of processes that
are gone. (Where another program has its number since, its gauges stay until that ends too: start
the workers with an empty folder.)
"""

import os
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from market.errors import StorageError

_OF_LIVE: Final = re.compile(r"gauge_live[a-z]+_(\d+)\.db")


class _Found(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


class Workers:
    """The files of all workers in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collected(self) -> Collector:
        """Return the sum of the workers that run and the counts of those that are gone.

        Raise ``StorageError`` where a file cannot be read.
        """
        try:
            for pid in self._pids():
                if not _is_alive(pid):
                    mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
            files = MultiProcessCollector(None, path=str(self._folder))  # type: ignore[no-untyped-call]
            return _Found(files.collect())  # type: ignore[no-untyped-call]
        except (OSError, ValueError, RuntimeError, struct.error) as e:  # as its reader raises them
            raise StorageError(
                f"metrics: expected the workers' files, was {type(e).__name__}: {e}"
            ) from e

    def _pids(self) -> set[int]:
        found = (_OF_LIVE.fullmatch(path.name) for path in self._folder.iterdir())
        return {int(match[1]) for match in found if match}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another's, but there
        return True
    return True
