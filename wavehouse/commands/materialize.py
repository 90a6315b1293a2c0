"""``materialize``, ``backfill`` and ``train``: bring partitions up to date through Dagster."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from market.errors import InputError
from market.months import parse_month
from wavehouse.commands.job import check_alone, work
from wavehouse.commands.options import (
    DryRun,
    FirstCutoff,
    Force,
    From,
    Instrument,
    Job,
    Json,
    LastCutoff,
    Timeframes,
    To,
)
from wavehouse.console import open_console
from wavehouse.errors import said_plainly

if TYPE_CHECKING:
    from wavehouse.updating import Request

GROUPS = ("raw_candles", "candles", "levels", "labels", "features")
# the names that tables have in the lake, and in its errors, where the group has another
GROUP_OF_TABLE = {
    "level_events": "levels",
    "training_sets": "models",
    "evaluations": "models",
}


def materialize(
    targets: Annotated[
        list[str] | None,
        typer.Argument(help=f"{', '.join(GROUPS)}, models; everything if left out."),
    ] = None,
    instrument: Instrument = None,
    first: From = None,
    last: To = None,
    timeframe: Timeframes = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Bring everything that is asked, and what it reads, up to date.

    Only partitions that are out of date are made: those whose code or inputs changed, or whose
    bars did in the provider's file.
    """
    with said_plainly():
        asked = _request(targets or [], instrument, first, last, timeframe)
        _materialize(replace(asked, is_forced=force), as_json)


def backfill(
    target: Annotated[
        str | None, typer.Argument(help=f"One of {', '.join(GROUPS)}, models.")
    ] = None,
    instrument: Instrument = None,
    first: From = None,
    last: To = None,
    timeframe: Timeframes = None,
    force: Force = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    job: Job = None,
) -> None:
    """Make a range of months of one table, after what it reads.

    Example: `wavehouse backfill labels --instrument EURUSD --from 2017-05 --to 2017-12`
    """
    with said_plainly():
        if job is not None:
            check_alone(
                {
                    "target": target,
                    "instrument": instrument,
                    "from": first,
                    "to": last,
                    "timeframe": timeframe,
                    "force": force,
                    "dry-run": dry_run,
                    "json": as_json,
                }
            )
            work(job)
            return
        if target is None:
            raise InputError("target: expected a table or --job, was none")
        asked = _request([target], instrument, first, last, timeframe)
        tell = _tell_stale if dry_run else _materialize
        tell(replace(asked, is_forced=force), as_json)


def train(
    first: FirstCutoff = None,
    last: LastCutoff = None,
    timeframe: Timeframes = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train, register, judge and gate the models of a range of cutoffs (a walk-forward).

    A cutoff is a month: its models learn from what had matured before it.
    """
    with said_plainly():
        asked = _request(["models"], None, first, last, timeframe)
        _materialize(replace(asked, is_forced=force), as_json)


def _request(
    targets: list[str],
    instrument: str | None,
    first: str | None,
    last: str | None,
    timeframes: list[str] | None,
) -> "Request":
    from wavehouse.updating import Request  # noqa: PLC0415

    targets = [GROUP_OF_TABLE.get(t, t) for t in targets]
    unknown = [t for t in targets if t not in (*GROUPS, "models")]
    if unknown:
        raise InputError(f"target: expected {', '.join(GROUPS)} or models, was {unknown[0]!r}")
    return Request(
        targets=tuple(targets),
        instrument=instrument,
        first=parse_month(first) if first else None,
        last=parse_month(last) if last else None,
        timeframes=tuple(t.upper() for t in timeframes or ()),
    )


def _materialize(request: "Request", as_json: bool) -> None:  # noqa: FBT001
    from wavehouse.progress import watched_line  # noqa: PLC0415
    from wavehouse.updating import update  # noqa: PLC0415

    console = open_console(stderr=as_json)
    with watched_line(console) as watch:
        summary = update(watch.line, request, watch)
    if as_json:
        typer.echo(json.dumps(summary.as_dict()))
    else:
        console.print(summary.as_text())


def _tell_stale(request: "Request", as_json: bool) -> None:  # noqa: FBT001
    from orchestration.line import build_line  # noqa: PLC0415
    from wavehouse.updating import stale  # noqa: PLC0415

    found = stale(build_line(), request)
    if as_json:
        rows = [{"partition": s.key.path, "reason": s.reason.value} for s in found]
        typer.echo(json.dumps({"out_of_date": len(rows), "partitions": rows}))
    elif not found:
        typer.echo("Everything is fresh.")
    for one in found if not as_json else ():
        typer.echo(f"{one.key.path}  {one.reason.value}")
