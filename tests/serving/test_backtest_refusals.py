"""Backtests that cannot be: refused by field, in the one shape."""

import copy
import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.serving.backtest_world import CROSSING, asked, ended, prices, walk
from tests.serving.compute_world import ARROW_TYPE, JSON_TYPE, refusal, served


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    limits = {
        "compute_max_points": 500, "backtest_max_combinations": 6, "backtest_max_work": 2000,
        "backtest_max_fills": 300,
    }  # fmt: skip
    with served(tmp_path_factory.mktemp("lake"), **limits) as found:
        yield found


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the request with one thing in it that is otherwise; ``...`` takes it away."""
    body = copy.deepcopy(asked())
    place: Any = body
    *way, last = path.split(".")
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    if value is ...:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return body


@pytest.mark.parametrize(
    ("path", "value", "status"),
    [
        ("strategy_id", ..., 422), ("strategy_id", 7, 422), ("strategy_id", "sma", 422),
        ("symbol", ..., 422), ("symbol", "", 422), ("symbol", "x" * 21, 422), ("symbol", 7, 422),
        ("prices", ..., 422), ("prices", [1, 2], 422), ("prices", None, 422),
        ("prices.dates", ..., 422), ("prices.open", ..., 422), ("prices.close", ..., 422),
        ("prices.dates", [], 422), ("prices.dates", "2023", 422), ("prices.close", [], 422),
        ("prices.dates.3", "yesterday", 422), ("prices.dates.3", 20230106, 422),
        ("prices.dates.3", "2023-02-30", 422), ("prices.dates.0", "", 422),
        ("prices.dates.3", None, 422), ("prices.dates.3", "\u0663-01-06", 422),
        ("prices.dates.3", "2023-01-05", 400), ("prices.dates.3", "2022-01-05", 400),
        ("prices.dates.0", "1899-12-31", 400), ("prices.dates.7", "2200-01-01", 400),
        ("prices.dates.7", "9999-12-31T23:59:59-14:00", 422),
        ("prices.close.2", -8.0, 422), ("prices.close.2", 0, 422), ("prices.open.2", "8", 422),
        ("prices.close.2", None, 422), ("prices.volume.2", -1, 422),
        ("prices.close.2", [8.0], 422), ("prices.extra", [1.0], 422),
        ("prices.high.2", 7.0, 400), ("prices.close.2", 8.5, 400), ("prices.open.2", 8.5, 400),
        ("prices.close.2", 7.5, 400), ("prices.open.2", 7.5, 400),
        ("parameters", [1], 422), ("parameters.fast_period", 0, 422),
        ("parameters.fast_period", 10**9, 422), ("parameters.fast_period", 1.5, 422),
        ("parameters.fast_period", "1", 422), ("parameters.fast_period", True, 422),
        ("parameters.fast_period", None, 422), ("parameters.slow_period", 9, 400),
        ("parameters.slow_period", [2], 422), ("parameters.direction", "up", 422),
        ("parameters.direction", 1, 422), ("parameters.method", "wilder", 422),
        ("parameters.lot_size", -1, 422), ("parameters.lot_size", 1e10, 422),
        ("parameters.initial_capital", 0, 422), ("parameters.position_size", 1.01, 422),
        ("parameters.position_size", 0, 422), ("parameters.transaction_cost", -0.1, 422),
        ("parameters.slippage", 1, 422), ("parameters.volatility", 1, 422),
        ("timeframe", "H2", 422), ("timeframe", None, 422), ("calendar", None, 422),
        ("timeframe", 5, 422), ("timeframe", "W", 400),
        ("calendar", "nse", 422), ("calendar", ["fx"], 422), ("bars_per_year", 0, 422),
        ("bars_per_year", "252", 422), ("bars_per_year", 1e9, 422), ("window", 1, 422),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(client: TestClient, path: str, value: Any, status: int) -> None:
    response = client.post("/backtest/run", json=changed(path, value))
    assert refusal(response)[0] == status, response.text
    assert refusal(response)[2] == [path]


@pytest.mark.parametrize("name", ["dates", "open", "high", "low", "close", "volume"])
def test_columns_are_of_one_length(client: TestClient, name: str) -> None:
    bars = prices()
    response = client.post("/backtest/run", json=asked(prices=bars | {name: bars[name][:-1]}))
    (field,) = refusal(response)[2]
    assert refusal(response)[:2] == (400, "INVALID_INPUT")
    assert field == ("prices.open" if name == "dates" else f"prices.{name}")


@pytest.mark.parametrize("nest", [lambda x: [x], lambda x: [x[:-1], x[-1]]])
def test_an_array_in_an_array_is_no_column(client: TestClient, nest: Any) -> None:
    bars = {name: x for name, x in prices().items() if name != "volume"}
    body = asked(prices=bars | {"open": nest(bars["open"])})
    response = client.post("/backtest/run", json=body)
    assert refusal(response)[0] == 422
    assert refusal(response)[2][0].startswith("prices.open")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_is_finite(client: TestClient, word: str) -> None:
    text = json.dumps(asked()).replace("12.0", word)
    response = client.post("/backtest/run", content=text, headers=JSON_TYPE)
    assert refusal(response)[:2] == (422, "INVALID_JSON")


def test_no_more_bars_than_there_may_be(client: TestClient) -> None:
    response = client.post("/backtest/run", json=asked(prices=walk(501)))
    assert refusal(response)[:2] == (422, "VALIDATION_ERROR")
    assert "prices.dates" in refusal(response)[2]
    assert client.post("/backtest/run", json=asked(prices=walk(500))).status_code == 200


@pytest.mark.parametrize(
    ("path", "value", "meant"),
    [
        ("strategy_id", "sma_crosover", "sma_crossover"),
        ("parameters.fast_perod", 3, "fast_period"),
        ("price", [], "prices"),
        ("prices.closes", [1.0], "close"),
        ("calendar", "crypt0", "crypto"),
    ],
)
def test_what_was_meant_is_told(client: TestClient, path: str, value: Any, meant: str) -> None:
    response = client.post("/backtest/run", json=changed(path, value))
    assert f"(did you mean {meant}?)" in response.json()["error"]["message"]


def test_parameters_that_do_not_go_together_are_named_as_the_request_names_them(
    client: TestClient,
) -> None:
    body = asked({"fast_period": 3, "slow_period": 2})
    assert refusal(client.post("/backtest/run", json=body)) == (
        400, "INVALID_INPUT", ["parameters.slow_period"],
    )  # fmt: skip
    body = asked({"lower": 70, "upper": 30, "period": 2}, strategy_id="rsi_reversal")
    response = client.post("/backtest/run", json=body)
    assert refusal(response)[2] == ["parameters.lower, parameters.upper"]


@pytest.mark.parametrize(
    ("query", "field"), [("async=maybe", "async"), ("asinc=true", "asinc"), ("async=", "async")]
)
def test_another_query_is_refused(client: TestClient, query: str, field: str) -> None:
    response = client.post(f"/backtest/run?{query}", json=asked())
    assert refusal(response) == (400, "INVALID_INPUT", [field])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("grid", "status", "field"),
    [
        (..., 422, "grid"), ({}, 422, "grid"), ([], 422, "grid"), (7, 422, "grid"),
        ({"fast_period": []}, 422, "grid.fast_period"),
        ({"fast_period": 3}, 422, "grid.fast_period"),
        ({"fast_period": [1, "2"]}, 422, "grid.fast_period.1"),
        ({"fast_period": [1, [2]]}, 422, "grid.fast_period.1"),
        ({"fast_period": [1, 501]}, 422, "grid.fast_period.1"),
        ({"slow_period": [2, 9]}, 400, "grid.slow_period.1"),
        ({"fast_period": [1, 2, 1]}, 422, "grid.fast_period"),
        ({"fast_period": [1, 2, 3], "slow_period": [4, 5, 6]}, 422, "grid"),
        ({"fast_period": [1, 2, 3, 4, 5, 6, 7]}, 422, "grid.fast_period"),
        ({"slippage": [0.0]}, 422, "grid.slippage"),
        ({"fast": [1]}, 422, "grid.fast"),
        ({"direction": ["long"]}, 422, "grid.direction"),
        ({"fast_period": [3], "slow_period": [2]}, 400, "grid"),
    ],
)  # fmt: skip
def test_a_wrong_grid_is_named(client: TestClient, grid: Any, status: int, field: str) -> None:
    body = asked({}) if grid is ... else asked({}, grid=grid)
    named = grid if isinstance(grid, dict) else {}
    body["parameters"] |= {
        n: x for n, x in (("fast_period", 1), ("slow_period", 8)) if n not in named
    }
    response = client.post("/backtest/sweep", json=body)
    assert refusal(response)[0] == status, response.text
    assert refusal(response)[2] == [field]


def test_a_parameter_is_fixed_or_swept(client: TestClient) -> None:
    response = client.post("/backtest/sweep", json=asked(CROSSING, grid={"fast_period": [1, 2]}))
    assert refusal(response) == (400, "INVALID_INPUT", ["grid.fast_period"])


def test_a_sweep_has_a_limit_on_its_work(client: TestClient) -> None:
    grid = {"fast_period": [1, 2, 3], "slow_period": [4, 5]}
    response = client.post("/backtest/sweep", json=asked({}, prices=walk(400), grid=grid))
    assert refusal(response) == (400, "INVALID_INPUT", ["grid"])


def test_an_answer_has_a_limit_on_its_fills(client: TestClient) -> None:
    def sawtooth(n: int) -> dict[str, Any]:
        line = [10.0 + i % 2 for i in range(n)]
        columns = dict.fromkeys(("open", "high", "low", "close"), line)
        return {"dates": walk(n)["dates"], **columns}

    trading = {"fast_period": 1, "slow_period": 2}
    fitting = client.post("/backtest/run", json=asked(trading, prices=sawtooth(290)))
    assert 280 < len(fitting.json()["trades"]) <= 300
    response = client.post("/backtest/run", json=asked(trading, prices=sawtooth(400)))
    assert refusal(response) == (400, "INVALID_INPUT", ["trades"])
    # waited for or not, it is the same answer
    taken = client.post("/backtest/run?async=true", json=asked(trading, prices=sawtooth(400)))
    run, _ = ended(lambda: client.get(taken.headers["location"]).json())
    assert (run["status"], run["error"]["code"]) == ("failed", "INVALID_INPUT")


def test_a_body_is_json_packed_or_not(client: TestClient) -> None:
    text = json.dumps(asked()).encode()
    headers = JSON_TYPE | {"content-encoding": "gzip"}
    packed = client.post("/backtest/run", content=gzip.compress(text), headers=headers)
    assert packed.status_code == 200
    assert client.post("/backtest/run", content=text, headers=ARROW_TYPE).status_code == 415
    assert refusal(client.post("/backtest/run", content=b"[" * 10**6, headers=JSON_TYPE))[0] == 422
    broken = client.post("/backtest/run", content=text[:-1], headers=JSON_TYPE)
    assert refusal(broken)[:2] == (422, "INVALID_JSON")


def test_a_body_has_its_own_bound(tmp_path_factory: pytest.TempPathFactory) -> None:
    text = json.dumps(asked()).encode()
    folder = tmp_path_factory.mktemp("lake")
    with served(folder, max_body_bytes=10, backtest_max_body_bytes=len(text)) as client:
        whole = client.post("/backtest/run", content=text, headers=JSON_TYPE)
        assert whole.status_code == 200
        headers = JSON_TYPE | {"content-encoding": "gzip"}
        for body, sent in ((text + b" ", JSON_TYPE), (gzip.compress(text + b" " * 99), headers)):
            response = client.post("/backtest/run", content=body, headers=sent)
            assert refusal(response)[:2] == (413, "BODY_TOO_LARGE")


@pytest.mark.parametrize("run_id", ["nothing", "0" * 36, "..", "%00", "é"])
def test_an_unknown_run_is_not_found(client: TestClient, run_id: str) -> None:
    response = client.get(f"/backtest/results/{run_id}")
    assert response.status_code == 404


def test_backtests_count_against_the_rate_of_an_address(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with served(tmp_path_factory.mktemp("lake"), compute_rate_limit="2/year") as client:
        first = client.post("/backtest/run", json=asked())
        assert first.headers["x-ratelimit-remaining"] == "1"
        client.post("/backtest/sweep", json=asked({}, grid={"fast_period": [1]}))
        over = client.post("/backtest/run", json=asked())
        assert refusal(over)[:2] == (429, "TOO_MANY_REQUESTS")
        assert int(over.headers["retry-after"]) > 0
        run_id = first.json()["run_id"]
        assert client.get(f"/backtest/results/{run_id}").status_code == 200
