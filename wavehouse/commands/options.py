"""Options that several commands share, with the words of their help."""

from typing import Annotated

import typer

Instrument = Annotated[
    str | None,
    typer.Option(
        "--instrument", "-i", help="Id in instruments.toml; every instrument if left out."
    ),
]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="YYYY-MM", help="First month; the series' first if left out."),
]
To = Annotated[
    str | None,
    typer.Option("--to", metavar="YYYY-MM", help="Last month; the series' newest if left out."),
]
Timeframes = Annotated[
    list[str] | None,
    typer.Option(
        "--timeframe", "-t", help="M1 M5 M15 M30 H1 H4 D W; may be given again. Default: all."
    ),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Fetch and compute again what is fresh (an unchanged result writes nothing). "
        "Changed files are noticed without it; what an exchange has corrected is not.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of a table.")]
FirstCutoff = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="YYYY-MM", help="First cutoff; after eight months of bars if left out."
    ),
]
LastCutoff = Annotated[
    str | None,
    typer.Option("--to", metavar="YYYY-MM", help="Last cutoff; the newest month if left out."),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say which partitions are out of date and why; make none."),
]
Job = Annotated[
    str | None,
    typer.Option(
        "--job",
        metavar="ID",
        help="Make a job that was asked for over the API (which starts this by itself).",
    ),
]
