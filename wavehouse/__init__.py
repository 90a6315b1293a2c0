"""The notebook's door: read what is materialised as Polars frames.

    import wavehouse as wh
    wh.labels("EURUSD", "H4", "2017")
    wh.candles("EURUSD", "H1", "2017-05", "2017-06")

Every function takes an instrument, a timeframe, and a span as ``"2017"``, ``"2017-05"``, or a first
and a last month. ``wh.versions`` says which immutable partitions a frame came from,
``wh.attributes`` what was recorded with them, ``wh.model`` loads what an alias names.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wavehouse.reading import (
        attributes,
        candles,
        evaluations,
        features,
        instruments,
        labels,
        level_events,
        levels,
        model,
        training_set,
        versions,
    )

__all__ = [
    "attributes",
    "candles",
    "evaluations",
    "features",
    "instruments",
    "labels",
    "level_events",
    "levels",
    "model",
    "training_set",
    "versions",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - one of the functions above
    """Import the read functions when one is asked: ``wavehouse --help`` waits for no Polars."""
    if name in __all__:
        return getattr(import_module("wavehouse.reading"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
