"""Sums over the last `period` bars of eight series at once, that nothing drifts in.

Time is cut into blocks of `period` bars. A window is the end of the block before (its suffix sum,
made when that block was full) and the beginning of this one (a running sum): nothing is ever taken
off, so an outlier or a NaN leaves no trace once it is out. `ring` has `period + 1` rows: the values
of this block so far, then the suffix sums of the block before; the last row stays 0.
"""

from lanes import Lanes, Numbers, load, store


@always_inline
def slid(ring: Numbers, place: Int, period: Int, x: Lanes, mut head: Lanes) -> Lanes:
    """Return the window's sum with `x` as its newest value, `place` in its block."""
    head = head + x
    var total = load(ring, place + 1) + head
    store(ring, place, x)
    if place + 1 == period:
        head = Lanes(0.0)
        var tail = Lanes(0.0)
        for i in range(period):
            tail = load(ring, period - 1 - i) + tail
            store(ring, period - 1 - i, tail)
    return total


@always_inline
def next_place(place: Int, period: Int) -> Int:
    return 0 if place + 1 == period else place + 1


struct Spread(TrivialRegisterPassable):
    """Sum and sum of squares of a window, both about a value that is inside that window.

    So a constant window has exactly no spread, and no digits are lost where the price is large
    beside its deviation: the squares are never larger than the window's own range.
    """

    var pivot: Lanes
    var sum: Lanes
    var squares: Lanes

    @always_inline
    def __init__(out self, pivot: Lanes, sum: Lanes, squares: Lanes):
        self.pivot = pivot
        self.sum = sum
        self.squares = squares

    @always_inline
    def slid(mut self, ring: Numbers, ring2: Numbers, place: Int, period: Int, x: Lanes) -> Spread:
        """Return the window's own sums with `x` as its newest value."""
        store(ring, place, x)
        if place + 1 == period:
            self.pivot = x
            var sum = Lanes(0.0)
            var squares = Lanes(0.0)
            for i in range(period):
                var d = load(ring, period - 1 - i) - x
                sum = d + sum
                squares = d * d + squares
                store(ring, period - 1 - i, sum)
                store(ring2, period - 1 - i, squares)
            self.sum = Lanes(0.0)
            self.squares = Lanes(0.0)
            return Spread(x, sum, squares)
        var d = x - self.pivot
        self.sum = self.sum + d
        self.squares = self.squares + d * d
        return Spread(
            self.pivot,
            load(ring, place + 1) + self.sum,
            load(ring2, place + 1) + self.squares,
        )
