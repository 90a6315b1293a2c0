"""The series that labels are rows of: the bars behind an entry, the levels around it, and after.

Belongs here: what a label is measured against beside its path (returns and event counts that had
matured, levels over time, a primary side), and the state that carries it from month to month. Keep
out: the path (``label_outcomes``), and who may know an outcome (its status).

The state at a month's end knows nothing of the months ahead: returns that are still open are
carried as bars, and mature in the month that ends them.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from kernels import levels as kernel
from kernels.forward_labels import crossover_side
from kernels.forward_labels_history import LOOKBACK, event_burst, event_counts, return_quantile
from kernels.forward_labels_levels import LevelOutcomes, level_outcomes
from kernels.forward_labels_spans import Spans, active_spans
from market.calendars import SessionCalendar
from market.errors import InputError
from market.ports import State
from market.tables import INSTANT
from market.timeframes import Timeframe
from pipeline import levels

Instants = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[np.generic]]

SLOW_BARS: Final = 50  # of the crossover that is the meta label's primary side
_BEGINS: Final = 4  # codes below it begin a level's role: NEW_* and FLIP_*
_UNSEEN: Final = -1  # the start of a role that began before the first bar
_PRICES: Final = 4  # high, low, close, ATR


@dataclass(frozen=True, slots=True)
class LabelSeries:
    """Bars of the label's own timeframe in order, ``behind`` of them carried, and what they say.

    ``end_us`` is the end of the horizon of each bar as an entry. ``returns`` and ``counts`` are NaN
    where the horizon is not over, or in the state's own history already.
    """

    ts_us: Instants
    known_us: Instants
    end_us: Instants
    prices: tuple[Floats, Floats, Floats, Floats]
    behind: int
    spans: Spans
    events: kernel.Events  # ``bar`` counts from the first of these bars
    events_a_bar: Instants
    returns: Floats
    counts: Floats
    quantile: Floats
    burst: Floats
    side: Floats
    carried: State
    horizon: int
    rules: kernel.Rules

    def rows(self, ts_us: Instants) -> Instants:
        """Return where these entries stand; raise ``InputError`` for one that is not there."""
        at = np.searchsorted(self.ts_us, ts_us)
        is_there = at < self.ts_us.size
        is_there[is_there] = self.ts_us[at[is_there]] == ts_us[is_there]
        if not is_there.all():
            missing = np.datetime64(int(ts_us[~is_there][0]), "us")
            raise InputError(f"series: expected a bar at {missing}Z as candles have, was none")
        return at

    def levels(self, at: Instants, end_us: Instants) -> LevelOutcomes:
        """Return what the bars until each horizon's end did to the levels of each entry."""
        high, low, close, atr = self.prices
        windows = at + 1, np.maximum(np.searchsorted(self.ts_us, end_us), at + 1)
        return level_outcomes((high, low, close), atr, self.spans, windows, rules=self.rules)


def initial() -> Arrays:
    """Return the state before the first candle."""
    none, nothing = np.empty(0, dtype=np.int64), np.empty(0)
    return {
        "tail_ts": none, "tail_known": none, "tail_events": none,
        "tail_prices": np.empty((_PRICES, 0)),
        "returns": nothing, "returns_us": none, "counts": nothing, "counts_us": none,
        "role_born_us": none, "role_bars_back": none,
    }  # fmt: skip


def follow(  # noqa: PLR0913 - two states, what they met, and what a horizon is
    state: State,
    played: levels.Extended,
    level_state: State,
    *,
    calendar: SessionCalendar,
    timeframe: Timeframe,
    horizon: int,
    config: levels.LevelConfig = levels.DEFAULT,
) -> LabelSeries:
    """Return the series of the bars that the level machine played, with those carried before them.

    ``played`` is ``levels.extend``'s from ``level_state``; its bars reach as far as the last
    horizon that anybody asks for. ``state`` is ``initial()`` or ``after`` the month before.
    """
    run, bars, rules = played.run, played.bars, config.rules
    ts = _joined(state["tail_ts"], _instants(bars["ts"]))
    known = _joined(state["tail_known"], _instants(bars["known_at"]))
    columns = [bars[name].to_numpy() for name in ("high", "low", "close")]
    high, low, close, atr = np.hstack([state["tail_prices"], np.array([*columns, run.atr])])
    behind = int(state["tail_ts"].size)
    events = run.events._replace(bar=run.events.bar + behind)
    a_bar = _joined(state["tail_events"], np.bincount(run.events.bar, minlength=bars.height))
    end_us = calendar.horizon_ends(timeframe, known, horizon)
    seen_us = int(known[behind - 1]) if behind else levels.NEVER_US
    returns, counts = _outcomes((ts, known, end_us), close, atr, a_bar)
    returns, counts = (np.where(end_us <= seen_us, np.nan, x) for x in (returns, counts))
    return LabelSeries(
        ts_us=ts,
        known_us=known,
        end_us=end_us,
        prices=(high, low, close, atr),
        behind=behind,
        spans=_spans(state, level_state, events, behind),
        events=events,
        events_a_bar=a_bar,
        returns=returns,
        counts=counts,
        quantile=_against(state, "returns", returns, known, end_us),
        burst=_against(state, "counts", counts, known, end_us),
        side=crossover_side(close, slow=SLOW_BARS),
        carried=state,
        horizon=horizon,
        rules=rules,
    )


def after(series: LabelSeries, until_us: int) -> Arrays:
    """Return the state after the bars that open before an instant: nothing later is in it."""
    n = int(np.searchsorted(series.ts_us, until_us))
    if not n:
        return initial()
    seen_us = int(series.known_us[n - 1])
    tail = slice(max(n - max(SLOW_BARS, series.horizon, series.rules.episode_gap), 0), n)
    is_mature = series.end_us <= seen_us
    history: Arrays = {}
    for name, values in (("returns", series.returns), ("counts", series.counts)):
        new = is_mature & ~np.isnan(values)
        carried, carried_us = series.carried[name], series.carried[f"{name}_us"]
        history[name] = np.concatenate([carried, values[new]])[-LOOKBACK:]
        history[f"{name}_us"] = _joined(carried_us, series.end_us[new])[-LOOKBACK:]
    return {
        "tail_ts": series.ts_us[tail],
        "tail_known": series.known_us[tail],
        "tail_events": series.events_a_bar[tail],
        "tail_prices": np.ascontiguousarray(np.array(series.prices)[:, tail]),
        **history,
        **_roles(series, n),
    }


def _outcomes(
    instants: tuple[Instants, Instants, Instants], close: Floats, atr: Floats, a_bar: Instants
) -> tuple[Floats, Floats]:
    """Return each bar's forward return and level events in its horizon; NaN where not over."""
    ts, known, end_us = instants
    at_end = np.minimum(np.searchsorted(known, end_us), max(known.size - 1, 0))
    has_end = known[at_end] == end_us
    returns = np.where(has_end, close[at_end] / close - 1.0, np.nan)
    bar = np.repeat(np.arange(ts.size), a_bar)
    counts = event_counts(bar, (np.arange(1, ts.size + 1), np.searchsorted(ts, end_us)))
    is_over = end_us <= (known[-1] if known.size else levels.NEVER_US)
    return returns, np.where(is_over & ~np.isnan(atr), counts, np.nan)


def _against(state: State, name: str, values: Floats, known: Instants, end_us: Instants) -> Floats:
    """Rank values against those that had matured; the carried ones come first."""
    carried, carried_us = np.asarray(state[name], dtype=np.float64), state[f"{name}_us"]
    size = carried.size
    if not known.size:
        return np.empty(0)
    decided = _joined(np.minimum(carried_us, known[0]), known)
    matured = _joined(carried_us, end_us)
    # bars whose outcome the state holds already are in its history: here they are nobody's
    matured[size:] = np.maximum(matured[size:], matured[size - 1] if size else matured[0])
    kernel_of = return_quantile if name == "returns" else event_burst
    return kernel_of(np.concatenate([carried, values]), decided, matured)[size:]


def _spans(state: State, level_state: State, events: kernel.Events, behind: int) -> Spans:
    """Return the levels over time; those that stand begin where they did, as far as is carried."""
    standing = kernel.table(dict(level_state))
    active = ~standing.is_broken
    born = standing.born_us[active]
    back = dict(zip(state["role_born_us"].tolist(), state["role_bars_back"].tolist(), strict=True))
    start = np.array(
        [behind - back[b] if b in back else _UNSEEN for b in born.tolist()], dtype=np.int64
    )
    zeros = np.zeros(born.size)
    before = kernel.Events(
        bar=start, code=np.zeros(born.size, dtype=np.int64), born_us=born,
        kind=standing.kind[active], price=standing.price[active],
        penetration=zeros, rebound=zeros, strength=zeros,
    )  # fmt: skip
    joined = {
        name: np.concatenate([getattr(before, name), getattr(events, name)])
        for name in kernel.Events._fields
    }
    return active_spans(kernel.Events(**joined))


def _roles(series: LabelSeries, n: int) -> Arrays:
    """Return the levels whose role began in the last bars, and how many bars back."""
    gap = series.rules.episode_gap
    begins = (series.events.code < _BEGINS) & (series.events.bar < n)
    recent = np.flatnonzero(begins & (series.events.bar >= n - gap))
    back = dict(
        zip(
            series.carried["role_born_us"].tolist(),
            (series.carried["role_bars_back"] + (n - series.behind)).tolist(),
            strict=True,
        )
    )
    back |= dict(
        zip(
            series.events.born_us[recent].tolist(),
            (n - series.events.bar[recent]).tolist(),
            strict=True,
        )
    )
    kept = sorted((born, bars) for born, bars in back.items() if bars <= gap)
    born_us, bars_back = np.array(kept, dtype=np.int64).reshape(-1, 2).T
    return {"role_born_us": born_us.copy(), "role_bars_back": bars_back.copy()}


def _joined(before: npt.NDArray[np.generic], then: Instants) -> Instants:
    return np.concatenate([np.asarray(before, dtype=np.int64), then])


def _instants(ts: pl.Series) -> Instants:
    return ts.cast(INSTANT).cast(pl.Int64).to_numpy()
