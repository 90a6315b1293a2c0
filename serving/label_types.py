"""Label types by name, number and group, in one place for every route."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

BARRIER: Final = "enhanced_triple_barrier"
TIME_TO_BARRIER: Final = "time_to_barrier"
PLAIN_TYPES: Final = (
    "forward_return", "return_sign", "vol_scaled_return", "return_quantile", "triple_barrier",
    "mfe", "mae", "profit_factor", "retouch_count", "touch_run", "breakout_occurred",
    "nearest_breakout_occurred", "flip_occurred", "range_expansion", "event_burst",
    "drawdown_depth", "end_vs_extremum_gap", "max_penetration", "time_underwater",
    "path_skewness", "nearest_level_distance", "next_touch_time", "trend_scan_sign",
    "trend_scan_t", "meta_label",
)  # fmt: skip
LABEL_TYPES: Final = (BARRIER, TIME_TO_BARRIER, *PLAIN_TYPES)
ALIASES: Final[Mapping[str, str]] = {
    "2": "vol_scaled_return", "4": "return_quantile", "6": "triple_barrier",
    "7": TIME_TO_BARRIER, "9": "mfe", "10": "mae", "11.a": BARRIER, "12": "retouch_count",
    "15": "touch_run", "16": "breakout_occurred", "17": "flip_occurred", "22": "range_expansion",
    "24": "event_burst", "28": "drawdown_depth", "31": "end_vs_extremum_gap",
    "35": "max_penetration",
}  # fmt: skip
GROUPS: Final[Mapping[str, Sequence[str]]] = {"trend_scan": ("trend_scan_sign", "trend_scan_t")}


def known_types(names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the label types that are meant, in the table's order, and the names of none."""
    meant: set[str] = set()
    unknown = []
    for name in names:
        found = GROUPS.get(name, (ALIASES.get(name, name),))
        meant.update(found)
        if not LABEL_TYPE_SET.issuperset(found):
            unknown.append(name)
    return tuple(name for name in LABEL_TYPES if name in meant), tuple(dict.fromkeys(unknown))


def suggestion(name: str) -> str:
    """Return ``; did you mean …?`` where a name is near one that there is."""
    near = difflib.get_close_matches(name, (*LABEL_TYPES, *GROUPS, *ALIASES), n=1)
    return f"; did you mean {near[0]}?" if near else ""


LABEL_TYPE_SET: Final = frozenset(LABEL_TYPES)
