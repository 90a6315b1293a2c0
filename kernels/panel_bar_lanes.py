"""The arithmetic of ``panel_bar``: one bar, its symbols side by side in the inner loops.

Belongs here: what happens to the state, ``[chunk, row, symbol]``, a chunk after the other. The rows
of a window are a ring: those after ``place`` hold sums of what came in the turn before, from there
to its end; those before it what came in this turn, whose sum so far is a row of its own. A turn
over, the sums are made anew. The chunks have their turns at different bars.
"""

from typing import Any, Final

import numpy as np

from kernels.blocks import U
from kernels.gate import Matrix, Series
from kernels.jit import compiled_ieee, compiled_inline

CHUNK: Final = 512

SEEN: Final = 0  # rows of the state: bars, the same for every symbol
CLOSES: Final = 1  # closes that were not missing; then the last one, average rise and fall
BEFORE: Final = 2
RISE: Final = 3
FALL: Final = 4
EMA: Final = 5
FAST: Final = 6
SLOW: Final = 7
SIGNAL: Final = 8
RANGES: Final = 9  # bars with high, low and close; then the last one's close, their average range
ATR_BEFORE: Final = 10
ATR: Final = 11
OBV_BEFORE: Final = 12
OBV: Final = 13
TYPICAL: Final = 14
MFI: Final = 15  # sums of this turn: what rose, what fell
SMA: Final = 17
PIVOT: Final = 18  # what this turn's deviations are from; then their sum, and that of squares
RINGS: Final = 21

LINES: Final = 12
Cube = np.ndarray[Any, np.dtype[np.float64]]
Columns = tuple[Series, Series, Series, Series]
"""High, low, close, volume."""

ROUNDING: Final = 8.0 * 2.220446049250313e-16  # as in ``volume``: prices that tie, but for rounding


@compiled_inline
def place_of(seen: int, chunk: int, period: int) -> int:
    """Return where in its turn a chunk of symbols is."""
    return (seen + chunk * 11) % period


@compiled_ieee
def panel_bar_lanes(bars: Columns, settings: Series, state: Cube, out: Matrix) -> None:
    """Write the lines of one bar from its highs, lows, closes and volumes."""
    n, seen = out.shape[1], int(state[0, SEEN, 0])
    room, lines = np.empty((4, CHUNK)), np.empty((LINES, CHUNK))
    for chunk in range(state.shape[0]):
        first = chunk * CHUNK
        count = min(CHUNK, n - first)
        for k in range(4):
            _finite(bars[k][first : first + count], room[k])
        _by_close(room[2, :count], settings, state[chunk], (seen, chunk), lines)
        columns = room[0, :count], room[1, :count], room[2, :count], room[3, :count]
        _by_bar(columns, settings, state[chunk], (seen, chunk), lines)
        for k in range(LINES):
            out[k, first : first + count] = lines[k, :count]
    state[0, SEEN, 0] = seen + 1


@compiled_ieee
def _by_close(
    close: Series, settings: Series, state: Matrix, turn: tuple[int, int], out: Matrix
) -> None:
    sma, bollinger = int(settings[0]), int(settings[5])
    _sma(close, state, place_of(turn[0], turn[1], sma), sma, out[0])
    _ema(close, state, settings[8], out[1])
    _rsi(close, state, settings[1], out[2])
    _macd(close, state, settings, out[3:6])
    _moved(close, state)
    place = place_of(turn[0], turn[1], bollinger)
    _bollinger(close, state[RINGS + sma + 1 :], state[PIVOT:RINGS], place, settings, out[6:9])


@compiled_ieee
def _by_bar(
    columns: Columns, settings: Series, state: Matrix, turn: tuple[int, int], out: Matrix
) -> None:
    high, low, close, volume = columns
    sma, bollinger, mfi = int(settings[0]), int(settings[5]), int(settings[7])
    _atr((high, low, close), state, settings[9], out[9])
    _obv(close, volume, state, out[10])
    signed = out[11, : close.size]
    _flows(columns, state[TYPICAL], signed)
    ring = state[RINGS + sma + 1 + 2 * (bollinger + 1) :]
    _mfi(signed, ring, state[MFI : MFI + 2], place_of(turn[0], turn[1], mfi), mfi)


@compiled_ieee
def _finite(x: Series, room: Series) -> None:
    for i in range(U(x.size)):
        value = x[i]
        room[i] = value if abs(value) < np.inf else np.nan


@compiled_inline
def _averaged(x: float, seen: float, period: float, weight: float, value: float) -> float:
    """Return the average moved to ``x``: a sum until ``period`` values were seen."""
    total = value + x
    early = total * (1.0 / period) if seen == period else total
    late = value + weight * (x - value) if seen > period else early
    return late if seen > 0.0 else value


@compiled_inline
def _share(part: float, other: float) -> float:
    whole = part + other
    return 50.0 if whole == 0.0 else 100.0 * (part / whole)


@compiled_ieee
def _ema(close: Series, state: Matrix, period: float, out: Series) -> None:
    closes, average = state[CLOSES], state[EMA]
    _moving(close, closes, average, period, 0.0)
    for i in range(U(close.size)):
        is_known = (close[i] == close[i]) & (closes[i] + 1.0 >= period)
        out[i] = average[i] if is_known else np.nan


@compiled_ieee
def _rsi(close: Series, state: Matrix, period: float, out: Series) -> None:
    closes, before, rise, fall = state[CLOSES], state[BEFORE], state[RISE], state[FALL]
    weight = 1.0 / period
    for i in range(U(close.size)):
        change = close[i] - before[i]
        seen = closes[i]
        is_here = change == change  # noqa: PLR0124 - not NaN
        up = change if change > 0.0 else 0.0  # noqa: FURB136 - of NaN, max is either
        down = -change if change < 0.0 else 0.0
        up = _averaged(up, seen, period, weight, rise[i])
        down = _averaged(down, seen, period, weight, fall[i])
        rise[i] = up if is_here else rise[i]
        fall[i] = down if is_here else fall[i]
        out[i] = _share(up, down) if is_here & (seen >= period) else np.nan


@compiled_ieee
def _macd(close: Series, state: Matrix, settings: Series, out: Matrix) -> None:
    n_fast, n_slow, n_signal = settings[2], settings[3], settings[4]
    _moving(close, state[CLOSES], state[FAST], n_fast, n_slow - n_fast)
    _moving(close, state[CLOSES], state[SLOW], n_slow, 0.0)
    closes, fast, slow, signal = state[CLOSES], state[FAST], state[SLOW], state[SIGNAL]
    line, average, histogram = out[0], out[1], out[2]
    weight = 2.0 / (n_signal + 1.0)
    for i in range(U(close.size)):
        is_here = close[i] == close[i]
        since, gap = closes[i] + (2.0 - n_slow), fast[i] - slow[i]
        smooth = _averaged(gap, since, n_signal, weight, signal[i])
        signal[i] = smooth if is_here else signal[i]
        is_known = is_here & (since >= n_signal)
        line[i] = gap if is_known else np.nan
        average[i] = smooth if is_known else np.nan
        histogram[i] = gap - smooth if is_known else np.nan


@compiled_ieee
def _moving(close: Series, closes: Series, average: Series, period: float, later: float) -> None:
    """Move an exponential average that begins so many closes later."""
    weight = 2.0 / (period + 1.0)
    for i in range(U(close.size)):
        x, value = close[i], average[i]
        moved = _averaged(x, closes[i] + (1.0 - later), period, weight, value)
        average[i] = moved if x == x else value  # noqa: PLR0124 - not NaN


@compiled_ieee
def _moved(close: Series, state: Matrix) -> None:
    closes, before = state[CLOSES], state[BEFORE]
    for i in range(U(close.size)):
        is_here = close[i] == close[i]
        closes[i] += 1.0 if is_here else 0.0
        before[i] = close[i] if is_here else before[i]


@compiled_ieee
def _atr(columns: tuple[Series, Series, Series], state: Matrix, period: float, out: Series) -> None:
    high, low, close = columns
    ranges, before, average = state[RANGES], state[ATR_BEFORE], state[ATR]
    weight = 1.0 / period
    for i in range(U(close.size)):
        h, low_, c, last, seen = high[i], low[i], close[i], before[i], ranges[i]
        is_here = h + low_ + c == h + low_ + c
        above, below = abs(h - last), abs(low_ - last)
        reach = above if above > h - low_ else h - low_  # noqa: FURB136 - of NaN, max is either
        reach = below if below > reach else reach  # noqa: FURB136
        moved = _averaged(reach, seen, period, weight, average[i])
        average[i] = moved if is_here else average[i]
        before[i] = c if is_here else last
        ranges[i] = seen + (1.0 if is_here else 0.0)
        out[i] = moved if is_here & (seen >= period) else np.nan


@compiled_ieee
def _obv(close: Series, volume: Series, state: Matrix, out: Series) -> None:
    before, total = state[OBV_BEFORE], state[OBV]
    for i in range(U(close.size)):
        x, last, value = close[i], before[i], total[i]
        is_here = x + volume[i] == x + volume[i]
        fallen = -volume[i] if x < last else 0.0
        moved = value + (fallen if x <= last else volume[i])  # the first has none before it
        before[i] = x if is_here else last
        total[i] = moved if is_here else value
        out[i] = moved if is_here else np.nan


@compiled_ieee
def _sma(close: Series, state: Matrix, place: int, period: int, out: Series) -> None:
    total, ring = state[SMA], state[RINGS:]
    here, rest = ring[place], ring[place + 1]
    inverse = 1.0 / period
    for i in range(U(close.size)):
        head = total[i] + close[i]
        total[i] = head
        out[i] = (rest[i] + head) * inverse
        here[i] = close[i]
    if place == period - 1:
        for row in range(period - 2, -1, -1):
            _add(ring[row + 1], ring[row])
        total[:] = 0.0


@compiled_ieee
def _add(x: Series, to: Series) -> None:
    for i in range(U(x.size)):
        to[i] += x[i]


@compiled_ieee
def _bollinger(
    close: Series, ring: Matrix, own: Matrix, place: int, settings: Series, out: Matrix
) -> None:
    period = int(settings[5])
    pivot, head, head2, here = own[0], own[1], own[2], ring[place]
    for i in range(U(close.size)):
        d = close[i] - pivot[i]
        here[i] = close[i]
        head[i] += d
        head2[i] += d * d
    place += 1
    if place == period:
        place = 0
        _pivoted(close, ring, own, period)
    _bands(own, ring[place], ring[period + 1 + place], settings, out)


@compiled_ieee
def _bands(own: Matrix, rest: Series, rest2: Series, settings: Series, out: Matrix) -> None:
    pivot, head, head2, lower, middle, upper = own[0], own[1], own[2], out[0], out[1], out[2]
    inverse, width = 1.0 / settings[5], settings[6]
    for i in range(U(pivot.size)):
        mean = (rest[i] + head[i]) * inverse
        variance = (rest2[i] + head2[i]) * inverse - mean * mean
        variance = 0.0 if variance < 0.0 else variance  # noqa: FURB136 - NaN stays NaN
        reach, centre = width * np.sqrt(variance), pivot[i] + mean
        lower[i] = centre - reach
        middle[i] = centre
        upper[i] = centre + reach


@compiled_ieee
def _pivoted(close: Series, ring: Matrix, own: Matrix, period: int) -> None:
    """Begin a turn: deviations from the newest close, and the sums of those to come out."""
    ring2 = ring[period + 1 :]
    for k in range(period - 1, -1, -1):
        row, row2, after, after2 = ring[k], ring2[k], ring[k + 1], ring2[k + 1]
        for i in range(U(close.size)):
            d = row[i] - close[i]
            row[i] = d + after[i]
            row2[i] = d * d + after2[i]
    own[0, : close.size] = close
    own[1:] = 0.0


@compiled_ieee
def _flows(columns: Columns, before: Series, signed: Series) -> None:
    """Write what money flowed, with the sign of the typical price's change."""
    high, low, close, volume = columns
    for i in range(U(close.size)):
        typical = (high[i] + low[i] + close[i]) / 3.0
        flow = typical * volume[i]
        change, least = typical - before[i], ROUNDING * abs(before[i])
        fallen = -flow if change < -least else 0.0
        side = flow if change > least else fallen
        is_here = (change == change) & (flow == flow)  # noqa: PLR0124 - neither NaN
        signed[i] = side if is_here else np.nan
        before[i] = typical


@compiled_ieee
def _mfi(signed: Series, ring: Matrix, own: Matrix, place: int, period: int) -> None:
    """Write the index over what flowed."""
    rise, fall, here = own[0], own[1], ring[place]
    ring2 = ring[period + 1 :]
    rest, rest2 = ring[place + 1], ring2[place + 1]
    for i in range(U(signed.size)):
        flow = signed[i]
        up = rise[i] + (0.0 if flow < 0.0 else flow)  # noqa: FURB136 - NaN stays NaN
        down = fall[i] + (0.0 if flow > 0.0 else -flow)
        rise[i] = up
        fall[i] = down
        here[i] = flow
        signed[i] = _share(rest[i] + up, rest2[i] + down)
    if place == period - 1:
        for k in range(period - 1, -1, -1):
            _parted(ring[k], ring2[k], ring[k + 1], ring2[k + 1])
        own[:] = 0.0


@compiled_ieee
def _parted(row: Series, row2: Series, after: Series, after2: Series) -> None:
    """Begin a turn: what rose and what fell in the one before, summed from each bar to its end."""
    for i in range(U(row.size)):
        flow = row[i]
        row[i] = after[i] + (0.0 if flow < 0.0 else flow)  # noqa: FURB136 - NaN stays NaN
        row2[i] = after2[i] + (0.0 if flow > 0.0 else -flow)
