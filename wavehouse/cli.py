"""The command line: one module a command in ``wavehouse.commands``, put together here.

Imports stay light: ``wavehouse --help`` must not wait for Dagster, MLflow or numba.
"""

import importlib.metadata
from typing import Annotated

import typer

from wavehouse.commands import (
    audit,
    compute,
    demo,
    dev,
    doctor,
    instruments,
    keys,
    materialize,
    serve,
    warehouse,
)


def _say_version(value: bool) -> None:  # noqa: FBT001 - a flag's callback
    if value:
        typer.echo(f"wavehouse {importlib.metadata.version('wavehouse')}")
        raise typer.Exit


app = typer.Typer(
    name="wavehouse",
    help="Market candles in, predictions that can be checked out.\n\n"
    "Start with `wavehouse demo`, then `wavehouse doctor`. Data lies in data/ and mlruns/ below "
    "WAVEHOUSE_HOME (the current folder unless set).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=True,
)


@app.callback()
def wavehouse(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Keep the options that come before a command."""


app.command("demo")(demo.demo)
app.command("materialize")(materialize.materialize)
app.command("backfill")(materialize.backfill)
app.command("train")(materialize.train)
app.command("serve")(serve.serve)
app.command("dev")(dev.dev)
app.command("doctor")(doctor.doctor)
app.command("audit")(audit.audit)
app.add_typer(compute.app, name="compute")
app.add_typer(instruments.app, name="instruments")
app.add_typer(keys.app, name="keys")
app.add_typer(warehouse.app, name="warehouse")


def main() -> None:
    """Run the command line."""
    app()
