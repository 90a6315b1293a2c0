"""``doctor``: what is installed, reachable and stale, and what to do about it."""

import importlib.metadata
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import typer
from rich.table import Table as RichTable

from market.errors import WavehouseError
from wavehouse.commands.options import Json
from wavehouse.console import open_console
from wavehouse.errors import settings_named

PACKAGES = ("dagster", "mlflow", "polars", "duckdb", "numba", "xgboost-cpu", "fastapi")
FREE_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: ok, warn or bad, and what to do."""

    what: str
    state: str
    found: str
    advice: str = ""


def doctor(as_json: Json = False) -> None:
    """Look at everything the line needs; exit code 1 if something is broken."""
    findings = list(_findings())
    if as_json:
        typer.echo(json.dumps([asdict(f) for f in findings]))
    else:
        table = RichTable("", "what", show_edge=False)
        table.add_column("found", overflow="fold")  # a name or an address is whole or no use
        table.add_column("what to do", overflow="fold")
        marks = {"ok": "[green]✓[/green]", "warn": "[yellow]![/yellow]", "bad": "[red]✗[/red]"}
        for f in findings:
            table.add_row(marks[f.state], f.what, f.found, f.advice)
        open_console().print(table)
    if any(f.state == "bad" for f in findings):
        raise typer.Exit(1)


def _findings() -> Iterator[Finding]:
    yield Finding("python", "ok", sys.version.split()[0])
    yield from map(_package, PACKAGES)
    for name, look in (
        ("kernels", _kernels), ("disk", _disk), ("instruments", _instruments),
        ("warehouse", _warehouse), ("lake", _lake),
        ("freshness", _freshness), ("models", _models), ("api", _api),
    ):  # fmt: skip
        yield from _guarded(name, look)


def _guarded(name: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        with settings_named():
            yield from look()
    except (WavehouseError, OSError) as e:
        yield Finding(name, "bad", str(e), "mend what the message names, then run this again")


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "bad", "not installed", "make install")


def _kernels() -> Iterator[Finding]:
    from kernels import engine  # noqa: PLC0415

    try:
        choice = engine.environment()
    except ValueError as e:
        yield Finding("kernels", "bad", str(e), "set one of them, or none")
        return
    if choice == "numba":
        yield Finding("kernels", "ok", "numba, as WAVEHOUSE_ENGINE says")
    elif engine.mojo_available():
        yield Finding("kernels", "ok", f"Mojo for {', '.join(sorted(engine.FASTER))}; else numba")
    elif choice == "mojo":
        yield Finding("kernels", "bad", engine.why_not(), "make mojo, or unset WAVEHOUSE_ENGINE")
    else:  # nothing is missing: numba serves every kernel
        yield Finding("kernels", "ok", f"numba; Mojo: {engine.why_not()}", "make mojo (optional)")


def _disk() -> Iterator[Finding]:
    from market.settings import HomeSettings  # noqa: PLC0415

    free = shutil.disk_usage(HomeSettings().home.resolve()).free
    state = "ok" if free > FREE_BYTES else "warn"
    advice = "" if state == "ok" else "free some space: a full disk stops every partition"
    yield Finding("disk", state, f"{free / 1e9:.1f} GB free", advice)


def _instruments() -> Iterator[Finding]:
    from market.settings import HomeSettings, ProviderSettings  # noqa: PLC0415
    from orchestration.resources import open_book, provider_factory  # noqa: PLC0415

    home = HomeSettings()
    if not home.instruments.exists():
        advice = "wavehouse instruments add --help, or set WAVEHOUSE_INSTRUMENTS"
        yield Finding("instruments", "bad", f"nothing at {home.instruments.absolute()}", advice)
        return
    provider_for = provider_factory(ProviderSettings())
    for instrument in open_book(home):
        what = f"instrument {instrument.id}"
        try:
            provider_for(instrument).span(instrument)
        except WavehouseError as e:
            yield Finding(what, "bad", str(e), f"look at its provider {instrument.provider!r}")
        else:
            yield Finding(what, "ok", f"{instrument.provider}, {instrument.base_timeframe} bars")


def _warehouse() -> Iterator[Finding]:
    from market.settings import WarehouseSettings  # noqa: PLC0415

    settings = WarehouseSettings()
    dsn = settings.dsn.get_secret_value()
    if not dsn:
        yield Finding("warehouse", "ok", "none: the Parquet lake is the store")
        return
    from storage.clickhouse.connection import parse_dsn  # noqa: PLC0415 - imports Polars
    from storage.clickhouse.lake import open_warehouse  # noqa: PLC0415

    warehouse = open_warehouse(dsn, lease_s=settings.lease_s)
    try:
        found = f"{parse_dsn(dsn).name}, {len(warehouse.keys())} partitions"
    finally:
        warehouse.close()
    yield Finding("warehouse", "ok", found)


def _lake() -> Iterator[Finding]:
    from market.settings import HomeSettings, StorageSettings  # noqa: PLC0415
    from orchestration.resources import open_book, open_lake  # noqa: PLC0415

    home = HomeSettings()
    if not home.instruments.exists():
        return  # said above
    lake = open_lake(home, StorageSettings())
    for i in open_book(home):
        months = lake.months("candles", i.base_timeframe.value, i.id)
        if months:
            yield Finding(
                f"lake {i.id}", "ok", f"{len(months)} months, {months[0]} to {months[-1]}"
            )
        else:
            advice = f"wavehouse materialize --instrument {i.id}"
            yield Finding(f"lake {i.id}", "warn", "nothing materialised", advice)


def _freshness() -> Iterator[Finding]:
    from assets.freshness import available_months, plan  # noqa: PLC0415
    from market.settings import HomeSettings  # noqa: PLC0415
    from orchestration.graph import data_stages  # noqa: PLC0415
    from orchestration.line import build_line  # noqa: PLC0415

    if not HomeSettings().instruments.exists():
        return
    line = build_line()
    for instrument in line.book:
        found = plan(line, data_stages(), instrument.id, available_months(line, instrument.id))
        what = f"freshness {instrument.id}"
        if found.is_empty:
            yield Finding(what, "ok", f"{found.total} partitions, all fresh")
        else:
            words = f"{found.stale} of {found.total} partitions out of date"
            yield Finding(
                what, "warn", words, f"wavehouse materialize --instrument {instrument.id}"
            )


def _models() -> Iterator[Finding]:
    from learning.registry import open_registry  # noqa: PLC0415
    from market.settings import HomeSettings, LearningSettings, ServingSettings  # noqa: PLC0415
    from orchestration.line import tracking_places  # noqa: PLC0415

    uri, _ = tracking_places(HomeSettings(), LearningSettings())
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        yield Finding("models", "warn", "no model registry yet", "wavehouse train")
        return
    registry, alias = open_registry(uri), ServingSettings().alias
    names = registry.names()
    if not names:
        yield Finding("models", "warn", "no registered model", "wavehouse train")
    for name in names:
        version = registry.by_alias(name, alias)
        yield Finding(f"model {name}", "ok", f"{alias} is version {version.version}")


def _api() -> Iterator[Finding]:
    import httpx2  # noqa: PLC0415

    from market.settings import ServingSettings  # noqa: PLC0415

    settings = ServingSettings()
    url = f"http://{settings.host}:{settings.port}/health"
    try:
        status = httpx2.get(url, timeout=1.0).json()["status"]
    except (httpx2.HTTPError, ValueError, KeyError):
        yield Finding("api", "warn", f"not reachable at {url}", "wavehouse serve, or make dev")
    else:
        state = "ok" if status == "healthy" else "warn"
        yield Finding("api", state, f"{status} at {url}", "" if state == "ok" else f"read {url}")
