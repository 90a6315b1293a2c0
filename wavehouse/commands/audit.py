"""``audit``: who changed what, and who was refused."""

import datetime as dt
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as RichTable
from rich.text import Text

from market.errors import InputError
from market.settings import HomeSettings, StorageSettings
from wavehouse.commands.options import Json
from wavehouse.console import open_console
from wavehouse.errors import said_plainly

if TYPE_CHECKING:
    from storage.audit_log import AuditRow

_US = 1_000_000
_COLUMNS = ("id", "at", "principal", "address", "method", "path", "status", "request_id")


def audit(
    since: Annotated[
        str, typer.Option(help="From this instant on: 2026-01-31 or 2026-01-31T12:00:00Z.")
    ] = "",
    until: Annotated[str, typer.Option(help="Before this instant.")] = "",
    principal: Annotated[str, typer.Option(help="Who, as it begins: key: or token:ann.")] = "",
    path: Annotated[str, typer.Option(help="What, as it begins: /v1/batch or keys.")] = "",
    status: Annotated[
        int | None, typer.Option(help="Answered with this status; 0: a command.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="The newest so many.")] = 100,
    as_json: Json = False,
) -> None:
    """List who changed what and who was refused, newest first.

    Example: `wavehouse audit --status 401 --since 2026-01-31`
    """
    with said_plainly():
        from storage.audit_log import AuditFilter, AuditLog  # noqa: PLC0415 - imports SQLAlchemy
        from storage.database import Database  # noqa: PLC0415

        only = AuditFilter(
            since_us=_instant("since", since),
            until_us=_instant("until", until),
            principal=principal,
            path=path,
            status=status,
        )
        url = StorageSettings().database_url.get_secret_value()
        database = Database(url) if url else Database.at(HomeSettings().database)
        try:
            rows = AuditLog(database).read(only, limit=limit)
        finally:
            database.close()
        _print([_row(row) for row in rows], as_json=as_json)


def _print(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = RichTable(*_COLUMNS)
    for row in rows:
        cells = [str(row[name]) for name in _COLUMNS]
        if row["left_out"]:
            cells[_COLUMNS.index("status")] += f" (+{row['left_out']})"
        table.add_row(*map(Text, cells))  # never as markup: a path is a stranger's text
    open_console().print(table)


def _row(row: "AuditRow") -> dict[str, Any]:
    event = row.event
    at = dt.datetime.fromtimestamp(row.at_us / _US, dt.UTC).isoformat(timespec="milliseconds")
    return {
        "id": row.audit_id,
        "at": at,
        "principal": event.principal,
        "address": event.address,
        "method": event.method,
        "path": event.path,
        "status": event.status,
        "request_id": event.request_id,
        "left_out": event.left_out,
    }


def _instant(name: str, text: str) -> int | None:
    """Return microseconds since 1970; without a zone it is UTC."""
    if not text:
        return None
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError as e:
        raise InputError(f"{name}: expected an instant such as 2026-01-31, was {text!r}") from e
    if found.tzinfo is None:
        found = found.replace(tzinfo=dt.UTC)
    return int(found.timestamp() * _US)
