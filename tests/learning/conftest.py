"""Synthetic markets whose truth is known: walks between two barriers, with or without a drift."""

import datetime as dt
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from learning.training_set import TrainingSet, build
from market.tables import FEATURE_LIST, FEATURES, LABELS

HOUR_US = 3_600_000_000
BAR_US = 4 * HOUR_US
HORIZON = 6
START = dt.datetime(2017, 1, 2, tzinfo=dt.UTC)
START_US = round(START.timestamp()) * 1_000_000

Frames = tuple[pl.DataFrame, pl.DataFrame]
Simulate = Callable[..., TrainingSet]


def outcomes(
    up: npt.NDArray[np.float64],
    down: npt.NDArray[np.float64],
    scale: npt.NDArray[np.float64],
    drift: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> npt.NDArray[np.int8]:
    """Return -1, 0, +1 of walks over the horizon, 40 steps a bar."""
    steps = 40
    move = rng.normal(size=(up.size, HORIZON * steps)) * (scale / np.sqrt(steps))[:, None]
    path = np.cumsum(move + (drift / steps)[:, None], axis=1)
    above, below = path >= up[:, None], path <= -down[:, None]
    never = HORIZON * steps
    first_up = np.where(above.any(axis=1), above.argmax(axis=1), never)
    first_down = np.where(below.any(axis=1), below.argmax(axis=1), never)
    out: npt.NDArray[np.int8] = np.sign(first_down - first_up).astype(np.int8)
    return out


def market(
    n: int, *, seed: int = 0, signal: float = 0.0, instrument: str = "EURUSD"
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return features and final labels of ``n`` H4 bars; ``rsi_14`` drives the drift."""
    rng = np.random.default_rng(seed)
    x = {f.name: rng.normal(size=n) for f in FEATURE_LIST}
    up, down = rng.uniform(0.3, 2.0, n), rng.uniform(0.3, 2.0, n)
    volatility = 0.002 * np.exp(rng.normal(0, 0.4, n))
    x["upper_barrier_distance_atr"], x["lower_barrier_distance_atr"] = up, down
    x["atr_ratio_14"] = volatility
    scale = 0.6 * (volatility / 0.002) ** -0.2
    y = outcomes(up, down, scale, signal * np.tanh(x["rsi_14"]), rng)
    ts = START_US + BAR_US * np.arange(n, dtype=np.int64)
    instant = pl.Datetime("us", "UTC")
    keys = {
        "instrument": [instrument] * n,
        "timeframe": ["H4"] * n,
        "ts": pl.Series(ts).cast(instant),
    }
    nulls = {f.name: None for f in FEATURE_LIST if f.needs_volume}
    features = (
        pl.DataFrame({**keys, "known_at": pl.Series(ts + BAR_US).cast(instant), **x})
        .with_columns([pl.lit(v, pl.Float64).alias(k) for k, v in nulls.items()])
        .pipe(FEATURES.conform)
    )
    end = pl.Series(ts + BAR_US * (HORIZON + 1)).cast(instant)
    known = {
        **keys,
        "known_at": end,
        "matured_at": end,
        "status": ["final"] * n,
        "label_version": ["v1"] * n,
        "horizon_bars": pl.Series([HORIZON] * n, dtype=pl.UInt16),
        "entry_price": [1.1] * n,
        "enhanced_triple_barrier": pl.Series(y, dtype=pl.Int8),
        "is_ambiguous": [False] * n,
        "t1": end,
        "path_timeframe": ["H1"] * n,
        "path_bars": pl.Series([24] * n, dtype=pl.UInt32),
        "path_bars_missing": pl.Series([0] * n, dtype=pl.UInt32),
    }
    rest = [pl.lit(None, dtype).alias(c) for c, dtype in LABELS.schema.items() if c not in known]
    labels = pl.DataFrame(known).with_columns(rest).pipe(LABELS.conform)
    return features, labels


@pytest.fixture(scope="session")
def make_market() -> Callable[..., Frames]:
    """Return the function that makes features and labels."""
    return market


@pytest.fixture(scope="session")
def simulate() -> Simulate:
    """Return a function from (n, seed, signal) to a training set with everything matured."""

    def make(n: int, *, seed: int = 0, signal: float = 0.0) -> TrainingSet:
        features, labels = market(n, seed=seed, signal=signal)
        end = START_US + BAR_US * (n + HORIZON + 1)
        return build(features, labels, cutoff_us=end, inputs={"labels/H4/EURUSD/2017-01": "abc"})

    return make


@pytest.fixture(scope="session")
def past_and_future() -> Callable[..., tuple[TrainingSet, TrainingSet]]:
    """Return a function to the set of a cutoff and the rows decided after it."""

    def make(
        n: int, after: int, *, seed: int = 0, signal: float = 0.0
    ) -> tuple[TrainingSet, TrainingSet]:
        features, labels = market(n + after, seed=seed, signal=signal)
        cutoff = START_US + BAR_US * n
        inputs = {"labels/H4/EURUSD/2017-01": "abc"}
        past = build(features, labels, cutoff_us=cutoff, inputs=inputs)
        end = cutoff + BAR_US * (after + HORIZON + 1)
        whole = build(features, labels, cutoff_us=end, inputs=inputs)
        return past, whole.between(cutoff, end)

    return make
