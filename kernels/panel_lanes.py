"""Six indicators of many symbols, numba's form: up to 64 symbols side by side in the inner loops.

Belongs here: the arithmetic of ``panel``, operation by operation that of ``mojo/panel.mojo`` and
``mojo/windows.mojo``, which say how and why. Both keep their state as ``[tile, row, lane]``, eight
symbols a tile.
"""

from typing import Any, Final

import numpy as np

from kernels.gate import Series
from kernels.jit import compiled_ieee

Cube = np.ndarray[Any, np.dtype[np.float64]]

Block = tuple[Cube, Cube, Cube, int, int]
"""``bars[bar, column, lane]``, ``lines[bar, line, lane]``, ``state[row, lane]``, bars, lanes."""

TILE: Final = 8  # symbols that Mojo has in its lanes, and that share a tile of the state
WIDE: Final = 64  # symbols in numba's inner loops
BARS: Final = 16
COLUMNS: Final = 4
LINES: Final = 10

SEEN: Final = 0  # rows of the state
SMA: Final = 1
RSI: Final = 2
MACD: Final = 6
BOLLINGER: Final = 12
OBV: Final = 15
MFI: Final = 17
RINGS: Final = 20

ROUNDING: Final = 8.0 * 2.220446049250313e-16  # as in ``volume``: prices that tie, but for rounding


@compiled_ieee
def _panel_rows(
    columns: tuple[Cube, Cube, Cube, Cube], out: Cube, settings: Series, state: Cube
) -> None:
    n_symbols, n = columns[0].shape
    bars, lines = np.empty((BARS, COLUMNS, WIDE)), np.empty((BARS, LINES, WIDE))
    own = np.empty((state.shape[1], WIDE))
    for first in range(0, n_symbols, WIDE):
        lanes = min(WIDE, n_symbols - first)
        _lifted(state, first, lanes, own)
        for start in range(0, n, BARS):
            count = min(BARS, n - start)
            for k in range(COLUMNS):
                for lane in range(lanes):
                    row = columns[k][first + lane, start : start + count]
                    for i in range(count):
                        bars[i, k, lane] = row[i]
            _block((bars, lines, own, count, lanes), settings)
            for k in range(LINES):
                for lane in range(lanes):
                    row = out[k, first + lane, start : start + count]
                    for i in range(count):
                        row[i] = lines[i, k, lane]
        _lowered(own, first, lanes, state)


@compiled_ieee
def _panel_tiles(tiles: Cube, out: Cube, settings: Series, state: Cube) -> None:
    n_symbols, n = TILE * tiles.shape[0], tiles.shape[1]
    bars, lines = np.empty((BARS, COLUMNS, WIDE)), np.empty((BARS, LINES, WIDE))
    own = np.empty((state.shape[1], WIDE))
    for first in range(0, n_symbols, WIDE):
        lanes = min(WIDE, n_symbols - first)
        _lifted(state, first, lanes, own)
        for start in range(0, n, BARS):
            count = min(BARS, n - start)
            for tile in range(lanes // TILE):
                for i in range(count):
                    from_ = tiles[first // TILE + tile, start + i]
                    for k in range(COLUMNS):
                        _moved(from_[k], bars[i, k, tile * TILE :])
            _block((bars, lines, own, count, lanes), settings)
            for tile in range(lanes // TILE):
                for i in range(count):
                    to = out[first // TILE + tile, start + i]
                    for k in range(LINES):
                        _moved(lines[i, k, tile * TILE :], to[k])
        _lowered(own, first, lanes, state)


@compiled_ieee
def _moved(from_: Series, to: Series) -> None:
    for lane in range(TILE):
        to[lane] = from_[lane]


@compiled_ieee
def _lifted(state: Cube, first: int, lanes: int, own: Cube) -> None:
    """Put the states of up to eight tiles side by side."""
    for tile in range((lanes + TILE - 1) // TILE):
        for row in range(own.shape[0]):
            _moved(state[first // TILE + tile, row], own[row, tile * TILE :])


@compiled_ieee
def _lowered(own: Cube, first: int, lanes: int, state: Cube) -> None:
    for tile in range((lanes + TILE - 1) // TILE):
        for row in range(own.shape[0]):
            # the lanes that a tile has over hold what the last symbol holds, as Mojo leaves them
            for lane in range(lanes - tile * TILE, TILE):
                own[row, tile * TILE + lane] = own[row, lanes - 1]
            _moved(own[row, tile * TILE :], state[first // TILE + tile, row])


@compiled_ieee
def _block(block: Block, settings: Series) -> None:
    bars, _, state, n, lanes = block
    for i in range(n):
        for k in range(COLUMNS):
            for lane in range(lanes):
                x = bars[i, k, lane]
                bars[i, k, lane] = x if x - x == 0.0 else np.nan
    sma, bollinger, mfi = int(settings[0]), int(settings[5]), int(settings[7])
    ring = RINGS
    _sma(block, sma, ring)
    _rsi(block, int(settings[1]))
    _macd(block, settings)
    ring += sma + 1
    _bollinger(block, bollinger, settings[6], ring)
    _obv(block)
    ring += 2 * (bollinger + 1)
    _mfi(block, mfi, ring)
    for lane in range(lanes):
        state[SEEN, lane] += n


@compiled_ieee
def _suffixes(state: Cube, ring: int, period: int, lanes: int) -> None:
    for back in range(1, period):
        row = ring + period - 1 - back
        for lane in range(lanes):
            state[row, lane] += state[row + 1, lane]


@compiled_ieee
def _sma(block: Block, period: int, ring: int) -> None:
    bars, out, state, n, lanes = block
    place = int(state[SEEN, 0]) % period
    for i in range(n):
        for lane in range(lanes):
            head = state[SMA, lane] + bars[i, 2, lane]
            out[i, 0, lane] = (state[ring + place + 1, lane] + head) / period
            state[SMA, lane] = head
            state[ring + place, lane] = bars[i, 2, lane]
        place += 1
        if place == period:
            place = 0
            _suffixes(state, ring, period, lanes)
            for lane in range(lanes):
                state[SMA, lane] = 0.0


@compiled_ieee
def _seeded(x: float, seen: float, period: float, weight: float, value: float) -> float:
    moved = value + weight * (x - value)
    total = value + x
    early = total / period if seen == period else total
    late = moved if seen > period else early
    return late if seen > 0.0 else value


@compiled_ieee
def _share(part: float, other: float) -> float:
    whole = part + other
    return 50.0 if whole == 0.0 else 100.0 * (part / whole)


@compiled_ieee
def _rsi(block: Block, period: int) -> None:
    bars, out, state, n, lanes = block
    weight = 1.0 / period
    for i in range(n):
        for lane in range(lanes):
            x, before, count = bars[i, 2, lane], state[RSI, lane], state[RSI + 1, lane]
            gain, loss = state[RSI + 2, lane], state[RSI + 3, lane]
            change = x - before
            is_here = not np.isnan(change)
            seen = count + 1.0 if is_here else count
            rise = change if change > 0.0 else 0.0  # noqa: FURB136 - of NaN, max is either
            fall = -change if change < 0.0 else 0.0
            up = _seeded(rise, seen, period, weight, gain)
            down = _seeded(fall, seen, period, weight, loss)
            out[i, 1, lane] = _share(up, down) if is_here and seen >= period else np.nan
            state[RSI, lane] = before if np.isnan(x) else x
            state[RSI + 1, lane] = seen
            state[RSI + 2, lane] = up if is_here else gain
            state[RSI + 3, lane] = down if is_here else loss


@compiled_ieee
def _macd(block: Block, settings: Series) -> None:
    bars, out, state, n, lanes = block
    fast, slow = np.empty(WIDE), np.empty(WIDE)
    for i in range(n):
        _ema(bars[i, 2], lanes, settings[2], state[MACD : MACD + 2], fast)
        _ema(bars[i, 2], lanes, settings[3], state[MACD + 2 : MACD + 4], slow)
        for lane in range(lanes):
            fast[lane] -= slow[lane]
        _ema(fast, lanes, settings[4], state[MACD + 4 : MACD + 6], slow)
        for lane in range(lanes):
            gap = fast[lane] - slow[lane]
            out[i, 2, lane] = np.nan if np.isnan(gap) else fast[lane]
            out[i, 3, lane] = slow[lane]
            out[i, 4, lane] = gap


@compiled_ieee
def _ema(x: Series, lanes: int, period: float, state: Cube, out: Series) -> None:
    weight = 2.0 / (period + 1.0)
    for lane in range(lanes):
        count, value = state[0, lane], state[1, lane]
        is_here = not np.isnan(x[lane])
        seen = count + 1.0 if is_here else count
        moved = _seeded(x[lane], seen, period, weight, value)
        state[0, lane] = seen
        state[1, lane] = moved if is_here else value
        out[lane] = moved if is_here and seen >= period else np.nan


@compiled_ieee
def _bollinger(block: Block, period: int, width: float, first: int) -> None:
    bars, out, state, n, lanes = block
    ring, ring2 = state[first : first + period + 1], state[first + period + 1 :]
    pivot, head, head2 = state[BOLLINGER], state[BOLLINGER + 1], state[BOLLINGER + 2]
    place = int(state[SEEN, 0]) % period
    inverse = 1.0 / period
    for i in range(n):
        now, here = bars[i, 2], ring[place]
        place += 1
        for lane in range(lanes):
            here[lane] = now[lane]
        if place == period:
            place = 0
            _pivoted(ring, ring2, now, period, lanes)
            pivot[:], head[:], head2[:] = now, 0.0, 0.0
        else:
            for lane in range(lanes):
                d = now[lane] - pivot[lane]
                head[lane] += d
                head2[lane] += d * d
        tail, tail2 = ring[place], ring2[place]
        for lane in range(lanes):
            mean = (tail[lane] + head[lane]) * inverse
            variance = (tail2[lane] + head2[lane]) * inverse - mean * mean
            variance = 0.0 if variance < 0.0 else variance  # noqa: FURB136 - NaN stays NaN
            reach = width * np.sqrt(variance)
            middle = pivot[lane] + mean
            out[i, 5, lane] = middle - reach
            out[i, 6, lane] = middle
            out[i, 7, lane] = middle + reach


@compiled_ieee
def _pivoted(ring: Cube, ring2: Cube, pivot: Series, period: int, lanes: int) -> None:
    for back in range(period):
        at = period - 1 - back
        for lane in range(lanes):
            d = ring[at, lane] - pivot[lane]
            ring[at, lane] = d + ring[at + 1, lane]
            ring2[at, lane] = d * d + ring2[at + 1, lane]


@compiled_ieee
def _obv(block: Block) -> None:
    bars, out, state, n, lanes = block
    for i in range(n):
        for lane in range(lanes):
            x, volume = bars[i, 2, lane], bars[i, 3, lane]
            before, value = state[OBV, lane], state[OBV + 1, lane]
            is_here = not (np.isnan(x) or np.isnan(volume))
            down = -volume if x < before else 0.0
            moved = value + (volume if x > before or np.isnan(before) else down)
            out[i, 8, lane] = moved if is_here else np.nan
            state[OBV, lane] = x if is_here else before
            state[OBV + 1, lane] = moved if is_here else value


@compiled_ieee
def _mfi(block: Block, period: int, first: int) -> None:
    bars, out, state, n, lanes = block
    second = first + period + 1
    place = int(state[SEEN, 0]) % period
    typical, signed = np.empty(WIDE), np.empty(WIDE)
    for i in range(n):
        for lane in range(lanes):
            typical[lane] = (bars[i, 0, lane] + bars[i, 1, lane] + bars[i, 2, lane]) / 3.0
        for lane in range(lanes):
            flow = typical[lane] * bars[i, 3, lane]
            before = state[MFI, lane]
            change, least = typical[lane] - before, ROUNDING * abs(before)
            down = -flow if change < -least else 0.0
            total = flow if change > least else down
            signed[lane] = np.nan if np.isnan(change) or np.isnan(flow) else total
            state[MFI, lane] = typical[lane]
        _slid(signed, 1.0, state, MFI + 1, first + place, lanes)
        _slid(signed, -1.0, state, MFI + 2, second + place, lanes)
        for lane in range(lanes):
            rising = state[first + place + 1, lane] + state[MFI + 1, lane]
            falling = state[second + place + 1, lane] + state[MFI + 2, lane]
            out[i, 9, lane] = _share(rising, falling)
        place += 1
        if place == period:
            place = 0
            _suffixes(state, first, period, lanes)
            _suffixes(state, second, period, lanes)
            for lane in range(lanes):
                state[MFI + 1, lane] = state[MFI + 2, lane] = 0.0


@compiled_ieee
def _slid(signed: Series, side: float, state: Cube, head: int, place: int, lanes: int) -> None:
    """Add what flowed to that side to the running sum, and keep it."""
    for lane in range(lanes):
        flow = side * signed[lane]
        part = 0.0 if flow < 0.0 else flow  # noqa: FURB136 - NaN stays NaN
        state[head, lane] += part
        state[place, lane] = part
