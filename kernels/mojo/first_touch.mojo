"""Which of two barriers a path touches first: the scan, eight bars at a time."""

from std.bit import count_trailing_zeros
from std.memory import pack_bits

from lanes import LANES, Bytes, Instants, Lanes, Numbers


@always_inline
def scan(
    high: Numbers, low: Numbers, first: Int, last: Int, upper: Float64, lower: Float64
) -> Int:
    """Return the first bar of [first, last) that touches either barrier, or -1."""
    var bar = first
    while bar + LANES <= last:
        var up = high.unsafe_offset(bar).unsafe_load[width=LANES]().ge(Lanes(upper))
        var down = low.unsafe_offset(bar).unsafe_load[width=LANES]().le(Lanes(lower))
        var either = up | down
        if either.reduce_or():
            return bar + Int(count_trailing_zeros(pack_bits(either)))
        bar += LANES
    while bar < last:
        if high[unsafe_offset=bar] >= upper or low[unsafe_offset=bar] <= lower:
            return bar
        bar += 1
    return -1


def first_touches(
    high: Numbers, low: Numbers, first: Instants, last: Instants, n: Int,
    upper: Numbers, lower: Numbers, side: Bytes, touched: Instants,
):
    for row in range(n):
        var above = upper[unsafe_offset=row]
        var below = lower[unsafe_offset=row]
        if not (above == above and below == below):
            continue
        var bar = scan(
            high, low, Int(first[unsafe_offset=row]), Int(last[unsafe_offset=row]), above, below
        )
        if bar >= 0:
            var is_up = high[unsafe_offset=bar] >= above
            var is_down = low[unsafe_offset=bar] <= below
            side[unsafe_offset=row] = Int8(2 if is_up and is_down else (1 if is_up else -1))
            touched[unsafe_offset=row] = Int64(bar)
