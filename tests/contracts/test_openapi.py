"""Whatever is asked, described or not: no 5xx, and only answers that the description allows."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.python import asgi

from serving.app import create_app
from tests.serving.fakes import World, book

EXAMPLES = 60
OPERATIONS = [
    ("POST", "/predict"),
    ("GET", "/v1/labels"),
    ("GET", "/models"),
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/prometheus"),
]
SERIES = {
    "instrument_id": "EURUSD",
    "granularity": "H4",
    "start_date": "2017-11-01",
    "end_date": "2018-01-31",
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Yield the description of an app with data and a model behind it."""
    world = World(tmp_path_factory.mktemp("world"))
    world.register(1)
    app = create_app(world.settings, lake=world.lake, registry=world.registry, book=book())
    yield schemathesis.openapi.from_asgi("/openapi.json", app)
    # schemathesis would end its threads at the interpreter's exit, and be late: what a thread still
    # holds then (the app, the lake's database) is reported as leaked
    asgi._shutdown()
    for thread in threading.enumerate():
        if thread.name == "AnyIO worker thread":
            thread.join(timeout=10)
            assert not thread.is_alive()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_question_breaks_the_description(description: Any, method: str, path: str) -> None:
    operation = description[path][method]

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        case=st.one_of(
            [operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode]
        ),
        is_known=st.booleans(),
    )
    def ask(case: schemathesis.Case[Any], *, is_known: bool) -> None:
        if is_known and path == "/v1/labels":  # else chance would never find the one series
            case.query = {**(case.query or {}), **SERIES}
        case.call_and_validate(checks=CHECKS)

    ask()


def test_every_operation_is_asked(description: Any) -> None:
    there = {
        (method.upper(), path)
        for path, operations in description.raw_schema["paths"].items()
        for method in operations
    }
    assert there == set(OPERATIONS)
