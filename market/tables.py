"""The tables: one schema each, the same columns in the lake, in a file and in an answer.

Belongs here: names, types, units and keys of columns. Keep out: how a column is computed.
Instants are ``Datetime("us", "UTC")``; prices are in the instrument's quote currency;
``*_atr`` is in multiples of ATR 14; bars are of the row's own timeframe unless the name says path.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from market.errors import SchemaError

INSTANT: Final = pl.Datetime("us", "UTC")

Dtype = pl.DataType


@dataclass(frozen=True, slots=True)
class Table:
    """A table's name, columns in order, the columns that identify a row, and those never null."""

    name: str
    schema: Mapping[str, Dtype]
    key: tuple[str, ...]
    required: tuple[str, ...]

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return ``frame`` with exactly this table's columns in order.

        Raises ``SchemaError`` that names the first column which is missing or of another type.
        """
        if frame.columns == list(self.schema) and frame.dtypes == list(self.schema.values()):
            return frame
        found = frame.schema
        for column, dtype in self.schema.items():
            if column not in found:
                raise SchemaError(f"{self.name}.{column}: expected {dtype}, was missing")
            if found[column] != dtype:
                raise SchemaError(f"{self.name}.{column}: expected {dtype}, was {found[column]}")
        return frame[list(self.schema)]  # not ``select``, whose plan costs a tenth of a millisecond

    def empty(self) -> pl.DataFrame:
        """Return a frame of this table with no rows."""
        return pl.DataFrame(schema=dict(self.schema))


RAW_CANDLES: Final = Table(
    name="raw_candles",
    schema={
        "instrument": pl.String(),
        "timeframe": pl.String(),
        "ts": INSTANT,
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Float64(),
        "source": pl.String(),
    },
    key=("instrument", "timeframe", "ts"),
    required=("instrument", "timeframe", "ts", "open", "high", "low", "close", "source"),
)

CANDLES: Final = Table(
    name="candles",
    schema={
        "instrument": pl.String(),
        "timeframe": pl.String(),
        "ts": INSTANT,
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Float64(),
        "n_missing": pl.Int32(),  # base bars scheduled inside the bar that never came
        "complete": pl.Boolean(),  # the source's watermark has passed the bar's scheduled end
        "source": pl.String(),
        "known_at": INSTANT,  # the bar's scheduled end
    },
    key=("instrument", "timeframe", "ts"),
    required=(
        "instrument", "timeframe", "ts", "open", "high", "low", "close", "n_missing", "complete",
        "source", "known_at",
    ),
)  # fmt: skip

LEVEL_EVENT_NAMES: Final = (
    "NEW_SUPPORT",
    "NEW_RESISTANCE",
    "FLIP_TO_SUPPORT",
    "FLIP_TO_RESISTANCE",
    "TOUCH_UP",
    "TOUCH_DOWN",
    "BREAK_SUPPORT",
    "BREAK_RESISTANCE",
    "DEACTIVATE_UP",
    "DEACTIVATE_DOWN",
)

LEVEL_EVENTS: Final = Table(
    name="level_events",
    schema={
        "event_id": pl.String(),  # {level_id}_{bar's open}_{event}
        "level_id": pl.String(),  # {instrument}_{timeframe}_{open of the bar that made it}_{index}
        "instrument": pl.String(),
        "timeframe": pl.String(),
        "ts": INSTANT,  # open of the bar in which it happened
        "known_at": INSTANT,  # that bar's scheduled end
        "event": pl.String(),
        "price": pl.Float64(),  # the level's
        "level_type": pl.String(),  # support | resistance, after the event
        "penetration": pl.Float64(),  # ATR beyond the level, >= 0; null for NEW_*
        "rebound_atr": pl.Float64(),  # (close - price) / ATR14, signed
        "strength": pl.Float64(),  # 0..10, after the event
    },
    key=("event_id",),
    required=(
        "event_id", "level_id", "instrument", "timeframe", "ts", "known_at", "event", "price",
        "level_type", "strength",
    ),
)  # fmt: skip

LABEL_STATUSES: Final = ("pending", "final", "censored")

LABELS: Final = Table(
    name="labels",
    schema={
        "instrument": pl.String(),
        "timeframe": pl.String(),
        "ts": INSTANT,  # open of the entry candle; entry is its close, at its scheduled end t_c
        "known_at": INSTANT,  # end of the horizon, t_c + H bars of the calendar
        "matured_at": INSTANT,  # the same, once the status is final; null before
        "status": pl.String(),
        "label_version": pl.String(),
        "horizon_bars": pl.UInt16(),
        "entry_price": pl.Float64(),
        "atr": pl.Float64(),  # Wilder 14, price units, on bars closed by t_c
        # enhanced triple barrier, 11.a
        "enhanced_triple_barrier": pl.Int8(),  # -1, 0, +1; null while pending, censored, ambiguous
        "barrier_hit": pl.String(),  # upper | lower | none | ambiguous
        "is_ambiguous": pl.Boolean(),
        "label_if_long": pl.Int8(),
        "label_if_short": pl.Int8(),
        "label_unadjusted": pl.Int8(),  # the same without support and resistance
        "t1": INSTANT,  # end of the path bar that touched, or of the horizon
        "time_to_barrier_bars": pl.UInt16(),  # 1-based
        "time_to_barrier_path_bars": pl.UInt32(),  # 1-based
        "upper_barrier": pl.Float64(),
        "lower_barrier": pl.Float64(),
        "is_upper_adjusted": pl.Boolean(),
        "is_lower_adjusted": pl.Boolean(),
        "nearest_support": pl.Float64(),
        "nearest_resistance": pl.Float64(),
        "support_level_id": pl.String(),
        "resistance_level_id": pl.String(),
        "path_timeframe": pl.String(),
        "path_bars": pl.UInt32(),
        "path_bars_missing": pl.UInt32(),
        # the others, by name
        "forward_return": pl.Float64(),
        "return_sign": pl.Int8(),
        "vol_scaled_return": pl.Float64(),
        "return_quantile": pl.UInt8(),
        "triple_barrier": pl.Int8(),
        "mfe": pl.Float64(),
        "mae": pl.Float64(),
        "profit_factor": pl.Float64(),
        "retouch_count": pl.UInt16(),
        "touch_run": pl.UInt16(),
        "breakout_occurred": pl.Boolean(),  # of any level active at t_c
        "nearest_breakout_occurred": pl.Boolean(),  # of the nearest on either side alone
        "flip_occurred": pl.Boolean(),
        "range_expansion": pl.Float64(),
        "event_burst": pl.Boolean(),
        "drawdown_depth": pl.Float64(),
        "end_vs_extremum_gap": pl.Float64(),
        "max_penetration": pl.Float64(),
        "time_underwater": pl.Float64(),
        "path_skewness": pl.Float64(),
        "nearest_level_distance": pl.Float64(),
        "next_touch_time": pl.UInt16(),
        "trend_scan_sign": pl.Int8(),
        "trend_scan_t": pl.Float64(),
        "meta_label": pl.Int8(),
    },
    key=("instrument", "timeframe", "ts"),
    required=(
        "instrument", "timeframe", "ts", "known_at", "status", "label_version", "horizon_bars",
        "entry_price", "path_timeframe", "path_bars", "path_bars_missing",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of ``features``: which kernel makes it, how far it looks back, in what unit.

    ``lookback_bars`` is the warm-up: the first row that can be non-null has this index (a recursive
    kernel remembers longer, with weights that vanish).
    """

    name: str
    kernel: str
    lookback_bars: int
    unit: str
    needs_volume: bool = False


FEATURE_LIST: Final = (
    Feature("log_return_1", "log_return", 1, "log"),
    Feature("sma_ratio_20", "sma", 19, "close / average - 1"),
    Feature("ema_ratio_50", "ema", 49, "close / average - 1"),
    Feature("wma_ratio_20", "wma", 19, "close / average - 1"),
    Feature("hma_ratio_20", "hma", 22, "close / average - 1"),
    Feature("rsi_14", "rsi", 14, "0..100"),
    Feature("macd_histogram_atr", "macd", 33, "ATR"),
    Feature("bollinger_percent_b_20", "bollinger", 19, "0 at the lower band, 1 at the upper"),
    Feature("bollinger_width_20", "bollinger", 19, "(upper - lower) / middle"),
    Feature("atr_ratio_14", "atr", 14, "ATR / close"),
    Feature("stochastic_k_14_3", "stochastic", 15, "0..100"),
    Feature("williams_r_14", "williams_r", 13, "-100..0"),
    Feature("roc_10", "roc", 10, "percent"),
    Feature("cci_20", "cci", 19, "Lambert's units"),
    Feature("mfi_14", "mfi", 14, "0..100", needs_volume=True),
    Feature("obv_change_20", "obv", 20, "-1..1, share of the volume", needs_volume=True),
    Feature("cmf_20", "cmf", 19, "-1..1", needs_volume=True),
    Feature("vwap_ratio", "vwap", 0, "close / session VWAP - 1", needs_volume=True),
    Feature("adx_14", "adx", 27, "0..100"),
    Feature("di_difference_14", "adx", 14, "-100..100"),
    Feature("aroon_oscillator_25", "aroon", 25, "-100..100"),
    Feature("haar_detail_1", "haar", 14, "log / (ATR / close)"),
    Feature("haar_detail_2", "haar", 14, "log / (ATR / close)"),
    Feature("haar_detail_3", "haar", 14, "log / (ATR / close)"),
    Feature("haar_detail_4", "haar", 15, "log / (ATR / close)"),
    Feature("haar_share_1", "haar", 46, "share of the energy in 32 bars"),
    Feature("haar_share_2", "haar", 46, "share of the energy in 32 bars"),
    Feature("haar_share_3", "haar", 46, "share of the energy in 32 bars"),
    Feature("haar_share_4", "haar", 46, "share of the energy in 32 bars"),
    Feature("haar_entropy", "haar", 46, "0..1"),
    Feature("haar_trend_slope", "haar", 46, "ATR per bar"),
    Feature("upper_barrier_distance_atr", "barriers", 14, "ATR"),
    Feature("lower_barrier_distance_atr", "barriers", 14, "ATR"),
    Feature("resistance_distance_atr", "levels", 14, "ATR"),
    Feature("support_distance_atr", "levels", 14, "ATR"),
    Feature("resistance_strength", "levels", 14, "0..10"),
    Feature("support_strength", "levels", 14, "0..10"),
    Feature("resistance_touches", "levels", 14, "count"),
    Feature("support_touches", "levels", 14, "count"),
    Feature("resistance_age_bars", "levels", 14, "bars"),
    Feature("support_age_bars", "levels", 14, "bars"),
    Feature("hour_sin", "time", 0, "-1..1, time of day of t_c in UTC"),
    Feature("hour_cos", "time", 0, "-1..1, time of day of t_c in UTC"),
    Feature("weekday_sin", "time", 0, "-1..1, day of t_c in UTC"),
    Feature("weekday_cos", "time", 0, "-1..1, day of t_c in UTC"),
)

FEATURES: Final = Table(
    name="features",
    schema={
        "instrument": pl.String(),
        "timeframe": pl.String(),
        "ts": INSTANT,
        "known_at": INSTANT,
        **{feature.name: pl.Float64() for feature in FEATURE_LIST},
    },
    key=("instrument", "timeframe", "ts"),
    required=("instrument", "timeframe", "ts", "known_at"),
)

TRAINING_SETS: Final = Table(
    name="training_sets",
    schema={
        "instrument": pl.String(),
        "timeframe": pl.String(),
        "decided_at": INSTANT,  # t_c
        "matured_at": INSTANT,
        "label": pl.Int8(),
        "weight": pl.Float64(),  # average uniqueness for this cutoff
        **{feature.name: pl.Float64() for feature in FEATURE_LIST},
    },
    key=("instrument", "timeframe", "decided_at"),
    required=("instrument", "timeframe", "decided_at", "matured_at", "label", "weight"),
)

MODELS: Final = Table(
    name="models",
    schema={
        "model": pl.String(),  # registered name
        "kind": pl.String(),
        "timeframe": pl.String(),
        "ts": INSTANT,  # the cutoff
        "bundle": pl.String(),  # hash of the artefact
        "rows_train": pl.UInt32(),
        "rows_calibration": pl.UInt32(),
        "rows_conformal": pl.UInt32(),
    },
    key=("model", "kind", "ts"),
    required=("model", "kind", "timeframe", "ts", "bundle"),
)

EVALUATIONS: Final = Table(
    name="evaluations",
    schema={
        "instrument": pl.String(),
        "timeframe": pl.String(),
        "ts": INSTANT,  # t_c
        "kind": pl.String(),
        "label": pl.Int8(),
        "p_bearish": pl.Float64(),
        "p_neutral": pl.Float64(),
        "p_bullish": pl.Float64(),
        "is_in_set": pl.Boolean(),
        "log_loss": pl.Float64(),
    },
    key=("kind", "instrument", "timeframe", "ts"),
    required=(
        "kind", "instrument", "timeframe", "ts", "label", "p_bearish", "p_neutral", "p_bullish",
        "is_in_set", "log_loss",
    ),
)  # fmt: skip

TABLES: Final = {
    table.name: table
    for table in (
        RAW_CANDLES, CANDLES, LEVEL_EVENTS, LABELS, FEATURES, TRAINING_SETS, MODELS, EVALUATIONS,
    )
}  # fmt: skip
