"""What a registered version says of itself in MLflow: one paragraph, from its bundle alone.

Belongs here: the words. Keep out: figures that the bundle or its judgement does not hold.
"""

import datetime as dt
from typing import Final

from learning.bundle import Bundle

_PURPOSES: Final = {  # of the blocks, in order of time
    "train": "to train on",
    "calibration": "to calibrate on",
    "conformal": "to size the sets",
}
_NOT_JUDGED: Final = (
    "Not judged yet: that takes labels of the month after the cutoff, once matured."
)


def describe(bundle: Bundle, verdict: str | None = None) -> str:
    """Say what a version is, what it was trained on, and what was found when it was judged.

    Parameters
    ----------
    bundle : Bundle
    verdict : str, optional
        ``Evaluation.verdict``; none before it was judged.
    """
    made = bundle.provenance
    rows = (f"{made.rows.get(block, 0)} rows {purpose}" for block, purpose in _PURPOSES.items())
    cutoff = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=made.cutoff_us)
    what = (
        f"{bundle.kind} on {made.timeframe} bars: calibrated probabilities of the enhanced triple "
        f"barrier's bearish, neutral and bullish over {bundle.passage.horizon_bars} bars, from "
        f"{len(bundle.features)} features, with {1.0 - bundle.conformal.alpha:.0%} conformal sets."
    )
    when = f"Made from {_list(list(rows))}, all matured by the cutoff {cutoff:%Y-%m-%d %H:%M} UTC."
    source = (
        f"Training set {made.data_version}{_partitions(bundle)}; labels {made.label_version}; "
        f"code {made.code_version}."
    )
    found = _NOT_JUDGED if verdict is None else f"Judged after the cutoff: {verdict}."
    return f"{what} {when} {source} {found}"


def _partitions(bundle: Bundle) -> str:
    """Return which partitions were read; their versions are in the run's ``wavehouse.inputs``."""
    keys = {path.partition("#")[0] for path in bundle.provenance.inputs}
    parts = [key.split("/") for key in sorted(keys)]
    if not parts:
        return ""
    tables = sorted({part[0] for part in parts})
    instruments = sorted({part[2] for part in parts})
    months = sorted(part[3] for part in parts)
    count = f"{len(parts)} partition{'s' * (len(parts) > 1)}"
    return f" from {count} ({_list(tables)} of {_list(instruments)}, {months[0]} to {months[-1]})"


def _list(names: list[str]) -> str:
    *first, last = names or ["none"]
    return f"{', '.join(first)} and {last}" if first else last
