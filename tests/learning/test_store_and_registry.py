"""Tracking and the registry against a real MLflow store: one for the module, it is slow to make."""

import datetime as dt
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa

from learning.bundle import Bundle
from learning.edge import EDGE_TAG, Edge
from learning.models import model_of, train
from learning.predict import ServedModel, predict_rows
from learning.registry import SqlModelRegistry, open_registry
from learning.tracking import CHALLENGER, CHAMPION, ModelStore, training_key
from learning.training_set import TrainingSet
from market.errors import LearningError, ModelArtefactError, ModelNotFoundError, StorageError

Simulate = Callable[..., TrainingSet]

NAME = "barrier_h4"
pytestmark = [pytest.mark.xdist_group("mlflow"), pytest.mark.slow]  # one store, made once


@pytest.fixture(scope="module")
def rows(simulate: Simulate) -> TrainingSet:
    return simulate(600, seed=2, signal=0.3)


@pytest.fixture(scope="module")
def bundles(rows: TrainingSet) -> dict[str, Bundle]:
    return {kind: train(model_of(kind), rows) for kind in ("first_passage", "xgboost")}


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, bundles: dict[str, Bundle], rows: TrainingSet
) -> Iterator[ModelStore]:
    """Yield a store with the baseline as version 1 and the trees as version 2."""
    root = tmp_path_factory.mktemp("ml runs#1")  # a space and a mark that URLs treat their own way
    store = ModelStore(f"sqlite:///{root}/mlruns/mlflow.db", root / "mlruns" / "artifacts")
    for kind in ("first_passage", "xgboost"):
        bundle = bundles[kind]
        store.log(
            NAME,
            bundle,
            example=rows.columns(bundle.features)[:1],
            metrics={"log_loss": 0.9},
            tags={"note": "test"},
        )
    yield store
    from mlflow.tracking._tracking_service import utils  # noqa: PLC0415 - only here

    engine = getattr(utils._get_store(store.tracking_uri), "engine", None)  # type: ignore[no-untyped-call]
    if engine is not None:
        engine.dispose()


@pytest.fixture
def registry(store: ModelStore) -> SqlModelRegistry:
    found = open_registry(store.tracking_uri)
    assert isinstance(found, SqlModelRegistry)
    return found


def test_a_version_leads_to_its_bundle_and_facts(
    store: ModelStore, registry: SqlModelRegistry, bundles: dict[str, Bundle]
) -> None:
    version = registry.by_version(NAME, 2)
    assert Bundle.load(Path(version.artifact_path)) == bundles["xgboost"]
    made = bundles["xgboost"].provenance
    assert version.tags["wavehouse.kind"] == "xgboost"
    assert version.tags["wavehouse.cutoff_us"] == str(made.cutoff_us)
    assert version.tags["wavehouse.data_version"] == made.data_version
    assert version.tags["wavehouse.training"] == training_key(bundles["xgboost"])
    assert len(version.run_id) == 32
    assert NAME in registry.names()
    assert [v.version for v in store.versions(NAME)][:2] == [1, 2]


def test_a_run_holds_parameters_metrics_features_and_data_versions(store: ModelStore) -> None:
    engine = sa.create_engine(store.tracking_uri, poolclass=sa.pool.NullPool)
    run = store.versions(NAME)[1].run_id
    with engine.connect() as connection:

        def table(name: str) -> dict[str, str]:
            query = sa.text(f"SELECT key, value FROM {name} WHERE run_uuid = :run")  # noqa: S608
            return {row[0]: row[1] for row in connection.execute(query, {"run": run})}

        tags, params, metrics = table("tags"), table("params"), table("metrics")
        status = connection.execute(sa.text("SELECT DISTINCT status FROM runs")).scalars().all()
    assert "rsi_14" in json.loads(tags["wavehouse.features"])
    assert json.loads(tags["wavehouse.inputs"]) == {"labels/H4/EURUSD/2017-01": "abc"}
    assert json.loads(tags["wavehouse.dropped_features"])["mfi_14"] == "no volume"
    assert tags["note"] == "test"
    assert params["max_depth"] == "3"
    assert int(params["rows_train"]) > 300
    assert float(metrics["log_loss"]) == 0.9
    assert status == ["FINISHED"]


def described(store: ModelStore, version: int) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(store._client().get_model_version(NAME, str(version)).description)


def test_a_version_says_what_it_is_and_what_was_found(
    store: ModelStore, bundles: dict[str, Bundle]
) -> None:
    for version, kind in ((1, "first_passage"), (2, "xgboost")):
        bundle, said = bundles[kind], described(store, version)
        made = bundle.provenance
        cutoff = dt.datetime.fromtimestamp(made.cutoff_us / 1e6, dt.UTC)
        assert said.startswith(f"{kind} on H4 bars: ")
        for fact in (
            f"Made from {made.rows['train']} rows to train on, ",
            f" {made.rows['calibration']} rows to calibrate on and ",
            f" {made.rows['conformal']} rows to size the sets, ",
            f"cutoff {cutoff:%Y-%m-%d %H:%M} UTC",
            f"Training set {made.data_version} from 1 partition (labels of EURUSD, 2017-01",
            f"code {made.code_version}",
        ):
            assert fact in said
        assert "Not judged yet" in said
        assert "\n" not in said
    before = described(store, 1)
    for verdict in ("an edge of 0.1", "no edge: log loss 0.9000"):  # judged again, said anew
        store.describe(NAME, 2, bundles["xgboost"], verdict)
    said = described(store, 2)
    assert said.endswith("Judged after the cutoff: no edge: log loss 0.9000.")
    assert "Not judged yet" not in said
    assert "0.1" not in said
    assert described(store, 1) == before


def test_the_logged_model_has_signature_example_and_requirements(store: ModelStore) -> None:
    folder = Path(store.versions(NAME)[1].artifact_path).parent.parent
    description = (folder / "MLmodel").read_text()
    assert '"name": "rsi_14"' in description
    assert "p_bullish" in description
    assert (folder / "input_example.json").is_file()
    requirements = (folder / "requirements.txt").read_text()
    assert "xgboost-cpu==" in requirements
    assert not (folder / "uv.lock").exists()
    first = Path(store.versions(NAME)[0].artifact_path).parent.parent
    assert "xgboost" not in (first / "requirements.txt").read_text()


def test_the_same_training_is_registered_once(
    store: ModelStore, bundles: dict[str, Bundle], rows: TrainingSet
) -> None:
    before = len(store.versions(NAME))
    moves = len(store.journal(NAME))
    bundle = bundles["first_passage"]
    again = store.log(NAME, bundle, example=rows.columns(bundle.features)[:1])
    assert again.version == 1
    assert len(store.versions(NAME)) == before
    assert len(store.journal(NAME)) == moves
    other = replace(bundle, provenance=replace(bundle.provenance, cutoff_us=1))
    assert training_key(other) != training_key(bundle)


def test_alias_moves_are_seen_and_journalled(store: ModelStore, registry: SqlModelRegistry) -> None:
    name = "aliases"
    _copy_versions(store, name)
    assert store.champion(name) is None
    with pytest.raises(
        ModelNotFoundError, match=rf"{name}@champion: .*aliases: none;.*wavehouse train"
    ):
        registry.by_alias(name, CHAMPION)
    store.promote(name, 1, who="gate", reason="no champion yet")
    assert registry.by_alias(name, CHAMPION).version == 1
    store.promote(name, 2, who="gate", reason="better by 0.02")
    store.promote(name, 2, who="gate", reason="again")  # it is there already
    assert registry.by_alias(name, CHAMPION).version == 2
    champion = store.champion(name)
    assert champion is not None
    assert champion.version == 2
    moves = store.journal(name, CHAMPION)
    assert [(m.from_version, m.to_version, m.who, m.reason) for m in moves] == [
        (None, 1, "gate", "no champion yet"),
        (1, 2, "gate", "better by 0.02"),
    ]
    assert moves[1].at.tzinfo is dt.UTC
    assert abs(dt.datetime.now(dt.UTC) - moves[1].at) < dt.timedelta(minutes=5)


def test_training_makes_a_challenger(store: ModelStore, registry: SqlModelRegistry) -> None:
    assert registry.by_alias(NAME, CHALLENGER).version == 2
    moves = store.journal(NAME, CHALLENGER)
    assert [(m.from_version, m.to_version) for m in moves] == [(None, 1), (1, 2)]
    assert moves[1].reason == "newly trained xgboost"


def test_a_move_around_the_journal_is_found_out(store: ModelStore) -> None:
    name = "around"
    _copy_versions(store, name)
    store.promote(name, 1, who="gate", reason="first")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store._client().set_registered_model_alias(name, CHAMPION, "2")
    store.promote(name, 1, who="gate", reason="back")
    chain = [(m.from_version, m.to_version, m.who) for m in store.journal(name)]
    assert chain == [(None, 1, "gate"), (1, 2, "unknown"), (2, 1, "gate")]


def test_a_version_is_one_look_however_often_it_is_judged(
    store: ModelStore, registry: SqlModelRegistry
) -> None:
    name = "looks"
    _copy_versions(store, name)
    assert [store.look(name, version) for version in (2, 1, 2, 1)] == [1, 2, 1, 2]
    assert registry.by_version(name, 2).tags["wavehouse.look"] == "1"
    assert store.version(name, 1).tags["wavehouse.look"] == "2"


def test_deleting_a_version_gives_no_look_back(store: ModelStore) -> None:
    name = "looks again"
    _copy_versions(store, name)
    assert store.look(name, 2) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store._client().delete_model_version(name, "2")
    assert store.look(name, 1) == 2


def test_a_tag_is_what_readers_of_the_registry_see(
    store: ModelStore, registry: SqlModelRegistry
) -> None:
    name = "tagged"
    _copy_versions(store, name)
    store.tag(name, 1, {EDGE_TAG: Edge.VOLATILITY.value})
    store.tag(name, 1, {EDGE_TAG: Edge.NONE.value})  # judged again
    assert registry.by_version(name, 1).tags["wavehouse.edge"] == "none"
    assert EDGE_TAG not in registry.by_version(name, 2).tags


def test_what_is_not_there_is_named(store: ModelStore, registry: SqlModelRegistry) -> None:
    with pytest.raises(ModelNotFoundError, match="expected version 99"):
        registry.by_version(NAME, 99)
    with pytest.raises(ModelNotFoundError, match="expected version 99"):
        store.promote(NAME, 99, who="me", reason="typo")
    with pytest.raises(ModelNotFoundError, match=r"registered models: .*barrier_h4"):
        registry.by_alias("nothing", CHAMPION)


def test_a_deleted_version_is_not_there(store: ModelStore, registry: SqlModelRegistry) -> None:
    name = "deleted"
    _copy_versions(store, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store._client().delete_model_version(name, "1")
    assert [v.version for v in registry.versions(name)] == [2]
    with pytest.raises(ModelNotFoundError, match="expected version 1"):
        registry.by_version(name, 1)


def test_an_artefact_that_is_gone_is_named(
    store: ModelStore, registry: SqlModelRegistry, tmp_path: Path
) -> None:
    name = "gone"
    _copy_versions(store, name, source=tmp_path.as_uri())
    gone = r"model gone version 1: expected bundle\.json in .* was nothing; restore it, or move"
    with pytest.raises(ModelArtefactError, match=gone):
        registry.by_version(name, 1)
    with pytest.raises(ModelNotFoundError, match="gone@champion"):  # of the alias, not the files
        registry.by_alias(name, CHAMPION)


def test_no_database_is_an_empty_registry_and_is_not_made(tmp_path: Path) -> None:
    registry = SqlModelRegistry(f"sqlite:///{tmp_path}/none.db")
    assert registry.names() == []
    with pytest.raises(ModelNotFoundError, match="registered models: none"):
        registry.by_alias(NAME, CHAMPION)
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_not_mlflows_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"")
    with pytest.raises(StorageError, match="no such table"):
        SqlModelRegistry(f"sqlite:///{tmp_path}/x.db").names()


def test_a_tracking_server_needs_a_place_for_the_journal(tmp_path: Path) -> None:
    with pytest.raises(LearningError, match="journal_url"):
        ModelStore("http://127.0.0.1:1", tmp_path)


def test_served_rows_name_model_version_and_answer(
    store: ModelStore, registry: SqlModelRegistry, rows: TrainingSet
) -> None:
    served = ServedModel.load(registry, NAME, CHALLENGER)
    frame = pl.DataFrame(rows.x[:5], schema=list(rows.features), orient="row")
    made = predict_rows(served, frame)
    assert made["model_version"].to_list() == [2] * 5
    assert made["model"].to_list() == [NAME] * 5
    p = made.select("p_bearish", "p_neutral", "p_bullish").to_numpy()
    np.testing.assert_array_equal(p, served.bundle.predict(rows.x[:5]).probabilities)
    assert store.tracking_uri.startswith("sqlite")


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow_loads_what_the_alias_names(
    store: ModelStore, bundles: dict[str, Bundle], rows: TrainingSet
) -> None:
    import mlflow  # noqa: PLC0415 - four seconds
    import pandas as pd  # noqa: PLC0415

    mlflow.set_tracking_uri(store.tracking_uri)
    mlflow.set_registry_uri(store.tracking_uri)
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@{CHALLENGER}")
    made = model.predict(pd.DataFrame(rows.x[:4], columns=list(rows.features)))
    assert made.columns.to_list() == ["p_bearish", "p_neutral", "p_bullish"]
    expected = bundles["xgboost"].predict(rows.x[:4]).probabilities
    np.testing.assert_allclose(made.to_numpy(), expected, atol=1e-12)


@pytest.mark.slow
def test_anybody_with_mlflow_and_without_wavehouse_can_ask_the_model(
    store: ModelStore, bundles: dict[str, Bundle], rows: TrainingSet
) -> None:
    code = """
import importlib.util, json, sys, warnings
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
assert importlib.util.find_spec("learning") is None
warnings.simplefilter("ignore")
import mlflow, pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
x = json.loads(sys.stdin.read())
model = mlflow.pyfunc.load_model("models:/barrier_h4@challenger")
print(model.predict(pd.DataFrame(x["rows"], columns=x["features"])).to_json(orient="split"))
"""
    x = rows.x[:3]
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code, store.tracking_uri],
        input=json.dumps({"rows": x.tolist(), "features": list(rows.features)}),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(store.versions(NAME)[0].artifact_path),  # not where our packages lie
        env={
            **{k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    expected = bundles["xgboost"].predict(x).probabilities
    np.testing.assert_allclose(answer["data"], expected, atol=1e-9)


def _copy_versions(store: ModelStore, name: str, source: str | None = None) -> None:
    """Register the two versions under another name, so that tests do not share aliases."""
    engine = sa.create_engine(store.tracking_uri, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        rows = connection.execute(
            sa.text("SELECT version, source, storage_location, run_id FROM model_versions "
                    "WHERE name = :name ORDER BY version"),
            {"name": NAME},
        ).all()[:2]  # fmt: skip
        connection.execute(
            sa.text("INSERT INTO registered_models (workspace, name) VALUES ('default', :name)"),
            {"name": name},
        )
        for row in rows:
            connection.execute(
                sa.text(
                    "INSERT INTO model_versions (workspace, name, version, source, "
                    "storage_location, run_id, current_stage, status) "
                    "VALUES ('default', :name, :version, :source, :location, :run, 'None', 'READY')"
                ),
                {
                    "name": name,
                    "version": row.version,
                    "source": source or row.source,
                    "location": None if source is None else source,
                    "run": row.run_id,
                },
            )
