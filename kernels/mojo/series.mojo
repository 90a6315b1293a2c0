"""One indicator of one series: averages, RSI, MACD, ATR.

Each is its numba twin (`recurrences.py`, `momentum.py` and `volatility.py` in `kernels/`) operation by operation:
the same bits, and a state that either engine continues. An empty state keeps nothing.
"""

from lanes import LANES, MANY, NAN, Numbers, fence, is_on_line, up_to_line
from smoothing import (
    AHEAD, BEHIND, SIZE, STATE, advance, advance_gap, advance_lines, advance_strength, closed_up,
    fresh, gathered, put, recall, remember,
)
from stretches import (
    is_warm, stretch_of_average, stretch_of_lines, stretch_of_ranges, stretch_of_strength,
    true_range, whole,
)
from sums import BLOCK, Vector, at, copied

comptime Rows[count: Int] = Array[Float64, count * SIZE]
comptime Spare = Array[Float64, 3 * STATE]
comptime Places = Array[Int, BLOCK]


@always_inline
def _begin[T: TrivialRegisterPassable, n: Int](mut room: Array[T, n]) -> Pointer[T, MutAnyOrigin]:
    return room.unsafe_ptr().unsafe_origin_cast[MutAnyOrigin]()


@no_inline
def smooth(
    x: Numbers, n: Int, period: Int, weight: Float64, given: Numbers, kept: Int, out_: Numbers
):
    """Write the average of `x`, continuing from the state `given`."""
    var rows = Rows[3](uninitialized=True)
    var spare = Spare(uninitialized=True)
    var places = Places(uninitialized=True)
    var values = _begin(rows)
    var row = values.unsafe_offset(SIZE)
    var work = row.unsafe_offset(SIZE)
    var here = _begin(places)
    var state = given
    if kept == 0:
        state = _begin(spare)
        fresh(state, 0)
    var start = 0
    var retry = 0  # where a stretch is tried again
    while start < n:
        var from_ = x.unsafe_offset(start)
        var to = out_.unsafe_offset(start)
        var count = whole(n - start)
        if count > 0 and start >= retry and is_warm(state, period):
            var is_done: Bool
            if n >= MANY and is_on_line(to):
                is_done = stretch_of_average[True](from_, count, weight, state, to)
            else:
                is_done = stretch_of_average[False](from_, count, weight, state, to)
            if is_done:
                start += count
                continue
            retry = start + count
        count = up_to_line(to, min(BLOCK, n - start))
        var usable = count
        if not gathered(from_, count, values.unsafe_offset(BEHIND)):
            usable = closed_up(values.unsafe_offset(BEHIND), count, here)
        recall(values, row, state)
        advance(values, row, work, period, weight, state, usable)
        remember(values, row, usable, state)
        put(row.unsafe_offset(AHEAD), here, usable, to, count)
        start += count
    fence()


@no_inline
def rsi(close: Numbers, n: Int, period: Int, given: Numbers, kept: Int, out_: Numbers):
    """Write the relative strength index, continuing from the state `given`."""
    var rows = Rows[7](uninitialized=True)
    var spare = Spare(uninitialized=True)
    var places = Places(uninitialized=True)
    var prices = _begin(rows)
    var rising = prices.unsafe_offset(SIZE)
    var gains = rising.unsafe_offset(SIZE)  # and scratch
    var falling = gains.unsafe_offset(2 * SIZE)
    var losses = falling.unsafe_offset(SIZE)  # and scratch
    var here = _begin(places)
    var state = given
    if kept == 0:
        state = _begin(spare)
        state[unsafe_offset=0] = NAN
        fresh(state.unsafe_offset(1), 1)
        fresh(state.unsafe_offset(1 + STATE), 1)
    var of_gain = state.unsafe_offset(1)
    var of_loss = state.unsafe_offset(1 + STATE)
    prices[unsafe_offset=0] = state[unsafe_offset=0]
    var weight = 1.0 / Float64(period)
    var start = 0
    var retry = 0  # where a stretch is tried again
    while start < n:
        var from_ = close.unsafe_offset(start)
        var to = out_.unsafe_offset(start)
        var count = whole(n - start)
        if (
            count > 0 and start > retry and is_warm(of_gain, period)
            and from_[unsafe_offset=-1] == prices[unsafe_offset=0]
        ):
            var is_done: Bool
            if n >= MANY and is_on_line(to):
                is_done = stretch_of_strength[True](from_, count, weight, of_gain, of_loss, to)
            else:
                is_done = stretch_of_strength[False](from_, count, weight, of_gain, of_loss, to)
            if is_done:
                start += count
                prices[unsafe_offset=0] = close[unsafe_offset=start - 1]
                continue
            retry = start + count - 1
        count = up_to_line(to, min(BLOCK, n - start))
        var usable = count
        if not gathered(close.unsafe_offset(start), count, prices.unsafe_offset(1)):
            usable = closed_up(prices.unsafe_offset(1), count, here)
        _moves(prices, usable, rising.unsafe_offset(BEHIND), falling.unsafe_offset(BEHIND))
        prices[unsafe_offset=0] = prices[unsafe_offset=usable]
        recall(rising, gains, of_gain)
        recall(falling, losses, of_loss)
        var strengths = to if usable == count else prices.unsafe_offset(1)
        advance_strength(
            rising, falling, gains, losses, period, of_gain, of_loss, usable, strengths
        )
        remember(rising, gains, usable, of_gain)
        remember(falling, losses, usable, of_loss)
        if usable < count:
            put(strengths, here, usable, to, count)
        start += count
    state[unsafe_offset=0] = prices[unsafe_offset=0]
    fence()


@always_inline
def _moved[n: Int](prices: Numbers, i: Int, rising: Numbers, falling: Numbers):
    comptime zero = Vector[n](0.0)
    var change = at[n](prices, i + 1) - at[n](prices, i)
    rising.unsafe_offset(i).unsafe_store(change.gt(zero).select(change, zero))
    falling.unsafe_offset(i).unsafe_store(change.lt(zero).select(-change, zero))


def _moves(prices: Numbers, count: Int, rising: Numbers, falling: Numbers):
    var i = 0
    while i + LANES <= count:
        _moved[LANES](prices, i, rising, falling)
        i += LANES
    while i < count:
        _moved[1](prices, i, rising, falling)
        i += 1


@no_inline
def macd(
    close: Numbers, n: Int, fast: Int, slow: Int, signal: Int, given: Numbers, kept: Int,
    line: Numbers, average: Numbers, histogram: Numbers,
):
    """Write the three lines of MACD, continuing from the state `given`."""
    var rows = Rows[9](uninitialized=True)
    var spare = Spare(uninitialized=True)
    var places = Places(uninitialized=True)
    var prices = _begin(rows)
    var quick = prices.unsafe_offset(SIZE)  # and scratch
    var steady = quick.unsafe_offset(2 * SIZE)  # and scratch
    var gaps = steady.unsafe_offset(3 * SIZE)  # behind room for those of bars before the seed
    var smoothed = gaps.unsafe_offset(SIZE)  # and scratch
    var here = _begin(places)
    var of_fast = given
    if kept == 0:
        of_fast = _begin(spare)
        fresh(of_fast, slow - fast)
        fresh(of_fast.unsafe_offset(STATE), 0)
        fresh(of_fast.unsafe_offset(2 * STATE), 0)
    var of_slow = of_fast.unsafe_offset(STATE)
    var of_signal = of_slow.unsafe_offset(STATE)
    var start = 0
    var retry = 0  # where a stretch is tried again
    while start < n:
        var lines = line.unsafe_offset(start)
        var averages = average.unsafe_offset(start)
        var rest = histogram.unsafe_offset(start)
        var count = whole(n - start)
        if (
            count > 0 and start >= retry and is_warm(of_slow, slow) and is_warm(of_signal, signal)
        ):
            var is_done: Bool
            var from_ = close.unsafe_offset(start)
            var k = 2.0 / (Float64(fast) + 1.0)
            var k_2 = 2.0 / (Float64(slow) + 1.0)
            var k_3 = 2.0 / (Float64(signal) + 1.0)
            if n >= MANY and is_on_line(lines, averages, rest):
                is_done = stretch_of_lines[True](
                    from_, count, k, k_2, k_3, of_fast, STATE, lines, averages, rest
                )
            else:
                is_done = stretch_of_lines[False](
                    from_, count, k, k_2, k_3, of_fast, STATE, lines, averages, rest
                )
            if is_done:
                start += count
                continue
            retry = start + count
        count = up_to_line(lines, min(BLOCK, n - start))
        var usable = count
        if not gathered(close.unsafe_offset(start), count, prices.unsafe_offset(BEHIND)):
            usable = closed_up(prices.unsafe_offset(BEHIND), count, here)
        # bars before the slow average's seed
        var waiting = min(max(slow - 1 - Int(of_slow[unsafe_offset=0]), 0), usable)
        var known = usable - waiting
        recall(prices, quick, of_fast)
        recall(prices, steady, of_slow)
        advance_gap(
            prices, quick, steady, fast, slow, of_fast, of_slow, usable,
            gaps.unsafe_offset(BEHIND - waiting),
        )
        remember(prices, quick, usable, of_fast)
        remember(prices, steady, usable, of_slow)
        recall(gaps, smoothed, of_signal)
        if usable == count:
            _unknown(waiting, lines, averages, rest)
            advance_lines(
                gaps, smoothed, signal, of_signal, known, lines.unsafe_offset(waiting),
                averages.unsafe_offset(waiting), rest.unsafe_offset(waiting),
            )
        else:
            var quick_work = quick.unsafe_offset(SIZE)
            var steady_work = steady.unsafe_offset(SIZE)
            _unknown(waiting, quick_work, steady_work, prices)
            advance_lines(
                gaps, smoothed, signal, of_signal, known, quick_work.unsafe_offset(waiting),
                steady_work.unsafe_offset(waiting), prices.unsafe_offset(waiting),
            )
            put(quick_work, here, usable, lines, count)
            put(steady_work, here, usable, averages, count)
            put(prices, here, usable, rest, count)
        remember(gaps, smoothed, known, of_signal)
        start += count
    fence()


@always_inline
def _unknown(count: Int, line: Numbers, average: Numbers, histogram: Numbers):
    for i in range(count):
        line[unsafe_offset=i] = NAN
        average[unsafe_offset=i] = NAN
        histogram[unsafe_offset=i] = NAN


@no_inline
def atr(
    high: Numbers, low: Numbers, close: Numbers, n: Int, period: Int, given: Numbers, kept: Int,
    out_: Numbers,
):
    """Write the average true range, continuing from the state `given`."""
    var rows = Rows[3](uninitialized=True)
    var spare = Spare(uninitialized=True)
    var places = Places(uninitialized=True)
    var ranges = _begin(rows)
    var row = ranges.unsafe_offset(SIZE)
    var work = row.unsafe_offset(SIZE)
    var here = _begin(places)
    var state = given
    if kept == 0:
        state = _begin(spare)
        state[unsafe_offset=0] = NAN
        fresh(state.unsafe_offset(1), 1)
    var own = state.unsafe_offset(1)
    var before = state[unsafe_offset=0]
    var weight = 1.0 / Float64(period)
    var start = 0
    var retry = 0  # where a stretch is tried again
    while start < n:
        var highs = high.unsafe_offset(start)
        var lows = low.unsafe_offset(start)
        var closes = close.unsafe_offset(start)
        var to = out_.unsafe_offset(start)
        var count = whole(n - start)
        if (
            count > 0 and start > retry and is_warm(own, period)
            and closes[unsafe_offset=-1] == before
        ):
            var is_done: Bool
            if n >= MANY and is_on_line(to):
                is_done = stretch_of_ranges[True](highs, lows, closes, count, weight, own, to)
            else:
                is_done = stretch_of_ranges[False](highs, lows, closes, count, weight, own, to)
            if is_done:
                start += count
                before = close[unsafe_offset=start - 1]
                continue
            retry = start + count - 1
        count = up_to_line(to, min(BLOCK, n - start))
        var usable = 0
        for i in range(count):
            var top = highs[unsafe_offset=i]
            var bottom = lows[unsafe_offset=i]
            var price = closes[unsafe_offset=i]
            if top - top == 0.0 and bottom - bottom == 0.0 and price - price == 0.0:
                ranges[unsafe_offset=BEHIND + usable] = true_range[1](top, bottom, before)
                here[unsafe_offset=usable] = i
                usable += 1
                before = price
        recall(ranges, row, own)
        advance(ranges, row, work, period, weight, own, usable)
        remember(ranges, row, usable, own)
        put(row.unsafe_offset(AHEAD), here, usable, to, count)
        start += count
    state[unsafe_offset=0] = before
    fence()
