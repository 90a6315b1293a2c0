"""Reading and writing JSON: the same answers whichever way, and as the naive way says."""

import codecs
import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.errors import InputError
from serving.compute import contracts, json_answers, json_batches, json_bodies
from serving.compute.contracts import CONTRACTS
from serving.errors import described

NUMBERS = st.one_of(
    st.floats(min_value=5e-324, max_value=1.7e308),
    st.integers(min_value=1, max_value=10**25),
    st.sampled_from([0.1, 1e16, 2**53 + 1, 2**63, 2**64 - 1, 2**64, 4.9e-324]),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=5), x, max_size=4),
    max_leaves=8,
)


@given(prices=st.lists(NUMBERS, min_size=1, max_size=50), symbol=st.text(min_size=1, max_size=20))
@settings(deadline=None)
def test_numbers_are_read_as_python_reads_them(prices: list[float], symbol: str) -> None:
    try:
        symbol.encode()
    except UnicodeEncodeError:
        return
    text = json.dumps({"symbol": symbol, "prices": prices, "period": 2}, ensure_ascii=False)
    if len(prices) < 2:
        prices = prices * 2
        text = json.dumps({"symbol": symbol, "prices": prices, "period": 2}, ensure_ascii=False)
    found = json_bodies.question(CONTRACTS["sma"], text.encode(), 1000)
    assert found.symbol == symbol
    np.testing.assert_array_equal(found.columns["close"], np.array([float(x) for x in prices]))


def outcome(body: bytes) -> Any:
    """Return what is read, or the refusal."""
    try:
        found = json_bodies.question(CONTRACTS["bollinger"], body, 1000)
    except InputError as e:
        return type(e).__name__, e.code, [(d["field"], d["code"]) for d in described(e)["details"]]
    return found.symbol, found.columns["close"].tolist(), dict(found.parameters)


@pytest.mark.slow
@given(
    body=st.fixed_dictionaries(
        {},
        optional={
            "symbol": st.text(max_size=3) | ANYTHING,
            "prices": st.lists(NUMBERS | ANYTHING, max_size=5) | ANYTHING,
            "close": st.lists(NUMBERS, max_size=5),
            "period": st.integers(0, 300) | ANYTHING,
            "std_dev": st.floats(0, 6) | ANYTHING,
            "extra": ANYTHING,
        },
    )
)
@settings(deadline=None, max_examples=300)
def test_with_and_without_simdjson_the_answer_is_the_same(body: Any) -> None:
    check_both_readers(json.dumps(body).encode())


def check_both_readers(text: bytes) -> Any:
    """Return what is read of a text, the same by both."""
    found = outcome(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_bodies, "simdjson", None)
        without = outcome(text)
    assert found == without
    return found


def test_a_byte_order_mark_is_passed_over() -> None:
    text = json.dumps({"symbol": "A", "prices": [1.0, 2.0], "period": 2}).encode()
    assert check_both_readers(codecs.BOM_UTF8 + text) == check_both_readers(text)
    assert check_both_readers(text)[:2] == ("A", [1.0, 2.0])


@pytest.mark.parametrize("name", ["\0", "prices\0", "a\0b"])
def test_a_name_with_a_nul_is_a_name_like_another(name: str) -> None:
    given_ = {"symbol": "A", "prices": [1.0, 2.0], "period": 2, name: [1.0]}
    kind, _, details = check_both_readers(json.dumps(given_).encode())
    assert kind == "MalformedRequestError"
    assert details == [(name, "EXTRA_FORBIDDEN")]


@given(
    data=st.binary(max_size=60) | st.text(alphabet='{}[]":,0123456789.eE-+ntfals"\\', max_size=60)
)
@settings(deadline=None, max_examples=500)
def test_whatever_is_sent_is_read_or_refused(data: Any) -> None:
    body = data if isinstance(data, bytes) else data.encode()
    for read in (
        lambda: json_bodies.question(CONTRACTS["sma"], body, 1000),
        lambda: json_batches.read(body, max_symbols=10, max_points=1000),
        lambda: json_batches.read(
            b'{"requests": [' + body + b"]}", max_symbols=10, max_points=1000
        ),
    ):
        try:
            read()
        except InputError as e:
            assert described(e)["details"]  # noqa: PT017 - any refusal will do


@given(
    prices=st.lists(st.lists(NUMBERS, min_size=1, max_size=6), min_size=1, max_size=5),
    symbols=st.lists(
        st.text(alphabet='AB[]{}"\\é', min_size=1, max_size=5), min_size=5, max_size=5
    ),
)
@settings(deadline=None)
def test_a_batch_is_read_as_python_reads_it(prices: list[list[float]], symbols: list[str]) -> None:
    requests = [
        {"symbol": symbol, "prices": x, "indicators": [{"type": "obv"}, {"type": "roc"}]}
        | {"volume": x}
        for symbol, x in zip(symbols, prices, strict=False)
    ]
    batch = json_batches.read(orjson_text(requests), max_symbols=10, max_points=10)
    assert list(batch.symbols) == symbols[: len(prices)]
    assert not batch.failed
    found = {
        i: (group.columns["close"][row].tolist(), group.columns["volume"][row].tolist())
        for group in batch.groups
        for row, i in enumerate(group.rows)
    }
    for i, x in enumerate(prices):
        expected = [float(value) for value in x]
        assert found[i] == (expected, expected)


def orjson_text(requests: Any) -> bytes:
    return json.dumps({"requests": requests}, ensure_ascii=False).encode()


ARRAYS = st.lists(st.floats(), max_size=40).map(lambda x: np.array(x, dtype=np.float64))
MATRICES = st.integers(1, 3).flatmap(
    lambda rows: st.lists(st.floats(), min_size=1, max_size=20).map(lambda x: np.array([x] * rows))
)
ANSWERS = st.recursive(
    ARRAYS | MATRICES | st.none() | st.booleans() | st.text(max_size=5) | st.floats(-1e9, 1e9),
    lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(max_size=5), x, max_size=4),
    max_leaves=10,
)


@pytest.mark.slow
@given(answer=ANSWERS, values=st.integers(1, 30), size=st.integers(1, 200))
@settings(deadline=None, max_examples=300)
def test_pieces_are_the_whole_cut(answer: Any, values: int, size: int) -> None:
    try:
        whole = json_answers.whole(answer)
    except orjson.JSONEncodeError:  # a lone surrogate: no text that was read can hold one
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_answers, "PIECE_VALUES", values)
        patch.setattr(json_answers, "PIECE_BYTES", size)
        assert b"".join(json_answers.pieces(answer)) == whole
        if isinstance(answer, list):
            made = ((np.size(x) if isinstance(x, np.ndarray) else 1, x) for x in answer)
            assert b"".join(json_answers.pieces(json_answers.Members(made))) == whole


def test_no_piece_is_large() -> None:
    answer = {"a": np.random.default_rng(1).random(500_000), "b": [np.arange(9.0)] * 30_000}
    sizes = [len(piece) for piece in json_answers.pieces(answer)]
    assert len(sizes) > 20
    assert max(sizes) < json_answers.PIECE_BYTES + 25 * json_answers.PIECE_VALUES


def test_what_is_not_finite_is_null() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1.5])
    assert json_answers.whole({"x": x}) == b'{"x":[null,null,null,1.5]}'


@pytest.mark.parametrize("count", [101, 100_000])
def test_an_object_of_many_fields_is_refused_at_once(count: int) -> None:
    body = json.dumps({f"f{i}": i for i in range(count)}).encode()
    with pytest.raises(InputError) as refused:
        json_bodies.question(CONTRACTS["sma"], body, 1000)
    assert described(refused.value)["details"][0]["code"] == "DICT_LENGTH"


@pytest.mark.parametrize(
    "wrong",
    [
        {"indicators": [{"type": f"smaa{i}"} for i in range(100)]},
        {"indicators": [{"type": "sma"}], **{f"pricess{i}": 1 for i in range(90)}},
    ],
)
def test_hints_are_looked_up_for_the_first_mistakes_of_a_symbol_alone(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
) -> None:
    looked_up: list[str] = []

    def counted(name: str, *_: Any, **__: Any) -> list[str]:
        looked_up.append(name)
        return []

    monkeypatch.setattr(contracts.difflib, "get_close_matches", counted)
    request = {"symbol": "A", "prices": [1.0, 2.0], **wrong}
    batch = json_batches.read(orjson_text([request]), max_symbols=1, max_points=9)
    assert len(described(batch.failed[0])["details"]) == len(looked_up) == 10


def test_many_unknown_parameters_are_told_in_one_page() -> None:
    parameters = {f"p{i}": i for i in range(5000)}
    request = {
        "symbol": "A",
        "prices": [1.0],
        "indicators": [{"type": "sma", "params": parameters}],
    }
    batch = json_batches.read(orjson_text([request]), max_symbols=1, max_points=9)
    assert len(described(batch.failed[0])["details"]) == 50
