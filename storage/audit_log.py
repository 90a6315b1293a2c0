"""Who did what, in SQL: rows are added, read, and after their time removed; none is changed.

Belongs here: the rows. Keep out: what is worth a row (``serving.access.audit``, the commands).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from market.errors import InputError
from storage.database import Database, now_us
from storage.database_schema import AUDIT_LOG

KEEP_DAYS: Final = 365.0
MAX_ROWS: Final = 1_000_000
MAX_ROWS_READ: Final = 10_000
_DAY_US: Final = 86_400_000_000
_LENGTHS: Final = {"principal": 200, "address": 64, "method": 16, "path": 512, "request_id": 128}


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Something that somebody did, or was not let do."""

    principal: str
    address: str
    method: str
    path: str  # without its query, which may hold anything
    status: int  # 0: a command, not a request
    request_id: str
    left_out: int = 0  # others like it that have no row


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An event as it was written; ids only grow, whatever the clock does."""

    audit_id: int
    at_us: int
    event: AuditEvent


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows are meant; what is empty does not narrow."""

    since_us: int | None = None
    until_us: int | None = None
    principal: str = ""  # as it begins
    path: str = ""  # as it begins
    status: int | None = None


class AuditLog:
    """The log of one database; raises ``StorageError`` for whatever the database refuses."""

    def __init__(
        self, database: Database, *, keep_days: float = KEEP_DAYS, max_rows: int = MAX_ROWS
    ) -> None:
        self._database = database
        self._keep_us = int(keep_days * _DAY_US)
        self._max_rows = max_rows

    def append(self, events: Iterable[AuditEvent]) -> None:
        """Write events, in order."""
        rows = [_columns(event) for event in events]
        if not rows:
            return
        with self._database.writing() as connection:
            now = now_us(connection)
            connection.execute(sa.insert(AUDIT_LOG), [{"at_us": now, **row} for row in rows])

    def prune(self) -> int:
        """Remove what is older than is kept, and the oldest of what is more; return how many."""
        c = AUDIT_LOG.c
        with self._database.writing() as connection:
            newest = connection.scalar(sa.select(sa.func.max(c.audit_id))) or 0
            removed = connection.execute(
                sa.delete(AUDIT_LOG).where(
                    sa.or_(
                        c.at_us < now_us(connection) - self._keep_us,
                        c.audit_id <= newest - self._max_rows,
                    )
                )
            )
            return removed.rowcount

    def read(self, only: AuditFilter, *, limit: int = 100) -> list[AuditRow]:
        """Return the newest rows that are meant, newest first.

        Raise ``InputError`` for a limit that cannot be.
        """
        if not 1 <= limit <= MAX_ROWS_READ:
            raise InputError(f"limit: expected 1 to {MAX_ROWS_READ}, was {limit}")
        asked = sa.select(AUDIT_LOG).order_by(AUDIT_LOG.c.audit_id.desc()).limit(limit)
        with self._database.reading() as connection:
            found = connection.execute(asked.where(*_conditions(only))).mappings()
            return [_row(row) for row in found]


def _conditions(only: AuditFilter) -> Iterable[sa.ColumnElement[bool]]:
    c = AUDIT_LOG.c
    if only.since_us is not None:
        yield c.at_us >= only.since_us
    if only.until_us is not None:
        yield c.at_us < only.until_us
    if only.principal:
        yield c.principal.startswith(only.principal, autoescape=True)
    if only.path:
        yield c.path.startswith(only.path, autoescape=True)
    if only.status is not None:
        yield c.status == only.status


def _columns(event: AuditEvent) -> dict[str, str | int]:
    texts = {name: _text(getattr(event, name))[:most] for name, most in _LENGTHS.items()}
    return {**texts, "status": event.status, "left_out": event.left_out}


def _text(text: str) -> str:
    """Return a text that every database takes and every terminal shows."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _row(found: sa.RowMapping) -> AuditRow:
    names = (*_LENGTHS, "status", "left_out")
    return AuditRow(
        found["audit_id"], found["at_us"], AuditEvent(**{name: found[name] for name in names})
    )
