"""The feature vector of a prediction: as given by a caller, or as it rests in the lake."""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from market.errors import FeatureMismatchError, NotMaterializedError
from market.months import month_of
from market.ports import Lake, ModelVersion, PartitionKey, PartitionRef
from serving.errors import MAX_DETAILS, Detail, FeatureVectorError
from serving.instants import from_us

TABLE: Final = "features"


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One row of the lake's features and the partition version that it came from."""

    row: Mapping[str, object]
    ref: PartitionRef

    @property
    def ts(self) -> dt.datetime:
        """Open of the bar."""
        return _instant(self.row["ts"])

    @property
    def known_at(self) -> dt.datetime:
        """End of the bar."""
        return _instant(self.row["known_at"])

    def vector(self, names: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the columns ``names`` in order, NaN where null."""
        missing = [name for name in names if name not in self.row]
        if missing:
            raise FeatureMismatchError(
                f"features: expected the columns {', '.join(missing)} in {self.ref.key.path}, "
                "was a partition without them"
            )
        values = [self.row[name] for name in names]
        return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def stored(lake: Lake, instrument: str, timeframe: str, ts_us: int | None) -> StoredRow:
    """Return the feature row of the bar that opens at ``ts_us``, or the newest row."""
    if ts_us is None:
        return _newest(lake, instrument, timeframe)
    ref = lake.resolve(PartitionKey(TABLE, timeframe, instrument, month_of(ts_us)))
    rows = lake.row(ref, ts_us)
    if rows.is_empty():
        ts = from_us(ts_us).isoformat()
        raise NotMaterializedError(
            f"ts: expected the open of a complete bar of {ref.key.path}, was {ts}"
        )
    return StoredRow(rows.row(0, named=True), ref)


def given(
    features: Mapping[str, float | None] | Sequence[float | None], names: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Return a caller's features in the model's order; raise naming each that does not fit."""
    if not isinstance(features, Mapping):
        if len(features) != len(names):
            message = f"expected {len(names)} numbers, was {len(features)}"
            raise FeatureVectorError(
                f"features: {message}", [Detail("features", message, "FEATURE_COUNT")]
            )
        return _vector(features)
    missing = [name for name in names if name not in features]
    unknown = sorted(features.keys() - set(names))
    if missing or unknown:
        details = [Detail(f"features.{n}", "expected a number, was missing", "FEATURE_MISSING")
                   for n in missing]  # fmt: skip
        details += [Detail(f"features.{n}", "expected a feature of the model, was unknown",
                           "FEATURE_UNKNOWN") for n in unknown]  # fmt: skip
        raise FeatureVectorError(
            f"features: expected the model's {len(names)}, "
            f"was {len(missing)} missing and {len(unknown)} unknown",
            details[:MAX_DETAILS],
        )
    return _vector([features[name] for name in names])


def prediction_id(version: ModelVersion, vector: npt.NDArray[np.float64]) -> str:
    """Return the hash of a model version and a vector: the same question has the same id."""
    canonical = np.where(np.isnan(vector), np.nan, vector + 0.0)  # one NaN, one zero
    digest = hashlib.sha256(f"{version.name}\0{version.version}\0{version.run_id}\0".encode())
    digest.update(canonical.astype("<f8").tobytes())
    return digest.hexdigest()[:32]


def _vector(values: Sequence[float | None]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _newest(lake: Lake, instrument: str, timeframe: str) -> StoredRow:
    for month in reversed(lake.months(TABLE, timeframe, instrument)):
        ref = lake.find(PartitionKey(TABLE, timeframe, instrument, month))
        if ref is not None and ref.rows > 0:
            return StoredRow(lake.row(ref).row(0, named=True), ref)
    raise NotMaterializedError(
        f"{TABLE}/{timeframe}/{instrument}: expected a materialised month with rows, was none; "
        "run wavehouse materialize"
    )


def _instant(value: object) -> dt.datetime:
    assert isinstance(value, dt.datetime)  # noqa: S101 - the table's schema says so
    return value.astimezone(dt.UTC)
