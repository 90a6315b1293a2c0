"""Which levels are active at an instant: a month's events as stretches of time.

Belongs here: the look-up of one instant and price, for which a fold of the log would be too slow.
Keep out: what makes an event (``kernels.levels``), levels as a table (``level_fold``).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from kernels import levels as kernel
from market.ports import State
from pipeline.levels import Extended

ALWAYS_US: Final = np.iinfo(np.int64).min
NEVER_US: Final = np.iinfo(np.int64).max

_BEGINS: Final = frozenset(i for i, e in enumerate(kernel.EVENTS) if e.startswith(("NEW", "FLIP")))
_ENDS: Final = frozenset(
    i for i, e in enumerate(kernel.EVENTS) if e.startswith(("BREAK", "DEACTIVATE"))
)


@dataclass(frozen=True, slots=True)
class NearestLevel:
    """A level on one side of a price."""

    price: float
    level_id: str | None


@dataclass(frozen=True, slots=True)
class ActiveLevels:
    """Stretches [start, stop) in which a level acts, oldest level first; shape (n,).

    ``kind`` is 1 for a resistance and -1 for a support.
    """

    price: npt.NDArray[np.float64]
    kind: npt.NDArray[np.int64]
    start_us: npt.NDArray[np.int64]
    stop_us: npt.NDArray[np.int64]
    born_us: npt.NDArray[np.int64]
    level_id: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Return what it takes to keep them, ids at some 100 bytes each."""
        return 5 * self.price.nbytes + 100 * len(self.level_id)

    def nearest(
        self, as_of_us: int, price: float
    ) -> tuple[NearestLevel | None, NearestLevel | None]:
        """Return the highest support below and the lowest resistance above, known by an instant."""
        acts = (self.start_us <= as_of_us) & (as_of_us < self.stop_us)
        below = np.flatnonzero(acts & (self.kind < 0) & (self.price < price))
        above = np.flatnonzero(acts & (self.kind > 0) & (self.price > price))
        support = below[self.price[below].argmax()] if below.size else None
        resistance = above[self.price[above].argmin()] if above.size else None
        return self._at(support), self._at(resistance)

    def _at(self, index: np.int64 | None) -> NearestLevel | None:
        if index is None:
            return None
        return NearestLevel(float(self.price[index]), self.level_id[int(index)])


def active_levels(done: Extended, before: State) -> ActiveLevels:
    """Return when which level acted, from the state before a run and the run's own events."""
    known_at = done.bars["known_at"].to_physical().to_list()
    spans: list[tuple[int, float, int, int, int]] = []  # born, price, kind, start, stop
    acting: dict[int, tuple[float, int, int]] = {}
    standing = kernel.table(dict(before))
    for born, kind, is_broken, price, _ in zip(*(x.tolist() for x in standing), strict=True):
        if not is_broken:
            acting[born] = (price, kind, ALWAYS_US)
    events = done.run.events
    columns = (events.bar, events.code, events.born_us, events.kind, events.price)
    for bar, code, born, kind, price in zip(*(x.tolist() for x in columns), strict=True):
        if code in _BEGINS:
            acting[born] = (price, kind, known_at[bar])
        elif code in _ENDS and born in acting:
            was_price, was_kind, start = acting.pop(born)
            spans.append((born, was_price, was_kind, start, known_at[bar]))
    spans += [(born, price, kind, start, NEVER_US) for born, (price, kind, start) in acting.items()]
    spans.sort()
    born_us = np.array([s[0] for s in spans], dtype=np.int64)
    return ActiveLevels(
        price=np.array([s[1] for s in spans], dtype=np.float64),
        kind=np.array([s[2] for s in spans], dtype=np.int64),
        start_us=np.array([s[3] for s in spans], dtype=np.int64),
        stop_us=np.array([s[4] for s in spans], dtype=np.int64),
        born_us=born_us,
        level_id=tuple(done.level_ids(born_us).to_list()),
    )
