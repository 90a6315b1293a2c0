"""Mean and variance over the last bars of one series: `kernels/window_moments.py` in Mojo.

The same operations in the same order, so the same bits; in place, as in `sums.mojo`.
"""

from std.math import sqrt

from lanes import LANES, NAN, Numbers
from sums import (
    BLOCK, MOST_STEPS, ONE_MORE, ROOM, Steps, Vector, at, head, keep, steps_to, unknown, widened,
)

comptime THIRD: Float64 = 1.0 / 3.0


struct Moments[n: Int](TrivialRegisterPassable):
    """Means less each window's first value, and sums of squared deviations."""

    var mean: Vector[Self.n]
    var spread: Vector[Self.n]

    @always_inline
    def __init__(out self, mean: Vector[Self.n], spread: Vector[Self.n]):
        self.mean = mean
        self.spread = spread


@always_inline
def _known[n: Int, is_first: Bool](moments: Numbers, i: Int) -> Vector[n]:
    comptime if is_first:
        return Vector[n](0.0)  # of one bar
    else:
        return at[n](moments, i)


@always_inline
def _four[n: Int](raw: Numbers, i: Int) -> Moments[n]:
    var first = at[n](raw, i)
    var third = at[n](raw, i + 2)
    var a = at[n](raw, i + 1) - first
    var b = at[n](raw, i + 3) - third
    var gap = (third - first) + 0.5 * (b - a)
    return Moments[n](0.5 * (a + gap), 0.5 * (a * a + b * b) + gap * gap)


@always_inline
def _joined[step: Int, n: Int, is_first: Bool](
    raw: Numbers, mean: Numbers, spread: Numbers, i: Int, w: Int
) -> Moments[n]:
    """Return the moments that one step makes of those over `w` bars."""
    var v = Float64(w)
    var first = at[n](raw, i)
    var a = _known[n, is_first](mean, i)
    var inner = _known[n, is_first](spread, i)
    comptime if step == 4 and is_first:
        return _four[n](raw, i)
    elif step == ONE_MORE or step == 0:
        var share = 1.0 / (v + 1.0)
        var gap = (at[n](raw, i + w) - first) - a
        return Moments[n](a + share * gap, inner + (1.0 - share) * (gap * gap))
    elif step == 2:
        var gap = (at[n](raw, i + w) - first) + (_known[n, is_first](mean, i + w) - a)
        var later = _known[n, is_first](spread, i + w)
        return Moments[n](a + 0.5 * gap, (inner + later) + (0.5 * v) * (gap * gap))
    var b = (at[n](raw, i + w) - first) + _known[n, is_first](mean, i + w)
    var c = (at[n](raw, i + 2 * w) - first) + _known[n, is_first](mean, i + 2 * w)
    var of_b = _known[n, is_first](spread, i + w)
    var of_c = _known[n, is_first](spread, i + 2 * w)
    comptime if step == 3:
        var total = a + (b + c)
        var squares = a * a + (b * b + c * c)
        return Moments[n](
            THIRD * total, (inner + (of_b + of_c)) + v * (squares - THIRD * (total * total))
        )
    var d = (at[n](raw, i + 3 * w) - first) + _known[n, is_first](mean, i + 3 * w)
    var of_d = _known[n, is_first](spread, i + 3 * w)
    comptime if step == 4:
        var total = (a + b) + (c + d)
        var squares = (a * a + b * b) + (c * c + d * d)
        var within = (inner + of_b) + (of_c + of_d)
        return Moments[n](0.25 * total, within + v * (squares - 0.25 * (total * total)))
    var e = (at[n](raw, i + 4 * w) - first) + _known[n, is_first](mean, i + 4 * w)
    var of_e = _known[n, is_first](spread, i + 4 * w)
    var total = a + ((b + c) + (d + e))
    var squares = a * a + ((b * b + c * c) + (d * d + e * e))
    var within = inner + ((of_b + of_c) + (of_d + of_e))
    return Moments[n](0.2 * total, within + v * (squares - 0.2 * (total * total)))


@always_inline
def _join[step: Int, is_first: Bool](
    raw: Numbers, mean: Numbers, spread: Numbers, w: Int, count: Int
):
    var i = 0
    while i + LANES <= count:
        var found = _joined[step, LANES, is_first](raw, mean, spread, i, w)
        mean.unsafe_offset(i).unsafe_store(found.mean)
        spread.unsafe_offset(i).unsafe_store(found.spread)
        i += LANES
    while i < count:
        var found = _joined[step, 1, is_first](raw, mean, spread, i, w)
        mean[unsafe_offset=i] = found.mean
        spread[unsafe_offset=i] = found.spread
        i += 1


def join_moments[is_first: Bool](
    raw: Numbers, mean: Numbers, spread: Numbers, w: Int, step: Int, count: Int
):
    if step == 5:
        _join[5, is_first](raw, mean, spread, w, count)
    elif step == 4:
        _join[4, is_first](raw, mean, spread, w, count)
    elif step == 3:
        _join[3, is_first](raw, mean, spread, w, count)
    elif step == 2:
        _join[2, is_first](raw, mean, spread, w, count)
    else:
        _join[ONE_MORE, is_first](raw, mean, spread, w * step, count)


def window_moments(
    raw: Numbers, count: Int, period: Int, steps: Steps, mean: Numbers, spread: Numbers
) -> Int:
    """Write the moments of windows on the way to `period`, but for the last step's.

    They are of the bars from `raw[i]` on; return how many.
    """
    var width = 1
    var k = 0
    while steps[unsafe_offset=k + 1] != 0:
        var step = steps[unsafe_offset=k]
        var wider = widened(width, step)
        if k == 0:
            join_moments[True](raw, mean, spread, 1, step, count + period - wider)
        else:
            join_moments[False](raw, mean, spread, width, step, count + period - wider)
        width = wider
        k += 1
    return width


@always_inline
def _bands[n: Int](
    raw: Numbers, found: Moments[n], i: Int, share: Float64, width: Float64,
    lower: Numbers, middle: Numbers, upper: Numbers,
):
    var centre = at[n](raw, i) + found.mean
    var deviation = share * sqrt(found.spread)
    centre = centre + ((centre - centre) + (deviation - deviation))  # NaN where it is infinite
    lower.unsafe_offset(i).unsafe_store(centre - width * deviation)
    middle.unsafe_offset(i).unsafe_store(centre)
    upper.unsafe_offset(i).unsafe_store(centre + width * deviation)


@always_inline
def _join_bands[step: Int, is_first: Bool](
    raw: Numbers, mean: Numbers, spread: Numbers, w: Int, count: Int, share: Float64,
    width: Float64, lower: Numbers, middle: Numbers, upper: Numbers,
):
    """Take the last step, keep the moments, and write the bands."""
    var i = 0
    while i + LANES <= count:
        var found = _joined[step, LANES, is_first](raw, mean, spread, i, w)
        mean.unsafe_offset(i).unsafe_store(found.mean)
        spread.unsafe_offset(i).unsafe_store(found.spread)
        _bands[LANES](raw, found, i, share, width, lower, middle, upper)
        i += LANES
    while i < count:
        var found = _joined[step, 1, is_first](raw, mean, spread, i, w)
        mean[unsafe_offset=i] = found.mean
        spread[unsafe_offset=i] = found.spread
        _bands[1](raw, found, i, share, width, lower, middle, upper)
        i += 1


@always_inline
def _last_step[is_first: Bool](
    raw: Numbers, mean: Numbers, spread: Numbers, w: Int, step: Int, count: Int, share: Float64,
    width: Float64, low: Numbers, mid: Numbers, high: Numbers,
):
    if step == 5:
        _join_bands[5, is_first](raw, mean, spread, w, count, share, width, low, mid, high)
    elif step == 4:
        _join_bands[4, is_first](raw, mean, spread, w, count, share, width, low, mid, high)
    elif step == 3:
        _join_bands[3, is_first](raw, mean, spread, w, count, share, width, low, mid, high)
    elif step == 2:
        _join_bands[2, is_first](raw, mean, spread, w, count, share, width, low, mid, high)
    else:
        _join_bands[ONE_MORE, is_first](
            raw, mean, spread, w * step, count, share, width, low, mid, high
        )


@always_inline
def _shapes[n: Int](
    raw: Numbers, mean: Numbers, spread: Numbers, i: Int, past: Int, share: Float64,
    width: Float64, middle: Numbers, percent_b: Numbers, bandwidth: Numbers, sigma: Numbers,
):
    comptime zero = Vector[n](0.0)
    var centre = at[n](middle, i)
    var deviation = share * sqrt(at[n](spread, i)) + (centre - centre)
    var across = 2.0 * (width * deviation)
    var gap = (at[n](raw, i + past) - at[n](raw, i)) - at[n](mean, i)
    sigma.unsafe_offset(i).unsafe_store(deviation)
    percent_b.unsafe_offset(i).unsafe_store(0.5 + across.eq(zero).select(zero, gap / across))
    bandwidth.unsafe_offset(i).unsafe_store(
        centre.eq(zero).select(Vector[n](NAN), across / centre)
    )


@no_inline
def bollinger(
    close: Numbers, n: Int, period: Int, width: Float64, state: Numbers, kept: Int,
    lower: Numbers, middle: Numbers, upper: Numbers,
    percent_b: Numbers, bandwidth: Numbers, sigma: Numbers, has_shapes: Bool,
):
    """Write the bands and, if wanted, %b, width and sigma; `2 * period <= ROOM`."""
    var past = period - 1
    var steps_room = Array[Int, MOST_STEPS](uninitialized=True)
    var rows = Array[Float64, 3 * ROOM](uninitialized=True)
    var steps = steps_room.unsafe_ptr().unsafe_origin_cast[MutAnyOrigin]()
    var before = rows.unsafe_ptr().unsafe_origin_cast[MutAnyOrigin]()
    var mean = before.unsafe_offset(ROOM)
    var spread = mean.unsafe_offset(ROOM)
    var share = 1.0 / sqrt(Float64(period))
    steps_to(period, steps)
    var last = 0
    while steps[unsafe_offset=last + 1] != 0:
        last += 1
    last = steps[unsafe_offset=last]
    var start = 0
    if kept == 0:
        start = unknown(lower, min(past, n))
        _ = unknown(middle, start) + unknown(upper, start)
        if has_shapes:
            _ = unknown(percent_b, start) + unknown(bandwidth, start) + unknown(sigma, start)
    while start < n:
        var count = min(max(BLOCK, past), n - start)
        var raw = close.unsafe_offset(start - past)
        if start < past:
            head(state, past, close, count, before)
            raw = before
        var low = lower.unsafe_offset(start)
        var mid = middle.unsafe_offset(start)
        var high = upper.unsafe_offset(start)
        var w = window_moments(raw, count, period, steps, mean, spread)
        if w == 1:
            _last_step[True](raw, mean, spread, w, last, count, share, width, low, mid, high)
        else:
            _last_step[False](raw, mean, spread, w, last, count, share, width, low, mid, high)
        if has_shapes:
            var b = percent_b.unsafe_offset(start)
            var a = bandwidth.unsafe_offset(start)
            var s = sigma.unsafe_offset(start)
            var i = 0
            while i + LANES <= count:
                _shapes[LANES](raw, mean, spread, i, past, share, width, mid, b, a, s)
                i += LANES
            while i < count:
                _shapes[1](raw, mean, spread, i, past, share, width, mid, b, a, s)
                i += 1
        start += count
    keep(state, kept, close, n)
