"""A moved alias is picked up while the app runs, whole, and without a failed request."""

import threading
from dataclasses import fields, replace
from pathlib import Path

import numpy.typing as npt
import pytest

from learning.bundle import Bundle, Predictions
from learning.edge import EDGE_TAG
from market.settings import ServingSettings
from serving.metrics import Metrics
from serving.models import ModelStore, polling
from tests.serving.fakes import FEATURE_NAMES, FakeRegistry, Hammer, World, bundle, saved

BODY: dict[str, object] = {"features": dict.fromkeys(FEATURE_NAMES, 1.5)}


def test_threads_that_ask_see_the_old_version_then_the_new_one(world: World) -> None:
    world.register(1)
    with world.client(poll_s=0.02) as client:
        with Hammer(client, BODY, threads=4) as hammer:
            assert hammer.saw[1].wait(5.0)
            world.register(2, bundle(bias=1.0))
            assert hammer.saw[2].wait(5.0)
        text = client.get("/metrics").text
    for answers in hammer.answers:
        assert {status for status, _ in answers} == {200}
        versions = [version for _, version in answers]
        assert versions == sorted(versions)
    assert 'alias_swaps_total{model="baseline"} 1.0' in text
    assert 'model_loaded_version{alias="champion",model="baseline"} 2.0' in text


def test_the_poll_is_at_most_five_seconds() -> None:
    with pytest.raises(ValueError, match="alias_poll_s"):
        ServingSettings(alias_poll_s=5.1)
    assert ServingSettings().alias_poll_s <= 5


def _break(world: World, name: str = "baseline") -> None:
    version = saved(bundle(), world.folder, name=name, version=2)
    (Path(version.artifact_path) / "bundle.json").write_text('{"format": 1')
    world.registry.add(version)


def test_a_broken_version_leaves_the_old_one_and_a_reason(world: World) -> None:
    world.register(1)
    store = ModelStore(world.registry, alias="champion", load=Bundle.load, metrics=Metrics())
    store.refresh()
    _break(world)
    store.refresh()
    assert store.current.served["baseline"].version.version == 1
    assert "version 2: expected a bundle that answers" in store.current.failures["baseline"]
    world.register(3)
    store.refresh()
    assert store.current.served["baseline"].version.version == 3
    assert not store.current.failures


def test_health_is_degraded_by_a_broken_version_that_has_a_forerunner(world: World) -> None:
    world.register(1)
    _break(world, name="other")
    with world.client() as client:
        health = client.get("/health")
        assert client.post("/predict", json=BODY).status_code == 200
        missing = client.post("/predict", json=BODY | {"model": "other"})
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert (
        "version 2: expected a bundle that answers" in health.json()["checks"]["models"]["message"]
    )
    assert (missing.status_code, missing.json()["error"]["code"]) == (503, "MODEL_NOT_READY")


def test_a_bundle_that_answers_nonsense_is_not_served(tmp_path: Path) -> None:
    registry = FakeRegistry()
    registry.add(saved(bundle(), tmp_path, name="baseline", version=1))
    store = ModelStore(registry, alias="champion", load=_nonsense, metrics=Metrics())
    store.refresh()
    assert not store.current.served
    assert "sum to 1" in store.current.failures["baseline"]


class _Nonsense(Bundle):
    def predict(self, x: npt.ArrayLike) -> Predictions:
        made = super().predict(x)
        return Predictions(made.probabilities * 2, made.sets)


def _nonsense(path: Path) -> Bundle:
    good = Bundle.load(path)
    return _Nonsense(**{f.name: getattr(good, f.name) for f in fields(good)})


def test_a_registry_that_is_down_leaves_what_is_served(world: World) -> None:
    world.register(1)
    store = ModelStore(world.registry, alias="champion", load=Bundle.load, metrics=Metrics())
    store.refresh()
    before = store.current.served["baseline"]
    world.registry.is_down = True
    store.refresh()
    assert store.current.served["baseline"] is before
    assert "closed door" in (store.current.registry_error or "")
    world.registry.is_down = False
    store.refresh()
    assert store.current.registry_error is None
    assert store.current.served["baseline"] is before


def test_a_registry_that_goes_down_halfway_is_down(world: World) -> None:
    world.register(1)
    store = ModelStore(world.registry, alias="champion", load=Bundle.load, metrics=Metrics())
    store.refresh()
    world.registry.is_half_down = True
    store.refresh()
    assert "closed door" in (store.current.registry_error or "")
    assert not store.current.failures
    assert store.current.served["baseline"].version.version == 1


def test_a_version_that_is_not_found_leaves_the_old_one_and_a_reason(world: World) -> None:
    world.register(1)
    store = ModelStore(world.registry, alias="champion", load=Bundle.load, metrics=Metrics())
    store.refresh()
    world.registry.drop_alias("baseline")
    store.refresh()
    assert store.current.served["baseline"].version.version == 1
    assert "expected alias champion" in store.current.failures["baseline"]


def test_a_model_that_was_never_under_the_alias_is_no_failure(world: World) -> None:
    world.registry.add(saved(bundle(), world.folder, name="new", version=1), alias="challenger")
    store = ModelStore(world.registry, alias="champion", load=Bundle.load, metrics=Metrics())
    store.refresh()
    assert (dict(store.current.served), dict(store.current.failures)) == ({}, {})


def test_a_model_that_is_deleted_is_no_longer_served(world: World) -> None:
    world.register(1)
    metrics = Metrics()
    store = ModelStore(world.registry, alias="champion", load=Bundle.load, metrics=metrics)
    store.refresh()
    world.registry.delete("baseline")
    store.refresh()
    assert not store.current.served
    loaded = {"model": "baseline", "alias": "champion"}
    assert metrics.registry.get_sample_value("model_loaded_version", loaded) is None


def test_a_tag_that_is_added_reloads_nothing(world: World) -> None:
    world.register(1)
    loads: list[Path] = []

    def load(path: Path) -> Bundle:
        loads.append(path)
        return Bundle.load(path)

    metrics = Metrics()
    store = ModelStore(world.registry, alias="champion", load=load, metrics=metrics)
    store.refresh()
    version = store.current.served["baseline"].version
    world.registry.add(replace(version, tags={"a": "b"}))
    store.refresh()
    assert len(loads) == 1
    assert store.current.served["baseline"].version.tags == {"a": "b"}
    assert metrics.registry.get_sample_value("alias_swaps_total", {"model": "baseline"}) is None


def test_a_prediction_says_what_the_version_is_better_at(world: World) -> None:
    world.register(1)
    version = world.registry.by_alias("baseline", "champion")
    for tags, edge in (({}, None), ({EDGE_TAG: "volatility"}, "volatility")):
        world.registry.add(replace(version, tags=tags))
        with world.client() as client:
            answer = client.post("/predict", json={"features": dict.fromkeys(FEATURE_NAMES, 1.5)})
            assert answer.json()["edge"] == edge


def test_the_poll_ends_with_its_block() -> None:
    asked = threading.Event()
    before = set(threading.enumerate())
    with polling(asked.set, every_s=0.001):
        assert asked.wait(5.0)
        (started,) = set(threading.enumerate()) - before
    assert not started.is_alive()
