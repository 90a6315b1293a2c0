"""Bit for bit comparison of two frames by key, with words for what differs.

Belongs here: what the causality certificate and a reproduction compare. Keep out: tolerance.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

SHOWN = 3  # differences described of a kind; the others are counted


def differences(expected: pl.DataFrame, found: pl.DataFrame, key: Sequence[str]) -> list[str]:
    """Describe rows that are in one frame alone, and values that differ in a bit (null is equal).

    Compares the columns of ``expected``; rows may come in any order.
    """
    if _is_equal(expected, found):
        return []
    keys = list(key)
    texts = list[str]()
    if not expected.select(keys).equals(found.select(keys)):
        lost = expected.join(found, on=keys, how="anti")
        added = found.join(expected, on=keys, how="anti")
        texts += _rows(lost, keys, "expected a row, was none")
        texts += _rows(added, keys, "expected no row, was one")
        expected, found = _common(expected, found, keys), _common(found, expected, keys)
        if expected.height != found.height:
            return [*texts, f"{', '.join(keys)}: expected unique rows, was a key twice"]
    for name in expected.columns:
        texts += _values(expected, found, name, keys)
    return texts


def _is_equal(expected: pl.DataFrame, found: pl.DataFrame) -> bool:
    """Return whether the frames are equal row by row, by few calls for all columns at once."""
    if expected.columns != found.columns or expected.dtypes != found.dtypes:
        return False
    # ``equals`` tells null from NaN, which ``to_numpy`` does not, and bits tell 0 from -0
    return expected.equals(found) and all(
        was.to_numpy().tobytes() == now.to_numpy().tobytes()
        for was, now in zip(expected.get_columns(), found.get_columns(), strict=True)
        if was.dtype == pl.Float64 and was.null_count() < was.len()
    )


def _common(frame: pl.DataFrame, other: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    return frame.join(other, on=keys, how="semi").sort(keys)


def _rows(frame: pl.DataFrame, keys: list[str], text: str) -> list[str]:
    shown = [f"{_called(row)}: {text}" for row in frame.select(keys).head(SHOWN).iter_rows()]
    return shown + _others(frame.height, text)


def _values(expected: pl.DataFrame, found: pl.DataFrame, name: str, keys: list[str]) -> list[str]:
    if name not in found.columns:
        return [f"{name}: expected a column, was none"]
    was, now = expected[name], found[name]
    if was.dtype != now.dtype:
        return [f"{name}: expected {was.dtype}, was {now.dtype}"]
    at = np.flatnonzero(_differs(was, now))
    shown = [
        f"{_called(expected.select(keys).row(i))}.{name}: expected {was[i]!r}, was {now[i]!r}"
        for i in at[:SHOWN].tolist()
    ]
    return shown + _others(at.size, name)


def _differs(was: pl.Series, now: pl.Series) -> npt.NDArray[np.bool_]:
    differs = was.ne_missing(now).to_numpy()
    if was.dtype == pl.Float64:
        # equal values may differ in the sign of a zero or in a NaN
        bits = (x.fill_null(0.0).to_numpy().view(np.int64) for x in (was, now))
        differs = differs | (next(bits) != next(bits))
    return np.asarray(differs, dtype=np.bool_)


def _called(key: tuple[object, ...]) -> str:
    return "/".join(str(part) for part in key)


def _others(count: int, what: str) -> list[str]:
    return [f"{what}: {count - SHOWN} more"] if count > SHOWN else []
