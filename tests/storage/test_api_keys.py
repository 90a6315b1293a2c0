"""API keys in SQL: shown once, stored hashed, refused when they should be."""

import pytest
import sqlalchemy as sa

from market.errors import InputError, UnknownKeyError
from storage.api_keys import ApiKeys
from storage.database import Database
from storage.database_schema import API_KEYS


@pytest.fixture
def database() -> Database:
    return Database.in_memory()


def test_a_key_is_found_and_is_nowhere_in_the_database(database: Database) -> None:
    keys = ApiKeys(database)
    key, row = keys.create("ann", ["read", "compute"], days=1)
    assert keys.find(key) == row
    assert len(key) == len("wh_") + 43
    with database.reading() as connection:
        stored = connection.execute(sa.select(API_KEYS)).one()
    assert not any(key[3:] in str(value) for value in stored)


def test_two_keys_of_one_name_are_two(database: Database) -> None:
    keys = ApiKeys(database)
    made = [keys.create("ann", ["read"]) for _ in range(2)]
    assert made[0][0] != made[1][0]
    assert {row.key_id for row in keys.all()} == {row.key_id for _, row in made}


def test_what_expired_or_was_revoked_is_listed_and_not_found(database: Database) -> None:
    keys = ApiKeys(database)
    old, _ = keys.create("old", ["read"], days=1e-11)
    gone, row = keys.create("gone", ["read"])
    keys.revoke(row.key_id)
    first = {r.name: r.revoked_us for r in keys.all()}["gone"]
    keys.revoke(row.key_id)
    assert {r.name: r.revoked_us for r in keys.all()} == {"old": None, "gone": first}
    assert (keys.find(old), keys.find(gone)) == (None, None)


@pytest.mark.parametrize(
    ("name", "scopes", "days", "field"),
    [
        ("", ["read"], None, "name"),
        ("a\nb", ["read"], None, "name"),
        ("a" * 65, ["read"], None, "name"),
        ("ann", [], None, "scope"),
        ("ann", ["root"], None, "scope"),
        ("ann", ["read"], 0.0, "days"),
        ("ann", ["read"], float("nan"), "days"),
        ("ann", ["read"], 1e9, "days"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    database: Database, name: str, scopes: list[str], days: float | None, field: str
) -> None:
    with pytest.raises(InputError, match=f"^{field}: expected"):
        ApiKeys(database).create(name, scopes, days=days)


def test_a_key_that_there_is_not_cannot_be_revoked(database: Database) -> None:
    with pytest.raises(UnknownKeyError, match="key_id"):
        ApiKeys(database).revoke("nothing")
