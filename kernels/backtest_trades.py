"""What becomes of orders: fills, stops, costs, and the trades that they make.

Belongs here: the rules of filling, each in one place. Keep out: what the trades are worth together
(``performance_metrics``).

An order given at a close is filled at the next bar's open; one aimed at ``AT_CLOSE`` at its own
bar's close; a stop at its price, or at the open of a bar that begins beyond it. Every fill's price
is worse by the slippage, and every fill pays the commission on its value. Equity is kept as what it
was at the entry plus what the position has gained since, which is cash plus market value without
its cancellation: a price that does not move leaves it the same to the last bit.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from kernels.backtest_orders import AT_CLOSE
from kernels.gate import Matrix, Series
from kernels.jit import compiled_ieee

Prices = tuple[Series, Series, Series, Series]

ENTRY_BAR: Final = 0
EXIT_BAR: Final = 1  # the number of bars, where it is still open
SIDE: Final = 2
QUANTITY: Final = 3
ENTRY_PRICE: Final = 4
EXIT_PRICE: Final = 5  # the last close, where it is still open
BASE: Final = 6  # equity at the entry, less its commission
EQUITY: Final = 7  # equity at the exit, after all costs
PNL: Final = 8
REASON: Final = 9
COLUMNS: Final = 10

OPEN: Final = -1
SIGNAL: Final = 0
STOP: Final = 1
SESSION: Final = 2
RUIN: Final = 3
REASONS: Final = ("signal", "stop", "session_end", "ruin")

_WHOLE: Final = 1.0 + 1e-12  # as near as this to a whole number of lots, or to the cash, is there


@compiled_ieee
def traded(
    prices: Prices,
    orders: tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int8]],
    stops: tuple[Series, Series],
    account: Series,
    is_optimistic: bool,  # noqa: FBT001 - positional, as numba wants it
    trades: Matrix,
) -> tuple[int, int, int]:
    """Write the trades that ``orders`` make; return how many, orders rejected, ambiguous entries.

    A position that is still open comes last, marked to the last close. Where the bar of an entry
    also reached its stop, its order of events is unknown, and the trade is the worse of both, or
    the better one if ``is_optimistic``. ``account`` is ``Account.row`` and the highest close.
    """
    opens, highs, lows, closes = prices
    count, bars, targets = orders
    stop_of_long, stop_of_short = stops
    equity, commission, slippage, ceiling = account[0], account[2], account[3], account[5]
    n, made, rejected, ambiguous = closes.size, 0, 0, 0
    for k in range(count):
        entry = bars[k] + 1
        if targets[k] == 0 or targets[k] == AT_CLOSE or entry >= n:
            continue
        side = float(targets[k])
        fill = opens[entry] * (1.0 + side * slippage)
        quantity = _quantity(equity, fill, account)
        if not quantity > 0.0:
            rejected += 1
            continue
        at = bars[k + 1] if k + 1 < count else n
        out, reference, reason = n, closes[n - 1], OPEN
        if at < n and targets[k + 1] == AT_CLOSE:
            out, reference, reason = at, closes[at], SESSION
        elif at + 1 < n:
            out, reference, reason = at + 1, opens[at + 1], SIGNAL
        if stop_of_long.size:
            stop = stop_of_long[bars[k]] if side > 0.0 else stop_of_short[bars[k]]
            planned, how = (out, reference, reason), (account, is_optimistic)
            leave, is_ambiguous = _left((opens, highs, lows), side, stop, entry, planned, how)
            out, reference, reason = leave
            ambiguous += is_ambiguous
        fee = quantity * fill * commission
        base = equity - fee
        if side < 0.0 and base - quantity * (ceiling - fill) <= 0.0:
            leave = out, reference, reason
            out, reference, reason = _ruined(closes, entry, leave, base, quantity, fill)
        price = reference if reason == OPEN else reference * (1.0 - side * slippage)
        last_fee = 0.0 if reason == OPEN else quantity * price * commission
        gained = side * quantity * (price - fill)
        equity = base + gained - last_fee
        _write(trades, made, (entry, out, reason), (side, quantity, fill, price), base, equity)
        trades[made, PNL] = gained - fee - last_fee
        made += 1
        if reason == RUIN:
            break
    return made, rejected, ambiguous


@compiled_ieee
def _write(
    trades: Matrix,
    row: int,
    when: tuple[int, int, int],
    fills: tuple[float, float, float, float],
    base: float,
    equity: float,
) -> None:
    trades[row, ENTRY_BAR], trades[row, EXIT_BAR], trades[row, REASON] = when
    trades[row, SIDE], trades[row, QUANTITY] = fills[0], fills[1]
    trades[row, ENTRY_PRICE], trades[row, EXIT_PRICE] = fills[2], fills[3]
    trades[row, BASE], trades[row, EQUITY] = base, equity


@compiled_ieee
def _quantity(equity: float, fill: float, account: Series) -> float:
    """Return the share of equity that is wanted, less where its commission could not be paid."""
    size, commission, lot = account[1], account[2], account[4]
    quantity: float = min(size, 1.0 / (1.0 + commission)) * equity / fill
    if lot > 0.0:
        quantity = np.floor(quantity / lot * _WHOLE) * lot
        if quantity * fill * (1.0 + commission) > equity * _WHOLE:
            quantity -= lot
    return quantity


@compiled_ieee
def _left(
    prices: tuple[Series, Series, Series],
    side: float,
    stop: float,
    entry: int,
    planned: tuple[int, float, int],
    how: tuple[Series, bool],
) -> tuple[tuple[int, float, int], bool]:
    """Return the exit that a stop leaves of the planned one, and whether it is ambiguous.

    A bar that begins beyond the stop fills it at its open, the entry's own bar too. One that only
    reaches it in the bar of the entry may have done so before the entry was filled.
    """
    opens, highs, lows = prices
    account, is_optimistic = how
    first = _stopped(highs, lows, side, stop, entry, planned)
    if first < 0:
        return planned, False
    beyond = min(stop, opens[first]) if side > 0.0 else max(stop, opens[first])
    leave = first, beyond, STOP
    if first > entry or side * (opens[entry] - stop) <= 0.0:
        return leave, False
    other = planned
    later = _stopped(highs, lows, side, stop, entry + 1, planned)
    if later >= 0:
        beyond = min(stop, opens[later]) if side > 0.0 else max(stop, opens[later])
        other = later, beyond, STOP
    gain = _worth(side, other, account) - _worth(side, leave, account)
    is_taken = gain > 0.0 if is_optimistic else gain < 0.0
    return (other if is_taken else leave), True


@compiled_ieee
def _stopped(
    highs: Series,
    lows: Series,
    side: float,
    stop: float,
    first: int,
    planned: tuple[int, float, int],
) -> int:
    """Return the first bar that reaches the stop before the planned exit, or -1.

    An exit at a close leaves the whole of its bar to the stop.
    """
    last = planned[0] + (1 if planned[2] == SESSION else 0)
    for i in range(first, last):
        if (side > 0.0 and lows[i] <= stop) or (side < 0.0 and highs[i] >= stop):
            return i
    return -1


@compiled_ieee
def _worth(side: float, leave: tuple[int, float, int], account: Series) -> float:
    """Return what a unit brings at this exit, after costs: below zero for a short, which pays."""
    worth: float = side * leave[1]
    if leave[2] != OPEN:
        worth *= (1.0 - side * account[3]) * (1.0 - side * account[2])
    return worth


@compiled_ieee
def _ruined(
    closes: Series,
    entry: int,
    leave: tuple[int, float, int],
    base: float,
    quantity: float,
    fill: float,
) -> tuple[int, float, int]:
    """Return the exit of a short: at the first close that leaves no equity, if that is earlier."""
    for i in range(entry, leave[0]):
        if base - quantity * (closes[i] - fill) <= 0.0:
            return i, closes[i], RUIN
    return leave
