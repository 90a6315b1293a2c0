"""The one error shape, ids, limits, and that nothing of ours leaks out."""

import logging
import re
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from market import errors as market_errors
from market.errors import InputError, ProviderError, StorageError, WavehouseError
from serving.errors import STATUSES, ModelNotReadyError, status_of
from serving.schemas import ErrorResponse
from tests.serving.fakes import World

JSON = {"content-type": "application/json"}


def error_of(response: object) -> dict[str, object]:
    """Return the error of an answer that has the shape to the letter."""
    shape = ErrorResponse.model_validate_json(response.content)  # type: ignore[attr-defined]
    assert shape.error.trace_id == response.headers["x-request-id"]  # type: ignore[attr-defined]
    return response.json()["error"]  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("GET", "/predict/", 404, "NOT_FOUND"),
        ("GET", "/predict", 405, "METHOD_NOT_ALLOWED"),
        ("DELETE", "/v1/labels", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/labels", 422, "VALIDATION_ERROR"),
        ("BREW", "/health", 405, "METHOD_NOT_ALLOWED"),
    ],
)
def test_the_router_s_own_refusals_have_the_shape(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    response = client.request(method, path)
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    if status == 405:
        assert response.headers["allow"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 422, "INVALID_JSON"),
        (b"", 422, "VALIDATION_ERROR"),
        (b"null", 422, "VALIDATION_ERROR"),
        (b'{"a": "\xff"}', 422, "INVALID_JSON"),
        (b"[" * 9_999, 422, "INVALID_JSON"),
        (b'{"features": {"x": ' + b"1" * 5_000 + b"}}", 422, "INVALID_JSON"),
        (b'{"\\ud800": 1}', 422, "VALIDATION_ERROR"),
        (b'{"features": {"\\ud800": 1}}', 422, "FEATURE_MISMATCH"),
        (
            b'{"instrument": "EURUSD", "timeframe": "H4", "model": "\\ud800"}',
            422,
            "VALIDATION_ERROR",
        ),
    ],
)
def test_a_bad_body_is_the_callers_error(
    client: TestClient, content: bytes, status: int, code: str
) -> None:
    response = client.post("/predict", content=content, headers=JSON)
    assert (response.status_code, error_of(response)["code"]) == (status, code)


def test_a_body_without_a_json_type_is_refused(client: TestClient) -> None:
    response = client.post("/predict", content=b"{}", headers={"content-type": "text/plain"})
    assert response.status_code == 422
    assert error_of(response)["code"] == "VALIDATION_ERROR"


def _chunks(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield b" " * 1_000


def test_a_body_that_says_it_is_too_large_is_not_read(client: TestClient) -> None:
    response = client.post("/predict", content=b" " * 10_001, headers=JSON)
    assert (response.status_code, error_of(response)["code"]) == (413, "BODY_TOO_LARGE")


def test_a_large_body_is_refused_where_none_is_read(client: TestClient) -> None:
    response = client.request("GET", "/health", content=b" " * 10_001)
    assert (response.status_code, error_of(response)["code"]) == (413, "BODY_TOO_LARGE")


def test_a_body_that_says_nothing_is_counted(client: TestClient) -> None:
    response = client.post("/predict", content=_chunks(11), headers=JSON)
    assert (response.status_code, error_of(response)["code"]) == (413, "BODY_TOO_LARGE")
    assert client.post("/predict", content=_chunks(10), headers=JSON).status_code == 422


def test_many_bad_numbers_are_answered_in_one_page(client: TestClient) -> None:
    response = client.post("/predict", json={"features": ["x"] * 2_000})
    details = error_of(response)["details"]
    assert isinstance(details, list)
    assert len(details) == 50


def test_a_validation_error_names_no_file_and_no_value(client: TestClient) -> None:
    response = client.post("/predict", json={"features": {"rsi_14": "s3cret"}})
    assert error_of(response)["details"][0] == {  # type: ignore[index]
        "field": "features.rsi_14",
        "message": "Input should be a valid number",
        "code": "FLOAT_TYPE",
    }
    assert not re.search(r"\.py|s3cret|serving|line \d", response.text)


@pytest.mark.parametrize("sent", ["abc-123", "A.b_c", "x" * 128])
def test_a_request_id_comes_back(client: TestClient, sent: str) -> None:
    response = client.get("/nowhere", headers={"X-Request-ID": sent})
    assert response.headers["x-request-id"] == sent
    assert error_of(response)["trace_id"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", "<script>", "a\tb", "é", "id\\n"])
def test_a_request_id_that_is_unsafe_is_replaced(client: TestClient, sent: str) -> None:
    response = client.get("/models", headers={b"X-Request-ID": sent.encode()})
    assert re.fullmatch(r"req_[0-9a-f]{12}", response.headers["x-request-id"])


def test_every_answer_says_how_long_it_took(client: TestClient) -> None:
    for path in ("/health", "/nowhere", "/docs"):
        assert 0 < float(client.get(path).headers["x-process-time"]) < 60


def test_a_bug_is_a_500_without_a_trace(
    world: World, client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    world.lake.failure = RuntimeError("the secret of /srv/lake")
    with caplog.at_level(logging.ERROR, logger="wavehouse.serving"):
        response = client.post("/predict", json={"instrument": "EURUSD", "timeframe": "H4"})
    assert (response.status_code, error_of(response)["code"]) == (500, "INTERNAL")
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    (record,) = caplog.records
    assert response.headers["x-request-id"] in record.getMessage()
    assert record.exc_info is not None


def test_a_lake_that_is_down_is_a_503_that_names_no_file(world: World, client: TestClient) -> None:
    world.lake.failure = StorageError("/srv/lake: expected a disk, was none")
    response = client.post("/predict", json={"instrument": "EURUSD", "timeframe": "H4"})
    assert (response.status_code, error_of(response)["code"]) == (503, "STORAGE")
    assert "/srv" not in response.text


def _tree(cls: type[WavehouseError]) -> Iterator[type[WavehouseError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _tree(child)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("InputError", 400),
        ("MalformedBarsError", 400),
        ("SchemaError", 400),
        ("UnknownTimeframeError", 400),
        ("UnknownInstrumentError", 404),
        ("ProviderError", 503),
        ("ProviderUnavailableError", 503),
        ("ProviderDataError", 503),
        ("StorageError", 503),
        ("NotMaterializedError", 404),
        ("PartitionBusyError", 409),
        ("StorageFullError", 503),
        ("CorruptPartitionError", 503),
        ("NotEnoughDataError", 400),
        ("FeatureMismatchError", 422),
        ("ModelNotFoundError", 404),
        ("ModelArtefactError", 503),
    ],
)
def test_each_error_has_its_status(name: str, status: int) -> None:
    assert status_of(getattr(market_errors, name)("x: expected y, was z")) == status


def test_the_table_knows_the_root_and_errors_of_ours() -> None:
    assert WavehouseError in STATUSES
    assert status_of(ModelNotReadyError("")) == 503
    for cls in (InputError, StorageError, ProviderError):
        assert all(status_of(child.__new__(child)) < 600 for child in _tree(cls))
