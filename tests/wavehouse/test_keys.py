"""``keys create|list|revoke``: a key is printed once, and can be taken back."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from market.settings import HomeSettings
from storage.api_keys import ApiKeys
from storage.database import Database
from wavehouse.cli import app


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEHOUSE_HOME", str(tmp_path))
    monkeypatch.delenv("WAVEHOUSE_STORAGE_DATABASE_URL", raising=False)


def keys(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["keys", *words])
    return result.exit_code, result.stdout, result.stderr


def test_a_key_is_printed_once_listed_without_itself_and_revoked() -> None:
    code, out, said = keys("create", "ann", "--scope", "write", "--days", "90")
    assert (code, "not shown again" in said) == (0, True)
    key = out.strip()
    database = Database.at(HomeSettings().database)
    found = ApiKeys(database).find(key)
    assert found is not None
    assert (found.name, found.scopes) == ("ann", {"write"})
    _, listed, _ = keys("list", "--json")
    assert key not in listed
    (row,) = json.loads(listed)
    assert (row["id"], row["revoked"]) == (found.key_id, None)
    assert "ann" in keys("list")[1]
    assert keys("revoke", row["id"])[0] == 0
    assert ApiKeys(database).find(key) is None
    database.close()


def test_the_default_scopes_read_and_compute() -> None:
    made = json.loads(keys("create", "ann", "--json")[1])
    assert made["scopes"] == "compute read"


@pytest.mark.parametrize(
    "words", [("create", "ann", "--scope", "root"), ("create", "a b"), ("revoke", "nothing")]
)
def test_what_cannot_be_is_said_in_one_line(words: tuple[str, ...]) -> None:
    code, _, said = keys(*words)
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("error [")
