"""``POST /compute/batch``: results and their names, shared work, failures that stay alone."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from kernels.indicator import StatefulKernel
from serving.compute import batches, checks, json_batches, json_bodies
from serving.compute.contracts import CONTRACTS, VALUES
from serving.compute.plans import plan_of
from tests.serving.compute_world import (
    JSON_TYPE,
    NAMES,
    bars,
    expected,
    refusal,
    served,
)

SMA, RSI = {"type": "sma", "params": {"period": 20}}, {"type": "rsi", "params": {"period": 14}}
MACD = {"type": "macd", "params": {"fast_period": 12, "slow_period": 26, "signal_period": 9}}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served(tmp_path_factory.mktemp("lake")) as found:
        yield found


def closes(n: int = 60, seed: int = 1) -> list[float]:
    return [float(x) for x in bars(n, seed)["close"]]


def ask(client: TestClient, *requests: object) -> Any:
    return client.post("/compute/batch", json={"requests": list(requests)})


def test_the_contract_s_own_example(client: TestClient) -> None:
    tcs, infy = closes(seed=1), closes(seed=2)
    answer = ask(
        client,
        {"symbol": "TCS", "prices": tcs, "indicators": [SMA, RSI, MACD]},
        {
            "symbol": "INFY",
            "prices": infy,
            "indicators": [
                {"type": "sma", "params": {"period": 50}},
                {"type": "bollinger", "params": {"period": 20, "std_dev": 2.0}},
            ],
        },
    ).json()
    assert set(answer) == {
        "results", "total_computation_time_ms", "symbols_processed", "symbols_failed",
        "indicators_computed", "mojo_used",
    }  # fmt: skip
    first, second = answer["results"]
    assert (answer["symbols_processed"], answer["indicators_computed"]) == (2, 5)
    assert (first["symbol"], list(first["indicators"])) == ("TCS", ["sma", "rsi", "macd"])
    assert (second["symbol"], list(second["indicators"])) == ("INFY", ["sma", "bollinger"])
    assert first["indicators"]["sma"]["period"] == 20
    for symbol, prices, result in (("TCS", tcs, first), ("INFY", infy, second)):
        for name, found in result["indicators"].items():
            parameters = {n: found[n] for n in CONTRACTS[name].parameters}
            body = {"symbol": symbol, "prices": prices, **parameters}
            alone = client.post(f"/compute/{name}", json=body).json()
            lines = CONTRACTS[name].lines
            assert {line: found[line] for line in lines} == {line: alone[line] for line in lines}
    spent = [
        found["computation_time_ms"]
        for result in (first, second)
        for found in result["indicators"].values()
    ]
    assert answer["total_computation_time_ms"] == pytest.approx(sum(spent), abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_every_indicator_is_the_same_in_a_batch(client: TestClient, name: str) -> None:
    contract = CONTRACTS[name]
    columns = [bars(200, seed) for seed in range(3)] + [bars(150, 9)]
    requests = [
        {
            "symbol": f"S{i}",
            **{c: [float(v) for v in x[c]] for c in contract.columns},
            "indicators": [{"type": name}],
        }
        for i, x in enumerate(columns)
    ]
    answer = ask(client, *requests).json()
    for x, result in zip(columns, answer["results"], strict=True):
        found = result["indicators"][name]
        lines = expected(contract, x)
        assert {line: found[line] for line in lines} == lines


@pytest.mark.parametrize(
    ("wishes", "keys"),
    [
        ([SMA, RSI], ["sma", "rsi"]),
        ([SMA, SMA], ["sma"]),
        ([{"type": "sma"}, SMA], ["sma"]),
        ([SMA, {"type": "sma", "params": {"period": 50}}], ["sma_20", "sma_50"]),
        (
            [{"type": "bollinger"}, {"type": "bollinger", "params": {"std_dev": 2.5}}],
            ["bollinger_20_2", "bollinger_20_2.5"],
        ),
        (
            [{"type": "bollinger"}, {"type": "bollinger", "params": {"period": 50}}],
            ["bollinger_20", "bollinger_50"],
        ),
        (
            [MACD, {"type": "macd", "params": {"signal_period": 5}}, SMA],
            ["macd_12_26_9", "macd_12_26_5", "sma"],
        ),
    ],
)
def test_results_are_called_by_type_and_what_tells_them_apart(
    wishes: list[Any], keys: list[str]
) -> None:
    assert [wish.key for wish in plan_of(wishes).wishes] == keys


def test_what_is_asked_twice_is_computed_once(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()
    run = StatefulKernel.run_rows

    def counted(self: StatefulKernel, *args: Any, **kwargs: Any) -> Any:
        calls[self.name] += 1
        return run(self, *args, **kwargs)

    monkeypatch.setattr(StatefulKernel, "run_rows", counted)
    wishes = [{"type": "hma"}, {"type": "hma", "params": {"period": 20}}, {"type": "wma"}]
    requests = [{"symbol": f"S{i}", "prices": closes(), "indicators": wishes} for i in range(3)]
    answer = ask(client, *requests).json()
    assert calls == {"hma": 1, "wma": 1}
    assert answer["indicators_computed"] == 6


GOOD = {"symbol": "GOOD", "prices": closes(), "indicators": [SMA]}


ONE = {"symbol": "B", "prices": [1.0], "indicators": [SMA]}
UNREADABLE: list[tuple[Any, str]] = [
    ({**ONE, "prices": [1, -1]}, "prices.1"),
    ({**ONE, "prices": [1, "x"]}, "prices.1"),
    ({**ONE, "prices": [[1], [2]]}, "prices.0"),
    ({**ONE, "prices": []}, "prices"),
    ({**ONE, "prise": [1.0]}, "prise"),
    ({"symbol": "B", "indicators": [SMA]}, "prices"),
    ({"symbol": "B", "prices": [1.0]}, "indicators"),
    ({**ONE, "indicators": []}, "indicators"),
    ({**ONE, "indicators": {}}, "indicators"),
    ({**ONE, "indicators": [3]}, "indicators.0"),
    ({**ONE, "indicators": [SMA] * 101}, "indicators"),
    ({**ONE, "indicators": [{"type": "smma"}]}, "indicators.0.type"),
    ({**ONE, "indicators": [{"type": 3}]}, "indicators.0.type"),
    ({**ONE, "indicators": [SMA, {"params": {}}]}, "indicators.1.type"),
    ({**ONE, "indicators": [{"type": "sma", "params": {"p": 2}}]}, "indicators.0.params.p"),
    ({**ONE, "indicators": [{"type": "sma", "params": []}]}, "indicators.0.params"),
    ({**ONE, "indicators": [{"type": "sma", "parms": {}}]}, "indicators.0.parms"),
    ({**ONE, "symbol": ""}, "symbol"),
    ({"prices": [1.0], "indicators": [SMA]}, "symbol"),
    (17, "request"),
]
DONCHIAN = {"high": [1.0] * 30, "low": [2.0] * 30, "indicators": [{"type": "donchian"}]}
OBV = {"close": [1.0, 2.0], "volume": [1.0], "indicators": [{"type": "obv"}]}
SLOW = {"type": "macd", "params": {"slow_period": 3}}
UNCOMPUTABLE: list[tuple[Any, str]] = [
    (ONE, "period"),
    ({**ONE, "indicators": [SLOW]}, "indicators.0.params.slow_period"),
    ({"symbol": "B", **OBV}, "volume"),
    ({"symbol": "B", **DONCHIAN}, "high.0"),
]


@pytest.mark.parametrize(
    ("bad", "code", "field"),
    [
        *((bad, "VALIDATION_ERROR", field) for bad, field in UNREADABLE),
        *((bad, "INVALID_INPUT", field) for bad, field in UNCOMPUTABLE),
    ],
)
def test_a_bad_symbol_fails_alone(client: TestClient, bad: Any, code: str, field: str) -> None:
    response = ask(client, GOOD, bad, GOOD)
    answer = response.json()
    assert response.status_code == 200
    alone = ask(client, GOOD).json()["results"][0]["indicators"]["sma"]["values"]
    for i in (0, 2):
        assert answer["results"][i]["indicators"]["sma"]["values"] == alone
    failed = answer["results"][1]
    assert set(failed) == {"symbol", "error"}
    has_symbol = isinstance(bad, dict) and bad.get("symbol") == "B"
    assert failed["symbol"] == ("B" if has_symbol else None)
    assert set(failed["error"]) == {"code", "message", "details"}
    assert failed["error"]["code"] == code
    assert failed["error"]["details"][0]["field"] == field
    assert (answer["symbols_processed"], answer["symbols_failed"]) == (2, 1)
    assert answer["indicators_computed"] == 2


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("{}", ["requests"]),
        ('{"requests": []}', ["requests"]),
        ('{"requests": {}}', ["requests"]),
        ('{"requests": null}', ["requests"]),
        ('{"requests": [{}], "extra": 1}', ["extra"]),
        ("[]", ["body"]),
        ('{"requests": [', ["requests"]),
        ('{"requests": [{"symbol": "B", "prices": [NaN]}]}', ["prices"]),
        ('{"requests": [' + "[" * 100_000, ["body"]),
    ],
)
def test_a_body_that_is_no_batch_is_refused(
    client: TestClient, body: str, fields: list[str]
) -> None:
    response = client.post("/compute/batch", content=body, headers=JSON_TYPE)
    assert refusal(response)[::2] == (422, fields)


def test_a_batch_has_a_thousand_symbols_at_most(client: TestClient) -> None:
    one = {
        "symbol": "S",
        "prices": [1.0, 2.0],
        "indicators": [{"type": "roc", "params": {"period": 1}}],
    }
    answer = ask(client, *[one] * 1000).json()
    assert answer["symbols_processed"] == 1000
    assert answer["results"][-1]["indicators"]["roc"]["values"] == [None, 100.0]
    assert refusal(ask(client, *[one] * 1001)) == (422, "VALIDATION_ERROR", ["requests"])


def test_a_batch_that_would_answer_too_much_is_refused(tmp_path: Any) -> None:
    with served(tmp_path, compute_max_values=150) as client:
        assert ask(client, GOOD, GOOD).status_code == 200
        assert refusal(ask(client, GOOD, GOOD, GOOD)) == (400, "INVALID_INPUT", ["answer"])


def test_brackets_in_text_are_not_arrays(client: TestClient) -> None:
    odd = {**GOOD, "symbol": '[[]]{}"\\'}
    answer = ask(client, odd, GOOD).json()
    first, second = (x["indicators"]["sma"][VALUES] for x in answer["results"])
    assert first == second
    assert answer["results"][0]["symbol"] == odd["symbol"]


def test_an_array_within_an_array_is_found_wherever_brackets_are_text() -> None:
    nested = '{"symbol": "B", "prices": [[1], [2]], "indicators": [{"type": "sma"}]}'
    for symbol in ("[[", "\\u005b\\u005b", "[\\u005b"):
        other = f'{{"symbol": "{symbol}", "prices": [1], "indicators": [{{"type": "sma"}}]}}'
        text = f'{{"requests": [{other}, {nested}]}}'.encode()
        batch = json_batches.read(text, max_symbols=10, max_points=100)
        assert list(batch.failed) == [1]
        assert batch.symbols[0] == "[["


@pytest.mark.skipif(json_bodies.simdjson is None, reason="orjson reads every number as an object")
@pytest.mark.parametrize("bad", [bad for bad, field in UNREADABLE if "prices." not in field])
def test_a_bad_symbol_does_not_slow_the_others_down(
    monkeypatch: pytest.MonkeyPatch, bad: Any
) -> None:
    looked_at: list[str] = []
    monkeypatch.setattr(checks, "list_faults", lambda field, *_: looked_at.append(field) or [])
    text = json.dumps({"requests": [GOOD, bad, GOOD]}).encode()
    batch = json_batches.read(text, max_symbols=10, max_points=100)
    assert list(batch.failed) == [1]
    assert not looked_at


def test_symbols_of_one_length_and_plan_are_one_block() -> None:
    requests = [
        {"symbol": f"S{i}", "prices": closes(n), "indicators": [SMA]}
        for i, n in enumerate((50, 60, 50, 50, 60))
    ]
    text = json.dumps({"requests": requests}).encode()
    batch = json_batches.read(text, max_symbols=10, max_points=100)
    outcome = batches.outcome_of(batch, deadline=float("inf"))
    assert [(block.rows, block.points) for block in outcome.blocks] == [
        ([0, 2, 3], 50),
        ([1, 4], 60),
    ]
    assert (outcome.computed, batch.points, batch.values) == (5, 270, 270)
    mean = np.mean(closes(50)[:20])
    assert outcome.blocks[0].results[0].lines[VALUES][1][19] == pytest.approx(mean, rel=1e-12)
