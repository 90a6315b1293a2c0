"""Sums over the last bars of one series, made of sums over fewer: `kernels/window_sums.py` in Mojo.

The same additions in the same order, so the same bits. A pass works in place: what it writes lies
before all that it still reads.
"""

from lanes import LANES, NAN, Numbers

comptime Vector[width: Int] = SIMD[DType.float64, width]

comptime ONE_MORE = 1
comptime MOST_STEPS = 64
comptime BLOCK = 256  # bars: MACD's nine rows of it fit the first-level cache (1,024: 1.5 x its time)
comptime ROOM = 4096  # values in a block with its past, at most


comptime Steps = Pointer[Int, MutAnyOrigin]
"""How windows of one bar become windows of `period` bars: steps in order, a 0 after the last."""


def steps_to(period: Int, found: Steps):
    """Write the steps and a 0; there is one that does nothing if there is none to do."""
    var count = 0
    var rest = period
    while rest > 1:
        count += 1
        rest = rest - 1 if _step(rest) == ONE_MORE else rest // _step(rest)
    found[unsafe_offset=0] = 0
    found[unsafe_offset=max(count, 1)] = 0
    rest = period
    while rest > 1:
        count -= 1
        found[unsafe_offset=count] = _step(rest)
        rest = rest - 1 if _step(rest) == ONE_MORE else rest // _step(rest)


@always_inline
def _step(period: Int) -> Int:
    if period % 5 == 0:
        return 5
    if period % 3 == 0:
        return 3
    if period % 4 == 0:
        return 4
    return 2 if period % 2 == 0 else ONE_MORE


@always_inline
def widened(width: Int, step: Int) -> Int:
    return width + 1 if step == ONE_MORE else width * max(step, 1)


@always_inline
def at[width: Int](p: Numbers, i: Int) -> Vector[width]:
    return p.unsafe_offset(i).unsafe_load[width=width]()


@always_inline
def _total[step: Int, n: Int](source: Numbers, raw: Numbers, i: Int, w: Int) -> Vector[n]:
    comptime if step == 5:
        var later = (at[n](source, i + w) + at[n](source, i + 2 * w)) + (
            at[n](source, i + 3 * w) + at[n](source, i + 4 * w)
        )
        return at[n](source, i) + later
    elif step == 4:
        return (at[n](source, i) + at[n](source, i + w)) + (
            at[n](source, i + 2 * w) + at[n](source, i + 3 * w)
        )
    elif step == 3:
        return at[n](source, i) + (at[n](source, i + w) + at[n](source, i + 2 * w))
    elif step == 2:
        return at[n](source, i) + at[n](source, i + w)
    elif step == ONE_MORE:
        return at[n](source, i) + at[n](raw, i + w)
    else:
        return at[n](raw, i)


@always_inline
def _joined[step: Int, n: Int](
    source: Numbers, raw: Numbers, i: Int, w: Int, scale: Float64, is_last: Bool
) -> Vector[n]:
    var total = _total[step, n](source, raw, i, w)
    # an infinite sum is NaN; what is in between may be infinite, the last sum is then as well
    return scale * (total + (total - total)) if is_last else total


@always_inline
def _join[step: Int, is_last: Bool](
    source: Numbers, raw: Numbers, w: Int, count: Int, scale: Float64, out_: Numbers
):
    var i = 0
    while i + LANES <= count:
        out_.unsafe_offset(i).unsafe_store(
            _joined[step, LANES](source, raw, i, w, scale, is_last)
        )
        i += LANES
    while i < count:
        out_.unsafe_offset(i).unsafe_store(_joined[step, 1](source, raw, i, w, scale, is_last))
        i += 1


@always_inline
def join_sums[is_last: Bool](
    source: Numbers, raw: Numbers, w: Int, step: Int, count: Int, scale: Float64, out_: Numbers
):
    """Write `scale` times the sums that one step makes of sums over `w` bars."""
    if step == 5:
        _join[5, is_last](source, raw, w, count, scale, out_)
    elif step == 4:
        _join[4, is_last](source, raw, w, count, scale, out_)
    elif step == 3:
        _join[3, is_last](source, raw, w, count, scale, out_)
    elif step == 2:
        _join[2, is_last](source, raw, w, count, scale, out_)
    elif step == ONE_MORE:
        _join[ONE_MORE, is_last](source, raw, w, count, scale, out_)
    else:
        comptime if is_last:  # a window of one bar
            _join[0, True](source, raw, w, count, scale, out_)


@always_inline
def _four[n: Int](raw: Numbers, i: Int) -> Vector[n]:
    return (at[n](raw, i) + at[n](raw, i + 1)) + (at[n](raw, i + 2) + at[n](raw, i + 3))


@always_inline
def _fours[step: Int, n: Int](
    a: Vector[n], b: Vector[n], c: Vector[n], d: Vector[n], e: Vector[n], scale: Float64
) -> Vector[n]:
    var total = a + ((b + c) + (d + e))
    comptime if step == 4:
        total = (a + b) + (c + d)
    comptime if step == 3:
        total = a + (b + c)
    return scale * (total + (total - total))


@always_inline
def _join_fours[step: Int](raw: Numbers, count: Int, scale: Float64, out_: Numbers):
    """Write sums of `step` sums of four: those that a vector's neighbours need stay in registers."""
    comptime N = 4
    comptime none = Vector[N](0.0)
    var i = 0
    var a = _four[N](raw, 0) if count >= N else none
    var b = _four[N](raw, 4) if count >= N else none
    var c = _four[N](raw, 8) if count >= N and step > 3 else none
    var d = _four[N](raw, 12) if count >= N and step > 4 else none
    while i + N <= count:
        comptime if step == 5:
            var e = _four[N](raw, i + 16)
            out_.unsafe_offset(i).unsafe_store(_fours[5, N](a, b, c, d, e, scale))
            a, b, c, d = b, c, d, e
        elif step == 4:
            var e = _four[N](raw, i + 12)
            out_.unsafe_offset(i).unsafe_store(_fours[4, N](a, b, c, e, none, scale))
            a, b, c = b, c, e
        else:
            var e = _four[N](raw, i + 8)
            out_.unsafe_offset(i).unsafe_store(_fours[3, N](a, b, e, none, none, scale))
            a, b = b, e
        i += N
    while i < count:
        var f = _four[1](raw, i + 12) if step > 3 else 0.0
        var g = _four[1](raw, i + 16) if step > 4 else 0.0
        out_[unsafe_offset=i] = _fours[step, 1](
            _four[1](raw, i), _four[1](raw, i + 4), _four[1](raw, i + 8), f, g, scale
        )
        i += 1


@no_inline
def window_sums(
    raw: Numbers, count: Int, period: Int, steps: Steps, scale: Float64, work: Numbers,
    out_: Numbers,
):
    """Write `scale` times the sum of `raw[i : i + period]` to `out_[i]`."""
    var step = steps[unsafe_offset=0]
    if step == 4 and period == 20:
        _join_fours[5](raw, count, scale, out_)
        return
    if step == 4 and period == 16:
        _join_fours[4](raw, count, scale, out_)
        return
    if step == 4 and period == 12:
        _join_fours[3](raw, count, scale, out_)
        return
    var source = raw
    var width = 1
    var k = 0
    while steps[unsafe_offset=k + 1] != 0:
        var wider = widened(width, step)
        join_sums[False](source, raw, width, step, count + period - wider, 1.0, work)
        source = work
        width = wider
        k += 1
        step = steps[unsafe_offset=k]
    join_sums[True](source, raw, width, step, count, scale, out_)


@always_inline
def copied(src: Numbers, n: Int, dst: Numbers):
    """Copy; `volatile` so that the compiler does not call the C library for it."""
    var i = 0
    while i + LANES <= n:
        dst.unsafe_offset(i).unsafe_store(
            src.unsafe_offset(i).unsafe_load[width=LANES, volatile=True]()
        )
        i += LANES
    while i < n:
        dst[unsafe_offset=i] = src.unsafe_offset(i).unsafe_load[volatile=True]()
        i += 1


def head(state: Numbers, past: Int, x: Numbers, count: Int, out_: Numbers):
    """Put the `past` values that `state` holds before the first `count` of the series."""
    copied(state, past, out_)
    copied(x, count, out_.unsafe_offset(past))


def unknown(out_: Numbers, count: Int) -> Int:
    """Write `count` NaN; return `count`."""
    for i in range(count):
        out_[unsafe_offset=i] = NAN
    return count


def keep(state: Numbers, kept: Int, x: Numbers, n: Int):
    """Keep the last values of `x`, and of those before it, in `state`."""
    if n < kept:
        copied(state.unsafe_offset(n), kept - n, state)
        copied(x, n, state.unsafe_offset(kept - n))
    else:
        copied(x.unsafe_offset(n - kept), kept, state)


@no_inline
def window_total(
    x: Numbers, n: Int, period: Int, scale: Float64, state: Numbers, kept: Int, out_: Numbers
):
    """Write `scale` times the sum of the last `period` values; `2 * period <= ROOM`."""
    var past = period - 1
    var steps_room = Array[Int, MOST_STEPS](uninitialized=True)
    var first = Array[Float64, ROOM](uninitialized=True)
    var room = Array[Float64, ROOM](uninitialized=True)
    var steps = steps_room.unsafe_ptr().unsafe_origin_cast[MutAnyOrigin]()
    var before = first.unsafe_ptr().unsafe_origin_cast[MutAnyOrigin]()
    var work = room.unsafe_ptr().unsafe_origin_cast[MutAnyOrigin]()
    steps_to(period, steps)
    var start = 0 if kept > 0 else unknown(out_, min(past, n))
    while start < n:
        var count = min(max(BLOCK, past), n - start)
        var raw = x.unsafe_offset(start - past)
        if start < past:
            head(state, past, x, count, before)
            raw = before
        window_sums(raw, count, period, steps, scale, work, out_.unsafe_offset(start))
        start += count
    keep(state, kept, x, n)
