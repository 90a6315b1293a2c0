"""One indicator of one series: averages, RSI, MACD.

Each is its numba twin (`recurrences.py` and `momentum.py` in `kernels/`) operation by operation:
the same bits, and a state that either engine continues. An empty state keeps nothing.
"""

from lanes import LANES, NAN, Numbers
from smoothing import (
    AHEAD, BEHIND, SIZE, STATE, advance, advance_gap, advance_lines, advance_strength, are_finite,
    closed_up, fresh, gathered, put, recall, remember,
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
    var is_direct = False  # the averages before this block are in `out_`, its values in `x`
    while start < n:
        var count = min(BLOCK, n - start)
        var from_ = x.unsafe_offset(start)
        var to = out_.unsafe_offset(start)
        var is_whole = are_finite(from_, count)
        if is_whole and is_direct:
            from_ = x.unsafe_offset(start - BEHIND)
            to = out_.unsafe_offset(start - AHEAD)
            advance(from_, to, work, period, weight, state, count)
            remember(from_, to, count, state)
        else:
            var usable = count
            copied(from_, count, values.unsafe_offset(BEHIND))
            if not is_whole:
                usable = closed_up(values.unsafe_offset(BEHIND), count, here)
            recall(values, row, state)
            advance(values, row, work, period, weight, state, usable)
            remember(values, row, usable, state)
            put(row.unsafe_offset(AHEAD), here, usable, to, count)
        is_direct = is_whole and count >= AHEAD
        start += count


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
    var start = 0
    while start < n:
        var count = min(BLOCK, n - start)
        var usable = count
        if not gathered(close.unsafe_offset(start), count, prices.unsafe_offset(1)):
            usable = closed_up(prices.unsafe_offset(1), count, here)
        _moves(prices, usable, rising.unsafe_offset(BEHIND), falling.unsafe_offset(BEHIND))
        prices[unsafe_offset=0] = prices[unsafe_offset=usable]
        recall(rising, gains, of_gain)
        recall(falling, losses, of_loss)
        var to = out_.unsafe_offset(start)
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
    while start < n:
        var count = min(BLOCK, n - start)
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
        var lines = line.unsafe_offset(start)
        var averages = average.unsafe_offset(start)
        var rest = histogram.unsafe_offset(start)
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


@always_inline
def _unknown(count: Int, line: Numbers, average: Numbers, histogram: Numbers):
    for i in range(count):
        line[unsafe_offset=i] = NAN
        average[unsafe_offset=i] = NAN
        histogram[unsafe_offset=i] = NAN
