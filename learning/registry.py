"""The model registry as serving reads it: MLflow's tables or its REST API, never its package.

Importing MLflow takes seconds and its client polls through many layers; an alias is one SELECT.
"""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import httpx2
import sqlalchemy as sa

from learning.bundle import BUNDLE_FILE
from market.errors import ModelArtefactError, ModelNotFoundError, StorageError
from market.ports import ModelVersion

BUNDLE_FOLDER: Final = "artifacts/bundle"  # below a logged model, where the pyfunc keeps the bundle
_TRAIN: Final = "`wavehouse train` trains, judges and promotes"
_DELETED: Final = "Deleted_Internal"
_WORKSPACE: Final = "default"
_LOGGED_MODEL: Final = re.compile(r"^models:/(m-[0-9a-f]+)$")

_VERSIONS: Final = sa.table(
    "model_versions",
    *(
        sa.column(name)
        for name in (
            "workspace", "name", "version", "run_id", "source", "storage_location", "current_stage",
        )
    ),
)  # fmt: skip
_ALIASES: Final = sa.table(
    "registered_model_aliases", *(sa.column(n) for n in ("workspace", "name", "alias", "version"))
)
_TAGS: Final = sa.table(
    "model_version_tags",
    *(sa.column(n) for n in ("workspace", "name", "version", "key", "value")),
)
_MODELS: Final = sa.table("registered_models", *(sa.column(n) for n in ("workspace", "name")))
_LOGGED: Final = sa.table(
    "logged_models", *(sa.column(n) for n in ("model_id", "artifact_location"))
)


def open_registry(tracking_uri: str) -> "SqlModelRegistry | RestModelRegistry":
    """Return the registry at an MLflow tracking URI: over REST if http(s), else over SQL."""
    if urlsplit(tracking_uri).scheme in ("http", "https"):
        return RestModelRegistry(tracking_uri)
    return SqlModelRegistry(tracking_uri)


class SqlModelRegistry:
    """Reads model versions and aliases from MLflow's database.

    Parameters
    ----------
    tracking_uri : str
        An SQLAlchemy URL, as MLflow takes it. SQLite files are opened read-only; one that is not
        there yet is a registry with nothing in it.
    timeout_s : float
        How long a read of a SQLite file waits for a writer.
    """

    def __init__(self, tracking_uri: str, *, timeout_s: float = 5.0) -> None:
        self._file = _sqlite_file(tracking_uri)
        self._where = sa.make_url(tracking_uri).render_as_string(hide_password=True)
        self._engine = _engine(tracking_uri, self._file, timeout_s)

    def names(self) -> Sequence[str]:
        """Return the registered models' names."""
        query = sa.select(_MODELS.c.name).where(_MODELS.c.workspace == _WORKSPACE)
        return [row.name for row in self._rows(query.order_by(_MODELS.c.name))]

    def by_alias(self, name: str, alias: str) -> ModelVersion:
        """Return the version that an alias names.

        Raises
        ------
        ModelNotFoundError
            If there is no such model or alias.
        ModelArtefactError
            If the version that it names has no files on this filesystem.
        StorageError
            If the database cannot be read.
        """
        aliases = self.aliases(name)
        if alias not in aliases:
            raise ModelNotFoundError(
                f"model {name}@{alias}: expected an alias in {self._where}, was nothing "
                f"(aliases: {_list(aliases)}; registered models: {_list(self.names())}); "
                f"{_TRAIN}"
            )
        return self.by_version(name, aliases[alias])

    def aliases(self, name: str) -> dict[str, int]:
        """Return a model's aliases and the versions that they name."""
        query = sa.select(_ALIASES.c.alias, _ALIASES.c.version).where(
            _ALIASES.c.workspace == _WORKSPACE, _ALIASES.c.name == name
        )
        return {row.alias: int(row.version) for row in self._rows(query)}

    def by_version(self, name: str, version: int) -> ModelVersion:
        """Return one version; raise as ``by_alias`` does."""
        rows = self._rows(_live(name).where(_VERSIONS.c.version == version))
        if not rows:
            raise ModelNotFoundError(
                f"model {name}: expected version {version} in {self._where}, was nothing; {_TRAIN}"
            )
        return self._version(rows[0])

    def versions(self, name: str) -> Sequence[ModelVersion]:
        """Return all versions of a model, oldest first."""
        rows = self._rows(_live(name).order_by(_VERSIONS.c.version))
        return [self._version(row) for row in rows]

    def _version(self, row: sa.Row[Any]) -> ModelVersion:
        tags = self._rows(
            sa.select(_TAGS.c.key, _TAGS.c.value).where(
                _TAGS.c.workspace == _WORKSPACE,
                _TAGS.c.name == row.name,
                _TAGS.c.version == row.version,
            )
        )
        location = self._location(row.storage_location or row.source or "")
        return ModelVersion(
            name=row.name,
            version=int(row.version),
            run_id=row.run_id or "",
            artifact_path=str(bundle_folder(location, f"model {row.name} version {row.version}")),
            tags={tag.key: tag.value for tag in tags},
        )

    def _location(self, source: str) -> str:
        match = _LOGGED_MODEL.match(source)
        if match is None:
            return source
        rows = self._rows(
            sa.select(_LOGGED.c.artifact_location).where(_LOGGED.c.model_id == match[1])
        )
        return str(rows[0].artifact_location) if rows else source

    def _rows(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        if self._file is not None and not self._file.is_file():
            return []
        try:
            with self._engine.connect() as connection:
                return connection.execute(query).all()
        except sa.exc.SQLAlchemyError as e:
            reason = str(e.__cause__ or e).splitlines()[0]
            raise StorageError(
                f"registry {self._where}: expected MLflow's tables, was: {reason}"
            ) from e


class RestModelRegistry:
    """Reads model versions and aliases from an MLflow server; artefacts on a shared filesystem.

    Parameters
    ----------
    url : str
        The server's root, e.g. ``http://mlflow:5000``.
    transport : httpx2.BaseTransport, optional
        What carries the requests; a test hands in its own.
    timeout_s : float
    """

    def __init__(
        self, url: str, *, transport: httpx2.BaseTransport | None = None, timeout_s: float = 5.0
    ) -> None:
        self._url = url.rstrip("/")
        self._client = httpx2.Client(
            base_url=f"{self._url}/api/2.0/mlflow/", transport=transport, timeout=timeout_s
        )

    def names(self) -> Sequence[str]:
        """Return the registered models' names."""
        found = self._pages("registered-models/search", "registered_models", {})
        return sorted(str(model["name"]) for model in found)

    def by_alias(self, name: str, alias: str) -> ModelVersion:
        """Return the version that an alias names.

        Raises
        ------
        ModelNotFoundError
            If there is no such model or alias.
        ModelArtefactError
            If the version that it names has no files on this filesystem.
        StorageError
            If the server cannot be asked.
        """
        found = self._get("registered-models/alias", {"name": name, "alias": alias})
        return self._version(found["model_version"])

    def by_version(self, name: str, version: int) -> ModelVersion:
        """Return one version; raise as ``by_alias`` does."""
        found = self._get("model-versions/get", {"name": name, "version": str(version)})
        return self._version(found["model_version"])

    def aliases(self, name: str) -> dict[str, int]:
        """Return a model's aliases and the versions that they name; none where it is unknown."""
        try:
            found = self._get("registered-models/get", {"name": name})["registered_model"]
        except ModelNotFoundError:
            return {}
        return {str(a["alias"]): int(a["version"]) for a in found.get("aliases", [])}

    def versions(self, name: str) -> Sequence[ModelVersion]:
        """Return all versions of a model, oldest first."""
        query = {"filter": f"name='{name}'"}
        found = self._pages("model-versions/search", "model_versions", query)
        return sorted((self._version(row) for row in found), key=lambda made: made.version)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _version(self, found: dict[str, Any]) -> ModelVersion:
        name, version = str(found["name"]), int(found["version"])
        where = self._get(
            "model-versions/get-download-uri", {"name": name, "version": str(version)}
        )
        folder = bundle_folder(str(where["artifact_uri"]), f"model {name} version {version}")
        return ModelVersion(
            name=name,
            version=version,
            run_id=str(found.get("run_id", "")),
            artifact_path=str(folder),
            tags={str(t["key"]): str(t["value"]) for t in found.get("tags", [])},
        )

    def _pages(self, path: str, key: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        token: dict[str, str] = {}
        while True:
            page = self._get(path, {**query, "max_results": "200", **token})
            yield from page.get(key, [])
            if not page.get("next_page_token"):
                return
            token = {"page_token": str(page["next_page_token"])}

    def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        try:
            answer = self._client.get(path, params=query)
        except httpx2.HTTPError as e:
            raise StorageError(f"registry {self._url}: expected an answer, was: {e!r}") from e
        try:
            body = answer.json()
        except ValueError:
            body = {}
        if answer.status_code == httpx2.codes.OK:
            return dict(body)
        reason = body.get("message", f"HTTP {answer.status_code}")
        if body.get("error_code") in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            wanted = f"{query.get('name', '')}@{query['alias']}" if "alias" in query else ""
            raise ModelNotFoundError(
                f"model {wanted or query.get('name', '')}: expected in {self._url}, "
                f"was: {reason}; {_TRAIN}"
            )
        raise StorageError(f"registry {self._url}: expected {path}, was: {reason}")


def bundle_folder(location: str, what: str) -> Path:
    """Return the local folder with ``bundle.json`` of a model logged at ``location``.

    Raises ``ModelArtefactError`` that names the version, the folder and what to do.
    """
    parts = urlsplit(location)
    if parts.scheme not in ("", "file") or not parts.path:
        raise ModelArtefactError(
            f"{what}: expected artefacts on a local or shared filesystem, was {location!r}; "
            "give MLflow an artefact root that is mounted here"
        )
    path = Path(unquote(parts.path) if parts.scheme else location)
    folder = path / BUNDLE_FOLDER
    try:
        with (folder / BUNDLE_FILE).open("rb"):
            return folder
    except OSError as e:
        was = "nothing" if isinstance(e, (FileNotFoundError, NotADirectoryError)) else e.strerror
        raise ModelArtefactError(
            f"{what}: expected {BUNDLE_FILE} in {folder}, was {was}; "
            "restore it, or move the alias to another version"
        ) from e


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _live(name: str) -> sa.Select[Any]:
    return sa.select(_VERSIONS).where(
        _VERSIONS.c.workspace == _WORKSPACE,
        _VERSIONS.c.name == name,
        sa.func.coalesce(_VERSIONS.c.current_stage, "") != _DELETED,
    )


def _sqlite_file(tracking_uri: str) -> Path | None:
    url = sa.make_url(tracking_uri)
    is_file = url.get_backend_name() == "sqlite" and url.database
    return Path(str(url.database)).absolute() if is_file else None


def _engine(tracking_uri: str, file: Path | None, timeout_s: float) -> sa.Engine:
    if file is None:
        return sa.create_engine(tracking_uri, pool_pre_ping=True)
    address = f"file:{quote(str(file))}?mode=ro"

    def connect() -> sqlite3.Connection:
        # read-only: a reader must not create an empty database where there is none yet. Not in the
        # engine's URL, which unquotes: a "#" in the path would open another file
        return sqlite3.connect(address, uri=True, timeout=timeout_s, check_same_thread=False)

    return sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.NullPool)
