"""``materialize``, ``backfill`` and ``train``: bring partitions up to date through Dagster."""

import json
from typing import Annotated

import typer
from rich.console import Console

from market.errors import InputError
from market.months import parse_month
from wavehouse.commands.options import Force, From, Instrument, Json, Timeframes, To
from wavehouse.errors import said_plainly

GROUPS = ("raw_candles", "candles", "levels", "labels", "features")


def materialize(  # noqa: PLR0913 - options of a command
    targets: Annotated[
        list[str] | None,
        typer.Argument(help=f"{', '.join(GROUPS)}, models; everything if left out."),
    ] = None,
    instrument: Instrument = None,
    first: From = None,
    last: To = None,
    timeframe: Timeframes = None,
    force: Force = False,  # noqa: FBT002
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Bring everything that is asked, and what it reads, up to date.

    Only partitions that are out of date are made: those whose code or inputs changed.
    """
    with said_plainly():
        _materialize(targets or [], instrument, (first, last), timeframe, force, as_json)


def backfill(  # noqa: PLR0913 - options of a command
    target: Annotated[str, typer.Argument(help=f"One of {', '.join(GROUPS)}.")],
    instrument: Instrument = None,
    first: From = None,
    last: To = None,
    timeframe: Timeframes = None,
    force: Force = False,  # noqa: FBT002
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Make a range of months of one table, after what it reads.

    Example: `wavehouse backfill labels --instrument EURUSD --from 2017-05 --to 2017-12`
    """
    with said_plainly():
        _materialize([target], instrument, (first, last), timeframe, force, as_json)


def train(
    first: From = None,
    last: To = None,
    timeframe: Timeframes = None,
    force: Force = False,  # noqa: FBT002
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Train, register, judge and gate the models of a range of cutoffs (a walk-forward)."""
    with said_plainly():
        _materialize(["models"], None, (first, last), timeframe, force, as_json)


def _materialize(  # noqa: PLR0913
    targets: list[str],
    instrument: str | None,
    span: tuple[str | None, str | None],
    timeframes: list[str] | None,
    force: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    from wavehouse.progress import watched_line  # noqa: PLC0415
    from wavehouse.updating import Request, update  # noqa: PLC0415

    unknown = [t for t in targets if t.split("/")[0] not in (*GROUPS, "models")]
    if unknown:
        raise InputError(f"target: expected {', '.join(GROUPS)} or models, was {unknown[0]!r}")
    request = Request(
        targets=tuple(targets),
        instrument=instrument,
        first=parse_month(span[0]) if span[0] else None,
        last=parse_month(span[1]) if span[1] else None,
        timeframes=tuple(t.upper() for t in timeframes or ()),
        is_forced=force,
    )
    console = Console(stderr=as_json)
    with watched_line(console) as watch:
        summary = update(watch.line, request, watch)
    if as_json:
        typer.echo(json.dumps(summary.as_dict()))
    else:
        console.print(summary.as_text())
