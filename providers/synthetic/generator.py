"""A market out of a seed: bars of one month, the same ones whatever window asks for them.

Random access. A month's bars depend on (seed, instrument, month) and on the month's place on a
*backbone*: one log price for each month's start and one volatility regime for each day, drawn in
order from 1970. Going to month k costs O(k) for the backbone (about 15 us a month, and it is
kept), never the bars of the months before. Inside a month the path is a bridge from its own level
to the next one's, so neighbours meet.

What is in it: volatility regimes (calm, usual, turbulent; 20 days on average), clustering (the log
volatility of hours is an AR(1) that runs across months), the day's seasonality, jumps over closed
sessions, and missing bars, single and in holes. Within a bar, high and low are each drawn from
the exact law of that extreme of a Brownian path between open and close (but not jointly).

Bars are functions of NumPy's generator streams: another major version of NumPy may move them.
"""

import functools
import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from market.months import month_bounds, shift_month
from market.timeframes import MICROSECONDS_PER_DAY, MICROSECONDS_PER_HOUR

Floats = npt.NDArray[np.float64]
Instants = npt.NDArray[np.int64]

FIRST_MONTH: Final = "1970-01"

_REGIME_VOLATILITY: Final = np.array([0.6, 1.0, 1.8])
_REGIME_SHARE: Final = np.array([0.5, 0.35, 0.15])
_REGIME_DAYS: Final = 20.0
_LEVEL_MEMORY: Final = 2.0 ** (-1 / 60)  # a level's distance from home halves in five years
_CLUSTER_MEMORY: Final = 0.97  # an hour's volatility lasts about a day
_CLUSTER_SPREAD: Final = 0.35
_CLUSTER_HOURS: Final = 240
_JUMP_SHARE: Final = 0.3  # of a day's volatility, over each break between sessions
_HOLE_BARS: Final = 20.0  # mean length of an outage
_TRADING_DAYS: Final = 252
_MEAN_VOLUME: Final = 200.0
# volatility by hour of the day, UTC; the mean square over the hours is 1
_FX_DAY: Final = np.array(
    [6, 6, 5, 5, 5, 6, 9, 12, 13, 12, 11, 10, 13, 15, 16, 15, 13, 10, 8, 7, 6, 5, 4, 5], float
)
_FLAT_DAY: Final = np.ones(24)
SEASONS: Final = {
    "fx": _FX_DAY / np.sqrt(np.mean(_FX_DAY**2)),
    "crypto": _FLAT_DAY,
    "us_equity": _FLAT_DAY,
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that a synthetic market depends on, but for its calendar's grid."""

    seed: int
    name: str
    price: float
    annual_volatility: float
    tick_size: float
    season: str
    is_intraday: bool
    missing_rate: float
    has_volume: bool


@dataclass(frozen=True, slots=True)
class MonthBars:
    """The bars of a month that came: arrays of one length."""

    ts_us: Instants
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats | None


def month_bars(recipe: Recipe, month: str, opens_us: Instants, ends_us: Instants) -> MonthBars:
    """Return what came of the scheduled bars of ``month`` (``opens_us``, ``ends_us``: all of them).

    Each array of the result has shape (m,) with m <= n scheduled bars. Deterministic in
    (recipe, month); the grid says which bars there are.
    """
    n = opens_us.size
    if n == 0:
        none = np.empty(0)
        volume = none if recipe.has_volume else None
        return MonthBars(opens_us, none, none, none, none, volume)
    rng = _stream(recipe, "bars", month)
    deviation = _deviations(recipe, month, opens_us)
    closes, opens = _path(recipe, month, rng, deviation, _breaks(opens_us, ends_us))
    # extremes of a Brownian bridge: (o + c +- sqrt((c - o)^2 + 2 s^2 E)) / 2, E exponential
    np.multiply(deviation, opens, out=deviation)
    np.square(deviation, out=deviation)
    deviation *= 2.0
    square = closes - opens
    np.square(square, out=square)
    twice_mid = opens + closes
    up, down = rng.standard_exponential(n), rng.standard_exponential(n)
    volume = _volume(up, down) if recipe.has_volume else None
    high = _extreme(up, deviation, square)
    low = _extreme(down, deviation, square)
    high += twice_mid
    np.subtract(twice_mid, low, out=low)
    high *= 0.5
    low *= 0.5
    for price in (opens, high, low, closes):
        _round_to_tick(price, recipe.tick_size)
    bars = MonthBars(opens_us, opens, high, low, closes, volume)
    return _drop_missing(bars, _missing(rng, n, recipe.missing_rate))


def _extreme(exponential: Floats, twice_variance: Floats, square: Floats) -> Floats:
    exponential *= twice_variance
    exponential += square
    return np.sqrt(exponential, out=exponential)


def _path(
    recipe: Recipe,
    month: str,
    rng: np.random.Generator,
    deviation: Floats,
    breaks: npt.NDArray[np.intp],
) -> tuple[Floats, Floats]:
    """Return closes and opens: a bridge from the month's level to the next one's."""
    level, next_level = _levels(recipe, month)
    jumps = rng.standard_normal(breaks.size)
    jumps *= recipe.annual_volatility / np.sqrt(_TRADING_DAYS) * _JUMP_SHARE
    steps = rng.standard_normal(deviation.size)
    steps *= deviation
    steps[breaks] += jumps
    steps += (next_level - level - steps.sum()) / steps.size
    np.cumsum(steps, out=steps)
    steps += level
    closes = np.exp(steps, out=steps)
    opens = np.empty_like(closes)
    opens[0] = np.exp(level)
    opens[1:] = closes[:-1]
    opens[breaks] *= np.exp(jumps)
    return closes, opens


def _breaks(opens_us: Instants, ends_us: Instants) -> npt.NDArray[np.intp]:
    """Return the bars that open after a closed market (the month's first bar never counts)."""
    return np.flatnonzero(opens_us[1:] > ends_us[:-1]) + 1


def _deviations(recipe: Recipe, month: str, opens_us: Instants) -> Floats:
    """Return each bar's standard deviation of log price: regime x cluster x season."""
    start, end = month_bounds(month)
    hours = (end - start) // MICROSECONDS_PER_HOUR
    table = np.repeat(_regimes(recipe, month), 24)
    noise = np.concatenate(
        [_hour_noise(recipe, shift_month(month, -1)), _hour_noise(recipe, month)]
    )[-(hours + _CLUSTER_HOURS) :]
    kernel = _CLUSTER_MEMORY ** np.arange(_CLUSTER_HOURS + 1.0)
    kernel /= np.sqrt(np.sum(kernel**2))
    log_volatility = np.convolve(noise, kernel, mode="valid")
    table *= np.exp(_CLUSTER_SPREAD * log_volatility - _CLUSTER_SPREAD**2)
    if recipe.is_intraday:
        table *= np.tile(SEASONS[recipe.season], hours // 24)
    table *= recipe.annual_volatility / np.sqrt(12 * opens_us.size)
    return table[(opens_us - start) // MICROSECONDS_PER_HOUR]


def _hour_noise(recipe: Recipe, month: str) -> Floats:
    start, end = month_bounds(month)
    hours = (end - start) // MICROSECONDS_PER_HOUR
    return _stream(recipe, "hours", month).standard_normal(hours)


@dataclass(frozen=True, slots=True)
class _Backbone:
    levels: Floats  # log price at the start of month k, k = 0 in 1970-01
    regimes: Floats  # volatility factor of day d since 1970-01-01


def _levels(recipe: Recipe, month: str) -> tuple[float, float]:
    k = _month_index(month)
    levels = _backbone(recipe.seed, recipe.name, recipe.annual_volatility, _decade(month)).levels
    home = np.log(recipe.price)
    return float(levels[k] + home), float(levels[k + 1] + home)


def _regimes(recipe: Recipe, month: str) -> Floats:
    start, end = (t // MICROSECONDS_PER_DAY for t in month_bounds(month))
    spine = _backbone(recipe.seed, recipe.name, recipe.annual_volatility, _decade(month))
    return spine.regimes[start:end]


def _month_index(month: str) -> int:
    return int(month[:4]) * 12 + int(month[5:7]) - 1 - 1970 * 12


def _decade(month: str) -> int:
    """Return the year up to which the backbone is drawn: few lengths, so that few are kept."""
    return int(month[:4]) // 10 * 10 + 10


@functools.lru_cache(maxsize=256)
def _backbone(seed: int, name: str, annual_volatility: float, until_year: int) -> _Backbone:
    """Draw levels and regimes from 1970 to a year; a longer one begins with the shorter one."""
    last = f"{until_year:04d}-01"
    months = _month_index(last)
    days = month_bounds(last)[0] // MICROSECONDS_PER_DAY
    fresh = _seeded(seed, name, "regime starts").random(days) < 1 / _REGIME_DAYS
    fresh[0] = True
    since = np.maximum.accumulate(np.where(fresh, np.arange(days), 0))
    drawn = _seeded(seed, name, "regimes").random(days)[since]
    regimes = _REGIME_VOLATILITY[np.searchsorted(np.cumsum(_REGIME_SHARE)[:-1], drawn)]
    starts = np.array(
        [
            month_bounds(f"{year:04d}-{month:02d}")[0] // MICROSECONDS_PER_DAY
            for year in range(1970, until_year)
            for month in range(1, 13)
        ]
    )
    variance = np.add.reduceat(regimes**2, starts) / np.diff(starts, append=days)
    shocks = _seeded(seed, name, "levels").standard_normal(months)
    shocks *= np.sqrt(variance) * annual_volatility / np.sqrt(12)
    levels = [0.0]
    for shock in shocks.tolist():
        levels.append(levels[-1] * _LEVEL_MEMORY + shock)
    return _Backbone(np.array(levels), regimes)


def _volume(up: Floats, down: Floats) -> Floats:
    """Return volume in whole units: more where the bar's range is wider for its volatility."""
    volume = up + down
    volume += 0.5
    volume *= _MEAN_VOLUME / 2.5
    return np.ceil(volume, out=volume)


def _round_to_tick(price: Floats, tick: float) -> None:
    """Round in place; a price never falls below one tick. Monotone, so high >= low survives."""
    per_unit = round(1 / tick)
    if per_unit >= 1 and abs(per_unit * tick - 1) < 1e-9:  # noqa: PLR2004 - a decimal tick
        price *= per_unit
        np.rint(price, out=price)
        np.maximum(price, 1.0, out=price)
        price /= per_unit  # the double nearest to the decimal, which a product is not
    else:
        price /= tick
        np.rint(price, out=price)
        np.maximum(price, 1.0, out=price)
        price *= tick


def _missing(rng: np.random.Generator, n: int, rate: float) -> npt.NDArray[np.intp]:
    """Return the bars that never came: half of them single, half in holes."""
    if rate == 0:
        return np.empty(0, dtype=np.intp)
    single = rng.integers(0, n, rng.poisson(n * rate / 2))
    starts = rng.integers(0, n, rng.poisson(n * rate / 2 / _HOLE_BARS))
    lengths = rng.geometric(1 / _HOLE_BARS, starts.size)
    holes = [np.arange(s, min(s + m, n)) for s, m in zip(starts, lengths, strict=True)]
    return np.unique(np.concatenate([single, *holes]).astype(np.intp))


def _drop_missing(bars: MonthBars, missing: npt.NDArray[np.intp]) -> MonthBars:
    if not missing.size:
        return bars
    came = np.ones(bars.ts_us.size, dtype=np.bool_)
    came[missing] = False
    return MonthBars(
        bars.ts_us[came],
        bars.open[came],
        bars.high[came],
        bars.low[came],
        bars.close[came],
        None if bars.volume is None else bars.volume[came],
    )


def _stream(recipe: Recipe, purpose: str, month: str) -> np.random.Generator:
    return _seeded(recipe.seed, recipe.name, f"{purpose} {month}")


def _seeded(seed: int, name: str, purpose: str) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed}|{name}|{purpose}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.SFC64(int.from_bytes(digest, "big")))
