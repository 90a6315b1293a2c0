"""Every error that Wavehouse raises on purpose: one root, one branch a room.

    WavehouseError
    ├── InputError                    what was asked or given cannot be computed (HTTP 400)
    │   ├── MalformedBarsError        duplicate, disordered, high < low, not finite, off the grid
    │   ├── SchemaError               a column is missing, or has another type
    │   ├── UnknownTimeframeError     not one of M1 M5 M15 M30 H1 H4 D W
    │   └── UnknownInstrumentError    not in instruments.toml (HTTP 404)
    ├── ProviderError                 market data could not be had (HTTP 503)
    │   ├── ProviderUnavailableError  network, rate limit, timeout: a retry may help
    │   └── ProviderDataError         the file or the answer is wrong: a retry will not help
    ├── StorageError                  the lake could not do it (HTTP 503)
    │   ├── NotMaterializedError      nobody has made this partition yet (HTTP 404)
    │   ├── PartitionBusyError        another run is writing the same series (HTTP 409)
    │   ├── UnknownRunError           no backtest has this run_id (HTTP 404)
    │   ├── UnknownJobError           no backfill has this job_id (HTTP 404)
    │   ├── BackfillInProgressError   another backfill has these months (HTTP 409)
    │   ├── UnknownKeyError           no API key has this key_id (HTTP 404)
    │   ├── StorageFullError          the disk is full
    │   └── CorruptPartitionError     a file does not hash to its name
    └── LearningError                 a model could not be trained, found or asked
        ├── NotEnoughDataError        too few matured rows for the blocks that were asked
        ├── FeatureMismatchError      the vector is not the model's (HTTP 422)
        ├── ModelNotFoundError        no such model, version or alias (HTTP 404)
        └── ModelArtefactError        a version's files are missing or damaged (HTTP 503)

Kernels know nothing of this tree: they raise ``ValueError`` and ``TypeError``, as NumPy does.
Messages read ``name: expected …, was …``.
"""

from typing import ClassVar


class WavehouseError(Exception):
    """Root of everything raised on purpose; ``code`` is the stable word for machines."""

    code: ClassVar[str] = "INTERNAL"


class InputError(WavehouseError):
    """What was asked or given cannot be computed."""

    code = "INVALID_INPUT"


class MalformedBarsError(InputError):
    """Bars break a rule: order, uniqueness, high >= low, finite, positive, on the grid."""

    code = "MALFORMED_BARS"


class SchemaError(InputError):
    """A frame lacks a column or has one of another type."""

    code = "SCHEMA"


class UnknownTimeframeError(InputError):
    """Not one of the timeframes."""

    code = "UNKNOWN_TIMEFRAME"


class UnknownInstrumentError(InputError):
    """Not in ``instruments.toml``."""

    code = "UNKNOWN_INSTRUMENT"


class ProviderError(WavehouseError):
    """Market data could not be had."""

    code = "PROVIDER"


class ProviderUnavailableError(ProviderError):
    """Network, rate limit or timeout: a retry may help."""

    code = "PROVIDER_UNAVAILABLE"


class ProviderDataError(ProviderError):
    """The file or the answer is there and is wrong: a retry will not help."""

    code = "PROVIDER_DATA"


class StorageError(WavehouseError):
    """The lake could not do it."""

    code = "STORAGE"


class NotMaterializedError(StorageError):
    """Nobody has made this partition yet."""

    code = "NOT_MATERIALIZED"


class UnknownKeyError(StorageError):
    """No API key has this id."""

    code = "UNKNOWN_KEY"


class PartitionBusyError(StorageError):
    """Another run is writing the same series."""

    code = "PARTITION_BUSY"


class UnknownRunError(StorageError):
    """No backtest has this run_id, or it ended so long ago that it was forgotten."""

    code = "UNKNOWN_RUN"


class UnknownJobError(StorageError):
    """No backfill has this job_id."""

    code = "UNKNOWN_JOB"


class BackfillInProgressError(StorageError):
    """Another backfill, ``job_id``, waits or runs over some of the same months."""

    code = "BACKFILL_IN_PROGRESS"

    def __init__(self, message: str, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class StorageFullError(StorageError):
    """The disk is full."""

    code = "STORAGE_FULL"


class CorruptPartitionError(StorageError):
    """A file does not hash to its name."""

    code = "CORRUPT_PARTITION"


class LearningError(WavehouseError):
    """A model could not be trained, found or asked."""

    code = "LEARNING"


class NotEnoughDataError(LearningError):
    """Too few matured rows for the blocks that were asked."""

    code = "NOT_ENOUGH_DATA"


class FeatureMismatchError(LearningError):
    """The vector is not the one that the model was trained on."""

    code = "FEATURE_MISMATCH"


class ModelNotFoundError(LearningError):
    """No such model, version or alias."""

    code = "MODEL_NOT_FOUND"


class ModelArtefactError(LearningError):
    """A version is registered and its files are not there, cannot be read or are damaged."""

    code = "MODEL_ARTEFACT"
