"""What the app is given in tests: a registry to move aliases in, real bundles, a lake with data."""

import datetime as dt
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import polars as pl
from starlette.testclient import TestClient

from learning.bundle import Bundle, Provenance
from learning.calibration import Conformal, VectorScaling
from learning.first_passage import PASSAGE_FEATURES, FirstPassage
from learning.registry import BUNDLE_FOLDER
from market.errors import ModelNotFoundError, StorageError
from market.instruments import Instrument, InstrumentBook
from market.months import month_start
from market.ports import ModelVersion, PartitionKey, PartitionRef
from market.settings import ServingSettings
from market.tables import FEATURES, LABELS
from market.timeframes import Timeframe
from serving.app import create_app
from storage.lake import ParquetLake

UNLIMITED = {
    "default_rate_limit": "",
    "labels_rate_limit": "",
    "labels_compute_rate_limit": "",
    "backfill_rate_limit": "",
    "compute_rate_limit": "",
}
FEATURE_NAMES = (*PASSAGE_FEATURES, "rsi_14", "mfi_14")
H4 = dt.timedelta(hours=4)


class FakeRegistry:
    """Model versions and aliases in memory."""

    def __init__(self) -> None:
        self._versions: dict[tuple[str, int], ModelVersion] = {}
        self._aliases: dict[tuple[str, str], int] = {}
        self.is_down = False
        self.is_half_down = False  # names come, aliases do not

    def add(self, version: ModelVersion, alias: str | None = "champion") -> None:
        """Register a version and move an alias to it."""
        self._versions[version.name, version.version] = version
        if alias is not None:
            self._aliases[version.name, alias] = version.version

    def drop_alias(self, name: str, alias: str = "champion") -> None:
        """Take an alias away."""
        del self._aliases[name, alias]

    def delete(self, name: str) -> None:
        """Delete a model with all its versions."""
        self._versions = {k: v for k, v in self._versions.items() if k[0] != name}

    def names(self) -> Sequence[str]:
        """Return the registered names, or fail as told."""
        if self.is_down:
            raise StorageError("registry: expected an answer, was a closed door")
        return sorted({name for name, _ in self._versions})

    def by_alias(self, name: str, alias: str) -> ModelVersion:
        """Return what an alias names, or fail as told."""
        if self.is_half_down:
            raise StorageError("registry: expected an answer, was a closed door")
        try:
            return self._versions[name, self._aliases[name, alias]]
        except KeyError as e:
            raise ModelNotFoundError(f"model {name}: expected alias {alias}, was none") from e

    def by_version(self, name: str, version: int) -> ModelVersion:
        """Return one version."""
        return self._versions[name, version]


class WatchedLake(ParquetLake):
    """The real lake, that tells what was read and can be unreachable."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, fsync=False)
        self.months_read: list[str] = []
        self.rows_read: list[str] = []
        self.failure: Exception | None = None

    def read(self, refs: Iterable[PartitionRef]) -> pl.DataFrame:
        """Read, and write down which months."""
        found = list(refs)
        self.months_read += [ref.key.month for ref in found]
        return super().read(found)

    def row(self, ref: PartitionRef, ts_us: int | None = None) -> pl.DataFrame:
        """Read one row, and write down of which month."""
        self.rows_read.append(ref.key.month)
        return super().row(ref, ts_us)

    def months(self, table: str, timeframe: str, instrument: str) -> Sequence[str]:
        """List months, or fail as told."""
        if self.failure is not None:
            raise self.failure
        return super().months(table, timeframe, instrument)


def bundle(  # a fitted baseline in every part, only its numbers are chosen
    *, kind: str = "first_passage", timeframe: str = "H4", bias: float = 0.0
) -> Bundle:
    return Bundle(
        kind=kind,
        features=FEATURE_NAMES,
        passage=FirstPassage(log_scale=0.0, exponent=0.0, centre=-6.0, horizon_bars=6),
        calibration=VectorScaling((1.0, 1.0, 1.0), (0.0, 0.0, bias)),
        conformal=Conformal(alpha=0.1, quantile=0.7, rows=100),
        prior=(0.3, 0.4, 0.3),
        provenance=Provenance(
            cutoff_us=month_start("2018-01"),
            code_version="first_passage-1",
            data_version="data",
            label_version="labels",
            timeframe=timeframe,
        ),
    )


def saved(made: Bundle, folder: Path, *, name: str, version: int) -> ModelVersion:
    path = folder / name / str(version)
    made.save(path)
    return ModelVersion(name=name, version=version, run_id=f"run{version}", artifact_path=str(path))


def opens(month: str, count: int) -> list[dt.datetime]:
    start = dt.datetime(int(month[:4]), int(month[5:]), 1, 2, tzinfo=dt.UTC)
    return [start + H4 * i for i in range(count)]


def feature_rows(month: str, count: int) -> pl.DataFrame:
    ts = opens(month, count)
    columns: dict[str, list[Any]] = {
        "instrument": ["EURUSD"] * count,
        "timeframe": ["H4"] * count,
        "ts": ts,
        "known_at": [t + H4 for t in ts],
        "rsi_14": [50.0 + i for i in range(count)],
    }
    columns |= {name: [1.0 + 0.1 * i for i in range(count)] for name in PASSAGE_FEATURES}
    return _of_table(columns, FEATURES.schema)


def label_rows(month: str, count: int, *, pending: int = 0) -> pl.DataFrame:
    """Return labels whose last ``pending`` rows have no outcome; classes go -1, 0, 1, -1, ….

    Forward returns fall from row to row within a month and are null where pending.
    """
    ts = opens(month, count)
    is_known = [i < count - pending for i in range(count)]
    label = [i % 3 - 1 if known else None for i, known in enumerate(is_known)]
    hit = {-1: "lower", 0: "none", 1: "upper", None: None}
    columns: dict[str, list[Any]] = {
        "instrument": ["EURUSD"] * count,
        "timeframe": ["H4"] * count,
        "ts": ts,
        "known_at": [t + 7 * H4 for t in ts],
        "matured_at": [t + 7 * H4 if k else None for t, k in zip(ts, is_known, strict=True)],
        "status": ["final" if k else "pending" for k in is_known],
        "label_version": ["v1"] * count,
        "horizon_bars": [6] * count,
        "entry_price": [1.0965] * count,
        "atr": [0.0025] * count,
        "enhanced_triple_barrier": label,
        "barrier_hit": [hit[x] for x in label],
        "upper_barrier": [1.09875] * count,
        "lower_barrier": [1.09225] * count,
        "is_upper_adjusted": [True] * count,
        "is_lower_adjusted": [False] * count,
        "nearest_support": [1.0920] * count,
        "nearest_resistance": [1.0990] * count,
        "path_timeframe": ["H1"] * count,
        "path_bars": [24] * count,
        "path_bars_missing": [0] * count,
        "forward_return": [0.01 - 0.001 * i if k else None for i, k in enumerate(is_known)],
    }
    return _of_table(columns, LABELS.schema)


def _of_table(columns: dict[str, list[Any]], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    height = len(columns["ts"])
    return pl.DataFrame(
        {
            name: pl.Series(name, columns.get(name, [None] * height), dtype=dtype, strict=True)
            for name, dtype in schema.items()
        }
    )


def write(lake: ParquetLake, table: str, month: str, rows: pl.DataFrame) -> PartitionRef:
    key = PartitionKey(table, "H4", "EURUSD", month)
    return lake.write(key, rows, code_version="code-1", inputs={})


def book() -> InstrumentBook:
    eurusd = Instrument(
        id="EURUSD",
        asset_class="fx",
        calendar="fx",
        provider="sample",
        symbol="EURUSD",
        base_timeframe=Timeframe.H1,
        tick_size=1e-5,
        lot_size=1e5,
    )
    return InstrumentBook({"EURUSD": eurusd})


def mlflow_home(home: Path) -> Path:
    """Make the tables of MLflow's registry that are read, with one model; return the database."""
    database = home / "mlruns" / "mlflow.db"
    database.parent.mkdir(parents=True)
    artefacts = home / "mlruns" / "artifacts" / "1"
    bundle().save(artefacts / BUNDLE_FOLDER)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(
            f"""
            CREATE TABLE registered_models (workspace, name);
            CREATE TABLE registered_model_aliases (workspace, name, alias, version);
            CREATE TABLE model_versions
                (workspace, name, version, run_id, source, storage_location, current_stage);
            CREATE TABLE model_version_tags (workspace, name, version, key, value);
            CREATE TABLE logged_models (model_id, artifact_location);
            INSERT INTO registered_models VALUES ('default', 'baseline');
            INSERT INTO registered_model_aliases VALUES ('default', 'baseline', 'champion', 1);
            INSERT INTO model_versions
                VALUES ('default', 'baseline', 1, 'run1', '{artefacts}', NULL, 'None');
            """  # noqa: S608 - a path of the test's own
        )
    return database


class World:
    """A lake with three months of data, a registry with one model, and the app over both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lake = WatchedLake(folder / "lake")
        self.registry = FakeRegistry()
        self.settings = ServingSettings(
            alias_poll_s=0.02,
            max_body_bytes=10_000,
            compute_warm=False,
            anonymous="all",
            log_requests=False,
            **UNLIMITED,
        )
        for month in ("2017-11", "2017-12", "2018-01"):
            pending = 4 if month == "2018-01" else 0
            write(self.lake, "labels", month, label_rows(month, 30, pending=pending))
            write(self.lake, "features", month, feature_rows(month, 30))
        self.lake.months_read.clear()

    def register(self, version: int, made: Bundle | None = None, name: str = "baseline") -> None:
        """Make a version of a model the champion."""
        self.registry.add(saved(made or bundle(), self.folder, name=name, version=version))

    @contextmanager
    def client(self, *, poll_s: float | None = None) -> Iterator[TestClient]:
        """Serve; without ``poll_s`` the alias is looked at once, at the start."""
        settings = self.settings.model_copy(update={"alias_poll_s": poll_s or 5.0})
        app = create_app(settings, lake=self.lake, registry=self.registry, book=book())
        with TestClient(app) as client:
            yield client


class Hammer:
    """Threads that ask until told to stop, and what they were answered, in order a thread."""

    def __init__(self, client: TestClient, body: dict[str, object], *, threads: int) -> None:
        self._client = client
        self._body = body
        self._stop = threading.Event()
        self.answers: list[list[tuple[int, int]]] = [[] for _ in range(threads)]
        self.saw = {version: threading.Event() for version in (1, 2)}
        self._threads = [
            threading.Thread(target=self._ask, args=(answers,)) for answers in self.answers
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10.0)

    def _ask(self, answers: list[tuple[int, int]]) -> None:
        while not self._stop.is_set():
            response = self._client.post("/predict", json=self._body)
            version = response.json().get("version", 0)
            answers.append((response.status_code, version))
            if version in self.saw:
                self.saw[version].set()
