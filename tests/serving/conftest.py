"""The world that serving's tests ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.serving.fakes import World
from tests.serving.label_world import LabelWorld


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a lake with three months of H4 EURUSD and an empty registry."""
    return World(tmp_path)


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    """Serve that world with one baseline model under the alias."""
    world.register(1)
    with world.client() as client:
        yield client


@pytest.fixture(scope="session")
def label_client(label_world: LabelWorld) -> Iterator[TestClient]:
    """Serve that lake, without a cache."""
    with label_world.client(cache_bytes=0) as client:
        yield client
