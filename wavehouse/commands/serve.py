"""``serve``: the REST app over what was materialised."""

from typing import Annotated

import typer

from wavehouse.errors import said_plainly


def serve(
    host: Annotated[str | None, typer.Option(help="Default: WAVEHOUSE_SERVING_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: WAVEHOUSE_SERVING_PORT.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes; limits are shared through Redis.")
    ] = 1,
) -> None:
    """Serve labels and predictions over HTTP; docs are at /docs."""
    with said_plainly():
        from market.settings import ServingSettings  # noqa: PLC0415 - the app imports Polars
        from serving.main import run, run_workers  # noqa: PLC0415

        given = {k: v for k, v in {"host": host, "port": port}.items() if v is not None}
        settings = ServingSettings(**given)  # type: ignore[arg-type]
        if workers == 1:
            run(settings)
        else:
            run_workers(workers, settings)
