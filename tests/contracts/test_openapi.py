"""Whatever is asked, described or not: no 5xx, and only answers that the description allows."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
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
from serving.backtests.service import warm
from serving.compute.contracts import CONTRACTS
from tests.serving.backtest_world import walk
from tests.serving.fakes import World, book

EXAMPLES = 60
FEW_EXAMPLES = 20  # of each indicator: they are alike
OPERATIONS = [
    ("POST", "/predict"),
    ("GET", "/v1/labels"),
    ("GET", "/v1/labels/{instrument}/{granularity}/{timestamp}"),
    ("POST", "/v1/labels/compute"),
    ("GET", "/v1/levels"),
    ("GET", "/models"),
    ("GET", "/health"),
    ("GET", "/v1/health"),
    ("GET", "/v1/health/ready"),
    ("GET", "/v1/health/live"),
    ("GET", "/v1/cache/stats"),
    ("POST", "/v1/cache/warm"),
    ("DELETE", "/v1/cache/invalidate"),
    ("POST", "/v1/batch/backfill"),
    ("GET", "/v1/batch/jobs"),
    ("GET", "/v1/batch/jobs/{job_id}"),
    ("DELETE", "/v1/batch/jobs/{job_id}"),
    ("GET", "/v1/metrics"),
    ("GET", "/metrics"),
    ("GET", "/prometheus"),
    ("POST", "/compute/batch"),
    ("POST", "/backtest/run"),
    ("POST", "/backtest/sweep"),
    ("GET", "/backtest/results/{run_id}"),
    ("POST", "/ml/predict"),
    *(("POST", f"/compute/{name}") for name in CONTRACTS),
]
COMPUTATIONS = [*(f"/compute/{name}" for name in CONTRACTS), "/backtest/run", "/backtest/sweep"]
SERIES = {
    "instrument_id": "EURUSD",
    "granularity": "H4",
    "start_date": "2017-11-01",
    "end_date": "2018-01-31",
}


PRICES = walk(60)


def marked(asked: list[Any], path_of: Callable[[Any], str]) -> list[Any]:
    """Mark all but one of the indicators slow, they are alike, and sweeps, which are many runs."""
    indicators = {f"/compute/{name}" for name in CONTRACTS} - {"/compute/macd"}
    return [
        pytest.param(*(x if isinstance(x, tuple) else (x,)), marks=pytest.mark.slow)
        if path_of(x) in {*indicators, "/backtest/sweep"}
        else x
        for x in asked
    ]


def examples_of(path: str) -> int:
    return FEW_EXAMPLES if path.startswith("/compute/") else EXAMPLES


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
    warm(threading.Event())  # as a server does, which then compiles nothing while it is asked
    world = World(tmp_path_factory.mktemp("world"))
    world.register(1)
    app = create_app(world.settings, lake=world.lake, registry=world.registry, book=book())
    yield schemathesis.openapi.from_asgi("/openapi.json", app)
    # schemathesis would end its threads at the interpreter's exit, and be late: what a thread still
    # holds then (the app, the lake's database) is reported as leaked
    asgi._shutdown()
    for thread in threading.enumerate():
        loop = getattr(thread, "loop", None)  # of a worker thread of AnyIO's
        if loop is not None and not loop.is_running():  # others' clients may still be open
            thread.join(timeout=10)
            assert not thread.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), marked(OPERATIONS, lambda x: x[1]))
def test_no_question_breaks_the_description(description: Any, method: str, path: str) -> None:
    operation = description[path][method]

    @settings(
        max_examples=examples_of(path), deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(
        case=st.one_of(
            [operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode]
        ),
        is_known=st.booleans(),
    )
    def ask(case: schemathesis.Case[Any], *, is_known: bool) -> None:
        if is_known and path == "/v1/labels":  # else chance would never find the one series
            case.query = {**(case.query or {}), **SERIES}
        if is_known and path.startswith("/backtest/") and isinstance(case.body, dict):
            case.body = {**case.body, "prices": PRICES}  # nor bars that go together
        case.call_and_validate(checks=CHECKS)

    ask()


@pytest.mark.slow
@pytest.mark.parametrize("path", marked(COMPUTATIONS, str))
def test_what_the_description_allows_is_read_and_nothing_else(description: Any, path: str) -> None:
    operation = description[path]["POST"]

    def statuses(mode: schemathesis.GenerationMode) -> set[int]:
        found = set()

        @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case[Any]) -> None:
            assume([] not in (case.query or {}).values())  # sends nothing, so nothing is wrong
            found.add(case.call().status_code)

        ask()
        return found

    # 400: what only the data can tell, such as a period beyond its length
    assert statuses(schemathesis.GenerationMode.POSITIVE) <= {200, 202, 400}
    assert not statuses(schemathesis.GenerationMode.NEGATIVE) & {200, 202}


def test_every_operation_is_asked(description: Any) -> None:
    there = {
        (method.upper(), path)
        for path, operations in description.raw_schema["paths"].items()
        for method in operations
    }
    assert there == set(OPERATIONS)
