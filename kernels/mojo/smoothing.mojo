"""Averages that remember all the past, taken eight bars ahead: `kernels/recurrences.py` in Mojo.

The same operations in the same order on the same state, so the same bits. What is missing is
passed over as in `kernels/blocks.py`.
"""

from lanes import LANES, NAN, Lanes, Numbers
from sums import BLOCK, Vector, at, copied

comptime AHEAD = 8
comptime BEHIND = 7
comptime STATE = 2 + AHEAD + BEHIND
comptime SIZE = BLOCK + AHEAD

comptime Places = Pointer[Int, MutAnyOrigin]


# One average at work is `values`, seven of them from before; `row`, its averages, eight from before;
# scratch; its period and weight; its state.


def recall(values: Numbers, row: Numbers, state: Numbers):
    """Put the last averages and values of the state before those of the first block."""
    copied(state.unsafe_offset(2), AHEAD, row)
    copied(state.unsafe_offset(2 + AHEAD), BEHIND, values)


def remember(values: Numbers, row: Numbers, count: Int, state: Numbers):
    """Keep the last averages and values of a block of `count` in the state."""
    copied(row.unsafe_offset(count), AHEAD, state.unsafe_offset(2))
    copied(values.unsafe_offset(count), BEHIND, state.unsafe_offset(2 + AHEAD))


struct Powers(TrivialRegisterPassable):
    """The weight of an average, and powers of what it keeps of itself from one bar to the next."""

    var weight: Float64
    var q: Float64
    var q2: Float64
    var q4: Float64
    var q8: Float64

    @always_inline
    def __init__(out self, weight: Float64):
        self.weight = weight
        self.q = 1.0 - weight
        self.q2 = self.q * self.q
        self.q4 = self.q2 * self.q2
        self.q8 = self.q4 * self.q4

    @always_inline
    def two[n: Int](self, values: Vector[n], before: Vector[n]) -> Vector[n]:
        """Return what values, and those one bar before, put into the average."""
        return self.weight * (values + self.q * before)

    @always_inline
    def _two[n: Int](self, values: Numbers, i: Int) -> Vector[n]:
        return self.two[n](at[n](values, i + 1), at[n](values, i))

    @always_inline
    def _four[n: Int](self, work: Numbers, i: Int) -> Vector[n]:
        return at[n](work, i + 2) + self.q2 * at[n](work, i)

    @always_inline
    def eight[n: Int](self, work: Numbers, i: Int, before: Vector[n]) -> Vector[n]:
        """Return the averages from `i` on, of those eight bars before."""
        return (at[n](work, i + 4) + self.q4 * at[n](work, i)) + self.q8 * before

    @no_inline
    def fold(self, values: Numbers, work: Numbers, first: Int, count: Int):
        """Write what four values, from `values[i]` on, put into the average to `work[i]`."""
        var i = first
        while i + LANES <= count + 6:
            work.unsafe_offset(i).unsafe_store(self._two[LANES](values, i))
            i += LANES
        while i < count + 6:
            work[unsafe_offset=i] = self._two[1](values, i)
            i += 1
        i = first
        while i + LANES <= count + 4:
            work.unsafe_offset(i).unsafe_store(self._four[LANES](work, i))
            i += LANES
        while i < count + 4:
            work[unsafe_offset=i] = self._four[1](work, i)
            i += 1


@always_inline
def _count(state: Numbers, more: Int):
    state[unsafe_offset=0] = state[unsafe_offset=0] + Float64(more)


def advance(
    values: Numbers, row: Numbers, work: Numbers, period: Int, weight: Float64, state: Numbers,
    count: Int,
):
    """Write `count` averages, from `row[AHEAD]`, of the values from `values[BEHIND]`.

    Before them lie the last of the block before.
    """
    var first = begin(values, row, period, weight, state, count)
    if first == count:
        return
    var powers = Powers(weight)
    powers.fold(values, work, first, count)
    var averages = row.unsafe_offset(AHEAD)
    var i = first
    var before = at[LANES](row, i)
    while i + LANES <= count:
        before = powers.eight[LANES](work, i, before)
        averages.unsafe_offset(i).unsafe_store(before)
        i += LANES
    while i < count:
        averages[unsafe_offset=i] = powers.eight[1](work, i, row[unsafe_offset=i])
        i += 1
    _count(state, count - first)


@always_inline
def strength[n: Int](gain: Vector[n], loss: Vector[n]) -> Vector[n]:
    """Return 100 times the gain's share of what moved; 50 where nothing did."""
    var moved = gain + loss
    return moved.eq(Vector[n](0.0)).select(Vector[n](50.0), 100.0 * (gain / moved))


def advance_strength(
    rising: Numbers, falling: Numbers, gains: Numbers, losses: Numbers, period: Int,
    of_gain: Numbers, of_loss: Numbers, count: Int, out_: Numbers,
):
    """Write `count` strengths; of the averages, behind whose rows the scratch is, only the last.

    Two averages that began at the same bar take the time of one, which only waits.
    """
    var weight = 1.0 / Float64(period)
    var first = begin(rising, gains, period, weight, of_gain, count)
    _ = begin(falling, losses, period, weight, of_loss, count)
    for k in range(first):
        out_[unsafe_offset=k] = strength[1](
            gains[unsafe_offset=AHEAD + k], losses[unsafe_offset=AHEAD + k]
        )
    if first == count:
        return
    var powers = Powers(weight)
    var work = gains.unsafe_offset(SIZE)
    var work_2 = losses.unsafe_offset(SIZE)
    powers.fold(rising, work, first, count)
    powers.fold(falling, work_2, first, count)
    var i = first
    var gain = at[LANES](gains, i)
    var loss = at[LANES](losses, i)
    while i + LANES <= count:
        gain = powers.eight[LANES](work, i, gain)
        loss = powers.eight[LANES](work_2, i, loss)
        out_.unsafe_offset(i).unsafe_store(strength[LANES](gain, loss))
        i += LANES
    gains.unsafe_offset(i).unsafe_store(gain)
    losses.unsafe_offset(i).unsafe_store(loss)
    while i < count:
        var up = powers.eight[1](work, i, gains[unsafe_offset=i])
        var down = powers.eight[1](work_2, i, losses[unsafe_offset=i])
        gains[unsafe_offset=i + AHEAD] = up
        losses[unsafe_offset=i + AHEAD] = down
        out_[unsafe_offset=i] = strength[1](up, down)
        i += 1
    _count(of_gain, count - first)
    _count(of_loss, count - first)


def advance_gap(
    values: Numbers, quick: Numbers, steady: Numbers, fast: Int, slow: Int,
    of_fast: Numbers, of_slow: Numbers, count: Int, gaps: Numbers,
):
    """Write `count` gaps between two averages of the same values, as `advance_strength` does."""
    var first = begin(values, quick, fast, 2.0 / (Float64(fast) + 1.0), of_fast, count)
    _ = begin(values, steady, slow, 2.0 / (Float64(slow) + 1.0), of_slow, count)
    for k in range(first):
        gaps[unsafe_offset=k] = quick[unsafe_offset=AHEAD + k] - steady[unsafe_offset=AHEAD + k]
    if first == count:
        return
    var powers = Powers(2.0 / (Float64(fast) + 1.0))
    var powers_2 = Powers(2.0 / (Float64(slow) + 1.0))
    var work = quick.unsafe_offset(SIZE)
    var work_2 = steady.unsafe_offset(SIZE)
    powers.fold(values, work, first, count)
    powers_2.fold(values, work_2, first, count)
    var i = first
    var soon = at[LANES](quick, i)
    var late = at[LANES](steady, i)
    while i + LANES <= count:
        soon = powers.eight[LANES](work, i, soon)
        late = powers_2.eight[LANES](work_2, i, late)
        gaps.unsafe_offset(i).unsafe_store(soon - late)
        i += LANES
    quick.unsafe_offset(i).unsafe_store(soon)
    steady.unsafe_offset(i).unsafe_store(late)
    while i < count:
        var near = powers.eight[1](work, i, quick[unsafe_offset=i])
        var far = powers_2.eight[1](work_2, i, steady[unsafe_offset=i])
        quick[unsafe_offset=i + AHEAD] = near
        steady[unsafe_offset=i + AHEAD] = far
        gaps[unsafe_offset=i] = near - far
        i += 1
    _count(of_fast, count - first)
    _count(of_slow, count - first)


@always_inline
def _write_lines[n: Int](
    gap: Vector[n], y: Vector[n], i: Int, line: Numbers, average: Numbers, histogram: Numbers
):
    line.unsafe_offset(i).unsafe_store(gap)
    average.unsafe_offset(i).unsafe_store(y)
    histogram.unsafe_offset(i).unsafe_store(gap - y)


def advance_lines(
    gaps: Numbers, row: Numbers, period: Int, state: Numbers, count: Int,
    line: Numbers, average: Numbers, histogram: Numbers,
):
    """Write the gaps from `gaps[BEHIND]`, their average, and their gap, as `advance_strength`."""
    var weight = 2.0 / (Float64(period) + 1.0)
    var first = begin(gaps, row, period, weight, state, count)
    for k in range(first):
        var y = row[unsafe_offset=AHEAD + k]
        var gap = gaps[unsafe_offset=BEHIND + k]
        _write_lines[1](gap if y == y else y, y, k, line, average, histogram)  # NaN until known
    if first == count:
        return
    var powers = Powers(weight)
    var work = row.unsafe_offset(SIZE)
    powers.fold(gaps, work, first, count)
    var i = first
    var y = at[LANES](row, i)
    while i + LANES <= count:
        y = powers.eight[LANES](work, i, y)
        _write_lines[LANES](at[LANES](gaps, i + BEHIND), y, i, line, average, histogram)
        i += LANES
    row.unsafe_offset(i).unsafe_store(y)
    while i < count:
        var next = powers.eight[1](work, i, row[unsafe_offset=i])
        row[unsafe_offset=i + AHEAD] = next
        _write_lines[1](gaps[unsafe_offset=i + BEHIND], next, i, line, average, histogram)
        i += 1
    _count(state, count - first)


@no_inline
def begin(
    values: Numbers, row: Numbers, period: Int, weight: Float64, state: Numbers, count: Int
) -> Int:
    """Write the averages up to the eighth after the seed; return how many bars that took."""
    var seed = Float64(period)
    var seen = state[unsafe_offset=0]
    var value = state[unsafe_offset=1]
    var done = 0
    while done < count and seen < seed + Float64(AHEAD):
        var x = values[unsafe_offset=BEHIND + done]
        seen += 1.0
        if seen > seed:
            value += weight * (x - value)
        elif seen > 0.0:
            value += x
            if seen == seed:
                value /= seed
        row[unsafe_offset=AHEAD + done] = value if seen >= seed else NAN
        done += 1
    state[unsafe_offset=0] = seen
    state[unsafe_offset=1] = value
    return done


def fresh(state: Numbers, wait: Int):
    """Write the state before the first value; the first `wait` values are passed over."""
    for i in range(STATE):
        state.unsafe_offset(i).unsafe_store[volatile=True](0.0)
    state[unsafe_offset=0] = -Float64(wait)


def are_finite(x: Numbers, count: Int) -> Bool:
    var rest = Lanes(0.0)
    var i = 0
    while i + LANES <= count:
        var value = at[LANES](x, i)
        rest = rest + (value - value)
        i += LANES
    while i < count:
        rest = rest + Lanes(x[unsafe_offset=i] - x[unsafe_offset=i])
        i += 1
    return rest.eq(Lanes(0.0)).reduce_and()


def gathered(x: Numbers, count: Int, row: Numbers) -> Bool:
    """Copy `count` values to `row`; say whether all of them are finite."""
    copied(x, count, row)
    return are_finite(row, count)


def closed_up(row: Numbers, count: Int, kept: Places) -> Int:
    """Move the values that are finite together; say how many, and in `kept` which they are."""
    var usable = 0
    for i in range(count):
        var value = row[unsafe_offset=i]
        if value - value == 0.0:
            row[unsafe_offset=usable] = value
            kept[unsafe_offset=usable] = i
            usable += 1
    return usable


def put(row: Numbers, kept: Places, usable: Int, out_: Numbers, count: Int):
    """Write `usable` values to the bars in `kept`, NaN to the others of `count`."""
    if usable == count:
        copied(row, count, out_)
        return
    for i in range(count):
        out_[unsafe_offset=i] = NAN
    for i in range(usable):
        out_[unsafe_offset=kept[unsafe_offset=i]] = row[unsafe_offset=i]
