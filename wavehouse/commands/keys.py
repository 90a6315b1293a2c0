"""``keys create|list|revoke``: who may call the API."""

import datetime as dt
import getpass
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table as RichTable

from market.settings import HomeSettings, StorageSettings
from wavehouse.commands.options import Json
from wavehouse.console import open_console
from wavehouse.errors import said_plainly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storage.api_keys import ApiKey, ApiKeys

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke keys of the API.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is: letters, digits, . _ @ -")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            "-s",
            help="read | compute | write | admin; may be given again. Default: read and compute.",
        ),
    ] = None,
    days: Annotated[
        float | None, typer.Option(help="Days until it expires; never if left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it; it is shown this once, and only its hash is kept.

    Example: `wavehouse keys create research --scope read --scope compute --days 90`
    """
    with said_plainly(), _keys() as keys:
        key, row = keys.create(name, scope or ["read", "compute"], days=days)
        _write_down(keys, f"keys create {row.key_id} {name}: {' '.join(sorted(row.scopes))}")
        if as_json:
            typer.echo(json.dumps({"key": key, **_row(row)}))
            return
        typer.echo(key)
        typer.echo(f"{row.key_id}: send it as X-API-Key; it is not shown again", err=True)


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """List the keys: never what they are, but whose, for what, and until when."""
    with said_plainly(), _keys() as keys:
        rows = [_row(row) for row in keys.all()]
        if as_json:
            typer.echo(json.dumps(rows))
            return
        table = RichTable("id", "name", "scopes", "created", "expires", "revoked")
        for row in rows:
            table.add_row(*[v or "-" for v in row.values()])
        open_console().print(table)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The id that `keys list` shows.")]) -> None:
    """Refuse a key from now on; running servers notice within seconds."""
    with said_plainly(), _keys() as keys:
        keys.revoke(key_id)
        _write_down(keys, f"keys revoke {key_id}")
        typer.echo(f"{key_id}: revoked")


@contextmanager
def _keys() -> "Iterator[ApiKeys]":
    from storage.api_keys import ApiKeys  # noqa: PLC0415 - imports SQLAlchemy
    from storage.database import Database  # noqa: PLC0415

    url = StorageSettings().database_url.get_secret_value()
    database = Database(url) if url else Database.at(HomeSettings().database)
    try:
        yield ApiKeys(database)
    finally:
        database.close()


def _write_down(keys: "ApiKeys", what: str) -> None:
    """Add a row to the audit log: whoever may run commands here is named by the machine."""
    from storage.audit_log import AuditEvent, AuditLog  # noqa: PLC0415 - imports SQLAlchemy

    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's number without a name
        user = str(os.getuid())
    event = AuditEvent(f"cli:{user}", "", "CLI", what, status=0, request_id="")
    AuditLog(keys.database).append([event])


def _row(row: "ApiKey") -> dict[str, str | None]:
    return {
        "id": row.key_id,
        "name": row.name,
        "scopes": " ".join(sorted(row.scopes)),
        "created": _instant(row.created_us),
        "expires": _instant(row.expires_us),
        "revoked": _instant(row.revoked_us),
    }


def _instant(us: int | None) -> str | None:
    if us is None:
        return None
    return dt.datetime.fromtimestamp(us // 1_000_000, dt.UTC).isoformat()
