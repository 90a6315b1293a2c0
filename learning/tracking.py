"""Where models are recorded: MLflow runs, registered versions, aliases and their journal.

Imports MLflow inside functions: only training and the gate come here, serving reads ``registry``.
"""

import datetime as dt
import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from learning.alias_journal import AliasJournal, AliasMove
from learning.bundle import Bundle
from learning.description import describe
from learning.logged_model import log_model
from learning.registry import open_registry
from market.errors import LearningError
from market.ports import ModelVersion

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

EXPERIMENT: Final = "wavehouse"
CHALLENGER: Final = "challenger"
CHAMPION: Final = "champion"
TRAINING_TAG: Final = "wavehouse.training"
LOOK_TAG: Final = "wavehouse.look"
LOOKS_TAG: Final = "wavehouse.looks"  # of the registered model: how many there were
ENVIRONMENT: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",  # or uv.lock, 0.4 MB, goes with every model
}


class ModelStore:
    """Logs bundles to MLflow, registers them and moves their aliases.

    Parameters
    ----------
    tracking_uri : str
        Where MLflow keeps runs and the registry: ``sqlite:////abs/mlruns/mlflow.db``, a Postgres
        URL, or a server.
    artifact_root : Path or str
        Folder of the artefacts; every process that serves must see it.
    journal_url : str, optional
        Database of the alias journal; the tracking database by default.

    Raises
    ------
    LearningError
        If the tracking URI is a server's and no ``journal_url`` is given.
    """

    def __init__(
        self, tracking_uri: str, artifact_root: Path | str, *, journal_url: str | None = None
    ) -> None:
        is_server = urlsplit(tracking_uri).scheme in ("http", "https")
        if is_server and journal_url is None:
            raise LearningError(
                "journal_url: expected a database beside a tracking server, was none"
            )
        self.tracking_uri = tracking_uri
        self._artifact_root = Path(artifact_root).absolute()
        self._journal = AliasJournal(journal_url or tracking_uri)

    def log(
        self,
        name: str,
        bundle: Bundle,
        *,
        example: "npt.NDArray[np.float64]",
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> ModelVersion:
        """Record a training and register its bundle as challenger; once a training.

        Parameters
        ----------
        name : str
            The registered model, e.g. ``barrier_h4``.
        bundle : Bundle
        example : ndarray of float64, shape (1, n_features)
            A row to show how the model is asked.
        metrics, tags : mapping, optional
            Figures and labels for the run.

        Returns
        -------
        ModelVersion
            The new version, or the one that the same training (name, kind, cutoff, data, code)
            registered before: then the alias is left where it is.
        """
        with _mlflow() as mlflow:
            version = self._log(mlflow, name, bundle, example, (metrics or {}, tags or {}))
        challenged = {entry.to_version for entry in self.journal(name, CHALLENGER)}
        if version not in challenged:  # new, or its run died before it came to that
            reason = f"newly trained {bundle.kind}"
            self.move(name, CHALLENGER, version, who="training", reason=reason)
        return open_registry(self.tracking_uri).by_version(name, version)

    def _log(
        self,
        mlflow: Any,  # noqa: ANN401 - MLflow is untyped
        name: str,
        bundle: Bundle,
        example: "npt.NDArray[np.float64]",
        described: tuple[Mapping[str, float], Mapping[str, str]],
    ) -> int:
        """Return the version of this training, registered now or before."""
        client = self._client()
        key = training_key(bundle)
        found = client.search_model_versions(f"name = '{name}' and tags.`{TRAINING_TAG}` = '{key}'")
        if found:
            return min(int(version.version) for version in found)
        with self._run(mlflow, bundle, name) as run_id:
            self._record(run_id, bundle, *described)
            model_id = log_model(mlflow, bundle, example)
            return self._register(client, name, model_id, run_id, bundle)

    def versions(self, name: str) -> Sequence[ModelVersion]:
        """Return all versions of a model, oldest first; none where it was never registered."""
        return open_registry(self.tracking_uri).versions(name)

    def version(self, name: str, version: int) -> ModelVersion:
        """Return one version; raise as ``ModelRegistry.by_version`` does where it is not there."""
        return open_registry(self.tracking_uri).by_version(name, version)

    def champion(self, name: str) -> ModelVersion | None:
        """Return the champion, or ``None`` where there is none yet."""
        registry = open_registry(self.tracking_uri)
        version = registry.aliases(name).get(CHAMPION)
        return None if version is None else registry.by_version(name, version)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Add figures to a run, e.g. its evaluation once the month after has matured."""
        with _mlflow():
            self._batch(run_id, metrics, {}, {})

    def look(self, name: str, version: int) -> int:
        """Return which judgement of this registered model a version's is, counted from 1.

        The first time, the version is tagged with its number; judged again, it is the same look.
        The count is the registered model's: deleting a version gives no look back.
        """
        with _mlflow():
            client = self._client()
            known = client.get_model_version(name, str(version)).tags.get(LOOK_TAG)
            if known is not None:
                return int(known)
            look = 1 + int(client.get_registered_model(name).tags.get(LOOKS_TAG, 0))
            client.set_registered_model_tag(name, LOOKS_TAG, str(look))
            client.set_model_version_tag(name, str(version), LOOK_TAG, str(look))
            return look

    def tag(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version, e.g. its edge once it was judged; readers see them at once."""
        with _mlflow():
            for key, value in tags.items():
                self._client().set_model_version_tag(name, str(version), key, value)

    def describe(self, name: str, version: int, bundle: Bundle, verdict: str) -> None:
        """Let a version's paragraph end with what was found when it was judged."""
        with _mlflow():
            self._client().update_model_version(name, str(version), describe(bundle, verdict))

    def promote(self, name: str, version: int, *, who: str, reason: str) -> None:
        """Move ``champion`` to a version, and journal it."""
        self.move(name, CHAMPION, version, who=who, reason=reason)

    def move(self, name: str, alias: str, version: int, *, who: str, reason: str) -> None:
        """Move an alias to a version and journal who, when, why, from and to.

        A move that was made around this method is found out by the next one, and journalled as
        such, so that the journal's entries always chain. Moving to where it is does nothing.

        Raises
        ------
        ModelNotFoundError
            If there is no such version.
        """
        registry = open_registry(self.tracking_uri)
        registry.by_version(name, version)
        before = registry.aliases(name).get(alias)
        journalled = self._journal.moves(name, alias)
        last = journalled[-1].to_version if journalled else None
        if before is not None and before != last:
            self._note(name, alias, (last, before), "unknown", "found moved without an entry")
        if before == version:
            return
        with _mlflow():
            self._client().set_registered_model_alias(name, alias, str(version))
        self._note(name, alias, (before, version), who, reason)

    def journal(self, name: str, alias: str | None = None) -> Sequence[AliasMove]:
        """Return an alias' moves in order, or those of all aliases."""
        return self._journal.moves(name, alias)

    def _note(
        self, name: str, alias: str, moved: tuple[int | None, int], who: str, reason: str
    ) -> None:
        now = dt.datetime.now(dt.UTC)
        self._journal.add(AliasMove(now, name, alias, moved[0], moved[1], who, reason))

    def _client(self) -> Any:  # noqa: ANN401 - MLflow is untyped
        from mlflow import MlflowClient  # noqa: PLC0415 - heavy

        if self.tracking_uri.startswith("sqlite:///"):
            Path(self.tracking_uri.removeprefix("sqlite:///")).parent.mkdir(
                parents=True, exist_ok=True
            )
        return MlflowClient(self.tracking_uri, self.tracking_uri)

    @contextmanager
    def _run(
        self,
        mlflow: Any,  # noqa: ANN401 - MLflow is untyped
        bundle: Bundle,
        name: str,
    ) -> Iterator[str]:
        """Start a run of the experiment; one that raises ends as FAILED."""
        mlflow.set_tracking_uri(self.tracking_uri)
        mlflow.set_registry_uri(self.tracking_uri)
        client = self._client()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            location = (self._artifact_root / EXPERIMENT).as_uri()
            identity = client.create_experiment(EXPERIMENT, artifact_location=location)
        else:
            identity = experiment.experiment_id
        day = dt.datetime.fromtimestamp(bundle.provenance.cutoff_us / 1e6, dt.UTC)
        with mlflow.start_run(
            experiment_id=identity, run_name=f"{name} {bundle.kind} {day:%Y-%m-%d}"
        ) as run:
            yield run.info.run_id

    def _record(
        self,
        run_id: str,
        bundle: Bundle,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> None:
        made = bundle.provenance
        parameters = {
            **bundle.parameters,
            "kind": bundle.kind,
            "n_features": len(bundle.features),
            "horizon_bars": bundle.passage.horizon_bars,
            **{f"rows_{block}": count for block, count in made.rows.items()},
        }
        described = {
            **_facts(bundle),
            "wavehouse.features": json.dumps(list(bundle.features)),
            "wavehouse.dropped_features": json.dumps(dict(made.dropped_features)),
            "wavehouse.dropped_rows": json.dumps(dict(made.dropped)),
            "wavehouse.inputs": json.dumps(dict(made.inputs), sort_keys=True),
            **tags,
        }
        self._batch(run_id, metrics, parameters, described)

    def _batch(
        self,
        run_id: str,
        metrics: Mapping[str, float],
        parameters: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415 - heavy

        now = int(dt.datetime.now(dt.UTC).timestamp() * 1000)
        self._client().log_batch(
            run_id,
            metrics=[Metric(k, float(v), now, 0) for k, v in metrics.items()],
            params=[Param(k, str(v)) for k, v in parameters.items()],
            tags=[RunTag(k, v) for k, v in tags.items()],
        )

    def _register(
        self,
        client: Any,  # noqa: ANN401 - MLflow is untyped
        name: str,
        model_id: str,
        run_id: str,
        bundle: Bundle,
    ) -> int:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - heavy

        try:
            client.create_registered_model(name)
        except MlflowException as e:
            if e.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        # tags come with the version, so a crash leaves no version that cannot be found again
        version = client.create_model_version(
            name,
            source=f"models:/{model_id}",
            run_id=run_id,
            tags={**_facts(bundle), TRAINING_TAG: training_key(bundle)},
            description=describe(bundle),
            model_id=model_id,
            await_creation_for=0,
        )
        return int(version.version)


def training_key(bundle: Bundle) -> str:
    """Return what makes a training the same: kind, cutoff, data version and code version."""
    text = json.dumps(_facts(bundle), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _facts(bundle: Bundle) -> dict[str, str]:
    made = bundle.provenance
    return {
        "wavehouse.kind": bundle.kind,
        "wavehouse.cutoff_us": str(made.cutoff_us),
        "wavehouse.timeframe": made.timeframe,
        "wavehouse.data_version": made.data_version,
        "wavehouse.code_version": made.code_version,
        "wavehouse.label_version": made.label_version,
    }


@contextmanager
def _mlflow() -> Iterator[Any]:
    """Import MLflow with telemetry and pickle off (it reads its environment when imported).

    Its own modules warn about their own type hints and about SQLAlchemy; nothing a caller can do.
    """
    os.environ.update(ENVIRONMENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow  # noqa: PLC0415 - four seconds
        import mlflow.pyfunc  # noqa: PLC0415 - the same

        for noisy in (
            "mlflow.pyfunc",
            "mlflow.models",
            "mlflow.tracking",
            "mlflow.store",
            "alembic",
        ):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        yield mlflow
