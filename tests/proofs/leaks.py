"""A month through the real stages, as it should be, and with a leak planted in one of them.

Each leak is one that a source system had, or that a careful person could write: the certificate
must find all of them, and nothing in the stages as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pywt

from market.calendars import calendar_for
from market.instruments import Instrument
from market.months import month_bounds, shift_month
from market.ports import State
from market.tables import FEATURES, INSTANT, LABELS, LEVEL_EVENTS, Table
from market.timeframes import Timeframe
from pipeline import candles, causality, features, label_series, labels, level_fold, levels
from pipeline.causality import Certificate, Chain
from pipeline.label_series import LabelSeries

Floats = npt.NDArray[np.float64]
Rows = Callable[[pl.DataFrame], pl.DataFrame]
CONFIG = labels.LabelConfig()


@dataclass(frozen=True, slots=True)
class Month:
    """One partition's place: its bars, and the machines at the end of the month before."""

    instrument: Instrument
    timeframe: Timeframe
    bounds: tuple[int, int]
    raw: pl.DataFrame
    watermark_us: int
    level_state: State
    feature_state: State
    label_state: State

    def candles(self, raw: pl.DataFrame, watermark_us: int) -> pl.DataFrame:
        """Return the month's candles."""
        built = candles.build(
            raw, instrument=self.instrument, timeframe=self.timeframe, watermark_us=watermark_us
        )
        return between(built.rows, self.bounds)

    def levels(self, bars: pl.DataFrame) -> levels.Extended:
        """Return the level events and the context of each close."""
        return levels.extend(
            self.level_state, bars, instrument=self.instrument, timeframe=self.timeframe
        )

    def features(self, bars: pl.DataFrame, context: pl.DataFrame) -> pl.DataFrame:
        """Return the features."""
        return features.extend(
            self.feature_state, bars, context,
            instrument=self.instrument, timeframe=self.timeframe,
        ).rows  # fmt: skip

    def path(self, raw: pl.DataFrame, watermark_us: int) -> pl.DataFrame:
        """Return the path bars: the instrument's base candles."""
        return candles.build(
            raw, instrument=self.instrument, timeframe=self.instrument.base_timeframe,
            watermark_us=watermark_us,
        ).rows  # fmt: skip

    def series(self, raw: pl.DataFrame, watermark_us: int) -> LabelSeries:
        """Return the month's bars and those of the horizons ahead, after those of the state."""
        built = candles.build(
            raw, instrument=self.instrument, timeframe=self.timeframe, watermark_us=watermark_us
        )
        return label_series.follow(
            self.label_state,
            self.levels(between(built.rows, (self.bounds[0], watermark_us))),
            self.level_state,
            calendar=calendar_for(self.instrument), timeframe=self.timeframe,
            horizon=CONFIG.horizon,
        )  # fmt: skip

    def labels(
        self, bars: pl.DataFrame, context: pl.DataFrame, path: pl.DataFrame, watermark_us: int,
        series: LabelSeries,
    ) -> pl.DataFrame:  # fmt: skip
        """Return the labels."""
        return labels.compute(
            bars, context, path, instrument=self.instrument, timeframe=self.timeframe,
            config=CONFIG, watermark_us=watermark_us, series=series,
        )  # fmt: skip


def between(rows: pl.DataFrame, bounds: tuple[int, int]) -> pl.DataFrame:
    """Return the rows that open in [start, end)."""
    return rows.filter(pl.col("ts").dt.timestamp("us").is_between(*bounds, closed="left"))


def month(
    instrument: Instrument, timeframe: Timeframe, raw: pl.DataFrame, key: str, *, ahead: int = 1
) -> Month:
    """Run the machines up to a month; the raw bars that it may read are of it and those ahead."""
    start, end = month_bounds(key)
    _, last = month_bounds(shift_month(key, ahead))
    watermark = int(raw["ts"].to_physical()[-1]) + instrument.base_timeframe.microseconds
    blank = Month(
        instrument, timeframe, (0, start), raw, watermark,
        dict(levels.initial()), dict(features.initial()), dict(label_series.initial()),
    )  # fmt: skip
    before = blank.candles(raw, watermark)
    played = blank.levels(before)
    state = features.extend(
        blank.feature_state, before, played.context,
        instrument=instrument, timeframe=timeframe,
    ).state  # fmt: skip
    history = label_series.after(
        label_series.follow(
            blank.label_state, played, blank.level_state, calendar=calendar_for(instrument),
            timeframe=timeframe, horizon=CONFIG.horizon,
        ),
        start,
    )  # fmt: skip
    return replace(
        blank, label_state=history, bounds=(start, end), raw=between(raw, (start, last)),
        watermark_us=min(watermark, last), level_state=played.state, feature_state=state,
    )  # fmt: skip


def level_chain(of: Month) -> Chain:
    """Return the honest chain to level events."""
    return lambda raw, until: of.levels(of.candles(raw, until)).events


def feature_chain(of: Month, bars_leak: Rows | None = None) -> Chain:
    """Return the honest chain to features, or one whose candles were tampered with."""

    def chain(raw: pl.DataFrame, until: int) -> pl.DataFrame:
        bars = of.candles(raw, until)
        bars = bars_leak(bars) if bars_leak else bars
        return of.features(bars, of.levels(bars).context)

    return chain


def label_chain(of: Month) -> Chain:
    """Return the honest chain to labels."""

    def chain(raw: pl.DataFrame, until: int) -> pl.DataFrame:
        bars = of.candles(raw, until)
        context, path = of.levels(bars).context, of.path(raw, until)
        return of.labels(bars, context, path, until, of.series(raw, until))

    return chain


CHAINS: dict[str, tuple[Table, Callable[[Month], Chain]]] = {
    "level_events": (LEVEL_EVENTS, level_chain),
    "features": (FEATURES, feature_chain),
    "labels": (LABELS, label_chain),
}


def certify(of: Month, table: Table, chain: Chain, seed: int, *, cuts: int = 1) -> Certificate:
    """Certify what a chain makes of the month, as the assets do."""
    is_labels = table is LABELS
    claims = causality.label_claims(of.instrument, of.timeframe) if is_labels else None
    return causality.certify(
        chain, chain(of.raw, of.watermark_us),
        raw=of.raw, watermark_us=of.watermark_us, seed=seed, cuts=cuts, key=table.key,
        start_us=of.bounds[0], end_us=of.bounds[1], instrument=of.instrument,
        claims=claims or (causality.Claim(),),
    )  # fmt: skip


def certify_entry(of: Month, leak: Rows | None, seed: int) -> Certificate:
    """Certify that labels look at no bar before their entry; ``leak`` tampers with the path."""
    bars = of.candles(of.raw, of.watermark_us)
    context = of.levels(bars).context
    path = of.path(of.raw, of.watermark_us)
    series = of.series(of.raw, of.watermark_us)

    def compute(altered: pl.DataFrame, entries: pl.DataFrame) -> pl.DataFrame:
        seen = leak(altered) if leak else altered
        wanted = [frame.join(entries, on="ts", how="semi") for frame in (bars, context)]
        return of.labels(wanted[0], wanted[1], seen, of.watermark_us, series)

    return causality.certify_entry(
        compute, compute(path, context.select("ts")),
        path=path, instrument=of.instrument, timeframe=of.timeframe, seed=seed,
    )  # fmt: skip


# -- leaks in a feature column: what is computed from all of the month's complete candles ----------


def in_column(leak: Callable[[Floats], Floats]) -> Callable[[Month], Chain]:
    """Return a chain in which one feature is computed from the partition's whole log close."""

    def build(of: Month) -> Chain:
        honest = feature_chain(of)

        def chain(raw: pl.DataFrame, until: int) -> pl.DataFrame:
            bars = of.candles(raw, until).filter("complete")
            wrong = pl.Series(leak(np.log(bars["close"].to_numpy())))
            return honest(raw, until).with_columns(haar_detail_1=wrong.fill_nan(None))

        return chain

    return build


def chikou(x: Floats) -> Floats:
    """Return Ichimoku's lagging span: the close of 26 bars later, stamped with today."""
    return np.concatenate([x, np.full(26, np.nan)])[26:][: x.size]


def scored(x: Floats) -> Floats:
    """Return the z-score by mean and deviation of the whole series."""
    return np.asarray((x - x.mean()) / (x.std() or 1.0))


def wavelet_of_scores(x: Floats) -> Floats:
    """Return the continuous transform of the z-scored series, at one scale."""
    coefficients, _ = pywt.cwt(scored(x), [4.0], "morl")
    return np.asarray(coefficients[0], dtype=np.float64)


def wrapped(x: Floats) -> Floats:
    """Return the stationary transform, whose end is continued with the series' start."""
    padded = np.concatenate([x[:1], x]) if x.size % 2 else x
    return np.asarray(pywt.swt(padded, "haar", level=1)[0][1][-x.size :], dtype=np.float64)


def denoised(x: Floats) -> Floats:
    """Return the series less its finest details, by a transform of all of it."""
    if x.size < 2:
        return x
    approximation, detail = pywt.dwt(x, "db4")
    return np.asarray(pywt.idwt(approximation, 0 * detail, "db4")[: x.size], dtype=np.float64)


def centred(x: Floats) -> Floats:
    """Return the mean of five bars around each."""
    return pl.Series(x).rolling_mean(5, center=True, min_samples=1).to_numpy()


def ranked(x: Floats) -> Floats:
    """Return the quantile within the whole series."""
    return pl.Series(x).rank().to_numpy() / max(x.size, 1)


# -- leaks between stages -------------------------------------------------------------------------


def filled_backwards(of: Month) -> Chain:
    """Return a chain that puts the next known volume where the source has none."""
    return feature_chain(of, lambda bars: bars.with_columns(pl.col("volume").backward_fill()))


def timeless(of: Month, bars: pl.DataFrame) -> pl.DataFrame:
    """Return the context as a cache without a time would: nearest levels of the month's end."""
    played = of.levels(bars)
    active = level_fold.fold(played.events, of.bounds[1] + 14 * 86_400_000_000).filter(
        pl.col("status") == "active"
    )
    closes = bars.filter("complete").select("ts", "close").sort("close")
    context = played.context
    sides: tuple[tuple[str, Literal["forward", "backward"]], ...] = (
        ("resistance", "forward"),
        ("support", "backward"),
    )
    for side, strategy in sides:
        prices = active.filter(pl.col("level_type") == side).select(price="price").sort("price")
        found = closes.join_asof(
            prices, left_on="close", right_on="price",
            strategy=strategy, coalesce=False, allow_exact_matches=False,
        )  # fmt: skip
        context = context.drop(side).join(
            found.select("ts", pl.col("price").alias(side)), on="ts", how="left"
        )
    return context.sort("ts").select(played.context.columns)


def timeless_features(of: Month) -> Chain:
    """Return a chain to features over a level cache without a time."""

    def chain(raw: pl.DataFrame, until: int) -> pl.DataFrame:
        bars = of.candles(raw, until)
        return of.features(bars, timeless(of, bars)) if bars.height else FEATURES.empty()

    return chain


def timeless_labels(of: Month) -> Chain:
    """Return a chain to labels over a level cache without a time."""

    def chain(raw: pl.DataFrame, until: int) -> pl.DataFrame:
        bars = of.candles(raw, until)
        path = of.path(raw, until)
        if not bars.height:
            return LABELS.empty()
        return of.labels(bars, timeless(of, bars), path, until, of.series(raw, until))

    return chain


def early_events(of: Month) -> Chain:
    """Return a chain that stamps events with the open of their bar."""
    honest = level_chain(of)
    return lambda raw, until: honest(raw, until).with_columns(known_at="ts")


def early_labels(of: Month) -> Chain:
    """Return a chain that takes early touches: outcomes known at t1, before the row's maturity."""
    honest = label_chain(of)
    return lambda raw, until: honest(raw, until).with_columns(
        known_at=pl.coalesce("t1", "known_at")
    )


def open_started(of: Month) -> Rows:
    """Return what makes the path start at the entry candle's open: bars come one candle late."""
    path_step = of.instrument.base_timeframe.microseconds
    by = max(of.timeframe.microseconds // path_step, 1)

    def leak(path: pl.DataFrame) -> pl.DataFrame:
        late = pl.col("open", "high", "low", "close").shift(by).backward_fill()
        return path.with_columns(late)

    return leak


def history_of_everything(of: Month) -> Chain:
    """Return a chain that ranks each return in all of the month's, matured or not."""
    honest = label_chain(of)
    decile = (pl.col("forward_return").rank() * 10 / pl.col("forward_return").count()).ceil()
    return lambda raw, until: honest(raw, until).with_columns(return_quantile=decile.cast(pl.UInt8))


def counts_of_the_future(of: Month) -> Chain:
    """Return a chain whose level labels look a horizon too far."""
    honest = label_chain(of)
    late = pl.col("retouch_count").shift(-CONFIG.horizon)
    return lambda raw, until: honest(raw, until).with_columns(retouch_count=late)


LEAKS: dict[str, tuple[Table, Callable[[Month], Chain]]] = {
    "close of 26 bars later": (FEATURES, in_column(chikou)),
    "continuous wavelet of z-scores": (FEATURES, in_column(wavelet_of_scores)),
    "stationary wavelet that wraps": (FEATURES, in_column(wrapped)),
    "wavelet denoising of the series": (FEATURES, in_column(denoised)),
    "scaling by the whole series": (FEATURES, in_column(scored)),
    "rolling mean in the middle": (FEATURES, in_column(centred)),
    "quantile of the whole series": (FEATURES, in_column(ranked)),
    "volume filled backwards": (FEATURES, filled_backwards),
    "levels without a time in features": (FEATURES, timeless_features),
    "levels without a time in labels": (LABELS, timeless_labels),
    "events stamped at the open": (LEVEL_EVENTS, early_events),
    "outcomes known at the touch": (LABELS, early_labels),
    "return ranked in the month's": (LABELS, history_of_everything),
    "touches of the next horizon": (LABELS, counts_of_the_future),
}


def lacking_volume(raw: pl.DataFrame, share: float, seed: int = 0) -> pl.DataFrame:
    """Return the bars with a share of their volumes unknown."""
    known = pl.Series(np.random.default_rng(seed).random(raw.height) >= share)
    return raw.with_columns(volume=pl.when(known).then("volume"))


def raw_frame(bars: pl.DataFrame, instrument: Instrument) -> pl.DataFrame:
    """Return OHLCV bars as raw candles of an instrument."""
    return bars.select(
        pl.lit(instrument.id).alias("instrument"),
        pl.lit(instrument.base_timeframe.value).alias("timeframe"),
        pl.col("ts").cast(INSTANT),
        pl.col("open", "high", "low", "close", "volume").cast(pl.Float64),
        pl.lit("test").alias("source"),
    )
