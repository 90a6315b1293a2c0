"""The C interface of the library: what `kernels/engine.py` calls. NumPy's arrays come as they are.

A kernel takes what its numba twin takes, in that order, and returns `DONE` or why it did nothing.
Raise `INTERFACE` when a signature changes.
"""

from std.sys.defines import get_defined_int

from first_touch import first_touches
from lanes import (
    INT64, INT8, LANES, Array64, Numbers, are_plain, bytes, data, instants, is_plain, size,
)
from moments import bollinger as write_bands
from panel import rows, tiles
from series import atr as write_atr
from series import macd as write_macd
from series import rsi as write_rsi
from series import smooth
from sums import ROOM, window_total
from volume import mfi as write_mfi

comptime INTERFACE = 1

comptime DONE = 0
comptime REFUSED = 1  # numba is to run it
comptime OTHER_ARRAY = 2  # not contiguous, or of another type


@export
def wavehouse_interface() abi("C") -> Int:
    return INTERFACE


@export
def wavehouse_sources() abi("C") -> Int:
    return get_defined_int["SOURCES"]()


@export
def wavehouse_address(array: Array64) abi("C") -> Int:
    return Int(data(array))


@export
def wavehouse_size(array: Array64, axis: Int) abi("C") -> Int:
    return size(array, axis)


@export
def wavehouse_is_plain(array: Array64, letter: Int) abi("C") -> Int:
    return 1 if is_plain(array, Int8(letter)) else 0


@export
def sma(x: Array64, period: Int, state: Array64, out_: Array64) abi("C") -> Int:
    if not are_plain(x, state, out_):
        return OTHER_ARRAY
    if 2 * period > ROOM:
        return REFUSED
    var scale = 1.0 / Float64(period)
    window_total(data(x), size(x), period, scale, data(state), size(state), data(out_))
    return DONE


@export
def ema(x: Array64, period: Int, state: Array64, out_: Array64) abi("C") -> Int:
    if not are_plain(x, state, out_):
        return OTHER_ARRAY
    var weight = 2.0 / (Float64(period) + 1.0)
    smooth(data(x), size(x), period, weight, data(state), size(state), data(out_))
    return DONE


@export
def rsi(close: Array64, period: Int, state: Array64, out_: Array64) abi("C") -> Int:
    if not are_plain(close, state, out_):
        return OTHER_ARRAY
    write_rsi(data(close), size(close), period, data(state), size(state), data(out_))
    return DONE


@export
def macd(
    close: Array64, fast: Int, slow: Int, signal: Int, state: Array64,
    line: Array64, average: Array64, histogram: Array64,
) abi("C") -> Int:
    if not are_plain(close, state, line, average, histogram):
        return OTHER_ARRAY
    write_macd(
        data(close), size(close), fast, slow, signal, data(state), size(state),
        data(line), data(average), data(histogram),
    )
    return DONE


@export
def bollinger(
    close: Array64, period: Int, width: Float64, state: Array64,
    lower: Array64, middle: Array64, upper: Array64,
    percent_b: Array64, bandwidth: Array64, sigma: Array64,
) abi("C") -> Int:
    if not are_plain(close, state, lower, middle, upper, percent_b, bandwidth, sigma):
        return OTHER_ARRAY
    if 2 * period > ROOM:
        return REFUSED
    write_bands(
        data(close), size(close), period, width, data(state), size(state),
        data(lower), data(middle), data(upper),
        data(percent_b), data(bandwidth), data(sigma), size(sigma) > 0,
    )
    return DONE


@export
def atr(
    high: Array64, low: Array64, close: Array64, period: Int, state: Array64, out_: Array64
) abi("C") -> Int:
    if not are_plain(high, low, close, state, out_):
        return OTHER_ARRAY
    write_atr(
        data(high), data(low), data(close), size(close), period, data(state), size(state),
        data(out_),
    )
    return DONE


@export
def mfi(
    high: Array64, low: Array64, close: Array64, volume: Array64, period: Int, state: Array64,
    out_: Array64,
) abi("C") -> Int:
    if not are_plain(high, low, close, volume, state, out_):
        return OTHER_ARRAY
    if 2 * period > ROOM:
        return REFUSED
    write_mfi(
        data(high), data(low), data(close), data(volume), size(close), period, data(state),
        size(state), data(out_),
    )
    return DONE


# Many symbols, a row each, from no state: `kernels/rows.py`. `out_` is `[line, symbol, bar]`.


@export
def sma_rows(x: Array64, period: Int, none: Array64, out_: Array64) abi("C") -> Int:
    if not are_plain(x, none, out_):
        return OTHER_ARRAY
    if size(none) > 0 or 2 * period > ROOM:
        return REFUSED
    var n = size(x, 1)
    var scale = 1.0 / Float64(period)
    for i in range(size(x)):
        window_total(row(x, i), n, period, scale, data(none), 0, row(out_, i, 0, n))
    return DONE


@export
def ema_rows(x: Array64, period: Int, none: Array64, out_: Array64) abi("C") -> Int:
    if not are_plain(x, none, out_):
        return OTHER_ARRAY
    if size(none) > 0:
        return REFUSED
    var n = size(x, 1)
    var weight = 2.0 / (Float64(period) + 1.0)
    for i in range(size(x)):
        smooth(row(x, i), n, period, weight, data(none), 0, row(out_, i, 0, n))
    return DONE


@export
def rsi_rows(x: Array64, period: Int, none: Array64, out_: Array64) abi("C") -> Int:
    if not are_plain(x, none, out_):
        return OTHER_ARRAY
    if size(none) > 0:
        return REFUSED
    var n = size(x, 1)
    for i in range(size(x)):
        write_rsi(row(x, i), n, period, data(none), 0, row(out_, i, 0, n))
    return DONE


@export
def macd_rows(
    x: Array64, fast: Int, slow: Int, signal: Int, none: Array64, out_: Array64
) abi("C") -> Int:
    if not are_plain(x, none, out_):
        return OTHER_ARRAY
    if size(none) > 0:
        return REFUSED
    var n = size(x, 1)
    for i in range(size(x)):
        write_macd(
            row(x, i), n, fast, slow, signal, data(none), 0,
            row(out_, i, 0, n), row(out_, i, 1, n), row(out_, i, 2, n),
        )
    return DONE


@export
def bollinger_rows(
    x: Array64, period: Int, width: Float64, none: Array64, out_: Array64
) abi("C") -> Int:
    if not are_plain(x, none, out_):
        return OTHER_ARRAY
    if size(none) > 0 or 2 * period > ROOM:
        return REFUSED
    var n = size(x, 1)
    var last = size(out_) - 1  # three lines, or six
    for i in range(size(x)):
        write_bands(
            row(x, i), n, period, width, data(none), 0,
            row(out_, i, 0, n), row(out_, i, 1, n), row(out_, i, 2, n),
            row(out_, i, min(3, last), n), row(out_, i, min(4, last), n), row(out_, i, last, n),
            last > 2,
        )
    return DONE


@always_inline
def row(x: Array64, symbol: Int) -> Numbers:
    return data(x).unsafe_offset(symbol * size(x, 1))


@always_inline
def row(out_: Array64, symbol: Int, line: Int, n: Int) -> Numbers:
    return data(out_).unsafe_offset((line * size(out_, 1) + symbol) * n)


@export
def first_touch(
    high: Array64, low: Array64, first: Array64, last: Array64,
    upper: Array64, lower: Array64, side: Array64, touched: Array64,
) abi("C") -> Int:
    var are_windows = is_plain(first, INT64) and is_plain(last, INT64) and is_plain(touched, INT64)
    if not (are_windows and is_plain(side, INT8) and are_plain(high, low, upper, lower)):
        return OTHER_ARRAY
    first_touches(
        data(high), data(low), instants(first), instants(last), size(upper),
        data(upper), data(lower), bytes(side), instants(touched),
    )
    return DONE


@export
def panel_rows(
    high: Array64, low: Array64, close: Array64, volume: Array64,
    out_: Array64, settings: Array64, state: Array64,
) abi("C") -> Int:
    if not are_plain(high, low, close, volume, out_, settings, state):
        return OTHER_ARRAY
    var columns = [data(high), data(low), data(close), data(volume)]
    var n_symbols = size(high)
    var n = size(high, 1)
    var stride = size(out_, 2)
    if stride % LANES == 0 and Int(data(out_)) % 64 == 0:
        rows[True](columns, n_symbols, n, data(out_), stride, data(settings), data(state))
    else:
        rows[False](columns, n_symbols, n, data(out_), stride, data(settings), data(state))
    return DONE


@export
def panel_tiles(bars: Array64, out_: Array64, settings: Array64, state: Array64) abi("C") -> Int:
    if not are_plain(bars, out_, settings, state):
        return OTHER_ARRAY
    tiles(data(bars), size(bars), size(bars, 1), data(out_), data(settings), data(state))
    return DONE
