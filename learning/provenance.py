"""What every fit records of where it came from."""

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from learning.bundle import Provenance
from learning.training_set import TrainingSet

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def code_version(kind: str, version: int, config: "DataclassInstance") -> str:
    """Return a version that moves with the code's number and with any configured value."""
    text = json.dumps(asdict(config), sort_keys=True)
    return f"{kind}-{version}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def provenance(
    version: str, train: TrainingSet, calibration: TrainingSet, conformal: TrainingSet
) -> Provenance:
    """Return where a model comes from, of the set that its blocks were cut from."""
    return Provenance(
        cutoff_us=train.cutoff_us,
        code_version=version,
        data_version=train.data_version,
        label_version=train.label_version,
        timeframe=train.timeframe,
        inputs=dict(train.inputs),
        rows={
            "train": len(train),
            "calibration": len(calibration),
            "conformal": len(conformal),
        },
        dropped=dict(train.dropped),
        dropped_features=dict(train.dropped_features),
    )


def library_versions(*names: str) -> dict[str, Any]:
    """Return installed versions by distribution; the first installed one of ``a|b`` counts."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - fits only

    found = {}
    for choice in names:
        for name in choice.split("|"):
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
            break
    return found
