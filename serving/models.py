"""Models by alias: loaded off the request path, swapped whole, watched for a moved alias.

A snapshot is immutable and replaced in one assignment: a request takes it once and keeps the
version it began with. A version that does not load leaves the one before it in place.
"""

import datetime as dt
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from market.errors import InputError, LearningError, ModelNotFoundError, StorageError
from market.ports import ModelRegistry, ModelVersion
from serving.errors import ModelNotReadyError
from serving.metrics import Metrics

log = logging.getLogger("wavehouse.serving")

PREFERENCE: Final = ("ensemble", "xgboost", "transformer", "lstm", "first_passage")
_JOIN_S: Final = 5.0


class Predictions(Protocol):
    """Probabilities of (-1, 0, +1) and the conformal sets over them."""

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Shape (n, 3), rows sum to 1."""
        ...

    @property
    def sets(self) -> npt.NDArray[np.bool_]:
        """Shape (n, 3)."""
        ...


class Provenance(Protocol):
    """What a model was made from."""

    @property
    def cutoff_us(self) -> int:
        """Instant by which its labels had matured."""
        ...

    @property
    def code_version(self) -> str:
        """Version of the code that fitted it."""
        ...

    @property
    def data_version(self) -> str:
        """Hash of its training set."""
        ...

    @property
    def label_version(self) -> str:
        """Version of the labels that it learnt."""
        ...

    @property
    def timeframe(self) -> str:
        """Bars that it was fitted on."""
        ...


class Bundle(Protocol):
    """A trained model with everything that a prediction needs."""

    @property
    def features(self) -> Sequence[str]:
        """Names of the columns of ``x``, in order."""
        ...

    @property
    def kind(self) -> str:
        """What sort of model it is: ``xgboost``, ``first_passage`` …."""
        ...

    @property
    def provenance(self) -> Provenance:
        """What it was made from."""
        ...

    def predict(self, x: npt.NDArray[np.float64], /) -> Predictions:
        """Return predictions of rows ``x`` of shape (n, features); NaN is a missing feature."""
        ...


BundleLoader = Callable[[Path], Bundle]


@dataclass(frozen=True, slots=True)
class Served:
    """One model version in memory."""

    version: ModelVersion
    alias: str
    bundle: Bundle
    loaded_at: dt.datetime

    @property
    def name(self) -> str:
        """Registered name."""
        return self.version.name


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is served at an instant, and what could not be."""

    served: Mapping[str, Served] = field(default_factory=lambda: MappingProxyType({}))
    failures: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    registry_error: str | None = None
    checked_at: dt.datetime | None = None


class ModelStore:
    """The served models of one alias; ``refresh`` follows the registry, ``current`` never waits."""

    def __init__(
        self, registry: ModelRegistry, *, alias: str, load: BundleLoader, metrics: Metrics
    ) -> None:
        self._registry = registry
        self._alias = alias
        self._load = load
        self._metrics = metrics
        self._current = Snapshot()
        self._refreshing = threading.Lock()

    @property
    def alias(self) -> str:
        """The alias that decides which version is served."""
        return self._alias

    @property
    def current(self) -> Snapshot:
        """What is served now."""
        return self._current

    def refresh(self) -> None:
        """Load what the alias names now; never raises, keeps what it cannot replace."""
        with self._refreshing:
            before = self._current
            try:
                after = self._follow(before)
            except Exception as e:
                # outermost handler of the poll: a registry that is down must not end it
                if before.registry_error is None:
                    log.exception("registry: expected an answer")
                after = Snapshot(before.served, before.failures, _reason(e), _now())
            self._current = after
            self._report(before, after)

    def _follow(self, before: Snapshot) -> Snapshot:
        served: dict[str, Served] = {}
        failures: dict[str, str] = {}
        for name in self._registry.names():
            old = before.served.get(name)
            try:
                served[name] = self._replacement(name, old)
            except StorageError:
                raise  # the registry does not answer: nothing is known of any model
            except Exception as e:
                # a version can be broken in any way; the one before it must stay
                if old is not None:
                    served[name] = old
                elif isinstance(e, ModelNotFoundError):
                    continue  # registered, and nothing of it is meant to be served
                failures[name] = _reason(e)
                if before.failures.get(name) != failures[name]:
                    log.exception("model %s: expected what %s names", name, self._alias)
        return Snapshot(MappingProxyType(served), MappingProxyType(failures), None, _now())

    def _replacement(self, name: str, old: Served | None) -> Served:
        """Return what the alias names now, loaded; ``old`` itself where that is what it names."""
        version = self._registry.by_alias(name, self._alias)
        if old is not None and _is_same(old.version, version):
            return old if old.version == version else replace(old, version=version)
        try:
            bundle = self._load(Path(version.artifact_path))
            _try_out(bundle)
        except Exception as e:  # whatever is wrong with it, the reason must name the version
            raise ModelNotReadyError(
                f"version {version.version}: expected a bundle that answers, was {_reason(e)}"
            ) from e
        return Served(version, self._alias, bundle, _now())

    def _report(self, before: Snapshot, after: Snapshot) -> None:
        for name in before.served.keys() - after.served.keys():
            self._metrics.unload(name, self._alias)
            log.warning("model %s: no longer registered, no longer served", name)
        for name, served in after.served.items():
            old = before.served.get(name)
            if old is not None and _is_same(old.version, served.version):
                continue
            self._metrics.loaded_version.labels(name, self._alias).set(served.version.version)
            if old is not None:
                self._metrics.swaps.labels(name).inc()
            log.info("model %s: version %s is served", name, served.version.version)


def _is_same(a: ModelVersion, b: ModelVersion) -> bool:
    """Tell whether two versions are one artefact: tags may be added to a version that is served."""
    return (a.version, a.run_id, a.artifact_path) == (b.version, b.run_id, b.artifact_path)


def choose(
    snapshot: Snapshot, *, name: str | None, kind: str | None, timeframe: str | None
) -> Served:
    """Return the model that a request means.

    By name; else of the asked kind and the asked timeframe, the first kind of ``PREFERENCE``.
    Two that fit alike must be told apart by name.
    """
    served = snapshot.served
    if name is not None:
        return _named(snapshot, name, kind=kind, timeframe=timeframe)
    fitting = [
        s
        for s in served.values()
        if (kind is None or s.bundle.kind == kind) and _fits(s, timeframe)
    ]
    if not fitting:
        message = f"model: expected one for {_wish(kind, timeframe)} {_served(served)}, was none"
        suspects = sorted(snapshot.failures.keys() - served.keys())
        if suspects:  # what did not load may be the one that fits
            raise ModelNotReadyError(f"{message}; not loaded: {', '.join(suspects)}")
        raise _absent(snapshot, message)
    best = min(_rank(s.bundle.kind) for s in fitting)
    finalists = [s for s in fitting if _rank(s.bundle.kind) == best]
    if len(finalists) > 1:
        names = ", ".join(sorted(s.name for s in finalists))
        raise InputError(f"model: expected one of {names} by name, was none given")
    return finalists[0]


def _named(snapshot: Snapshot, name: str, *, kind: str | None, timeframe: str | None) -> Served:
    found = snapshot.served.get(name)
    if found is None:
        if name in snapshot.failures:
            raise ModelNotReadyError(f"model {name}: {snapshot.failures[name]}")
        raise _absent(snapshot, f"model: expected one {_served(snapshot.served)}, was {name!r}")
    if kind is not None and found.bundle.kind != kind:
        raise InputError(f"model_type: expected {found.bundle.kind} of {name}, was {kind!r}")
    if not _fits(found, timeframe):
        made_for = found.bundle.provenance.timeframe
        raise InputError(f"timeframe: expected {made_for} of model {name}, was {timeframe!r}")
    return found


def _absent(snapshot: Snapshot, message: str) -> LearningError:
    if not snapshot.served and snapshot.registry_error is not None:
        return ModelNotReadyError(message)
    return ModelNotFoundError(message)


def _fits(served: Served, timeframe: str | None) -> bool:
    return timeframe is None or served.bundle.provenance.timeframe == timeframe


def _wish(kind: str | None, timeframe: str | None) -> str:
    return " ".join(part for part in (kind, timeframe) if part) or "any request"


def _served(served: Mapping[str, Any]) -> str:
    return f"of those served ({', '.join(sorted(served)) or 'none'})"


def _rank(kind: str) -> int:
    return PREFERENCE.index(kind) if kind in PREFERENCE else len(PREFERENCE)


def _try_out(bundle: Bundle) -> None:
    """Predict once: loads what a first request would wait for, and shows a broken bundle."""
    # ones, not zeros: barrier distances and volatility are positive
    answer = bundle.predict(np.ones((1, len(bundle.features)), dtype=np.float64))
    probabilities = np.asarray(answer.probabilities)
    if probabilities.shape != (1, 3) or not np.isclose(probabilities.sum(), 1.0, atol=1e-6):
        raise LearningError(
            f"bundle: expected probabilities of shape (1, 3) that sum to 1, was {probabilities}"
        )
    if np.asarray(answer.sets).shape != (1, 3):
        raise LearningError(f"bundle: expected sets of shape (1, 3), was {answer.sets}")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@contextmanager
def polling(refresh: Callable[[], None], *, every_s: float) -> Iterator[None]:
    """Call ``refresh`` every ``every_s`` seconds in a thread of its own while the block runs."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(every_s):
            refresh()

    thread = threading.Thread(target=loop, name="alias-poll", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_JOIN_S)
