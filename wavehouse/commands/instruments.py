"""``instruments list|add``: instruments are data, this edits the file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table as RichTable

from market.errors import InputError
from market.instruments import Instrument, InstrumentBook, load_instruments
from market.settings import HomeSettings, ProviderSettings
from wavehouse.commands.options import Json
from wavehouse.console import open_console
from wavehouse.errors import said_plainly

app = typer.Typer(no_args_is_help=True, help="List instruments, or add one to instruments.toml.")


@app.command("list")
def list_instruments(as_json: Json = False) -> None:
    """List the instruments, and which months of candles the lake has of each."""
    with said_plainly():
        from market.settings import StorageSettings  # noqa: PLC0415
        from orchestration.resources import open_lake  # noqa: PLC0415 - imports Polars

        home = HomeSettings()
        book, lake = load_instruments(home.instruments), open_lake(home, StorageSettings())
        rows = [_row(i, lake.months("candles", i.base_timeframe.value, i.id)) for i in book]
        if as_json:
            typer.echo(json.dumps(rows))
            return
        table = RichTable("id", "calendar", "provider", "symbol", "base", "first", "last", "months")
        for row in rows:
            table.add_row(*[str(v) if v is not None else "-" for v in row.values()])
        open_console().print(table)


def _row(instrument: Instrument, months: Sequence[str]) -> dict[str, str | int | None]:
    return {
        "id": instrument.id,
        "calendar": instrument.calendar,
        "provider": instrument.provider,
        "symbol": instrument.symbol,
        "base_timeframe": instrument.base_timeframe.value,
        "first_month": months[0] if months else None,
        "last_month": months[-1] if months else None,
        "months": len(months),
    }


@app.command()
def add(
    instrument: Annotated[str, typer.Argument(help="Id: letters, digits, '-' and '_'.")],
    provider: Annotated[str, typer.Option(help="sample | csv | binance | synthetic")],
    calendar: Annotated[str, typer.Option(help="crypto | fx | us_equity")],
    base_timeframe: Annotated[
        str, typer.Option("--base", help="M1 … W: what the provider delivers.")
    ],
    symbol: Annotated[
        str, typer.Option(help="The provider's name for it; the id if left out.")
    ] = "",
    asset_class: Annotated[
        str, typer.Option(help="Free text; the calendar's name if left out.")
    ] = "",
    tick_size: Annotated[float, typer.Option(min=0, help="Smallest step of the price.")] = 0.01,
    lot_size: Annotated[float, typer.Option(min=0, help="Smallest quantity.")] = 1.0,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="For the provider; may be given again."),
    ] = None,
) -> None:
    """Append an instrument to the instruments file; nothing is written if it is not valid.

    Examples: `wavehouse instruments add BTCUSDT --provider binance --calendar crypto --base M1`,
    `wavehouse instruments add ES --provider csv --calendar fx --base M1 --option path=ES.csv`
    """
    with said_plainly():
        from providers import registry  # noqa: PLC0415 - imports Polars

        path = HomeSettings().instruments
        book = load_instruments(path) if path.exists() else InstrumentBook({})
        if instrument in book:
            raise InputError(f"instrument {instrument}: expected a new id, was in {path} already")
        registry.build(provider, ProviderSettings())
        fields = {
            "asset_class": asset_class or calendar,
            "calendar": calendar,
            "provider": provider,
            "symbol": symbol or instrument,
            "base_timeframe": base_timeframe.upper(),
            "tick_size": tick_size,
            "lot_size": lot_size,
        }
        _append(path, instrument, fields, dict(_pair(text) for text in option or []))
        typer.echo(
            f"{path}: {instrument} added; next: wavehouse materialize --instrument {instrument}"
        )


def _pair(text: str) -> tuple[str, str]:
    key, found, value = text.partition("=")
    if not found or not key:
        raise InputError(f"--option: expected KEY=VALUE, was {text!r}")
    return key, value


def _append(
    path: Path, instrument: str, fields: Mapping[str, object], options: Mapping[str, str]
) -> None:
    from storage.durable import write_whole  # noqa: PLC0415

    before = path.read_text(encoding="utf-8") if path.exists() else ""
    # quoted where TOML wants it, so that a bad name is refused as a name
    is_bare = instrument.isascii() and instrument.replace("-", "_").isidentifier()
    name = instrument if is_bare else json.dumps(instrument)
    lines = [f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in fields.items())]
    if options:
        lines += [
            "",
            f"[{name}.options]",
            *(f"{k} = {json.dumps(v)}" for k, v in options.items()),
        ]
    text = before.rstrip("\n") + "\n\n" + "\n".join(lines) + "\n"
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    try:
        load_instruments(draft)
    finally:
        draft.unlink()
    write_whole(path, text.lstrip("\n").encode(), fsync=True)
