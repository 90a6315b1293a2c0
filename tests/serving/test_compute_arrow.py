"""Arrow in and out: the same numbers, and every way to send a stream wrongly."""

import io
import json
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from serving.compute.content import ARROW, JSON
from serving.compute.contracts import CONTRACTS, VALUES
from tests.serving.compute_world import (
    ARROW_TYPE,
    NAMES,
    bars,
    expected,
    read_stream,
    refusal,
    served,
    stream,
    stream_of,
)

SMA = [{"type": "sma", "params": {"period": 2}}]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served(tmp_path_factory.mktemp("lake")) as found:
        yield found


def ask(client: TestClient, path: str, body: bytes, **query: Any) -> Any:
    return client.post(path, content=body, headers=ARROW_TYPE, params=query)


def batch(client: TestClient, columns: Any, indicators: Any = SMA) -> Any:
    return ask(client, "/compute/batch", stream(columns), indicators=json.dumps(indicators))


@pytest.mark.parametrize("name", NAMES)
def test_every_indicator_says_in_arrow_what_its_kernel_says(client: TestClient, name: str) -> None:
    contract, columns = CONTRACTS[name], bars(700)
    body = stream({c: columns[c] for c in contract.columns})
    response = ask(client, f"/compute/{name}", body, symbol="TCS")
    assert (response.status_code, response.headers["content-type"]) == (200, ARROW)
    answer = read_stream(response.content)
    lines: dict[str, Any] = {}
    for line, x in expected(contract, columns).items():
        rows = x if line in contract.matrices else None
        lines |= {f"{line}_{i}": row for i, row in enumerate(rows, 1)} if rows else {line: x}
    assert answer.to_pydict() == lines
    metadata = {k.decode(): v.decode() for k, v in answer.schema.metadata.items()}
    assert (metadata["symbol"], metadata["indicator"]) == ("TCS", contract.label)
    for parameter, x in contract.resolved({}).items():
        assert json.loads(metadata[parameter]) == x
    assert float(metadata["computation_time_ms"]) > 0
    assert metadata["mojo_used"] in {"true", "false"}
    assert len(list(pa.ipc.open_stream(response.content))) == 1


@pytest.mark.parametrize(
    ("sent", "accept", "came"),
    [
        (ARROW, "", ARROW),
        (ARROW, "*/*", ARROW),
        (ARROW, JSON, JSON),
        (ARROW, f"{JSON};q=0.5, {ARROW}", ARROW),
        (JSON, "*/*", JSON),
        (JSON, ARROW, ARROW),
        (JSON, f"{ARROW};q=0.1, {JSON}", JSON),
    ],
)
def test_accept_says_what_comes_back(client: TestClient, sent: str, accept: str, came: str) -> None:
    headers = {"content-type": sent, "accept": accept}
    arrow, text = stream({"prices": [1.0, 3.0]}), b'{"symbol":"T","prices":[1,3],"period":2}'
    response = client.post(
        "/compute/sma",
        content=arrow if sent == ARROW else text,
        params={"symbol": "T", "period": 2} if sent == ARROW else {},
        headers=headers,
    )
    assert response.headers["content-type"] == came
    if came == ARROW:
        assert read_stream(response.content).to_pydict() == {VALUES: [None, 2.0]}
    else:
        assert response.json()["values"] == [None, 2.0]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint16(), pa.int64(), pa.float32(), pa.float64()])
def test_any_numbers_are_taken(client: TestClient, kind: pa.DataType) -> None:
    body = stream({"close": pa.array([1, 3, 7], kind)})
    answer = read_stream(ask(client, "/compute/sma", body, symbol="T", period=2).content)
    assert answer.column(VALUES).to_pylist() == [None, 2.0, 5.0]


def test_several_record_batches_are_one_series(client: TestClient) -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"close": [1.0, 3.0, 7.0, 9.0, 11.0]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    body = sink.getvalue().to_pybytes()
    answer = read_stream(ask(client, "/compute/sma", body, symbol="T", period=2).content)
    assert answer.column(VALUES).to_pylist() == [None, 2.0, 5.0, 8.0, 10.0]


def test_what_polars_writes_is_read(client: TestClient) -> None:
    sink = io.BytesIO()
    pl.DataFrame({"close": [1.0, 3.0, 7.0]}).write_ipc_stream(sink)
    response = ask(client, "/compute/sma", sink.getvalue(), symbol="T", period=2)
    found = pl.read_ipc_stream(response.content)
    assert found[VALUES].to_list() == [None, 2.0, 5.0]
    sink = io.BytesIO()
    pl.DataFrame({"symbol": ["A", "B"], "close": [[1.0, 3.0], [5.0]]}).write_ipc_stream(sink)
    query = {"indicators": '[{"type": "sma", "params": {"period": 2}}]'}
    response = ask(client, "/compute/batch", sink.getvalue(), **query)
    assert pl.read_ipc_stream(response.content)["sma"].to_list() == [[None, 2.0], None]


def _dictionary() -> bytes:
    return stream({"close": pa.array(["a", "b"]).dictionary_encode()})


def _columns(names: list[str]) -> bytes:
    return stream_of(pa.Table.from_arrays([pa.array([1.0, 2.0])] * len(names), names))


def _compressed(codec: str) -> bytes:
    return stream({"close": [1.0] * 9}, pa.ipc.IpcWriteOptions(compression=codec))


GOOD = stream({"close": [1.0, 2.0, 3.0]})


@pytest.mark.parametrize(
    ("body", "query", "status", "fields"),
    [
        (b"", {}, 422, ["body"]),
        (b"nonsense", {}, 422, ["body"]),
        (GOOD[:-20], {}, 422, ["body"]),
        (GOOD[:40], {}, 422, ["body"]),
        (stream({"close": pa.array([], pa.float64())}), {}, 422, ["body"]),
        (stream({"close": [1.0, None]}), {}, 422, ["close"]),
        (stream({"close": [1.0, float("nan")]}), {}, 422, ["close.1"]),
        (stream({"close": [1.0, float("inf")]}), {}, 422, ["close.1"]),
        (stream({"close": [1.0, -3.0]}), {}, 422, ["close.1"]),
        (stream({"close": ["1", "2"]}), {}, 422, ["close"]),
        (stream({"close": [True, False]}), {}, 422, ["close"]),
        (stream({"close": [[1.0], [2.0]]}), {}, 422, ["close"]),
        (_dictionary(), {}, 422, ["close"]),
        (_columns(["close"] * 2), {}, 422, ["close"]),
        (_columns(["close"] * 101), {}, 422, ["body"]),
        (_columns([f"c{i}" for i in range(101)]), {}, 422, ["body"]),
        (stream({"closed": [1.0]}), {}, 422, ["closed"]),
        (stream({"close": [1.0], "prices": [1.0]}), {}, 422, ["close"]),
        (_compressed("zstd"), {}, 422, ["body"]),
        (_compressed("lz4"), {}, 422, ["body"]),
        (GOOD, {"symbol": "x" * 21}, 422, ["symbol"]),
        (GOOD, {"symbol": ""}, 422, ["symbol"]),
        (GOOD, {"perid": "3"}, 422, ["perid"]),
        (GOOD, {"period": "three"}, 422, ["period"]),
        (GOOD, {"period": "2.5"}, 422, ["period"]),
        (GOOD, {"period": "nan"}, 422, ["period"]),
        (GOOD, {"period": "1_0"}, 422, ["period"]),
        (GOOD, {"period": "9" * 5000}, 422, ["period"]),
        (GOOD, {"period": "400"}, 400, ["period"]),
    ],
)  # fmt: skip
def test_a_wrong_stream_is_refused(
    client: TestClient, body: bytes, query: dict[str, str], status: int, fields: list[str]
) -> None:
    asked = {"symbol": "T", "period": "2", **query}
    found = refusal(ask(client, "/compute/sma", body, **asked))
    assert (found[0], found[2]) == (status, fields)


def test_a_stream_begins_with_its_schema(client: TestClient) -> None:
    messages = list(pa.ipc.MessageReader.open_stream(GOOD))
    response = ask(client, "/compute/sma", bytes(messages[1].serialize()), symbol="T")
    assert refusal(response)[::2] == (422, ["body"])
    assert response.json()["error"]["message"].endswith("a schema first, was record batch")


def test_a_symbol_is_needed(client: TestClient) -> None:
    assert refusal(ask(client, "/compute/sma", GOOD, period=2))[::2] == (422, ["symbol"])


def test_damaged_streams_are_refused_and_break_nothing(client: TestClient) -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    whole = stream({"close": [float(i) for i in range(1, 60)]})
    statuses = set()
    for _ in range(400):
        body = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        cut = chance.choice([len(body), chance.randrange(len(body))])
        response = ask(client, "/compute/sma", bytes(body[:cut]), symbol="T")
        statuses.add(response.status_code)
    assert statuses <= {200, 400, 422}
    assert 422 in statuses


@pytest.mark.parametrize("kind", ["list", "large_list", "fixed"])
def test_a_batch_has_a_row_a_symbol(client: TestClient, kind: str) -> None:
    kinds = {
        "list": pa.list_(pa.float64()),
        "large_list": pa.large_list(pa.float32()),
        "fixed": pa.list_(pa.int32(), 3),
    }
    closes = pa.array([[1, 3, 7], [2, 2, 4]], kinds[kind])
    indicators = [*SMA, {"type": "roc", "params": {"period": 1}}]
    response = batch(client, {"symbol": ["A", "B"], "close": closes}, indicators)
    answer = read_stream(response.content)
    assert answer.column_names == ["symbol", "sma", "roc", "error_code", "error_message"]
    assert answer.column("symbol").to_pylist() == ["A", "B"]
    assert answer.column("sma").to_pylist() == [[None, 2.0, 5.0], [None, 2.0, 3.0]]
    assert answer.column("roc").to_pylist()[1] == [None, 0.0, 100.0]
    metadata = answer.schema.metadata
    assert (metadata[b"symbols_processed"], metadata[b"indicators_computed"]) == (b"2", b"4")
    assert json.loads(metadata[b"indicators"])["sma"] == {"indicator": "sma", "period": 2}


@pytest.mark.parametrize("name", NAMES)
def test_every_indicator_is_the_same_in_an_arrow_batch(client: TestClient, name: str) -> None:
    contract = CONTRACTS[name]
    columns = [bars(130, 1), bars(150, 2), bars(130, 3)]
    table = {c: pa.array([x[c] for x in columns]) for c in contract.columns}
    response = batch(client, {"symbol": ["A", "B", "C"], **table}, [{"type": name}])
    answer = read_stream(response.content)
    for i, x in enumerate(columns):
        for line, values in expected(contract, x).items():
            rows = values if line in contract.matrices else [values]
            for level, row in enumerate(rows, 1):
                called = f"{line}_{level}" if line in contract.matrices else line
                key = name if called == VALUES else f"{name}.{called}"
                assert answer.column(key)[i].as_py() == row


def test_a_bad_symbol_fails_alone(client: TestClient) -> None:
    lists = [[1.0, 3.0], [1.0, -3.0], [], [5.0], [2.0, 4.0]]
    response = batch(client, {"symbol": ["A", "B", "C", "", "E"], "close": lists})
    answer = read_stream(response.content).to_pydict()
    assert answer["sma"] == [[None, 2.0], None, None, None, [None, 3.0]]
    assert [code is None for code in answer["error_code"]] == [True, False, False, False, True]
    assert answer["error_message"][1].startswith("close.1: expected a finite number above 0")


def test_all_symbols_may_fail(client: TestClient) -> None:
    answer = read_stream(batch(client, {"symbol": ["A"], "close": [[1.0]]}).content).to_pydict()
    assert (answer["sma"], answer["error_code"]) == ([None], ["INVALID_INPUT"])


@pytest.mark.parametrize(
    ("columns", "fields"),
    [
        ({"close": [[1.0]]}, ["symbol"]),
        ({"symbol": ["A"]}, ["close"]),
        ({"symbol": ["A"], "close": [[1.0]], "prices": [[1.0]]}, ["close"]),
        ({"symbol": ["A"], "close": [1.0]}, ["close"]),
        ({"symbol": ["A"], "close": [["x"]]}, ["close"]),
        ({"symbol": ["A", None], "close": [[1.0], [1.0]]}, ["symbol"]),
        ({"symbol": ["A", "B"], "close": [[1.0], None]}, ["close"]),
        ({"symbol": ["A"], "close": [[1.0, None]]}, ["close"]),
        ({"symbol": [1], "close": [[1.0]]}, ["symbol"]),
        ({"symbol": ["A"], "close": [[1.0]], "wrong": [1]}, ["wrong"]),
        ({"symbol": ["A"] * 1001, "close": [[1.0]] * 1001}, ["body"]),
    ],
)
def test_a_table_that_is_no_batch_is_refused(
    client: TestClient, columns: Any, fields: list[str]
) -> None:
    assert refusal(batch(client, columns))[::2] == (422, fields)


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ({}, ["indicators"]),
        ({"indicators": "[{"}, ["indicators"]),
        ({"indicators": "[]"}, ["indicators"]),
        ({"indicators": '[{"type": "smma"}]'}, ["indicators.0.type"]),
        ({"indicators": "[]", "period": "2"}, ["period"]),
    ],
)
def test_a_batch_s_indicators_stand_in_the_query(
    client: TestClient, query: dict[str, str], fields: list[str]
) -> None:
    body = stream({"symbol": ["A"], "close": [[1.0, 2.0]]})
    assert refusal(ask(client, "/compute/batch", body, **query))[::2] == (422, fields)


def test_a_batch_may_come_in_one_form_and_leave_in_the_other(client: TestClient) -> None:
    table = stream({"symbol": ["A"], "close": [[1.0, 3.0]]})
    response = client.post(
        "/compute/batch",
        content=table,
        params={"indicators": json.dumps(SMA)},
        headers={"content-type": ARROW, "accept": JSON},
    )
    assert response.json()["results"][0]["indicators"]["sma"]["values"] == [None, 2.0]
    one = {"symbol": "A", "prices": [1.0, 3.0], "indicators": SMA}
    other = {**one, "indicators": [{"type": "ema", "params": {"period": 2}}]}
    accept = {"accept": ARROW}
    response = client.post("/compute/batch", json={"requests": [one, one]}, headers=accept)
    assert read_stream(response.content).column("sma").to_pylist() == [[None, 2.0]] * 2
    response = client.post("/compute/batch", json={"requests": [one, other]}, headers=accept)
    assert refusal(response) == (400, "INVALID_INPUT", ["indicators"])


def test_numbers_are_read_where_they_lie() -> None:
    from serving.compute import arrow_bodies  # noqa: PLC0415

    body = stream({"close": np.arange(1.0, 1000.0)})
    found = arrow_bodies.columns(body, ["close"], 10_000)["close"]
    lowest = np.frombuffer(body, np.uint8).ctypes.data
    assert lowest <= found.ctypes.data < lowest + len(body)
