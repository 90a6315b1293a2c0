"""The level machine told slowly: one object a level, one loop a step, history kept whole."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from kernels.levels import Rules


class Candle(NamedTuple):
    """One bar."""

    open: float
    high: float
    low: float
    close: float


class Event(NamedTuple):
    """What happened to one level in one candle."""

    bar: int
    event: str
    born: int
    kind: str
    price: float
    penetration: float | None
    rebound: float
    strength: float


@dataclass
class Level:
    """A level and all that ever happened to it."""

    price: float
    kind: str
    born: int
    rebounds: list[float]
    status: str = "active"
    touches: int = 0
    last_touch: int = 0
    last_contact: int = 0
    break_bar: int | None = None


@dataclass
class Book:
    """All levels, candles so far, and the events."""

    rules: Rules
    candles: list[Candle] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    nearest: list[tuple[Level | None, Level | None]] = field(default_factory=list)

    def feed(self, candle: Candle) -> None:
        """Take one candle through the six steps."""
        self.candles.append(candle)
        atr = average_true_range(self.candles, self.rules.atr_period)
        if atr is not None and atr > 0:
            Step(self, atr).run()
        close = candle.close
        active = [level for level in self.levels if level.status == "active"]
        above = [replace(x) for x in active if x.kind == "resistance" and x.price > close]
        below = [replace(x) for x in active if x.kind == "support" and x.price < close]
        self.nearest.append(
            (
                min(above, key=lambda x: (x.price, x.born), default=None),
                min(below, key=lambda x: (-x.price, x.born), default=None),
            )
        )


def average_true_range(candles: Sequence[Candle], period: int) -> float | None:
    """Wilder's average true range of the last candle, from the very first one on."""
    ranges = [
        max(now.high - now.low, abs(now.high - before.close), abs(now.low - before.close))
        for before, now in itertools.pairwise(candles)
    ]
    if len(ranges) < period:
        return None
    average = sum(ranges[:period]) / period
    for true_range in ranges[period:]:
        average = (average * (period - 1) + true_range) / period
    return average


class Step:
    """What one candle does."""

    def __init__(self, book: Book, atr: float) -> None:
        self.book, self.rules, self.atr = book, book.rules, atr
        self.t = len(book.candles) - 1
        self.before, self.now = book.candles[-2], book.candles[-1]

    def run(self) -> None:
        """Break, flip, touch, expiry, new, eviction; each by level id."""
        fresh = set()
        for level in list(self.book.levels):
            if level.status == "active" and self.breaks(level):
                level.status, level.break_bar = "broken", self.t
                fresh.add(id(level))
                self.tell(f"BREAK_{level.kind.upper()}", level, self.distance(level))
        for level in list(self.book.levels):
            if level.status == "broken" and id(level) not in fresh and self.flips(level):
                self.flip(level)
                fresh.add(id(level))
        for level in list(self.book.levels):
            if level.status == "active" and id(level) not in fresh and self.is_near(level):
                self.contact(level)
        for level in list(self.book.levels):
            if self.is_over(level):
                self.drop(level)
        self.create()
        while len(self.book.levels) > self.rules.max_active:
            self.drop(min(self.book.levels, key=lambda x: (self.strength(x), x.born)))

    def breaks(self, level: Level) -> bool:
        """Whether the close lies beyond the level by more than the break distance."""
        far = self.width(self.rules.break_, level)
        beyond = self.now.close - level.price
        return beyond > far if level.kind == "resistance" else -beyond > far

    def flips(self, level: Level) -> bool:
        """Whether the candle retests a broken level from the far side in time."""
        assert level.break_bar is not None
        if self.t - level.break_bar > self.rules.flip_bars or not self.is_near(level):
            return False
        both = (self.before.close, self.now.close)
        if level.kind == "resistance":
            return all(close > level.price for close in both)
        return all(close < level.price for close in both)

    def flip(self, level: Level) -> None:
        """Make a level that broke one of the other kind."""
        level.kind = "support" if level.kind == "resistance" else "resistance"
        level.status, level.break_bar = "active", None
        level.last_touch = level.last_contact = self.t
        beyond = (
            level.price - self.now.low if level.kind == "support" else self.now.high - level.price
        )
        self.tell(f"FLIP_TO_{level.kind.upper()}", level, beyond)

    def contact(self, level: Level) -> None:
        """Record a contact; a touch where a new episode begins."""
        is_new_episode = self.t - level.last_contact > self.rules.episode_gap
        level.last_contact = self.t
        if is_new_episode:
            level.touches += 1
            level.rebounds.append(self.distance(level) / self.atr)
            level.last_touch = self.t
            if self.lies_below(self.before.close, level):
                self.tell("TOUCH_UP", level, self.now.high - level.price)
            else:
                self.tell("TOUCH_DOWN", level, level.price - self.now.low)

    def is_over(self, level: Level) -> bool:
        """Whether it waited too long."""
        if level.break_bar is not None:
            return self.t - level.break_bar >= self.rules.flip_bars
        return self.t - level.last_touch >= self.rules.expiry_bars

    def drop(self, level: Level) -> None:
        """Remove it."""
        is_down = self.lies_below(self.now.close, level)
        beyond = self.now.close - level.price
        self.tell(
            "DEACTIVATE_DOWN" if is_down else "DEACTIVATE_UP",
            level,
            beyond if level.kind == "resistance" else -beyond,
        )
        self.book.levels.remove(level)

    def create(self) -> None:
        """Make a level of a turn, or a contact of one that is there."""
        was_green, is_green = (c.close > c.open for c in (self.before, self.now))
        was_red, is_red = (c.close < c.open for c in (self.before, self.now))
        if was_green and is_red:
            kind, price = "resistance", max(self.before.high, self.now.high)
        elif was_red and is_green:
            kind, price = "support", min(self.before.low, self.now.low)
        else:
            return
        near = [
            x
            for x in self.book.levels
            if x.status == "active" and abs(price - x.price) <= self.width(self.rules.touch, x)
        ]
        if near:
            self.contact(min(near, key=lambda x: (abs(price - x.price), x.born)))
            return
        level = Level(price, kind, self.t, [], last_touch=self.t, last_contact=self.t)
        level.rebounds.append(self.distance(level) / self.atr)
        self.book.levels.append(level)
        self.tell(f"NEW_{kind.upper()}", level, None)

    def is_near(self, level: Level) -> bool:
        """Whether the candle enters the band."""
        band = self.width(self.rules.touch, level)
        return self.now.low <= level.price + band and self.now.high >= level.price - band

    def width(self, share: float, level: Level) -> float:
        """Return a distance in price."""
        return share * (abs(level.price) if self.rules.is_price_unit else self.atr)

    def distance(self, level: Level) -> float:
        """Return how far the close is."""
        return abs(self.now.close - level.price)

    @staticmethod
    def lies_below(price: float, level: Level) -> bool:
        """Whether a price lies below; an equal one is on the level's own side."""
        if price == level.price:
            return level.kind == "resistance"
        return price < level.price

    def strength(self, level: Level) -> float:
        """Return 0..10."""
        mean = sum(level.rebounds) / len(level.rebounds)
        age = 2 ** (-(self.t - level.last_touch) / self.rules.half_life_bars)
        return 10 * (1 - math.exp(-(0.5 * level.touches + mean))) * age

    def tell(self, event: str, level: Level, beyond: float | None) -> None:
        """Write the event down."""
        penetration = None if beyond is None else max(0.0, beyond) / self.atr
        self.book.events.append(
            Event(
                self.t,
                event,
                level.born,
                level.kind,
                level.price,
                penetration,
                (self.now.close - level.price) / self.atr,
                self.strength(level),
            )
        )


def replay(candles: Sequence[Candle], rules: Rules) -> Book:
    """Feed all candles to a new book."""
    book = Book(rules)
    for candle in candles:
        book.feed(candle)
    return book


def rows(events: Sequence[Event]) -> Iterator[tuple[int, str, int, str, float]]:
    """Yield what of events is exact: when, what, which level."""
    for e in events:
        yield e.bar, e.event, e.born, e.kind, e.price
