"""What the compute service is asked in tests, and an app to ask."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from starlette.testclient import TestClient

from market.settings import ServingSettings
from serving.app import create_app
from serving.compute.content import ARROW
from serving.compute.contracts import CONTRACTS, PRICES, Contract
from storage.lake import ParquetLake
from tests.serving.fakes import UNLIMITED, FakeRegistry

JSON_TYPE = {"content-type": "application/json"}
ARROW_TYPE = {"content-type": ARROW}
SETTINGS = ServingSettings(compute_warm=False, log_requests=False, anonymous="all", **UNLIMITED)


@contextmanager
def served(
    folder: Path, client: tuple[str, int] = ("198.51.100.7", 50000), **settings: Any
) -> Iterator[TestClient]:
    """Serve with these settings, over an empty lake."""
    app = create_app(
        SETTINGS.model_copy(update=settings),
        lake=ParquetLake(folder, fsync=False),
        registry=FakeRegistry(),
    )
    with TestClient(app, client=client, raise_server_exceptions=False) as found:
        yield found


def bars(n: int, seed: int = 1) -> dict[str, npt.NDArray[np.float64]]:
    """Return columns that any indicator takes: a random walk with ties."""
    random = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(random.standard_normal(n) * 0.01)).round(4)
    return {
        "close": close,
        "high": close * (1.0 + random.random(n) * 0.01),
        "low": close * (1.0 - random.random(n) * 0.01),
        "volume": random.poisson(1000, n).astype(np.float64),
        "session": np.arange(n, dtype=np.float64) // 50,
    }


def question(contract: Contract, columns: dict[str, npt.NDArray[np.float64]]) -> dict[str, Any]:
    """Return a request with the defaults of an indicator, as JSON would hold it."""
    if contract.takes_prices:
        return {"symbol": "TCS", PRICES: columns["close"].tolist()}
    given = {name: columns[name].tolist() for name in contract.columns}
    return {"symbol": "TCS", **given}


def expected(contract: Contract, columns: dict[str, npt.NDArray[np.float64]]) -> dict[str, Any]:
    """Return what the kernel itself says, by the API's names, with None where there is no value."""
    out = contract.kernel.run(columns, None, **contract.kernel.resolved({}))
    return {name: nulled(out[i]) for name, i in contract.lines.items()}


def nulled(x: npt.NDArray[np.float64]) -> Any:
    """Return lists with None for what is not finite."""
    if x.ndim > 1:
        return [nulled(row) for row in x]
    return [value if np.isfinite(value) else None for value in x.tolist()]


def stream(columns: dict[str, Any], options: pa.ipc.IpcWriteOptions | None = None) -> bytes:
    """Return columns as an Arrow stream."""
    return stream_of(pa.table(columns), options)


def stream_of(table: pa.Table, options: pa.ipc.IpcWriteOptions | None = None) -> bytes:
    """Return a table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def read_stream(body: bytes) -> pa.Table:
    """Return an Arrow stream's table."""
    return pa.ipc.open_stream(body).read_all()


def refusal(response: Any) -> tuple[int, str, list[str]]:
    """Return status, code and the fields that are named, of an answer in the one error shape."""
    body = response.json()
    assert set(body) == {"error", "timestamp"}
    assert set(body["error"]) == {"code", "message", "details", "trace_id"}
    assert dt.datetime.fromisoformat(body["timestamp"]).tzinfo is not None
    fields = [detail["field"] for detail in body["error"]["details"]]
    return response.status_code, body["error"]["code"], fields


NAMES = tuple(CONTRACTS)
