"""``dev``: Dagster's UI with its daemon, MLflow's UI and the API together, with one Ctrl-C."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from wavehouse.errors import said_plainly


def dev(
    dagster_port: Annotated[int, typer.Option(help="Dagster's UI.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="MLflow's UI.")] = 5000,
    api_port: Annotated[int, typer.Option(help="The API.")] = 8000,
) -> None:
    """Run Dagster (3000), MLflow (5000) and the API (8000); Ctrl-C stops all three."""
    with said_plainly():
        from market.settings import HomeSettings, LearningSettings  # noqa: PLC0415
        from orchestration.line import tracking_places  # noqa: PLC0415
        from orchestration.runs import prepare_home  # noqa: PLC0415
        from wavehouse.processes import Children, Command, script  # noqa: PLC0415

        home = HomeSettings()
        prepare_home(home.dagster_home)
        uri, artifacts = tracking_places(home, LearningSettings())
        Path(artifacts).mkdir(parents=True, exist_ok=True)
        console = Console()
        commands = (
            Command(
                "dagster",
                [script("dagster"), "dev", "-w", "workspace.yaml", "-p", str(dagster_port)],
                f"http://127.0.0.1:{dagster_port}",
            ),
            Command(
                "mlflow",
                [script("mlflow"), "server", "--backend-store-uri", uri,
                 "--default-artifact-root", artifacts, "--workers", "1",
                 "--port", str(mlflow_port)],
                f"http://127.0.0.1:{mlflow_port}",
            ),
            Command(
                "api",
                [script("wavehouse"), "serve", "--port", str(api_port)],
                f"http://127.0.0.1:{api_port}/docs",
            ),
        )  # fmt: skip
        for command in commands:
            console.print(f"[bold]{command.name:>8}[/bold] {command.url}")
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with Children(quiet, console) as children:
            for command in commands:
                children.start(command)
            try:
                ended = children.wait()
            except KeyboardInterrupt:
                console.print("stopping …")
                return
        console.print(f"[red]{ended} ended; the others were stopped.[/red]")
        raise typer.Exit(1)
