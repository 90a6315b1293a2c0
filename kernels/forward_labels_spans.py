"""Levels over time as arrays: in which stretch of bars was which level active, in which role.

Belongs here: reading the event log. Keep out: what makes an event (``levels``), and what follows
from levels (``forward_labels_levels``).
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.gate import Instants, Series
from kernels.levels import EVENTS, Events, Levels

NEVER: Final = 2**62
"""The stop of a span whose level still stands."""

Flags = npt.NDArray[np.bool_]


class Spans(NamedTuple):
    """Stretches in which a level was active in one role, by start; shape (spans,).

    ``kind`` 1 resistance or -1 support; ``born`` the bar that made the level, ``start`` the bar at
    whose close it became active, -1 for before the first; ``stop`` the bar in which it ceased to
    be, by a break or else (``is_broken``), or NEVER. ``is_flipped``: it began with a flip.
    """

    price: Series
    kind: Instants
    born: Instants
    start: Instants
    stop: Instants
    is_flipped: Flags
    is_broken: Flags


def active_spans(events: Events, standing: Levels | None = None) -> Spans:
    """Return when which level was active in which role, out of the event log.

    Parameters
    ----------
    events : Events
        What one run of the level machine told, in its order.
    standing : Levels, optional
        The levels that stood before its first candle: ``levels.table`` of the state it started
        from. None by default.

    Returns
    -------
    Spans

    Raises
    ------
    ValueError
        If a level begins twice without an end between: the log is not of one run, or ``standing``
        is not what it started from.

    Examples
    --------
    >>> us, one = np.array([7, 7]), np.array([1, 1])
    >>> log = Events(np.array([2, 5]), np.array([1, 7]), us, one, *np.ones((4, 2)))
    >>> spans = active_spans(log)
    >>> spans.start, spans.stop, spans.is_broken
    (array([2]), array([5]), array([ True]))
    """
    n, (born_us, kind, price) = 0, (events.born_us, events.kind, events.price)
    bar, code = events.bar, events.code
    if standing is not None:  # as if they were made before the first bar
        was_active = ~standing.is_broken
        n = int(was_active.sum())
        born_us = np.concatenate([standing.born_us[was_active], born_us])
        kind = np.concatenate([standing.kind[was_active], kind])
        price = np.concatenate([standing.price[was_active], price])
        bar = np.concatenate([np.full(n, -1), bar])
        code = np.concatenate([np.full(n, _codes("NEW")[0]), code])
    turns = np.flatnonzero(np.isin(code, _codes("NEW", "FLIP", "BREAK", "DEACTIVATE")))
    order = turns[np.lexsort((turns, born_us[turns]))]  # level after level, each in its order
    level, bar, code = born_us[order], bar[order], code[order]
    is_last = np.append(level[1:] != level[:-1], np.ones(min(level.size, 1), dtype=np.bool_))
    is_new, is_flip = np.isin(code, _codes("NEW")), np.isin(code, _codes("FLIP"))
    begins = is_new | is_flip
    if (begins[:-1] & begins[1:] & ~is_last[:-1]).any():
        raise ValueError("events: expected an end before a level begins again, was none")
    born = np.where(is_new, bar, -1)[np.searchsorted(level, level)]  # of each level's first event
    stop = np.where(is_last, NEVER, np.append(bar[1:], bar[:1]))
    is_broken = ~is_last & np.isin(np.append(code[1:], code[:1]), _codes("BREAK"))
    acted = (stop > bar) | is_flip  # what its own bar evicted never did, but a flip was one
    kept = np.flatnonzero(begins & acted)
    kept = kept[np.argsort(bar[kept], kind="stable")]
    return Spans(
        price=price[order][kept],
        kind=kind[order][kept],
        born=born[kept],
        start=bar[kept],
        stop=stop[kept],
        is_flipped=is_flip[kept],
        is_broken=is_broken[kept],
    )


def _codes(*prefixes: str) -> list[int]:
    return [code for code, name in enumerate(EVENTS) if name.startswith(prefixes)]
