"""Stretches of one series without a gap, in registers: what `smoothing.mojo` does by the block.

The same operations in the same order on the same state, so the same bits. Nothing is looked for on
the way: a value that is not finite leaves an average that is not, the stretch then counts for
nothing, and is gone over again with the blocks. So does one whose numbers overflow.
"""

from lanes import LANES, Lanes, Numbers, is_finite, write
from smoothing import AHEAD, Powers, strength
from sums import Vector, at

comptime STRETCH = 512  # bars: what is gone over again for a gap


@always_inline
def after_one(before: Lanes, now: Lanes) -> Lanes:
    """Return what came one bar before each value of `now`."""
    return before.shuffle[7, 8, 9, 10, 11, 12, 13, 14](now)


@always_inline
def _after_two(before: Lanes, now: Lanes) -> Lanes:
    return before.shuffle[6, 7, 8, 9, 10, 11, 12, 13](now)


@always_inline
def _after_four(before: Lanes, now: Lanes) -> Lanes:
    return before.shuffle[4, 5, 6, 7, 8, 9, 10, 11](now)


struct Average(TrivialRegisterPassable):
    """An average past its seed: eight bars of values, of sums of two and of four, of averages."""

    var powers: Powers
    var values: Lanes
    var twos: Lanes
    var fours: Lanes
    var averages: Lanes

    @always_inline
    def __init__(out self, weight: Float64, state: Numbers):
        self.powers = Powers(weight)
        self.averages = at[LANES](state, 2)
        self.values = at[LANES](state, 1 + AHEAD)  # seven; on the first lane nothing depends
        self.twos = self.powers.two[LANES](self.values, after_one(self.values, self.values))
        self.fours = self.twos + self.powers.q2 * _after_two(self.twos, self.twos)

    @always_inline
    def take(mut self, values: Lanes) -> Lanes:
        """Return the averages of the next eight bars."""
        var twos = self.powers.two[LANES](values, after_one(self.values, values))
        var fours = twos + self.powers.q2 * _after_two(self.twos, twos)
        var eights = fours + self.powers.q4 * _after_four(self.fours, fours)
        self.averages = eights + self.powers.q8 * self.averages
        self.values = values
        self.twos = twos
        self.fours = fours
        return self.averages

    @always_inline
    def is_sound(self) -> Bool:
        return is_finite(self.averages).reduce_and()

    @always_inline
    def leave(self, state: Numbers, count: Int):
        """Keep the last averages and values, after `count` more bars, in the state."""
        state.unsafe_offset(1 + AHEAD).unsafe_store(self.values)
        state.unsafe_offset(2).unsafe_store(self.averages)
        state[unsafe_offset=0] = state[unsafe_offset=0] + Float64(count)


@always_inline
def is_warm(state: Numbers, period: Int) -> Bool:
    return state[unsafe_offset=0] >= Float64(period + AHEAD)


@always_inline
def whole(count: Int) -> Int:
    """Return how many of `count` bars a stretch takes."""
    return min(STRETCH, count) & ~(LANES - 1)


@no_inline
def stretch_of_average[is_streamed: Bool](
    x: Numbers, count: Int, weight: Float64, state: Numbers, out_: Numbers
) -> Bool:
    var average = Average(weight, state)
    for i in range(0, count, LANES):
        write[is_streamed](out_, i, average.take(at[LANES](x, i)))
    if not average.is_sound():
        return False
    average.leave(state, count)
    return True


@no_inline
def stretch_of_strength[is_streamed: Bool](
    close: Numbers, count: Int, weight: Float64, of_gain: Numbers, of_loss: Numbers, out_: Numbers
) -> Bool:
    comptime zero = Lanes(0.0)
    var gains = Average(weight, of_gain)
    var losses = Average(weight, of_loss)
    var last = Lanes(close[unsafe_offset=-1])
    for i in range(0, count, LANES):
        # the prices before by shuffling: to load them would wait for what was written, where the
        # two arrays lie alike in their pages, as large ones do
        var price = at[LANES](close, i)
        var change = price - after_one(last, price)
        last = price
        var rise = change.gt(zero).select(change, zero)
        var gain = gains.take(rise)
        var loss = losses.take(rise - change)  # NaN beside NaN
        write[is_streamed](out_, i, strength[LANES](gain, loss))
    if not (gains.is_sound() and losses.is_sound()):
        return False
    gains.leave(of_gain, count)
    losses.leave(of_loss, count)
    return True


@no_inline
def stretch_of_lines[is_streamed: Bool](
    close: Numbers, count: Int, fast: Float64, slow: Float64, signal: Float64, states: Numbers,
    stride: Int, line: Numbers, average: Numbers, histogram: Numbers,
) -> Bool:
    var of_slow = states.unsafe_offset(stride)
    var of_signal = of_slow.unsafe_offset(stride)
    var quick = Average(fast, states)
    var steady = Average(slow, of_slow)
    var smoothed = Average(signal, of_signal)
    for i in range(0, count, LANES):
        var price = at[LANES](close, i)
        var gap = quick.take(price) - steady.take(price)
        var y = smoothed.take(gap)
        write[is_streamed](line, i, gap)
        write[is_streamed](average, i, y)
        write[is_streamed](histogram, i, gap - y)
    if not (quick.is_sound() and steady.is_sound() and smoothed.is_sound()):
        return False
    quick.leave(states, count)
    steady.leave(of_slow, count)
    smoothed.leave(of_signal, count)
    return True


@no_inline
def stretch_of_ranges[is_streamed: Bool](
    high: Numbers, low: Numbers, close: Numbers, count: Int, weight: Float64, state: Numbers,
    out_: Numbers,
) -> Bool:
    var average = Average(weight, state)
    var last = Lanes(close[unsafe_offset=-1])
    var total = Lanes(0.0)
    for i in range(0, count, LANES):
        var top = at[LANES](high, i)
        var bottom = at[LANES](low, i)
        var price = at[LANES](close, i)
        var ranges = true_range[LANES](top, bottom, after_one(last, price))
        last = price
        total = total + ((top + bottom) + price)  # which hides nothing, as a range can
        write[is_streamed](out_, i, average.take(ranges))
    if not (average.is_sound() and is_finite(total).reduce_and()):
        return False
    average.leave(state, count)
    return True


@always_inline
def true_range[n: Int](high: Vector[n], low: Vector[n], before: Vector[n]) -> Vector[n]:
    """Return the true range; the range alone where there is no close before."""
    return before.gt(high).select(before, high) - before.lt(low).select(before, low)
