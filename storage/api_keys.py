"""API keys in SQL: made once, shown once, stored as their hash.

Belongs here: what a key looks like, and its row. Keep out: requests and their headers.

A key is 256 random bits, so one round of SHA-256 is enough: slow hashes protect secrets that can be
guessed, and nobody guesses these. It also means that a key is found by its hash, through an index:
how long that takes tells nothing about any key.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from market.errors import InputError, UnknownKeyError
from storage.database import Database, now_us
from storage.database_schema import API_KEYS

READ: Final = "read"
COMPUTE: Final = "compute"
WRITE: Final = "write"
ADMIN: Final = "admin"
SCOPES: Final = frozenset({READ, COMPUTE, WRITE, ADMIN})

PREFIX: Final = "wh_"
MAX_DAYS: Final = 3650.0
_BYTES: Final = 32
_FORM: Final = re.compile(r"wh_[A-Za-z0-9_-]{43}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DAY_US: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: everything but the key."""

    key_id: str
    name: str
    scopes: frozenset[str]
    created_us: int
    expires_us: int | None
    revoked_us: int | None

    def is_valid(self, at_us: int) -> bool:
        """Say whether it may be used at an instant."""
        return self.revoked_us is None and (self.expires_us is None or at_us < self.expires_us)


class ApiKeys:
    """The keys of one database; raises ``StorageError`` for whatever the database refuses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def database(self) -> Database:
        """Where they are."""
        return self._database

    def create(
        self, name: str, scopes: Iterable[str], *, days: float | None = None
    ) -> tuple[str, ApiKey]:
        """Store a new key; return it, for the only time, and its row.

        Raise ``InputError`` for a name, a scope or a life that cannot be.
        """
        granted = frozenset(scopes)
        _check(name, granted, days)
        key = PREFIX + secrets.token_urlsafe(_BYTES)
        with self._database.writing() as connection:
            now = now_us(connection)
            row = ApiKey(
                key_id=secrets.token_hex(6),
                name=name,
                scopes=granted,
                created_us=now,
                expires_us=None if days is None else now + int(days * _DAY_US),
                revoked_us=None,
            )
            connection.execute(
                sa.insert(API_KEYS).values(
                    key_id=row.key_id,
                    key_hash=_hash(key),
                    name=name,
                    scopes=" ".join(sorted(granted)),
                    created_us=now,
                    expires_us=row.expires_us,
                )
            )
        return key, row

    def find(self, key: str) -> ApiKey | None:
        """Return the row of a key that may be used now, if it is one."""
        if not has_form(key):
            return None
        with self._database.reading() as connection:
            found = _one(connection, key)
            if found is None:
                return None
            row = _row(found)
            return row if row.is_valid(now_us(connection)) else None

    def all(self) -> list[ApiKey]:
        """Return every row, oldest first; also of keys that have expired or were revoked."""
        with self._database.reading() as connection:
            rows = connection.execute(_ROWS.order_by(API_KEYS.c.created_us, API_KEYS.c.key_id))
            return [_row(found) for found in rows.mappings()]

    def revoke(self, key_id: str) -> None:
        """Refuse a key from now on; a second time changes nothing. Raise ``UnknownKeyError``."""
        with self._database.writing() as connection:
            is_this = API_KEYS.c.key_id == key_id
            if connection.scalar(sa.select(sa.func.count()).where(is_this)) == 0:
                raise UnknownKeyError(f"key_id: expected one of `keys list`, was {key_id!r}")
            connection.execute(
                sa.update(API_KEYS)
                .where(is_this, API_KEYS.c.revoked_us.is_(None))
                .values(revoked_us=now_us(connection))
            )


def has_form(text: str) -> bool:
    """Say whether a text can be a key at all: most garbage never reaches the database."""
    return _FORM.fullmatch(text) is not None


_ROWS: Final = sa.select(
    API_KEYS.c.key_id,
    API_KEYS.c.name,
    API_KEYS.c.scopes,
    API_KEYS.c.created_us,
    API_KEYS.c.expires_us,
    API_KEYS.c.revoked_us,
)


def _one(connection: sa.Connection, key: str) -> sa.RowMapping | None:
    is_this = API_KEYS.c.key_hash == _hash(key)
    return connection.execute(_ROWS.where(is_this)).mappings().first()


def _row(found: sa.RowMapping) -> ApiKey:
    return ApiKey(
        key_id=found["key_id"],
        name=found["name"],
        scopes=frozenset(found["scopes"].split()),
        created_us=found["created_us"],
        expires_us=found["expires_us"],
        revoked_us=found["revoked_us"],
    )


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _check(name: str, scopes: frozenset[str], days: float | None) -> None:
    if _NAME.fullmatch(name) is None:
        raise InputError(f"name: expected 1 to 64 letters, digits and . _ @ -, was {name!r}")
    if not scopes or not scopes <= SCOPES:
        expected = ", ".join(sorted(SCOPES))
        raise InputError(f"scope: expected one or more of {expected}, was {sorted(scopes)}")
    if days is not None and not 0 < days <= MAX_DAYS:
        raise InputError(f"days: expected more than 0 and at most {MAX_DAYS:g}, was {days}")
