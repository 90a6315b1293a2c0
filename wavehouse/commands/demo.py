"""``demo``: the whole line on the sample instrument, from bars to a served prediction."""

import socket
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as RichTable

from wavehouse.console import open_console
from wavehouse.errors import said_plainly
from wavehouse.processes import Child, Children, Command, ProcessError, script

if TYPE_CHECKING:
    import httpx2

    from wavehouse.updating import Summary

INSTRUMENT, TIMEFRAME = "EURUSD", "H4"
START_S = 60.0


def demo() -> None:
    """Materialise every asset of the sample, train, promote, serve, and ask the API.

    Ten months of real EURUSD hours. A second run finds everything materialised.
    """
    with said_plainly():
        started = time.monotonic()
        console = open_console()
        console.print(
            f"[bold]Wavehouse[/bold]: candles → levels → labels and features → models → API, "
            f"for {INSTRUMENT}\n",
            soft_wrap=True,
        )
        port = _free_port()
        # what nobody asks for here is not compiled
        asked = {"WAVEHOUSE_PROCESS": "demo", "WAVEHOUSE_SERVING_COMPUTE_WARM": "false"}
        with Children(asked) as children:
            for part in ("line", "features"):
                warm = [script("python"), "-m", "wavehouse.warming", part]
                children.start(Command(f"warm {part}", warm))
            summary = _update(console)
            console.print(summary.as_text())
            url = f"http://127.0.0.1:{port}"
            serve = [script("wavehouse"), "serve", "--port", str(port)]
            _ask(console, children.start(Command("api", serve, url)))
        _print_verdicts(console)
        console.print(f"\nDone in {time.monotonic() - started:.0f} s. What to open next:")
        console.print(
            "  [bold]make dev[/bold]          Dagster on 3000, MLflow on 5000, the API on 8000/docs"
        )
        console.print("  [bold]wavehouse doctor[/bold]  what is installed, reachable, stale")
        console.print("  docs/line.ipynb   the line in pictures")


def _update(console: Console) -> "Summary":
    from wavehouse.progress import watched_line  # noqa: PLC0415 - Polars and numba
    from wavehouse.updating import Request, update  # noqa: PLC0415

    with watched_line(console) as watch:
        return update(watch.line, Request(instrument=INSTRUMENT), watch)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _ask(console: Console, api: Child) -> None:
    import httpx2  # noqa: PLC0415 - needed from here on only

    with httpx2.Client(base_url=api.command.url, timeout=10.0) as client:
        _await_healthy(client, api)
        try:
            labels = client.get(
                "/v1/labels",
                params={
                    "instrument_id": INSTRUMENT, "granularity": TIMEFRAME,
                    "start_date": "2018-02-01", "end_date": "2018-02-28",
                    "sort": "ts_desc", "per_page": 10,
                },
            ).raise_for_status()  # fmt: skip
            prediction = client.post(
                "/predict", json={"instrument": INSTRUMENT, "timeframe": TIMEFRAME}
            ).raise_for_status()
        except httpx2.HTTPStatusError as e:
            raise ProcessError(f"api: {e.response.url} answered {e.response.text}") from e
        except httpx2.TransportError as e:
            api.check()
            raise ProcessError(f"api: expected an answer, was {type(e).__name__}: {e}") from e
    _print_labels(console, labels.json())
    _print_prediction(console, prediction.json())


def _await_healthy(client: "httpx2.Client", api: Child) -> None:
    """Wait for the API; say at once, and why, if it ended instead."""
    import httpx2  # noqa: PLC0415

    deadline = time.monotonic() + START_S
    found = "no answer"
    while time.monotonic() < deadline:
        api.check()
        try:
            answer = client.get("/health", timeout=1.0)
        except httpx2.TransportError:
            time.sleep(0.1)
            continue
        if answer.status_code == httpx2.codes.OK:
            return
        found = answer.text
        time.sleep(0.1)
    raise ProcessError(
        f"api: expected it healthy within {START_S:.0f} s at {api.command.url}, was: {found}"
    )


def _print_labels(console: Console, page: dict[str, Any]) -> None:
    table = RichTable(
        "bar opens", "status", "label", "hit", "lower", "upper", "return",
        title=f"GET /v1/labels: the newest {TIMEFRAME} labels of {INSTRUMENT}",
    )  # fmt: skip
    for row in page["data"]:
        labels = row["labels"]
        barrier = labels["enhanced_triple_barrier"]
        forward = labels["forward_return"]
        table.add_row(
            row["ts"][5:16].replace("T", " "), row["status"], _text(barrier["label"], "+d"),
            barrier["barrier_hit"] or "·", _text(barrier["lower_barrier"], ".5f"),
            _text(barrier["upper_barrier"], ".5f"), _text(forward, "+.4%"),
        )  # fmt: skip
    console.print(table)


def _print_prediction(console: Console, answer: dict[str, Any]) -> None:
    table = RichTable(show_header=False, title="POST /predict: the newest bar")
    table.add_row(
        "bar", f"{answer['instrument']} {answer['timeframe']}, known at {answer['known_at']}"
    )
    for name, p in answer["probabilities"].items():
        mark = " ←" if name == answer["prediction"] else ""
        table.add_row(name, f"{p:6.1%} {'█' * round(p * 30)}{mark}")
    table.add_row("90 % set", ", ".join(answer["prediction_set"]) or "empty")
    table.add_row(
        "model",
        f"{answer['model']} version {answer['version']}, {answer['kind']}, alias {answer['alias']}",
    )
    table.add_row(
        "features", f"{answer['feature_data']['path']} @ {answer['feature_data']['version'][:12]}"
    )
    table.add_row("prediction id", answer["prediction_id"])
    console.print(table)


def _print_verdicts(console: Console) -> None:
    """Say what the newest judged cutoff found, whatever it is."""
    from wavehouse.reading import attributes  # noqa: PLC0415 - needed from here on only

    judged = {
        path.rsplit("/", 1)[1]: found["verdict"]
        for path, found in attributes("evaluations", "pooled", TIMEFRAME, "2000", "2099").items()
        if isinstance(found["verdict"], dict)
    }
    cutoff = max(judged)
    console.print(f"\nJudged on {cutoff}, the month after its cutoff ({TIMEFRAME}):")
    for kind, verdict in judged[cutoff].items():
        words = verdict.removeprefix(f"{kind}: ")
        console.print(f"  [bold]{kind}[/bold]: {words}", highlight=False, soft_wrap=True)


def _text(value: float | None, form: str) -> str:
    return "·" if value is None else ("0" if form == "+d" and value == 0 else format(value, form))
