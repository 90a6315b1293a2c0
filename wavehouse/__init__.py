"""The notebook's door: read what is materialised as Polars frames.

    import wavehouse as wh
    wh.labels("EURUSD", "H4", "2017")
    wh.candles("EURUSD", "H1", "2017-05", "2017-06")

Every function takes an instrument, a timeframe, and a span as ``"2017"``, ``"2017-05"``, or a first
and a last month. ``wh.versions`` says which immutable partitions a frame came from.
"""

from wavehouse.reading import candles, features, instruments, labels, level_events, levels, versions

__all__ = [
    "candles",
    "features",
    "instruments",
    "labels",
    "level_events",
    "levels",
    "versions",
]
