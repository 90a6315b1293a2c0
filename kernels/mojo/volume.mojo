"""Volume of one series: `_mfi` of `kernels/volume.py` in Mojo.

The same operations in the same order, so the same bits.
"""

from lanes import LANES, MANY, NAN, Lanes, Numbers, fence, is_on_line, up_to_line, write
from smoothing import strength
from stretches import after_one
from sums import BLOCK, MOST_STEPS, ROOM, Vector, at, copied, steps_to, window_sums

comptime ROUNDING: Float64 = 8.0 * 2.220446049250313e-16  # `_ROUNDING` there


@always_inline
def _flow[n: Int](change: Vector[n], amount: Vector[n], least: Vector[n]) -> Vector[n]:
    """Return the amount where the change is more than the least, else 0."""
    return change.gt(least).select(amount, Vector[n](0.0))


@always_inline
def _flows[n: Int](
    before: Vector[n], price: Vector[n], volume: Vector[n], i: Int, rises: Numbers, falls: Numbers
):
    """Write the money that flowed on rising prices, and on falling ones; NaN where unknown."""
    var change = price - before
    var least = ROUNDING * abs(before)
    var flow = price * volume
    var known = (change - change) + (flow - flow)
    rises.unsafe_offset(i).unsafe_store(known + _flow[n](change, flow, least))
    falls.unsafe_offset(i).unsafe_store(known + _flow[n](-change, flow, least))


@always_inline
def _typical[n: Int](high: Numbers, low: Numbers, close: Numbers, i: Int) -> Vector[n]:
    return (at[n](high, i) + at[n](low, i)) + at[n](close, i)


@no_inline
def _index[is_streamed: Bool](risen: Numbers, fallen: Numbers, count: Int, out_: Numbers):
    var i = 0
    while i + LANES <= count:
        write[is_streamed](out_, i, strength[LANES](at[LANES](risen, i), at[LANES](fallen, i)))
        i += LANES
    while i < count:
        out_[unsafe_offset=i] = strength[1](risen[unsafe_offset=i], fallen[unsafe_offset=i])
        i += 1


@no_inline
def mfi(
    high: Numbers, low: Numbers, close: Numbers, volume: Numbers, n: Int, period: Int,
    state: Numbers, kept: Int, out_: Numbers,
):
    """Write the money flow index; `2 * period <= ROOM`."""
    var past = period - 1
    var steps_room = Array[Int, MOST_STEPS](uninitialized=True)
    var rows = Array[Float64, 5 * ROOM](uninitialized=True)
    var steps = steps_room.unsafe_ptr().unsafe_origin_cast[MutAnyOrigin]()
    var rises = rows.unsafe_ptr().unsafe_origin_cast[MutAnyOrigin]()
    var falls = rises.unsafe_offset(ROOM)
    var risen = falls.unsafe_offset(ROOM)
    var fallen = risen.unsafe_offset(ROOM)
    var work = fallen.unsafe_offset(ROOM)
    steps_to(period, steps)
    var before = NAN
    for i in range(past):
        rises[unsafe_offset=i] = state[unsafe_offset=1 + i] if kept > 0 else NAN
        falls[unsafe_offset=i] = state[unsafe_offset=period + i] if kept > 0 else NAN
    if kept > 0:
        before = state[unsafe_offset=0]
    var start = 0
    while start < n:
        var to = out_.unsafe_offset(start)
        var count = up_to_line(to, min(max(BLOCK, past), n - start))
        var highs = high.unsafe_offset(start)
        var lows = low.unsafe_offset(start)
        var closes = close.unsafe_offset(start)
        var amounts = volume.unsafe_offset(start)
        var last = Lanes(before)
        var i = 0
        while i + LANES <= count:
            var price = _typical[LANES](highs, lows, closes, i)
            var then = after_one(last, price)
            last = price
            _flows[LANES](then, price, at[LANES](amounts, i), past + i, rises, falls)
            i += LANES
        before = last[LANES - 1]
        while i < count:
            var price = _typical[1](highs, lows, closes, i)
            _flows[1](before, price, amounts[unsafe_offset=i], past + i, rises, falls)
            before = price[0]
            i += 1
        window_sums(rises, count, period, steps, 1.0, work, risen)
        window_sums(falls, count, period, steps, 1.0, work, fallen)
        if n >= MANY and is_on_line(to):
            _index[True](risen, fallen, count, to)
        else:
            _index[False](risen, fallen, count, to)
        copied(rises.unsafe_offset(count), past, rises)
        copied(falls.unsafe_offset(count), past, falls)
        start += count
    if kept > 0:
        state[unsafe_offset=0] = before
        copied(rises, past, state.unsafe_offset(1))
        copied(falls, past, state.unsafe_offset(period))
    fence()
