"""The causality certificate: what was known at an instant does not change when the future does.

A partition is recomputed from base bars through every stage, once with the bars after a cut removed
and once with other bars in their place; whatever was known by the cut must come out bit for bit.
``docs/causality.md`` says what that shows and what it cannot. Belongs here: cutting, replacing and
comparing. Keep out: how a stage computes (the caller hands in its chain), and where rows rest.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from market.calendars import calendar_for
from market.errors import InputError
from market.instruments import Instrument
from market.tables import INSTANT, LABELS
from market.timeframes import Timeframe
from pipeline.comparison import differences

Instants = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

Chain = Callable[[pl.DataFrame, int], pl.DataFrame]
"""From raw base bars and watermark (UTC microseconds) to a partition's rows."""

KnownAt = str | Callable[[pl.DataFrame], pl.Series]
"""When a row's columns are known: a column of instants, or a function of the rows."""

PRICES = ("open", "high", "low", "close")
MAX_ENTRIES = 64  # labels that one altered path can tell about
WHOLE_ROWS = 2048  # more instants than these: the cut falls in the first sixth of them, because
SHARE = 6  # a certificate may cost 30 % of the partition, and one near the end costs 200 %
FUTURE_BARS = 4096  # that are replaced; after them the source falls silent
HISTORY_COLUMNS = ("return_quantile", "event_burst")  # measured against what matured before t_c
ENTRY_COLUMNS = (
    "instrument", "timeframe", "ts", "label_version", "horizon_bars", "entry_price", "atr",
    "upper_barrier", "lower_barrier", "is_upper_adjusted", "is_lower_adjusted",
    "nearest_support", "nearest_resistance", "support_level_id", "resistance_level_id",
    "path_timeframe", "nearest_level_distance",
)  # fmt: skip
"""What a label says on the day of its entry, while its outcome is pending."""


@dataclass(frozen=True, slots=True)
class Claim:
    """``columns`` of a row (all of them if ``None``) are known by ``known_at`` and final then."""

    known_at: KnownAt = "known_at"
    columns: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was compared and what had changed.

    ``rows_compared`` counts a row once for each cut, experiment and claim: 0 says that nothing of
    the partition was known before anything could be cut off.
    """

    passed: bool
    cuts_us: tuple[int, ...]
    rows_compared: int
    violations: tuple[str, ...]


def certify(  # noqa: PLR0913 - a certificate is about one chain and all that went into it
    chain: Chain,
    rows: pl.DataFrame,
    *,
    raw: pl.DataFrame,
    watermark_us: int,
    seed: int,
    key: Sequence[str],
    start_us: int,
    end_us: int,
    instrument: Instrument,
    cuts: int = 1,
    claims: Sequence[Claim] = (Claim(),),
) -> Certificate:
    """Recompute ``rows`` with the future cut off, and with it replaced, at random instants.

    Parameters
    ----------
    chain : callable
        Recomputes the partition from base bars; the states at the end of the month before are its
        own. Called twice a cut. Errors that it raises pass through.
    rows : DataFrame
        What the partition holds, or is about to.
    raw : DataFrame
        The base bars that it was made from, in order: ts, open, high, low, close, volume, and
        whatever else the chain reads.
    watermark_us : int
        Until when the source had spoken when ``rows`` were made, UTC microseconds.
    seed : int
        Chooses the cuts and the other futures: equal seeds give equal certificates.
    key : sequence of str
        Columns that identify a row.
    start_us, end_us : int
        Bounds [start, end) of the partition in UTC microseconds. Cuts fall inside, and after the
        end only where rows are still maturing there (labels).
    instrument : Instrument
        Whose base bars ``raw`` holds: its calendar says when each of them ends.
    cuts : int
        How many instants.
    claims : sequence of Claim
        Which columns are known when. All of them by ``known_at`` unless told.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If ``cuts`` is below 1.
    """
    if cuts < 1:
        raise InputError(f"cuts: expected >= 1, was {cuts}")
    rng = np.random.default_rng(seed)
    stamps, ends = _us(raw["ts"]), _bar_ends(raw, instrument)
    claimed = [_claimed(rows, claim, key) for claim in claims]
    known = np.sort(np.concatenate([known_us for _, known_us in claimed]), kind="stable")
    span = _span(stamps, known, (start_us, end_us), watermark_us)
    chosen = _choose(rng, cuts, span, _kinds(raw, ends, known))
    compared, violations = 0, list[str]()
    for cut in chosen:
        keep = int(np.searchsorted(ends, cut, side="right"))
        for name, recomputed in _experiments(chain, raw, keep, (cut, watermark_us), rng):
            for claim, (published, known_us) in zip(claims, claimed, strict=True):
                found, found_us = _claimed(recomputed, claim, key)
                expected = _until(published, known_us, cut)
                compared += expected.height
                texts = differences(expected, _until(found, found_us, cut), key)
                violations += [f"{name} at {_text(cut)}: {text}" for text in texts]
    return Certificate(not violations, chosen, compared, tuple(violations))


def certify_entry(
    compute: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame],
    rows: pl.DataFrame,
    *,
    path: pl.DataFrame,
    instrument: Instrument,
    timeframe: Timeframe,
    seed: int,
) -> Certificate:
    """Show that labels look at no path bar outside [t_c, T), by altering all of those.

    Truncation cannot see a path that starts at the entry candle's open: that candle is past. Here
    ``compute`` makes labels of an altered path, with candles, ATR and levels as they were. A random
    set of entries whose horizons and entry candles do not overlap keeps its own bars; every other
    bar is another one; their labels must not change (but for what ``HISTORY_COLUMNS`` names).

    Parameters
    ----------
    compute : callable
        From path bars, and the entries that are wanted (a frame of ``ts``), to their LABELS rows.
    rows : DataFrame
        What the partition holds: labels of ``path`` as it is.
    path : DataFrame
        Path bars in order: ts, open, high, low, close and whatever else ``compute`` reads.
    instrument, timeframe : Instrument, Timeframe
        Of the labels; they say when an entry candle ends.
    seed : int
        Chooses the entries and the other path.

    Returns
    -------
    Certificate
        ``cuts_us`` are the entries' t_c.
    """
    rng = np.random.default_rng(seed)
    ordered = rows if rows["ts"].is_sorted() else rows.sort("ts")
    open_us, end_us = _us(ordered["ts"]), _us(ordered["known_at"])
    entry_us = _us(entry_instants(instrument, timeframe)(ordered))
    picked = _disjoint(open_us, end_us, rng)
    if picked:  # from the first entry candle's open to the last horizon's end
        reach = np.searchsorted(_us(path["ts"]), [open_us[picked[0]], end_us[picked[-1]]])
        path = path[int(reach[0]) : int(reach[1])]
    if not picked or path.is_empty():
        return Certificate(passed=True, cuts_us=(), rows_compared=0, violations=())
    altered = _outside(_us(path["ts"]), entry_us[picked], end_us[picked])
    # beyond every price of the path, so that an extreme or a touch tells of any bar that is read
    swing = float(np.log(path["high"].to_numpy().max() / path["low"].to_numpy().min()))
    expected = _without_history(ordered[picked])
    found = compute(_replaced(path, altered, rng, swing=swing), expected[["ts"]])
    texts = differences(expected, _without_history(found), LABELS.key)
    violations = tuple(f"other bars outside [t_c, T): {text}" for text in texts)
    return Certificate(not violations, tuple(entry_us[picked].tolist()), len(picked), violations)


def entry_instants(
    instrument: Instrument, timeframe: Timeframe
) -> Callable[[pl.DataFrame], pl.Series]:
    """Return the function that gives t_c of label rows: the scheduled end of the entry candle."""
    calendar = calendar_for(instrument)

    def known_at(rows: pl.DataFrame) -> pl.Series:
        return pl.Series(calendar.bar_ends(timeframe, _us(rows["ts"]))).cast(INSTANT)

    return known_at


def label_claims(instrument: Instrument, timeframe: Timeframe) -> tuple[Claim, Claim]:
    """Return what a labels partition claims: outcomes by T, entry price and barriers by t_c."""
    return Claim(), Claim(entry_instants(instrument, timeframe), ENTRY_COLUMNS)


def _us(instants: pl.Series) -> Instants:
    return instants.cast(INSTANT).cast(pl.Int64).to_numpy()


def _text(instant_us: int) -> str:
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (epoch + dt.timedelta(microseconds=instant_us)).isoformat().replace("+00:00", "Z")


def _bar_ends(raw: pl.DataFrame, instrument: Instrument) -> Instants:
    calendar, base = calendar_for(instrument), instrument.base_timeframe
    stamps = _us(raw["ts"])
    # bars outside the session feed nothing; theirs is the nominal end
    ends = stamps + base.microseconds
    inside = calendar.in_session(stamps)
    ends[inside] = calendar.bar_ends(base, stamps[inside])
    return ends


def _claimed(rows: pl.DataFrame, claim: Claim, key: Sequence[str]) -> tuple[pl.DataFrame, Instants]:
    """Return the claim's columns, and when each row of them is known."""
    known = rows[claim.known_at] if isinstance(claim.known_at, str) else claim.known_at(rows)
    if claim.columns is not None:
        rows = rows[list(dict.fromkeys([*key, *claim.columns]))]
    return rows, _us(known)


def _until(rows: pl.DataFrame, known_us: Instants, cut: int) -> pl.DataFrame:
    """Return the rows that are known by the cut; as a rule they are the first ones."""
    is_known = known_us <= cut
    count = int(np.count_nonzero(is_known))
    return rows.head(count) if is_known[:count].all() else rows.filter(is_known)


def _span(
    stamps: Instants, known: Instants, bounds_us: tuple[int, int], watermark_us: int
) -> tuple[int, int]:
    """Return the first and last cut with a row known before it and a base bar to replace after."""
    if not stamps.size:
        return 0, -1
    first, last = max(bounds_us[0], int(stamps[0])), bounds_us[1]
    if known.size:
        within = max(WHOLE_ROWS, known.size // SHARE)
        last = int(known[within]) if known.size > within else max(last, int(known[-1]))
        first = max(first, int(known[0]))
    return first, min(last, int(stamps[-1]), watermark_us)


def _kinds(raw: pl.DataFrame, ends: Instants, known: Instants) -> tuple[Instants, ...]:
    """Return the instants at which a leak shows that other instants would hide.

    The very instant at which a row is known (an off-by-one looks one bar too far); before a hole in
    the bars; and the first row after bars that lack their volume (a backward fill reaches over it).
    """
    stamps = _us(raw["ts"])
    before_hole = ends[:-1][stamps[1:] > ends[:-1]]
    # null becomes NaN: without a plan of expressions, which costs more than all the rest here
    lacks = np.isnan(raw["volume"].to_numpy()) if "volume" in raw.columns else stamps < 0
    last_without = ends[:-1][lacks[:-1] & ~lacks[1:]]
    after = np.searchsorted(known, last_without)
    return known, before_hole, known[after[after < known.size]]


def _choose(
    rng: np.random.Generator, cuts: int, span: tuple[int, int], kinds: Sequence[Instants]
) -> tuple[int, ...]:
    """Draw the cuts: any microsecond of the span and each kind that there is, in turn."""
    first, last = span
    if first > last:
        return ()
    inside = [k[(k >= first) & (k <= last)] for k in kinds]
    pools = [None, *(k for k in inside if k.size)]
    turn = int(rng.integers(len(pools)))
    chosen = set[int]()
    for i in range(cuts):
        pool = pools[(turn + i) % len(pools)]
        drawn = rng.integers(first, last + 1) if pool is None else rng.choice(pool)
        chosen.add(int(drawn))
    return tuple(sorted(chosen))


def _experiments(
    chain: Chain, raw: pl.DataFrame, keep: int, instants: tuple[int, int], rng: np.random.Generator
) -> Iterator[tuple[str, pl.DataFrame]]:
    cut, watermark_us = instants
    yield "truncated", chain(raw.head(keep), cut)
    seen = raw.head(keep + FUTURE_BARS)
    yield "replaced", chain(_replaced(seen, np.arange(seen.height) >= keep, rng), watermark_us)


def _replaced(
    bars: pl.DataFrame, where: Mask, rng: np.random.Generator, *, swing: float = 0.0
) -> pl.DataFrame:
    """Return ``bars`` with other plausible prices and volumes ``where``, at the same stamps.

    The bars there change places, and their prices follow a random walk of the series' own step that
    starts with a jump; ``swing`` (log) throws each bar up or down besides. All four prices of a bar
    are scaled by one factor, which keeps their order.
    """
    index = np.flatnonzero(where)
    source = np.arange(bars.height)
    source[index] = rng.permutation(index)
    arrays = {name: bars[name].to_numpy() for name in (*PRICES, "volume") if name in bars.columns}
    opens, closes = arrays["open"], arrays["close"]
    step = max(float(np.median(np.abs(np.diff(np.log(closes))))), 1e-6) if closes.size > 1 else 1e-6
    jump = rng.choice((-1.0, 1.0)) * rng.uniform(3.0, 10.0) * step
    walk = np.clip(jump + np.cumsum(rng.normal(0.0, step, index.size)), -1.0, 1.0)
    walk += swing * rng.choice((-1.0, 1.0), index.size)
    scale = np.ones(bars.height)
    scale[index] = opens[index] / opens[source[index]] * np.exp(walk)
    factors = dict.fromkeys(PRICES, scale)
    if "volume" in arrays:
        factors["volume"] = np.ones(bars.height)
        factors["volume"][index] = np.exp(rng.normal(0.0, 1.0, index.size))
    other = {
        name: pl.Series(name, arrays[name][source] * factor, nan_to_null=True)
        for name, factor in factors.items()
    }
    return pl.DataFrame([other.get(x.name, x) for x in bars.get_columns()])


def _without_history(rows: pl.DataFrame) -> pl.DataFrame:
    return rows[[name for name in rows.columns if name not in HISTORY_COLUMNS]]


def _outside(stamps: Instants, start_us: Instants, end_us: Instants) -> Mask:
    """Return which instants lie in none of the intervals [start, end)."""
    depth = np.zeros(stamps.size + 1, dtype=np.int64)
    np.add.at(depth, np.searchsorted(stamps, start_us), 1)
    np.add.at(depth, np.searchsorted(stamps, end_us), -1)
    outside: Mask = np.cumsum(depth[:-1]) == 0
    return outside


def _disjoint(open_us: Instants, end_us: Instants, rng: np.random.Generator) -> list[int]:
    """Return rows whose intervals [entry candle's open, horizon's end) do not overlap."""
    picked = list[int]()
    after = np.searchsorted(open_us, end_us)
    row = int(rng.integers(min(open_us.size, MAX_ENTRIES))) if open_us.size else 0
    while row < open_us.size and len(picked) < MAX_ENTRIES:
        picked.append(row)
        row = int(after[row]) + int(rng.integers(3))
    return picked
