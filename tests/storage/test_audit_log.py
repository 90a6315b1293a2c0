"""The audit log: rows are added and read, grow within bounds, and are never changed."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from market.errors import InputError, StorageError
from storage import audit_log
from storage.audit_log import AuditEvent, AuditFilter, AuditLog
from storage.database import Database
from storage.database_schema import AUDIT_LOG

EVENT = AuditEvent("key:1:ann", "192.0.2.1", "POST", "/v1/cache/warm", 202, "req_1")


def test_rows_come_back_newest_first_as_they_were_written(database: Database) -> None:
    log = AuditLog(database)
    log.append([])
    log.append([EVENT, replace(EVENT, status=409, left_out=3)])
    second, first = log.read(AuditFilter())
    assert (first.event, second.event) == (EVENT, replace(EVENT, status=409, left_out=3))
    assert second.audit_id > first.audit_id
    assert len(log.read(AuditFilter(), limit=1)) == 1


@pytest.mark.parametrize(
    ("only", "paths"),
    [
        (AuditFilter(principal="key:1"), ["/a"]),
        (AuditFilter(principal="%"), []),
        (AuditFilter(path="/b"), ["/b_"]),
        (AuditFilter(path="/b_"), ["/b_"]),
        (AuditFilter(path="/__"), []),
        (AuditFilter(status=401), ["/b_"]),
        (AuditFilter(since_us=1 << 60), []),
        (AuditFilter(until_us=1), []),
        (AuditFilter(since_us=1, until_us=1 << 60), ["/b_", "/a"]),
    ],
)
def test_filters_narrow(database: Database, only: AuditFilter, paths: list[str]) -> None:
    log = AuditLog(database)
    log.append([replace(EVENT, path="/a")])
    log.append([replace(EVENT, path="/b_", principal="anonymous", status=401)])
    assert [row.event.path for row in log.read(only)] == paths


def test_a_row_cannot_be_changed(database: Database) -> None:
    log = AuditLog(database)
    log.append([EVENT])
    with pytest.raises(StorageError, match="never changed"), database.writing() as connection:
        connection.execute(sa.update(AUDIT_LOG).values(principal="nobody"))
    assert [row.event for row in log.read(AuditFilter())] == [EVENT]


def test_what_is_old_or_too_much_goes_and_numbers_are_not_given_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(database, keep_days=1.0, max_rows=3)
    now = [1_000_000_000_000_000]
    monkeypatch.setattr(audit_log, "now_us", lambda _: now[0])
    log.append([replace(EVENT, path=f"/{i}") for i in range(5)])
    assert log.prune() == 2
    assert [row.event.path for row in log.read(AuditFilter())] == ["/4", "/3", "/2"]
    now[0] += 86_400_000_000
    assert log.prune() == 0
    now[0] += 1
    assert log.prune() == 3
    log.append([EVENT])
    assert [row.audit_id for row in log.read(AuditFilter())] == [6]


def test_a_clock_that_is_set_back_keeps_the_order(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(database)
    for at, path in ((2_000_000, "/first"), (1_000_000, "/second")):
        monkeypatch.setattr(audit_log, "now_us", lambda _, at=at: at)
        log.append([replace(EVENT, path=path)])
    assert [row.event.path for row in log.read(AuditFilter())] == ["/second", "/first"]


def test_whatever_was_asked_can_be_written(database: Database) -> None:
    log = AuditLog(database)
    log.append([replace(EVENT, path="/\x00\n\x1b[31m\ud800" + "x" * 1000, method="M" * 99)])
    (row,) = log.read(AuditFilter())
    assert row.event.path.isprintable() or "\N{REPLACEMENT CHARACTER}" in row.event.path
    assert "\x1b" not in row.event.path
    assert (len(row.event.path), len(row.event.method)) == (512, 16)


def test_a_limit_that_cannot_be_is_refused(database: Database) -> None:
    for limit in (0, audit_log.MAX_ROWS_READ + 1):
        with pytest.raises(InputError, match="limit"):
            AuditLog(database).read(AuditFilter(), limit=limit)
