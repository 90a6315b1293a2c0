"""The databases that one suite runs over: in memory, in a file, and a real Postgres."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import Database
from tests.fakes.postgres import emptied, is_installed, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Return the address of a server of our own, or skip."""
    if not is_installed():
        pytest.skip("no Postgres server on this machine")
    with running() as url:
        yield url


@pytest.fixture(params=["memory", "file", pytest.param("postgres", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Return an empty database of each kind."""
    if request.param == "postgres":
        found = Database(emptied(request.getfixturevalue("postgres")))
    elif request.param == "file":
        found = Database.at(tmp_path / "a folder" / "wavehouse.db")
    else:
        found = Database.in_memory()
    yield found
    found.close()
