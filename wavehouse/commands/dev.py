"""``dev``: Dagster's UI with its daemon, MLflow's UI and the API together, with one Ctrl-C."""

import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wavehouse.console import open_console
from wavehouse.errors import said_plainly

if TYPE_CHECKING:
    from wavehouse.processes import Command

WORKSPACE = Path(__file__).resolve().parents[2] / "workspace.yaml"


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
        from storage.durable import storage_errors  # noqa: PLC0415
        from wavehouse.processes import Children  # noqa: PLC0415

        home = HomeSettings()
        prepare_home(home.dagster_home)
        uri, artifacts = tracking_places(home, LearningSettings())
        with storage_errors(artifacts, Path(artifacts)):
            Path(artifacts).mkdir(parents=True, exist_ok=True)
        is_new = uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists()
        console = open_console()
        dagster, mlflow, api = _commands((dagster_port, mlflow_port, api_port), uri, artifacts)
        for command in (dagster, mlflow, api):
            console.print(f"[bold]{command.name:>8}[/bold] {command.url}", soft_wrap=True)
        with Children({}, console) as children:
            try:
                children.start(mlflow)
                children.start(dagster)
                if is_new:  # MLflow makes the tables that the API would read half made
                    children.wait(lambda: _answers(mlflow_port))
                children.start(api)
                children.wait()
            except KeyboardInterrupt:
                console.print("stopping …; Ctrl-C again stops at once")


def _commands(
    ports: tuple[int, int, int], uri: str, artifacts: str
) -> "tuple[Command, Command, Command]":
    from wavehouse.processes import Command, script  # noqa: PLC0415

    urls = [f"http://127.0.0.1:{port}" for port in ports]
    dagster, mlflow, api = map(str, ports)
    return (
        Command(
            "dagster",
            [script("dg"), "dev", "-w", str(WORKSPACE), "-p", dagster],
            urls[0],
            end_with=signal.SIGINT,  # on SIGTERM it leaves its services to themselves
        ),
        Command(
            "mlflow",
            [script("mlflow"), "server", "--backend-store-uri", uri,
             "--default-artifact-root", artifacts, "--workers", "1", "--port", mlflow],
            urls[1],
            {
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                # MLflow 3.17's own import, which only its authors can change
                "PYTHONWARNINGS": "ignore:starlette.middleware.wsgi is deprecated",
            },
        ),
        Command("api", [script("wavehouse"), "serve", "--port", api], f"{urls[2]}/docs"),
    )  # fmt: skip


def _answers(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0
