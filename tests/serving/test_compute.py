"""``POST /compute/{indicator}``: the contract, every indicator, and every way to ask wrongly."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from serving.compute.checks import column_fault
from serving.compute.contracts import CONTRACTS, RESERVED
from tests.serving.compute_world import (
    JSON_TYPE,
    NAMES,
    bars,
    expected,
    question,
    refusal,
    served,
)

CLOSES = [44.34, 44.09, 44.15, 43.61, 44.33, 44.83, 45.10, 45.42, 45.84, 46.08, 45.89, 46.03]
CLOSES += [45.61, 46.28, 46.28]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served(tmp_path_factory.mktemp("lake")) as found:
        yield found


def ask(client: TestClient, indicator: str, body: Any) -> Any:
    return client.post(f"/compute/{indicator}", json=body)


def test_sma_answers_as_the_contract_says(client: TestClient) -> None:
    response = ask(client, "sma", {"symbol": "TCS", "prices": [1.0, 2.0, 3.0, 5.0], "period": 2})
    answer = response.json()
    assert response.status_code == 200
    assert list(answer) == [
        "symbol", "indicator", "period", "values", "computation_time_ms", "mojo_used",
    ]  # fmt: skip
    assert (answer["symbol"], answer["indicator"], answer["period"]) == ("TCS", "sma", 2)
    assert answer["values"] == [None, 1.5, 2.5, 4.0]
    assert answer["computation_time_ms"] > 0
    assert isinstance(answer["mojo_used"], bool)


def test_rsi_answers_as_the_contract_says(client: TestClient) -> None:
    answer = ask(client, "rsi", {"symbol": "TCS", "prices": CLOSES}).json()
    assert (answer["indicator"], answer["period"]) == ("rsi", 14)
    assert answer["values"][:14] == [None] * 14
    assert answer["values"][14] == pytest.approx(100 * 3.34 / (3.34 + 1.40), abs=1e-9)


def test_macd_answers_as_the_contract_says(client: TestClient) -> None:
    periods = {"fast_period": 12, "slow_period": 26, "signal_period": 9}
    prices = bars(40)["close"].tolist()
    answer = ask(client, "macd", {"symbol": "TCS", "prices": prices, **periods}).json()
    assert answer["indicator"] == "macd"
    assert {name: answer[name] for name in periods} == periods
    for name in ("macd_line", "signal_line", "histogram"):
        assert [x is None for x in answer[name]] == [True] * 33 + [False] * 7
    gap = answer["macd_line"][-1] - answer["signal_line"][-1]
    assert answer["histogram"][-1] == pytest.approx(gap, rel=1e-9)


def test_bollinger_answers_as_the_contract_says(client: TestClient) -> None:
    body = {"symbol": "TCS", "prices": [1.0, 3.0, 2.0], "period": 2, "std_dev": 1.5}
    answer = ask(client, "bollinger", body).json()
    assert (answer["indicator"], answer["period"], answer["std_dev"]) == ("bollinger_bands", 2, 1.5)
    assert answer["upper_band"] == [None, 3.5, pytest.approx(3.25)]
    assert answer["middle_band"] == [None, 2.0, 2.5]
    assert answer["lower_band"] == [None, 0.5, pytest.approx(1.75)]


@pytest.mark.parametrize("name", NAMES)
def test_every_indicator_says_what_its_kernel_says(client: TestClient, name: str) -> None:
    contract, columns = CONTRACTS[name], bars(700)
    response = ask(client, name, question(contract, columns))
    answer = response.json()
    assert response.status_code == 200, answer
    lines = expected(contract, columns)
    assert {line: answer[line] for line in lines} == lines
    defaults = {api: parameter.default for api, parameter in contract.parameters.items()}
    assert {api: answer[api] for api in defaults} == defaults
    assert set(answer) == {*RESERVED, *defaults, *lines}
    warmup = contract.kernel.warmup(**contract.kernel.resolved({}))
    for line in lines.values():
        for row in line if isinstance(line[0], list) else [line]:
            assert all(x is not None for x in row[warmup:])


@pytest.mark.parametrize("name", NAMES)
def test_no_two_names_of_an_answer_collide(name: str) -> None:
    contract = CONTRACTS[name]
    names = [*RESERVED, *contract.parameters, *contract.lines]
    assert len(names) == len(set(names))
    assert len(contract.parameters) == len(contract.kernel.parameters)
    assert sorted(contract.lines.values()) == list(range(len(contract.kernel.outputs)))


@pytest.mark.parametrize("name", NAMES)
def test_lines_with_a_row_a_level_are_declared(name: str) -> None:
    contract = CONTRACTS[name]
    out = contract.kernel.run(bars(700), None, **contract.kernel.resolved({}))
    matrices = {line for line, i in contract.lines.items() if out[i].ndim == 2}
    assert matrices == contract.matrices
    parameters = contract.resolved({})
    assert contract.width(parameters) == sum(x.shape[0] if x.ndim == 2 else 1 for x in out)


def test_the_close_may_be_called_prices_or_close(client: TestClient) -> None:
    one = ask(client, "ema", {"symbol": "TCS", "prices": CLOSES, "period": 3}).json()
    other = ask(client, "ema", {"symbol": "TCS", "close": CLOSES, "period": 3}).json()
    assert one["values"] == other["values"]
    both = {"symbol": "TCS", "close": CLOSES, "prices": CLOSES, "period": 3}
    assert refusal(ask(client, "ema", both)) == (422, "VALIDATION_ERROR", ["close"])


GOOD = '"symbol": "TCS", "period": 2, '


@pytest.mark.parametrize(
    ("body", "status", "code", "fields"),
    [
        ("", 422, "INVALID_JSON", ["body"]),
        ("nonsense", 422, "INVALID_JSON", ["body"]),
        ("[" * 10_000_000, 422, "INVALID_JSON", ["body"]),
        ('{"a":' * 100_000, 422, "INVALID_JSON", ["body"]),
        ("[1, 2]", 422, "VALIDATION_ERROR", ["body"]),
        ("null", 422, "VALIDATION_ERROR", ["body"]),
        ("17", 422, "VALIDATION_ERROR", ["body"]),
        ('{"symbol": "TCS", "prices": [1, 2], }', 422, "INVALID_JSON", ["body"]),
        ("{%s}", 422, "VALIDATION_ERROR", ["prices"]),
        ('{%s"prices": [1, 2, NaN]}', 422, "INVALID_JSON", ["prices"]),
        ('{%s"prices": [1, Infinity, 3]}', 422, "INVALID_JSON", ["prices"]),
        ('{%s"prices": [-Infinity]}', 422, "INVALID_JSON", ["prices"]),
        ('{%s"prices": [1, 1e999]}', 422, "INVALID_JSON", ["prices"]),
        ('{%s"prices": [1, -2.5, 3]}', 422, "VALIDATION_ERROR", ["prices.1"]),
        ('{%s"prices": [1, 0, 3]}', 422, "VALIDATION_ERROR", ["prices.1"]),
        ('{%s"prices": [1, "2", 3]}', 422, "VALIDATION_ERROR", ["prices.1"]),
        ('{%s"prices": [1, true, null]}', 422, "VALIDATION_ERROR", ["prices.1", "prices.2"]),
        ('{%s"prices": [[1, 2], [3]]}', 422, "VALIDATION_ERROR", ["prices.0", "prices.1"]),
        ('{%s"prices": [[1], [3]]}', 422, "VALIDATION_ERROR", ["prices.0", "prices.1"]),
        (
            '{"symbol": "\\u005b", "period": 2, "prices": [[1, 2]]}',
            422,
            "VALIDATION_ERROR",
            ["prices.0"],
        ),
        ('{%s"prices": [1, {"a": 2}]}', 422, "VALIDATION_ERROR", ["prices.1"]),
        ('{%s"prices": []}', 422, "VALIDATION_ERROR", ["prices"]),
        ('{%s"prices": "1,2,3"}', 422, "VALIDATION_ERROR", ["prices"]),
        ('{%s"prices": {"0": 1}}', 422, "VALIDATION_ERROR", ["prices"]),
        ('{%s"prices": null}', 422, "VALIDATION_ERROR", ["prices"]),
        ('{%s"prices": [1, 2], "prices": [3, 4]}', 422, "VALIDATION_ERROR", ["prices"]),
        ('{%s"prices": [1, 2], "volume": [1, 2]}', 422, "VALIDATION_ERROR", ["volume"]),
        ('{%s"prices": [1, 2], "dates": [2, 1]}', 422, "VALIDATION_ERROR", ["dates"]),
        ('{"prices": [1, 2]}', 422, "VALIDATION_ERROR", ["symbol"]),
        ('{"symbol": "", "prices": [1, 2]}', 422, "VALIDATION_ERROR", ["symbol"]),
        ('{"symbol": "%s", "prices": [1, 2]}' % ("x" * 21), 422, "VALIDATION_ERROR", ["symbol"]),
        ('{"symbol": 7, "prices": [1, 2]}', 422, "VALIDATION_ERROR", ["symbol"]),
        ('{"symbol": ["T"], "prices": [1, 2]}', 422, "VALIDATION_ERROR", ["symbol"]),
        ('{"symbol": "\\ud800", "prices": [1, 2]}', 422, "INVALID_JSON", ["body"]),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_a_wrong_body_is_refused_by_field(
    client: TestClient, body: str, status: int, code: str, fields: list[str]
) -> None:
    content = body.replace("%s", GOOD)
    if content == "{" + GOOD + "}":
        content = content.replace(", }", "}")
    response = client.post("/compute/sma", content=content, headers=JSON_TYPE)
    assert refusal(response) == (status, code, fields)


@pytest.mark.parametrize(
    ("period", "status"),
    [
        *((bad, 422) for bad in (0, 1, -5, 501, 10**9, 10**30, 2.5, "2", True, None, [2])),
        *((11, 400), (10, 200), (10.0, 200)),
    ],
)
def test_a_period_is_a_whole_number_within_limits_and_the_data(
    client: TestClient, period: object, status: int
) -> None:
    response = ask(client, "sma", {"symbol": "TCS", "prices": CLOSES[:10], "period": period})
    assert response.status_code == status
    if status != 200:
        assert refusal(response)[2] == ["period"]


def test_a_period_beyond_the_data_says_how_long_that_is(client: TestClient) -> None:
    body = {"symbol": "TCS", "prices": [1.0] * 150, "period": 200}
    response = ask(client, "sma", body)
    assert refusal(response)[:2] == (400, "INVALID_INPUT")
    message = response.json()["error"]["message"]
    assert message == "period: expected at most the data's length (150), was 200"


def test_parameters_that_do_not_go_together_are_refused_by_the_api_s_names(
    client: TestClient,
) -> None:
    periods = {"fast_period": 26, "slow_period": 12}
    response = ask(client, "macd", {"symbol": "TCS", "prices": CLOSES * 3, **periods})
    assert refusal(response) == (400, "INVALID_INPUT", ["slow_period"])
    body = {"symbol": "TCS", "high": CLOSES, "low": CLOSES, "step": 0.5, "most": 0.1}
    assert refusal(ask(client, "psar", body)) == (400, "INVALID_INPUT", ["step"])


@pytest.mark.parametrize(
    ("given", "meant"), [("perid", "period"), ("price", "prices"), ("simbol", "symbol")]
)
def test_an_unknown_field_is_told_what_it_may_have_meant(
    client: TestClient, given: str, meant: str
) -> None:
    body = {"symbol": "TCS", "prices": CLOSES, "period": 2, given: 3}
    response = ask(client, "sma", body)
    assert refusal(response)[2] == [given]
    assert f"(did you mean {meant}?)" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("given", "meant"), [("smaa", "sma"), ("bolinger", "bollinger"), ("MACD", ""), ("x" * 5000, "")]
)
def test_an_unknown_indicator_is_not_found_and_told_what_it_may_have_meant(
    client: TestClient, given: str, meant: str
) -> None:
    response = ask(client, given, {})
    assert refusal(response) == (404, "UNKNOWN_INDICATOR", ["indicator"])
    hint = re.search(r"did you mean (\w+)\?", response.json()["error"]["message"])
    assert (hint[1] if hint else "") == meant


def test_only_post_asks_an_indicator(client: TestClient) -> None:
    assert client.get("/compute/sma").status_code == 405
    assert client.get("/compute/smaa").status_code == 405


@pytest.mark.parametrize(
    ("change", "status", "fields"),
    [
        ({"low": [1.0] * 29}, 400, ["low"]),
        ({"volume": [1.0] * 31}, 400, ["volume"]),
        ({"high": [0.5] * 30}, 400, ["high.0"]),
        ({"volume": [-1.0] * 30}, 422, ["volume.0"]),
        ({"session": [0.5] * 30}, 422, ["session.0"]),
        ({"session": [2.0**53] * 30}, 422, ["session.0"]),
        ({"session": None}, 422, ["session"]),
        ({"volume": [0.0] * 30}, 200, []),
    ],
)
def test_columns_go_together(
    client: TestClient, change: dict[str, Any], status: int, fields: list[str]
) -> None:
    body = {**question(CONTRACTS["vwap"], bars(30)), **change}
    response = ask(client, "vwap", {k: v for k, v in body.items() if v is not None})
    assert response.status_code == status
    if status != 200:
        assert refusal(response)[2] == fields


def test_a_missing_column_is_named(client: TestClient) -> None:
    body = {"symbol": "TCS", "close": CLOSES}
    assert refusal(ask(client, "obv", body)) == (422, "VALIDATION_ERROR", ["volume"])
    assert refusal(ask(client, "obv", {**body, "prices": CLOSES}))[2] == ["prices", "volume"]


def test_a_column_that_is_too_long_is_refused(tmp_path: Any) -> None:
    with served(tmp_path, compute_max_points=10) as client:
        body = {"symbol": "TCS", "prices": [1.0] * 10, "period": 2}
        assert ask(client, "sma", body).status_code == 200
        body["prices"] = [1.0] * 11
        assert refusal(ask(client, "sma", body)) == (422, "VALIDATION_ERROR", ["prices"])


def test_an_answer_that_would_be_too_long_is_refused(tmp_path: Any) -> None:
    with served(tmp_path, compute_max_values=100) as client:
        body = {"symbol": "TCS", "prices": [1.0] * 30}
        assert ask(client, "sma", body).status_code == 200
        assert refusal(ask(client, "bollinger", body)) == (400, "INVALID_INPUT", ["answer"])


def test_what_overflows_has_no_value(client: TestClient) -> None:
    body = {"symbol": "TCS", "prices": [1e308, 1.7e308] * 20, "period": 2}
    for name in ("sma", "ema", "roc"):
        assert ask(client, name, body).status_code == 200
    huge = [1.7e308] * 30
    body = {"symbol": "TCS", "high": huge, "low": huge, "close": huge, "volume": huge}
    assert ask(client, "mfi", body).status_code == 200


def test_a_whole_number_beyond_64_bits_is_a_number(client: TestClient) -> None:
    text = '{"symbol": "a[", "period": 2, "prices": [1e20, 100000000000000000000, 3e20]}'
    response = client.post("/compute/sma", content=text, headers=JSON_TYPE)
    assert response.json()["values"] == [None, 1e20, 2e20]


def test_many_wrong_numbers_are_answered_in_one_page(client: TestClient) -> None:
    response = ask(client, "sma", {"symbol": "TCS", "prices": ["x"] * 5000})
    assert len(refusal(response)[2]) == 50


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"content-type": "application/vnd.api+json"}, 200),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({}, 415),
    ],
)
def test_the_content_type_says_what_the_body_is(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    body = json.dumps({"symbol": "TCS", "prices": CLOSES, "period": 2}).encode()
    response = client.post("/compute/sma", content=body, headers=headers)
    assert response.status_code == status
    if status == 415:
        assert refusal(response)[1:] == ("UNSUPPORTED_MEDIA_TYPE", ["Content-Type"])


def test_parameters_beside_a_json_body_are_refused(client: TestClient) -> None:
    body = {"symbol": "TCS", "prices": CLOSES}
    response = client.post("/compute/sma?period=3", json=body)
    assert refusal(response) == (400, "INVALID_INPUT", ["period"])


def test_a_refusal_shows_no_file(client: TestClient) -> None:
    response = client.post("/compute/sma", content=b'{"symbol": [', headers=JSON_TYPE)
    assert not re.search(r"\.py|serving|line \d|Traceback", response.text)


def test_who_asks_at_once_gets_his_own_answer(client: TestClient) -> None:
    def one(i: int) -> bool:
        prices = bars(300, seed=i)["close"]
        body = {"symbol": f"S{i}", "prices": prices.tolist(), "period": 2}
        answer = ask(client, "sma", body).json()
        mean = (prices[1:] + prices[:-1]) / 2
        return bool(
            answer["symbol"] == f"S{i}"
            and np.allclose(answer["values"][1:], mean, rtol=1e-12, atol=0.0)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(64)))


def test_the_bounds_of_a_column_are_exact() -> None:
    assert column_fault("close", "close", np.array([5e-324, 1.7e308])) is None
    for bad in (0.0, -0.0, -1.0, np.inf, np.nan):
        fault = column_fault("close", "prices", np.array([1.0, bad, 1.0]))
        assert fault is not None
        assert fault.field == "prices.1"
    assert column_fault("volume", "volume", np.array([0.0])) is None
