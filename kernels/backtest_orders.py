"""What a backtest is given: bars, the position wanted after each of them, and an account.

Belongs here: the nouns and their checks, and how wanted positions become orders. Keep out: which
position is wanted (``strategies``), and what becomes of an order (``backtest_trades``).
"""

import math
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from kernels.backtest_words import changes, packed_bytes
from kernels.gate import Series, series
from kernels.jit import compiled

Positions = np.ndarray[tuple[int], np.dtype[np.int8]]
"""The position wanted at each bar's close: -1 short, 0 none, +1 long; shape (n,)."""

Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]
"""A truth a bar, shape (n,)."""

Orders = tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]
"""Bars at whose close an order is given, and what it aims at: -1, 0, +1 or ``AT_CLOSE``."""

AT_CLOSE: Final = 2  # no position from this very close on
_INFINITY: Final = 0x7FF0000000000000


def _no_prices() -> Series:
    return series(np.empty(0), "none")


def _no_flags() -> Flags:
    return np.zeros(0, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars in order of time: float64, shape (n,), price units, all above zero and finite.

    ``high`` and ``low`` may be left out where nothing reads them: no stop, no channel. Given, no
    bar's open or close may lie outside them.

    Raises
    ------
    ValueError
        If shapes differ, a price is not a finite number above zero, or a bar contradicts itself.

    Examples
    --------
    >>> Bars(open=[1.0, 2.0], close=[2.0, 2.5]).size
    2
    """

    open: Series
    close: Series
    high: Series = field(default_factory=_no_prices)
    low: Series = field(default_factory=_no_prices)
    highest_close: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        """Take each column through the gate, and look for a bar that cannot be."""
        for name in ("open", "close", "high", "low"):
            object.__setattr__(self, name, series(getattr(self, name), name))
        if self.close.size != self.open.size:
            raise ValueError(
                f"close: expected {self.open.size} bars as open, was {self.close.size}"
            )
        if self.high.size or self.low.size:
            for name in ("high", "low"):
                if (size := getattr(self, name).size) != self.open.size:
                    raise ValueError(f"{name}: expected {self.open.size} bars as open, was {size}")
        for name in ("open", "close", "high", "low"):
            column = getattr(self, name)
            are_prices, highest = _surveyed(column)
            if not are_prices:
                at = np.flatnonzero(~((column > 0.0) & (column < np.inf)))[0]
                raise ValueError(
                    f"{name}: expected finite prices above 0, was {column[at]} at bar {at}"
                )
            if name == "close":
                object.__setattr__(self, "highest_close", highest)
        if self.high.size and (at := _first_contradiction(*self.all)) < self.size:
            bar = ", ".join(f"{n} {getattr(self, n)[at]}" for n in ("open", "high", "low", "close"))
            raise ValueError(f"high, low: expected open and close between them, was {bar}")

    @property
    def size(self) -> int:
        """The number of bars."""
        return self.open.size

    @property
    def all(self) -> tuple[Series, Series, Series, Series]:
        """Open, high, low, close."""
        return self.open, self.high, self.low, self.close

    def require_range(self, what: str) -> None:
        """Raise ``ValueError`` unless high and low are there, which ``what`` reads."""
        if self.size and not self.high.size:
            raise ValueError(f"high, low: expected both, which {what} reads, was neither")


@dataclass(frozen=True, slots=True)
class Account:
    """What is traded with, and what trading costs; the source's defaults.

    ``initial_capital`` in money; ``position_size`` the share of equity put into a position, in
    (0, 1]; ``commission`` a rate on each fill's value and ``slippage`` a rate by which each fill's
    price is worse, both in [0, 1); quantities are whole multiples of ``lot_size``, or any number
    where it is 0.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    initial_capital: float = 100_000.0
    position_size: float = 0.1
    commission: float = 0.001
    slippage: float = 0.0005
    lot_size: float = 0.0

    def __post_init__(self) -> None:
        """Check each value."""
        if not 0.0 < self.initial_capital < math.inf:
            raise ValueError(f"initial_capital: expected > 0, was {self.initial_capital}")
        if not 0.0 < self.position_size <= 1.0:
            raise ValueError(f"position_size: expected in (0, 1], was {self.position_size}")
        for name in ("commission", "slippage"):
            if not 0.0 <= (rate := getattr(self, name)) < 1.0:
                raise ValueError(f"{name}: expected in [0, 1), was {rate}")
        if not 0.0 <= self.lot_size < math.inf:
            raise ValueError(f"lot_size: expected >= 0, was {self.lot_size}")

    @property
    def row(self) -> Series:
        """The five values in order, as compiled code takes them."""
        return np.array(
            [
                self.initial_capital,
                self.position_size,
                self.commission,
                self.slippage,
                self.lot_size,
            ],
            dtype=np.float64,
        )


@dataclass(frozen=True, slots=True)
class Signals:
    """What a strategy wants at each bar's close, known at that close.

    ``position`` -1, 0 or +1, int8, shape (n,): where it differs from the bar before, an order is
    given. ``stop``, float64, shape (n,) or empty: the price of the stop that goes with an entry
    ordered at that bar, NaN for none. ``is_flat_at_close``, bool, shape (n,) or empty: bars whose
    close ends any position (a session's last, known beforehand); ``position`` is 0 there.

    Raises
    ------
    ValueError
        If shapes differ, or a position is none of the three.
    """

    position: Positions
    stop: Series = field(default_factory=_no_prices)
    is_flat_at_close: Flags = field(default_factory=_no_flags)
    _known: Orders | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def following(cls, orders: Orders, n: int) -> Self:
        """Return the positions, read-only, that ``orders`` ask for over ``n`` bars.

        Each has to want another position than the one before: then they are the orders of these
        positions, and are not looked for again.
        """
        position = np.empty(n, dtype=np.int8)
        _hold(*orders, position)
        position.flags.writeable = False
        made = cls(position)
        if (np.abs(orders[1]) <= 1).all():  # ``AT_CLOSE`` is not in the positions
            object.__setattr__(made, "_known", orders)
        return made

    def __post_init__(self) -> None:
        """Check shapes and values."""
        given: np.ndarray[Any, np.dtype[Any]] = np.asarray(self.position)
        if given.ndim != 1:
            raise ValueError(f"position: expected shape (n,), was {given.shape}")
        position = np.ascontiguousarray(given, dtype=np.int8)
        is_whole = given.dtype == np.int8 or (position == given).all()
        if not (is_whole and position.min(initial=0) >= -1 and position.max(initial=0) <= 1):
            raise ValueError("position: expected -1, 0 or +1 at every bar")
        flat = np.ascontiguousarray(self.is_flat_at_close, dtype=np.bool_)
        object.__setattr__(self, "position", position)
        object.__setattr__(self, "stop", series(self.stop, "stop"))
        object.__setattr__(self, "is_flat_at_close", flat)
        for name in ("stop", "is_flat_at_close"):
            if (column := getattr(self, name)).shape not in {(0,), position.shape}:
                raise ValueError(
                    f"{name}: expected shape {position.shape} or none, was {column.shape}"
                )
        if flat.size and position[flat].any():
            raise ValueError("position: expected 0 at a bar that is flat at its close")

    @property
    def orders(self) -> Orders:
        """Bars with an order, and what each aims at."""
        if self._known is not None:
            return self._known
        bars = np.empty(self.position.size, dtype=np.int64)
        count = changes(packed_bytes(self.position), self.position.size, bars)
        bars = bars[:count]
        target = self.position[bars]
        if self.is_flat_at_close.size:
            target = np.where(self.is_flat_at_close[bars], np.int8(AT_CLOSE), target)
        return bars, target


@compiled
def _surveyed(x: Series) -> tuple[bool, float]:
    """Return whether all are finite and above 0, and the highest of them, 0 of none."""
    # the bits of a finite float above 0 are an integer between 0 and those of infinity
    bits = x.view(np.int64)
    low, high = _INFINITY - 1, 0
    for i in range(bits.size):
        low = min(low, bits[i])
        high = max(high, bits[i])
    return low > 0 and high < _INFINITY, np.int64(high).view(np.float64)


@compiled
def _first_contradiction(opens: Series, highs: Series, lows: Series, closes: Series) -> int:
    for i in range(opens.size):
        if highs[i] < max(opens[i], closes[i]) or lows[i] > min(opens[i], closes[i]):
            return i
    return opens.size


@compiled
def _hold(bars: npt.NDArray[np.int64], targets: npt.NDArray[np.int8], position: Positions) -> None:
    """Write the position wanted at each close, as the orders have it."""
    n, count = position.size, bars.size
    position[: bars[0] if count else n] = 0
    for k in range(count):
        end = bars[k + 1] if k + 1 < count else n
        position[bars[k] : end] = 0 if targets[k] == AT_CLOSE else targets[k]
