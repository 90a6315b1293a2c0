"""What the backtest service is asked in tests."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from starlette.testclient import TestClient

# Fast average 1 crosses above the average of 2 at the fourth close, and below at the seventh.
OPENS = [10.0, 9.0, 8.0, 9.0, 10.0, 12.0, 10.0, 8.0]
CLOSES = [10.0, 9.0, 8.0, 9.0, 11.0, 12.0, 10.0, 8.0]
DATES = [f"2023-01-{day:02}" for day in (3, 4, 5, 6, 9, 10, 11, 12)]
FREE = {"transaction_cost": 0.0, "slippage": 0.0}
CROSSING = {"fast_period": 1, "slow_period": 2}
PATIENT_S = 60.0


def prices(opens: list[float] = OPENS, closes: list[float] = CLOSES, **other: Any) -> Any:
    """Return bars whose high and low are those of their body."""
    found = {
        "dates": DATES,
        "open": opens,
        "high": [max(pair) for pair in zip(opens, closes, strict=True)],
        "low": [min(pair) for pair in zip(opens, closes, strict=True)],
        "close": closes,
        "volume": [1000.0] * len(closes),
    }
    return found | other


def asked(parameters: Mapping[str, Any] = CROSSING, **other: Any) -> dict[str, Any]:
    """Return a request over the eight bars, without costs."""
    return {
        "strategy_id": "sma_crossover",
        "symbol": "TCS",
        "prices": prices(),
        "parameters": {**FREE, **parameters},
    } | other


def walk(n: int, seed: int = 1, start: str = "2020-01-01", minutes: int = 1440) -> dict[str, Any]:
    """Return bars of a random walk, as a request has them."""
    random = np.random.default_rng(seed)
    close = np.round(100.0 * np.exp(np.cumsum(random.standard_normal(n) * 0.01)), 4)
    opens = np.append(close[:1], close[:-1])
    first = np.datetime64(start, "m")
    dates = (first + np.arange(n) * minutes).astype("datetime64[s]")
    unit = "D" if minutes % 1440 == 0 else "s"
    return {
        "dates": np.datetime_as_string(dates, unit=unit).tolist(),
        "open": opens.tolist(),
        "high": (np.maximum(opens, close) + 0.05).tolist(),
        "low": (np.minimum(opens, close) - 0.05).tolist(),
        "close": close.tolist(),
    }


def run(client: TestClient, body: Any) -> Any:
    """Return the answer to a backtest that succeeds."""
    response = client.post("/backtest/run", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def sweep(client: TestClient, body: Any) -> Any:
    """Return the answer to a sweep that succeeds."""
    response = client.post("/backtest/sweep", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def ended(read: Callable[[], Any]) -> Any:
    """Ask until a run is neither pending nor running; return its answer and the states it had."""
    states = []
    deadline = time.monotonic() + PATIENT_S
    while True:
        answer = read()
        if not states or states[-1] != answer["status"]:
            states.append(answer["status"])
        if states[-1] not in ("pending", "running"):
            return answer, states
        assert time.monotonic() < deadline
        time.sleep(0.005)
