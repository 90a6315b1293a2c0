"""What a request's symbol and columns must be, whatever form they came in.

Belongs here: rules on values. Keep out: how a body is read (``json_bodies``, ``arrow_bodies``).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from kernels.gate import Series
from market.errors import InputError
from serving.errors import Detail

MAX_SYMBOL: Final = 20
MAX_SESSION: Final = 2**53  # whole numbers below it are exact in a float64

Columns = Mapping[str, Series]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


def symbol_fault(symbol: object) -> Detail | None:
    """Return what is wrong with a symbol."""
    if not isinstance(symbol, str):
        return Detail("symbol", "expected a string", "STRING_TYPE")
    if not 1 <= len(symbol) <= MAX_SYMBOL:
        message = f"expected 1 to {MAX_SYMBOL} characters, was {len(symbol)}"
        return Detail("symbol", message, "STRING_LENGTH")
    return None


def column_fault(column: str, field: str, x: Series) -> Detail | None:
    """Return the first number of a column that cannot be; ``field`` is how the request calls it.

    The column has at least one; NaN is among what cannot be.
    """
    least, most = float(x.min()), float(x.max())
    if column == "volume":
        is_bad, expected = not (least >= 0.0 and most < math.inf), "a finite number of at least 0"
    elif column == "session":
        is_bad = not (least > -MAX_SESSION and most < MAX_SESSION and bool((x == np.rint(x)).all()))
        expected = "a whole number below 2**53"
    else:
        is_bad, expected = not (least > 0.0 and most < math.inf), "a finite number above 0"
    if not is_bad:
        return None
    i = int(np.argmax(_bad(column, x)))
    return Detail(f"{field}.{i}", f"expected {expected}, was {x[i]:.17g}", "OUT_OF_RANGE")


def list_faults(field: str, values: Sequence[Any], most: int) -> list[Detail]:
    """Return which of a list's values are not numbers."""
    faults = []
    for i, value in enumerate(values):
        if type(value) is not float and type(value) is not int:
            faults.append(Detail(f"{field}.{i}", "expected a number", "FLOAT_TYPE"))
            if len(faults) == most:
                break
    return faults


def length_fault(field: str, points: int, most: int) -> Detail | None:
    """Return whether a column is empty or too long."""
    if points == 0:
        return Detail(field, "expected at least 1 number, was 0", "TOO_SHORT")
    if points > most:
        return Detail(field, f"expected at most {most} numbers, was more", "TOO_LONG")
    return None


def check_lengths(columns: Columns, names: Mapping[str, str]) -> None:
    """Raise ``InputError`` if the columns are not of one length."""
    first, *others = columns
    for name in others:
        if columns[name].size != columns[first].size:
            raise InputError(
                f"{names.get(name, name)}: expected as many numbers as {names.get(first, first)} "
                f"({columns[first].size}), was {columns[name].size}"
            )


def is_crossed(columns: Mapping[str, Any]) -> bool:
    """Say whether a high lies below its low, in arrays of any shape."""
    if "high" not in columns or "low" not in columns:
        return False
    return bool((columns["high"] < columns["low"]).any())


def check_range(columns: Columns) -> None:
    """Raise ``InputError`` for the first high that lies below its low."""
    if is_crossed(columns):
        i = int(np.argmax(columns["high"] < columns["low"]))
        high, low = columns["high"][i], columns["low"][i]
        raise InputError(f"high.{i}: expected at least low.{i} ({low:.17g}), was {high:.17g}")


def _bad(column: str, x: Series) -> Flags:
    if column == "session":
        whole: Flags = (np.abs(x) < MAX_SESSION) & (x == np.rint(x))
        return ~whole
    good: Flags = (x < math.inf) & ((x >= 0.0) if column == "volume" else (x > 0.0))
    return ~good
