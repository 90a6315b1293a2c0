"""Six indicators of many symbols: eight symbols a tile, side by side in the lanes.

A tile is `[bar, column, lane]`: high, low, close, volume in; the ten lines of `LINES` out. Sixteen
bars of a tile are computed at a time, one indicator after the other, so that all of it stays in the
first-level cache. `kernels/panel.py` has the same arithmetic in the same order, and the layout of
the state.
"""

from std.math import sqrt

from lanes import (
    LANES, NAN, Flags, Lanes, Numbers, divided, fence, fetch, is_finite, is_nan, load, store, stream,
    transposed,
)
from windows import Spread, next_place, slid

comptime BARS = 16
comptime COLUMNS = 4
comptime LINES = 10

comptime SEEN = 0  # rows of the state
comptime SMA = 1
comptime RSI = 2
comptime MACD = 6
comptime BOLLINGER = 12
comptime OBV = 15
comptime MFI = 17
comptime RINGS = 20

comptime ROUNDING: Float64 = 8.0 * 2.220446049250313e-16


struct Settings(TrivialRegisterPassable):
    """Periods and the band's width, and where in the state each window's ring begins."""

    var sma: Int
    var rsi: Int
    var fast: Int
    var slow: Int
    var signal: Int
    var bollinger: Int
    var mfi: Int
    var width: Float64

    def __init__(out self, given: Numbers):
        self.sma = Int(given[unsafe_offset=0])
        self.rsi = Int(given[unsafe_offset=1])
        self.fast = Int(given[unsafe_offset=2])
        self.slow = Int(given[unsafe_offset=3])
        self.signal = Int(given[unsafe_offset=4])
        self.bollinger = Int(given[unsafe_offset=5])
        self.width = given[unsafe_offset=6]
        self.mfi = Int(given[unsafe_offset=7])

    @always_inline
    def rows(self) -> Int:
        return RINGS + self.sma + 1 + 2 * (self.bollinger + 1) + 2 * (self.mfi + 1)


@always_inline
def _row(p: Numbers, row: Int) -> Numbers:
    return p.unsafe_offset(row * LANES)


@always_inline
def _give[is_streamed: Bool](out_: Numbers, bar: Int, line: Int, value: Lanes):
    comptime if is_streamed:
        stream(out_, bar * LINES + line, value)
    else:
        store(out_, bar * LINES + line, value)


@always_inline
def _share(part: Lanes, other: Lanes) -> Lanes:
    """Return 100 times the part of the whole, and 50 of nothing."""
    var whole = part + other
    return whole.eq(Lanes(0.0)).select(Lanes(50.0), 100.0 * (part / whole))


@always_inline
def _sma[is_streamed: Bool](x: Numbers, n: Int, out_: Numbers, period: Int, state: Numbers, ring: Numbers):
    var place = Int(state[unsafe_offset=0]) % period
    var head = load(state, SMA)
    var divisor = Lanes(Float64(period))
    var inverse = 1.0 / divisor
    for i in range(n):
        var total = slid(ring, place, period, load(x, i * COLUMNS), head)
        _give[is_streamed](out_, i, 0, divided(total, divisor, inverse))
        place = next_place(place, period)
    store(state, SMA, head)


@always_inline
def _averaged(x: Lanes, weight: Lanes, value: Lanes) -> Lanes:
    return value + weight * (x - value)


@always_inline
def _seeded(
    x: Lanes, is_here: Flags, seen: Lanes, period: Float64, weight: Lanes, mut value: Lanes
):
    """Move `value` to `x`: a sum until `period` values were seen, their average from then on."""
    var count = Lanes(period)
    var total = value + x
    var early = seen.eq(count).select(total / count, total)
    var late = seen.gt(count).select(_averaged(x, weight, value), early)
    value = (is_here & seen.gt(Lanes(0.0))).select(late, value)


@always_inline
def _rsi[is_warm: Bool, is_streamed: Bool](
    x: Numbers, n: Int, out_: Numbers, period: Int, state: Numbers
):
    var before = load(state, RSI)
    var seen = load(state, RSI + 1)
    var gain = load(state, RSI + 2)
    var loss = load(state, RSI + 3)
    var count = Float64(period)
    var weight = 1.0 / Lanes(count)
    for i in range(n):
        var now = load(x, i * COLUMNS)
        var change = now - before
        var up = change.gt(Lanes(0.0)).select(change, Lanes(0.0))
        var down = change.lt(Lanes(0.0)).select(-change, Lanes(0.0))
        comptime if is_warm:
            gain = _averaged(up, weight, gain)
            loss = _averaged(down, weight, loss)
            before = now
            _give[is_streamed](out_, i, 1, _share(gain, loss))
        else:
            var is_here = ~is_nan(change)
            seen = is_here.select(seen + 1.0, seen)
            _seeded(up, is_here, seen, count, weight, gain)
            _seeded(down, is_here, seen, count, weight, loss)
            before = is_nan(now).select(before, now)
            var is_known = is_here & seen.ge(Lanes(count))
            _give[is_streamed](out_, i, 1, is_known.select(_share(gain, loss), Lanes(NAN)))
    comptime if is_warm:
        seen = seen + Float64(n)
    store(state, RSI, before)
    store(state, RSI + 1, seen)
    store(state, RSI + 2, gain)
    store(state, RSI + 3, loss)


@always_inline
def _ema[is_warm: Bool](
    x: Lanes, period: Float64, weight: Lanes, mut seen: Lanes, mut value: Lanes
) -> Lanes:
    comptime if is_warm:
        value = _averaged(x, weight, value)
        return value
    else:
        var is_here = ~is_nan(x)
        seen = is_here.select(seen + 1.0, seen)
        _seeded(x, is_here, seen, period, weight, value)
        return (is_here & seen.ge(Lanes(period))).select(value, Lanes(NAN))


@always_inline
def _macd[is_warm: Bool, is_streamed: Bool](
    x: Numbers, n: Int, out_: Numbers, settings: Settings, state: Numbers
):
    var seen_fast = load(state, MACD)
    var fast = load(state, MACD + 1)
    var seen_slow = load(state, MACD + 2)
    var slow = load(state, MACD + 3)
    var seen_signal = load(state, MACD + 4)
    var signal = load(state, MACD + 5)
    var p_fast = Float64(settings.fast)
    var p_slow = Float64(settings.slow)
    var p_signal = Float64(settings.signal)
    var w_fast = Lanes(2.0) / (p_fast + 1.0)
    var w_slow = Lanes(2.0) / (p_slow + 1.0)
    var w_signal = Lanes(2.0) / (p_signal + 1.0)
    for i in range(n):
        var now = load(x, i * COLUMNS)
        var line = _ema[is_warm](now, p_fast, w_fast, seen_fast, fast) - _ema[is_warm](
            now, p_slow, w_slow, seen_slow, slow
        )
        var average = _ema[is_warm](line, p_signal, w_signal, seen_signal, signal)
        comptime if is_warm:
            _give[is_streamed](out_, i, 2, line)
        else:
            _give[is_streamed](out_, i, 2, is_nan(average).select(Lanes(NAN), line))
        _give[is_streamed](out_, i, 3, average)
        _give[is_streamed](out_, i, 4, line - average)
    comptime if is_warm:
        seen_fast = seen_fast + Float64(n)
        seen_slow = seen_slow + Float64(n)
        seen_signal = seen_signal + Float64(n)
    store(state, MACD, seen_fast)
    store(state, MACD + 1, fast)
    store(state, MACD + 2, seen_slow)
    store(state, MACD + 3, slow)
    store(state, MACD + 4, seen_signal)
    store(state, MACD + 5, signal)


@always_inline
def _bollinger[is_streamed: Bool](
    x: Numbers, n: Int, out_: Numbers, settings: Settings, state: Numbers, ring: Numbers
):
    var period = settings.bollinger
    var place = Int(state[unsafe_offset=0]) % period
    var ring2 = _row(ring, period + 1)
    var head = Spread(
        load(state, BOLLINGER), load(state, BOLLINGER + 1), load(state, BOLLINGER + 2)
    )
    var inverse = Lanes(1.0 / Float64(period))
    for i in range(n):
        var window = head.slid(ring, ring2, place, period, load(x, i * COLUMNS))
        var mean = window.sum * inverse
        var variance = window.squares * inverse - mean * mean
        var reach = settings.width * sqrt(variance.lt(Lanes(0.0)).select(Lanes(0.0), variance))
        var middle = window.pivot + mean
        _give[is_streamed](out_, i, 5, middle - reach)
        _give[is_streamed](out_, i, 6, middle)
        _give[is_streamed](out_, i, 7, middle + reach)
        place = next_place(place, period)
    store(state, BOLLINGER, head.pivot)
    store(state, BOLLINGER + 1, head.sum)
    store(state, BOLLINGER + 2, head.squares)


@always_inline
def _obv[is_streamed: Bool](x: Numbers, amount: Numbers, n: Int, out_: Numbers, state: Numbers):
    var before = load(state, OBV)
    var value = load(state, OBV + 1)
    for i in range(n):
        var now = load(x, i * COLUMNS)
        var volume = load(amount, i * COLUMNS)
        var is_here = ~(is_nan(now) | is_nan(volume))
        var is_up = now.gt(before) | is_nan(before)
        var flow = is_up.select(volume, now.lt(before).select(-volume, Lanes(0.0)))
        value = is_here.select(value + flow, value)
        before = is_here.select(now, before)
        _give[is_streamed](out_, i, 8, is_here.select(value, Lanes(NAN)))
    store(state, OBV, before)
    store(state, OBV + 1, value)


@always_inline
def _mfi[is_streamed: Bool](
    bars: Numbers, n: Int, out_: Numbers, period: Int, state: Numbers, ring: Numbers
):
    var place = Int(state[unsafe_offset=0]) % period
    var before = load(state, MFI)
    var rising = load(state, MFI + 1)
    var falling = load(state, MFI + 2)
    var ring2 = _row(ring, period + 1)
    comptime THIRD = Lanes(1.0 / 3.0)
    for i in range(n):
        var high = load(bars, i * COLUMNS)
        var low = load(bars, i * COLUMNS + 1)
        var close = load(bars, i * COLUMNS + 2)
        var typical = divided(high + low + close, Lanes(3.0), THIRD)
        var flow = typical * load(bars, i * COLUMNS + 3)
        var change = typical - before
        var least = ROUNDING * abs(before)
        var signed = change.gt(least).select(flow, change.lt(-least).select(-flow, Lanes(0.0)))
        signed = (is_nan(change) | is_nan(flow)).select(Lanes(NAN), signed)
        var up = slid(ring, place, period, signed.lt(Lanes(0.0)).select(Lanes(0.0), signed), rising)
        var down = slid(
            ring2, place, period, signed.gt(Lanes(0.0)).select(Lanes(0.0), -signed), falling
        )
        _give[is_streamed](out_, i, 9, _share(up, down))
        before = typical
        place = next_place(place, period)
    store(state, MFI, before)
    store(state, MFI + 1, rising)
    store(state, MFI + 2, falling)


@no_inline
def _block[is_warm: Bool, is_streamed: Bool](
    bars: Numbers, n: Int, out_: Numbers, settings: Settings, state: Numbers
):
    """Compute `n` bars of one tile; every value of `bars` is finite, or NaN unless `is_warm`."""
    var close = _row(bars, 2)
    var ring = _row(state, RINGS)
    _sma[is_streamed](close, n, out_, settings.sma, state, ring)
    _rsi[is_warm, is_streamed](close, n, out_, settings.rsi, state)
    _macd[is_warm, is_streamed](close, n, out_, settings, state)
    ring = _row(ring, settings.sma + 1)
    _bollinger[is_streamed](close, n, out_, settings, state, ring)
    _obv[is_streamed](close, _row(bars, 3), n, out_, state)
    ring = _row(ring, 2 * (settings.bollinger + 1))
    _mfi[is_streamed](bars, n, out_, settings.mfi, state, ring)
    store(state, SEEN, load(state, SEEN) + Float64(n))


@always_inline
def _is_warm(bars: Numbers, n: Int, settings: Settings, state: Numbers) -> Bool:
    """Say whether nothing is missing in the block, and every average is past its seed."""
    var sum = Lanes(0.0)
    for i in range(n * COLUMNS):
        var x = load(bars, i)
        sum = sum + (x - x)
    var is_past = load(state, RSI + 1).ge(Lanes(Float64(settings.rsi))) & load(state, MACD + 4).ge(
        Lanes(Float64(settings.signal))
    )
    return (is_past & sum.eq(Lanes(0.0))).reduce_and()


@always_inline
def _computed[is_streamed: Bool](
    bars: Numbers, n: Int, out_: Numbers, settings: Settings, state: Numbers
):
    if _is_warm(bars, n, settings, state):
        _block[True, is_streamed](bars, n, out_, settings, state)
    else:
        var clean = Array[Lanes, BARS * COLUMNS](uninitialized=True)
        var copy = clean.unsafe_ptr().unsafe_bitcast[Float64]().unsafe_origin_cast[MutAnyOrigin]()
        for i in range(n * COLUMNS):
            var x = load(bars, i)
            store(copy, i, is_finite(x).select(x, Lanes(NAN)))
        _block[False, is_streamed](copy, n, out_, settings, state)


def tiles(bars: Numbers, n_tiles: Int, n: Int, out_: Numbers, given: Numbers, state: Numbers):
    """Compute every tile of `bars`, streaming into `out_`, which is aligned to 64 bytes."""
    var settings = Settings(given)
    for tile in range(n_tiles):
        var own = _row(state, tile * settings.rows())
        var bar = 0
        while bar < n:
            var at = tile * n + bar
            _computed[True](
                _row(bars, at * COLUMNS), min(BARS, n - bar), _row(out_, at * LINES), settings, own
            )
            bar += BARS
    fence()


@always_inline
def _gathered(rows: Numbers, stride: Int, lanes: Int, n: Int, out_: Numbers):
    """Put `n` bars of up to eight rows side by side; the last row stands in for those missing."""
    var bar = 0
    if lanes == LANES:
        while bar + 4 <= n:
            var src = rows.unsafe_offset(bar)
            var dst = _row(out_, bar * COLUMNS)
            transposed[False](src, stride, dst, COLUMNS * LANES)
            transposed[False](
                src.unsafe_offset(4 * stride), stride, dst.unsafe_offset(4), COLUMNS * LANES
            )
            bar += 4
    while bar < n:
        for lane in range(LANES):
            var value = rows[unsafe_offset=min(lane, lanes - 1) * stride + bar]
            out_[unsafe_offset=bar * COLUMNS * LANES + lane] = value
        bar += 1


@always_inline
def _scattered[is_streamed: Bool](src: Numbers, n: Int, rows: Numbers, stride: Int, lanes: Int):
    """Write `n` bars of one line into the rows of up to eight symbols.

    Streamed rows are aligned, and padded to whole fours of bars.
    """
    var bar = 0
    if lanes == LANES:
        while bar + 4 <= n or (is_streamed and bar < n):
            var from_ = _row(src, bar * LINES)
            var to = rows.unsafe_offset(bar)
            transposed[is_streamed](from_, LINES * LANES, to, stride)
            transposed[is_streamed](
                from_.unsafe_offset(4), LINES * LANES, to.unsafe_offset(4 * stride), stride
            )
            bar += 4
    while bar < n:
        for lane in range(lanes):
            rows[unsafe_offset=lane * stride + bar] = src[unsafe_offset=bar * LINES * LANES + lane]
        bar += 1


@always_inline
def _fetched(rows: Numbers, stride: Int, lanes: Int):
    for lane in range(lanes):
        fetch(rows.unsafe_offset(lane * stride))
        fetch(rows.unsafe_offset(lane * stride + 8))


@always_inline
def _tile[is_streamed: Bool](
    columns: Array[Numbers, COLUMNS], lanes: Int, n: Int, out_: Numbers, plane: Int, stride: Int,
    settings: Settings, state: Numbers,
):
    """Compute one tile out of four matrices of a row a symbol, into ten of them."""
    var store_in = Array[Lanes, BARS * COLUMNS](uninitialized=True)
    var store_out = Array[Lanes, BARS * LINES](uninitialized=True)
    var bars = store_in.unsafe_ptr().unsafe_bitcast[Float64]().unsafe_origin_cast[MutAnyOrigin]()
    var lines = store_out.unsafe_ptr().unsafe_bitcast[Float64]().unsafe_origin_cast[MutAnyOrigin]()
    var bar = 0
    while bar < n:
        var count = min(BARS, n - bar)
        for k in range(COLUMNS):
            var rows = columns[k].unsafe_offset(bar)
            if bar + 2 * BARS <= n:
                _fetched(rows.unsafe_offset(BARS), n, lanes)
            _gathered(rows, n, lanes, count, _row(bars, k))
        _computed[False](bars, count, lines, settings, state)
        for k in range(LINES):
            var rows = out_.unsafe_offset(k * plane + bar)
            _scattered[is_streamed](_row(lines, k), count, rows, stride, lanes)
        bar += BARS


def rows[is_streamed: Bool](
    columns: Array[Numbers, COLUMNS], n_symbols: Int, n: Int, out_: Numbers, stride: Int,
    given: Numbers, state: Numbers,
):
    """Compute every symbol of four matrices `[symbol, bar]`, into ten of rows `stride` apart."""
    var settings = Settings(given)
    var symbol = 0
    while symbol < n_symbols:
        var here = columns.copy()
        for k in range(COLUMNS):
            here[k] = columns[k].unsafe_offset(symbol * n)
        _tile[is_streamed](
            here, min(LANES, n_symbols - symbol), n, out_.unsafe_offset(symbol * stride),
            n_symbols * stride, stride, settings,
            _row(state, symbol // LANES * settings.rows()),
        )
        symbol += LANES
    fence()
