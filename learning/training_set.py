"""The training set of one cutoff: matured labels joined to the features known at their entry.

Belongs here: which rows a model may learn from, why the others were left out, and their weights.
Keep out: splitting (``splitter``) and anything fitted.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from learning.weights import average_uniqueness
from market.errors import FeatureMismatchError, LearningError, NotEnoughDataError
from market.tables import FEATURE_LIST, FEATURES, LABELS

JOIN_KEY: Final = ("instrument", "timeframe", "ts")
BARRIER_FEATURES: Final = ("upper_barrier_distance_atr", "lower_barrier_distance_atr")
DROP_REASONS: Final = (
    "without_features",
    "immature",
    "pending",
    "censored",
    "ambiguous",
    "warm_up",
)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Rows that a model trained at a cutoff may learn from, in the order of (t_c, instrument).

    Parameters
    ----------
    features : tuple of str
        Columns of ``x``: the feature list in its order, less ``dropped_features``.
    x : ndarray of float64, shape (n, n_features)
        Known at ``t_c``. NaN where a feature is null (no level in reach, no volume).
    y : ndarray of int8, shape (n,)
        Class of the enhanced triple barrier: -1, 0, +1.
    t_c, matured_at : ndarray of int64, shape (n,)
        When the row was decided and when its label was known, microseconds UTC.
    instrument : ndarray of str, shape (n,)
    weight : ndarray of float64, shape (n,)
        Average uniqueness among the rows of the whole set, scaled to a mean of 1.
    cutoff_us : int
        Nothing that matured later is in the set, microseconds UTC.
    horizon_bars : int
    timeframe, label_version : str
    data_version : str
        Hash of the rows of the whole set; kept by ``take`` and ``between``.
    dropped : mapping of str to int
        Label rows left out, by reason (``DROP_REASONS``).
    dropped_features : mapping of str to str
        Features that are null in every row, and why.
    inputs : mapping of str to str
        Partitions that were read, with their versions.
    """

    features: tuple[str, ...]
    x: Floats
    y: npt.NDArray[np.int8]
    t_c: Integers
    matured_at: Integers
    instrument: npt.NDArray[np.str_]
    weight: Floats
    cutoff_us: int
    horizon_bars: int
    timeframe: str
    label_version: str
    data_version: str
    dropped: Mapping[str, int]
    dropped_features: Mapping[str, str]
    inputs: Mapping[str, str]

    def __len__(self) -> int:
        return int(self.y.size)

    def take(self, mask: npt.NDArray[np.bool_]) -> "TrainingSet":
        """Return the rows of ``mask`` (shape (n,)); weights and versions stay the whole set's."""
        return replace(
            self,
            x=_frozen(self.x[mask]),
            y=_frozen(self.y[mask]),
            t_c=_frozen(self.t_c[mask]),
            matured_at=_frozen(self.matured_at[mask]),
            instrument=_frozen(self.instrument[mask]),
            weight=_frozen(self.weight[mask]),
        )

    def between(self, start_us: int, end_us: int) -> "TrainingSet":
        """Return the rows decided in [``start_us``, ``end_us``)."""
        return self.take((self.t_c >= start_us) & (self.t_c < end_us))

    def columns(self, names: tuple[str, ...]) -> Floats:
        """Return the columns ``names`` of ``x``; NaN for one that is null in every row here."""
        position = {name: i for i, name in enumerate(self.features)}
        out = np.full((len(self), len(names)), np.nan)
        for i, name in enumerate(names):
            if name in position:
                out[:, i] = self.x[:, position[name]]
            elif name not in self.dropped_features:
                raise FeatureMismatchError(
                    f"features: expected {', '.join(self.features)}, was {name}"
                )
        return out


def build(
    features: pl.DataFrame, labels: pl.DataFrame, *, cutoff_us: int, inputs: Mapping[str, str]
) -> TrainingSet:
    """Join features and labels, and keep what had matured by the cutoff.

    Parameters
    ----------
    features : DataFrame of table ``features``
        ``known_at`` is the row's t_c.
    labels : DataFrame of table ``labels``
        Of one timeframe, one horizon and one label version; any number of instruments.
    cutoff_us : int
        Microseconds UTC. Rows whose horizon ends later count as immature whatever their status,
        so that the set of a cutoff stays the same when later bars arrive.
    inputs : mapping of str to str
        Partitions that were read, with their versions: recorded, not read.

    Returns
    -------
    TrainingSet

    Raises
    ------
    SchemaError
        If a frame is not one of its table.
    LearningError
        If a key repeats, timeframes, horizons or label versions mix, or a feature row was known
        later than its label's entry allows.
    NotEnoughDataError
        If nothing is left; the message counts what was dropped and why.

    References
    ----------
    Lopez de Prado, Advances in Financial Machine Learning, 4.4 (average uniqueness).
    """
    rows = _joined(FEATURES.conform(features), LABELS.conform(labels))
    reason = _drop_reason(rows, cutoff_us)
    dropped = {name: int((reason == name).sum()) for name in DROP_REASONS}
    kept = rows.filter((reason == "").alias("kept")).sort("t_c", "instrument")
    if kept.is_empty():
        counts = ", ".join(f"{count} {name}" for name, count in dropped.items() if count)
        raise NotEnoughDataError(
            f"training set: expected matured rows by the cutoff, was none (dropped: {counts or 0})"
        )
    names = [f.name for f in FEATURE_LIST if kept[f.name].null_count() < kept.height]
    gone = {
        f.name: "no volume" if f.needs_volume else "null in every row"
        for f in FEATURE_LIST
        if f.name not in names
    }
    for column in ("timeframe", "horizon_bars", "label_version"):
        if kept[column].n_unique() != 1:
            found = ", ".join(str(v) for v in kept[column].unique().sort())
            raise LearningError(f"labels.{column}: expected one value, was {found}")
    made = replace(
        _assembled(kept, tuple(names), cutoff_us),
        dropped=dropped,
        dropped_features=gone,
        inputs=dict(sorted(inputs.items())),
    )
    return replace(made, data_version=_version(made))


def _assembled(kept: pl.DataFrame, names: tuple[str, ...], cutoff_us: int) -> TrainingSet:
    x = kept.select(names).fill_null(float("nan")).to_numpy()
    t_c = kept["t_c"].to_physical().to_numpy().astype(np.int64)
    matured_at = kept["matured_at"].to_physical().to_numpy().astype(np.int64)
    instrument = kept["instrument"].to_numpy().astype(np.str_)
    return TrainingSet(
        features=names,
        x=_frozen(np.ascontiguousarray(x, dtype=np.float64)),
        y=_frozen(kept["enhanced_triple_barrier"].to_numpy().astype(np.int8)),
        t_c=_frozen(t_c),
        matured_at=_frozen(matured_at),
        instrument=_frozen(instrument),
        weight=_frozen(average_uniqueness(t_c, matured_at, instrument)),
        cutoff_us=cutoff_us,
        horizon_bars=int(kept["horizon_bars"][0]),
        timeframe=str(kept["timeframe"][0]),
        label_version=str(kept["label_version"][0]),
        data_version="",
        dropped={},
        dropped_features={},
        inputs={},
    )


def _joined(features: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Return one row a label with its features (null ``t_c`` where there are none), checked."""
    for frame, name in ((features, "features"), (labels, "labels")):
        if frame.select(pl.struct(JOIN_KEY).is_duplicated().any()).item():
            raise LearningError(f"{name}: expected one row a (instrument, timeframe, ts), was more")
    rows = labels.join(features.rename({"known_at": "t_c"}), on=JOIN_KEY, how="left").sort(JOIN_KEY)
    # a bar ends before the next one opens: a feature known later than that saw past its entry
    following = pl.col("ts").shift(-1).over("instrument", "timeframe")
    late = rows.filter(
        (pl.col("t_c") <= pl.col("ts"))
        | (pl.col("t_c") >= pl.col("known_at"))
        | (pl.col("t_c") > following)
        | (pl.col("t_c") >= pl.col("t1"))
    )
    if not late.is_empty():
        row = late.row(0, named=True)
        raise LearningError(
            f"features.known_at of {row['instrument']} {row['timeframe']} {row['ts']}: expected "
            f"the entry's close (before the next bar and the label's end), was {row['t_c']}"
        )
    return rows


def _drop_reason(rows: pl.DataFrame, cutoff_us: int) -> pl.Series:
    """Return why each row is left out ("" where it is kept); the first reason that holds."""
    cutoff = pl.lit(cutoff_us).cast(rows.schema["known_at"])
    label = pl.col("enhanced_triple_barrier")
    no_barriers = pl.any_horizontal(pl.col(name).is_null() for name in BARRIER_FEATURES)
    reason = (
        pl.when(pl.col("t_c").is_null())
        .then(pl.lit("without_features"))
        .when(pl.col("known_at") > cutoff)
        .then(pl.lit("immature"))
        .when(pl.col("status") == "pending")
        .then(pl.lit("pending"))
        .when(pl.col("status") == "censored")
        .then(pl.lit("censored"))
        .when(pl.col("is_ambiguous").fill_null(value=False))
        .then(pl.lit("ambiguous"))
        .when(~_warm().over("instrument", order_by="ts") | no_barriers | label.is_null())
        .then(pl.lit("warm_up"))
        .when(pl.col("matured_at").is_null() | (pl.col("matured_at") > cutoff))
        .then(pl.lit("immature"))
        .otherwise(pl.lit(""))
    )
    return rows.select(reason.alias("reason"))["reason"]


def _warm() -> pl.Expr:
    """From an instrument's first row on in which everything that is never null later is there."""
    steady = [f.name for f in FEATURE_LIST if f.kernel != "levels" and not f.needs_volume]
    return pl.all_horizontal(pl.col(name).is_not_null() for name in steady).cum_max()


def _version(rows: TrainingSet) -> str:
    facts = [rows.features, rows.cutoff_us, rows.horizon_bars, rows.timeframe, rows.label_version]
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update("\n".join(rows.instrument.tolist()).encode())
    for array in (rows.x, rows.y, rows.t_c, rows.matured_at, rows.weight):
        digest.update(array.tobytes())
    return digest.hexdigest()[:32]


def _frozen(array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    array = array.view()
    array.flags.writeable = False
    return array
