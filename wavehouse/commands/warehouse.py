"""``warehouse sync|verify``: move the lake to ClickHouse, and prove the two equal."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from market.errors import InputError
from wavehouse.commands.options import Json
from wavehouse.console import open_console
from wavehouse.errors import said_plainly

if TYPE_CHECKING:
    from market.ports import PartitionKey
    from storage.clickhouse.lake import ClickHouseLake
    from storage.clickhouse.transfer import Difference, Progress
    from storage.lake import ParquetLake

app = typer.Typer(
    no_args_is_help=True,
    help="Move the Parquet lake below WAVEHOUSE_HOME to the ClickHouse of WAREHOUSE_DSN, or "
    "compare the two. Needs the extra wavehouse[clickhouse].",
)


@app.command()
def sync(
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Also take away partitions that the lake does not have."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write to the warehouse what differs from the lake.

    Safe to run again, and to stop: a partition is there whole or not at all, and the next sync
    goes on with those that are left.
    """
    with said_plainly(), _both() as (lake, warehouse), _bar(is_shown=not as_json) as advance:
        from storage.clickhouse import transfer  # noqa: PLC0415 - imports Polars

        done = transfer.sync(lake, warehouse, prune=prune, on_partition=advance)
    if as_json:
        typer.echo(json.dumps(asdict(done)))
        return
    typer.echo(
        f"{done.moved} partitions moved ({done.rows} rows), {done.unchanged} unchanged, "
        f"{done.dropped} taken away"
    )
    if done.extra:
        typer.echo(f"{done.extra} are in the warehouse alone; --prune takes them away")


@app.command()
def verify(as_json: Json = False) -> None:
    """Compare data versions, each computed from every row as it is read back now.

    Names the partitions that differ, and how; exit code 1 if there are any.
    """
    with said_plainly(), _both() as (lake, warehouse), _bar(is_shown=not as_json) as advance:
        from storage.clickhouse import transfer  # noqa: PLC0415 - imports Polars

        found = list(transfer.verify(lake, warehouse, on_partition=advance))
    if as_json:
        typer.echo(json.dumps([_plain(difference) for difference in found]))
    else:
        for difference in found:
            typer.echo(f"{difference.kind}: {difference.message}")
        typer.echo(f"{len(found)} partitions differ" if found else "lake and warehouse are equal")
    if found:
        raise typer.Exit(1)


def _plain(difference: "Difference") -> dict[str, str]:
    return {"kind": difference.kind, "message": difference.message, **asdict(difference.key)}


@contextmanager
def _both() -> Iterator[tuple["ParquetLake", "ClickHouseLake"]]:
    from market.settings import HomeSettings, StorageSettings, WarehouseSettings  # noqa: PLC0415
    from storage.clickhouse.lake import open_warehouse  # noqa: PLC0415 - imports Polars
    from storage.opening import open_parquet  # noqa: PLC0415

    settings = WarehouseSettings()
    dsn = settings.dsn.get_secret_value()
    if not dsn:
        raise InputError("WAREHOUSE_DSN: expected clickhouse://… or chdb:///folder, was empty")
    warehouse = open_warehouse(dsn, lease_s=settings.lease_s)
    try:
        yield open_parquet(HomeSettings(), StorageSettings()), warehouse
    finally:
        warehouse.close()


@contextmanager
def _bar(*, is_shown: bool) -> Iterator["Progress | None"]:
    from rich.progress import Progress  # noqa: PLC0415

    if not is_shown:
        yield None
        return
    with Progress(console=open_console(stderr=True), transient=True) as progress:
        task = progress.add_task("partitions", total=None)

        def advance(key: "PartitionKey", done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, description=key.path)

        yield advance
