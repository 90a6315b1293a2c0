"""Ten thousand requests that nobody should send, over every operation: refused by name, never 5xx.

They are what a client with a bug, a proxy that cuts and somebody who pries send: bodies cut short,
of another type or encoding, numbers that are none, names of files, headers of noise. Hypothesis
chooses; the app is asked as a server asks it, so that bytes come in which no client lets out.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from market.settings import BackfillSettings
from serving.app import create_app
from serving.schemas import ErrorResponse
from storage.database import Database
from tests.serving.fakes import World, book
from tests.serving.test_batch import BODY as BACKFILL
from tests.serving.test_batch import FakeLauncher

pytestmark = pytest.mark.slow

REFUSED: Final = 10_000
OF_AN_OPERATION: Final = 230
OF_A_DEAR_ONE: Final = 60
TOGETHER: Final = 10  # that one draw of Hypothesis asks: a draw costs as much as a request
DEAR: Final = ("/metrics", "/prometheus")  # a hundred times as long an answer as another
REQUEST_S: Final = 300.0

BODIES: Final[dict[str, Any]] = {
    "/v1/batch/backfill": BACKFILL,
    "/v1/cache/warm": {"instrument": "EURUSD", "granularity": "H4", "hours": 24},
}
QUERIES: Final = {
    "/v1/labels": "instrument_id=EURUSD&granularity=H4&start_date=2017-11-01&end_date=2018-01-31",
    "/v1/levels": "instrument_id=EURUSD&granularity=H4&as_of=2017-12-01T00:00:00Z",
}
NASTY_JSON: Final = (
    "null", "true", '""', '"x"', "-1", "0", "1e999", "-1e999", "NaN", "Infinity", "1" * 400,
    "1e308", "-0.0", "0.1e-400", "[]", "{}", "[[[]]]", '{"a": {"b": [null]}}', "[1, 2, null]",
    '"\\ud800"', '"\\u0000"', '"2024-13-45T99:99:99Z"', '"9999-12-31T23:59:59Z"',
    '"../../../etc/passwd"', "\"' OR 1=1 --\"", json.dumps("é" * 3000), "9223372036854775808",
    "-9223372036854775809", "[" * 200 + "]" * 200, '"1.5"', '"true"', "[" + "1," * 50 + "1]",
)  # fmt: skip
NASTY_TEXT: Final = (
    b"", b"%", b"%ff%fe", b"%00", b"a" * 5000, b"-1", b"1e999", b"NaN", b"..%2f..%2fetc%2fpasswd",
    b"2024-13-45", b"9999-12-31T23:59:59.999999Z", b"0001-01-01", b"%F0%9F%98%80", b"0",
    b"99999999999999999999", b"true,false", b"%ed%a0%80", b"'%20OR%201=1", b"null", b"[]",
    b"%0d%0aX:1",
)  # fmt: skip
NASTY_HEADERS: Final = {
    b"content-type": (b"", b"text/plain", b"application/xml", b"application/json; charset=utf-16",
                      b"multipart/form-data", b"\xff\xfe", b"application/vnd.apache.arrow.stream"),
    b"content-encoding": (b"gzip", b"br", b"zstd", b"gzip, gzip", b"\xe9"),
    b"accept": (b"image/png", b"*/*;q=x", b";;;", b"text/csv;q=9", b"a/b" * 500),
    b"x-cache-strategy": (b"", b"perhaps", b"\xff", b"prefer_cache,bypass_cache"),
    b"if-none-match": (b"*", b'"', b"W/" * 900, b"\xff\xff"),
    b"x-request-id": (b"\xff", b"a" * 4000, b"<script>", b"../x"),
    b"authorization": (b"Bearer", b"Bearer a.b.c", b"Basic \xff", b"bearer eyJ.eyJ."),
    b"x-api-key": (b"", b"wh_" + b"a" * 43, b"label_x", b"\xc3\x28"),
    b"content-length": (b"-1", b"1e3", b"999999999999", b"\xb2"),
    b"traceparent": (b"00-0-0-00", b"\xff"),
}  # fmt: skip
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "BREW", "TRACE")


@dataclass(slots=True)
class Asked:
    """A request as its bytes."""

    method: str
    path: bytes
    query: bytes = b""
    body: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)

    def scope(self, state: MutableMapping[str, Any]) -> dict[str, Any]:
        """Return what a server makes of it."""
        return {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1", "method": self.method, "scheme": "http", "root_path": "",
            "path": unquote_to_bytes(self.path).decode("utf-8", "replace"), "raw_path": self.path,
            "query_string": self.query, "headers": list(self.headers.items()),
            "client": ("127.0.0.1", 50000), "server": ("testserver", 80), "state": dict(state),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operation:
    """A route and method of the description, with a request that it would answer."""

    method: str
    path: str
    body: Any
    parameters: tuple[str, ...]

    def sound(self) -> Asked:
        """Return the request as it should be."""
        path = self.path.format(
            instrument="EURUSD", granularity="H4", timestamp="2017-12-01T00:00:00Z",
            job_id="bf_20240101_eurusd_h4_abc123", run_id="bt_0",
        )  # fmt: skip
        asked = Asked(self.method, path.encode(), QUERIES.get(self.path, "").encode())
        if self.body is not None:
            asked.body = json.dumps(self.body).encode()
            asked.headers[b"content-type"] = b"application/json"
        return asked


def operations_of(description: Any) -> list[Operation]:
    """Return every operation, with the example that its description gives."""
    found = []
    for path, methods in description["paths"].items():
        for method, told in methods.items():
            names = [x["name"] for x in told.get("parameters", []) if x["in"] == "query"]
            content = told.get("requestBody", {}).get("content", {}).get("application/json")
            body = None if content is None else BODIES.get(path) or example_of(content)
            found.append(Operation(method.upper(), path, body, tuple(names)))
    return found


def example_of(content: Any) -> Any:
    if "example" in content:
        return content["example"]
    return next(iter(content["examples"].values()))["value"]


Spoil = Callable[[random.Random, Operation, Asked], None]


def cut(chance: random.Random, _: Operation, asked: Asked) -> None:
    asked.body = asked.body[: chance.randrange(max(len(asked.body), 1))]


def noise(chance: random.Random, _: Operation, asked: Asked) -> None:
    asked.body = chance.randbytes(chance.randrange(1, 200))


def other_encoding(chance: random.Random, _: Operation, asked: Asked) -> None:
    text = asked.body.decode("utf-8", "replace")
    asked.body = text.encode(chance.choice(["utf-16", "utf-32", "utf-7"]))


def twice(_: random.Random, __: Operation, asked: Asked) -> None:
    asked.body += asked.body or b"{}"


def other_value(chance: random.Random, operation: Operation, asked: Asked) -> None:
    """Put something else in a place of the body, or in the place of all of it."""
    body = json.loads(json.dumps(operation.body))
    inside, key = None, None
    at = body
    while isinstance(at, dict | list) and at and (inside is None or chance.random() < 0.6):
        inside, key = at, chance.choice(list(at) if isinstance(at, dict) else range(len(at)))
        at = at[key]
    value = chance.choice(NASTY_JSON)
    if inside is None or chance.random() < 0.1:
        asked.body = value.encode()
        return
    inside[key] = "@@"
    asked.body = json.dumps(body).replace('"@@"', value, 1).encode()


def other_names(chance: random.Random, operation: Operation, asked: Asked) -> None:
    """Take a field out, put one in that there is not, or say one twice."""
    if not isinstance(operation.body, dict):
        return
    body = json.loads(json.dumps(operation.body))
    at = body
    while (
        inner := [x for x in at.values() if isinstance(x, dict) and x]
    ) and chance.random() < 0.5:
        at = chance.choice(inner)
    name = chance.choice(list(at))
    kind = chance.randrange(3)
    if kind == 0:
        del at[name]
    elif kind == 1:
        others = ["", "__proto__", "surprise", name.upper(), "\ud800", "\0", f"{name}\0"]
        at[chance.choice(others)] = 1
    asked.body = json.dumps(body).encode()
    if kind == 2:
        nasty = chance.choice(NASTY_JSON)
        asked.body = asked.body[:-1] + f', "{name}": {nasty}}}'.encode()


def other_query(chance: random.Random, operation: Operation, asked: Asked) -> None:
    """Give a parameter another value, or one that there is not."""
    name = chance.choice([*operation.parameters, "surprise"]).encode()
    kept = [x for x in asked.query.split(b"&") if x and not x.startswith(name + b"=")]
    kept.append(name + b"=" + chance.choice(NASTY_TEXT))
    if chance.random() < 0.2:
        kept.append(
            chance.choice([b"&&==", b"%", name + b"=1", b"=" + chance.randbytes(4).hex().encode()])
        )
    asked.query = b"&".join(kept)


def no_query(_: random.Random, __: Operation, asked: Asked) -> None:
    asked.query = b""


def other_path(chance: random.Random, operation: Operation, asked: Asked) -> None:
    """Put something else in a place of the path."""
    parts = asked.path.split(b"/")
    is_given = [part.startswith("{") for part in operation.path.split("/")]
    places = [i for i, given_ in enumerate(is_given) if given_] or [len(parts) - 1]
    nasty = chance.choice(
        [*NASTY_TEXT, quote(parts[-1].decode() + "/..").encode(), b"..", b"%2e%2e"]
    )
    parts[chance.choice(places)] = nasty
    asked.path = b"/".join(parts)


def other_method(chance: random.Random, _: Operation, asked: Asked) -> None:
    asked.method = chance.choice([m for m in METHODS if m != asked.method])


def other_headers(chance: random.Random, _: Operation, asked: Asked) -> None:
    for name in chance.sample(sorted(NASTY_HEADERS), chance.randrange(1, 4)):
        asked.headers[name] = chance.choice(NASTY_HEADERS[name])


OF_BODIES: Final[tuple[Spoil, ...]] = (
    cut, noise, other_encoding, twice, other_value, other_value, other_value, other_names,
)  # fmt: skip
OF_QUESTIONS: Final[tuple[Spoil, ...]] = (
    other_query,
    other_query,
    other_path,
    other_method,
    no_query,
)


def spoiled(chance: random.Random, operation: Operation) -> Asked:
    """Return a request of an operation with one to three things wrong."""
    asked = operation.sound()
    ways = OF_QUESTIONS if operation.body is None else (*OF_BODIES, *OF_QUESTIONS[-2:])
    chance.choice(ways)(chance, operation, asked)
    for _ in range(chance.choice([0, 0, 1, 2])):
        chance.choice([*ways, other_headers])(chance, operation, asked)
    return asked


async def answered(
    app: Any, state: MutableMapping[str, Any], asked: Asked
) -> tuple[int, bytes, str]:
    """Ask the app as a server does; return status, body and the id of the request."""
    given_ = [{"type": "http.request", "body": asked.body, "more_body": False}]
    said: list[Any] = []

    async def receive() -> Any:
        if not given_:
            await anyio.sleep_forever()  # nobody hangs up
        return given_.pop()

    async def send(message: Any) -> None:
        said.append(message)

    with anyio.fail_after(2 * REQUEST_S):
        await app(asked.scope(state), receive, send)
    headers = dict(said[0]["headers"])
    body = b"".join(message.get("body", b"") for message in said[1:])
    return said[0]["status"], body, headers[b"x-request-id"].decode()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Serve labels, a model, and backfills that nobody makes."""
    folder = tmp_path_factory.mktemp("malformed")
    world = World(folder)
    world.register(1)
    patient = {"compute_timeout_s": REQUEST_S, "request_timeout_s": REQUEST_S}  # kernels are cold
    app = create_app(
        world.settings.model_copy(update=patient),
        lake=world.lake,
        registry=world.registry,
        book=book(),
        database=Database.at(folder / "wavehouse.db"),
        backfill=BackfillSettings(lease_s=600.0),
        launcher=FakeLauncher(),
    )
    with TestClient(app) as found:
        yield found


def test_ten_thousand_malformed_requests_are_refused_and_none_breaks_the_server(
    client: TestClient,
) -> None:
    truth = client.get("/v1/labels?" + QUERIES["/v1/labels"]).json()
    operations = operations_of(client.get("/openapi.json").json())
    assert client.portal is not None
    statuses: Counter[int] = Counter()
    refused: Counter[str] = Counter()

    def judge(operation: Operation, asked: Asked) -> None:
        assert client.portal is not None
        status, body, request_id = client.portal.call(answered, client.app, client.app_state, asked)
        statuses[status] += 1
        assert status < 500, (asked, body)
        if status < 400:
            return
        refused[f"{operation.method} {operation.path}"] += 1
        told = ErrorResponse.model_validate_json(body).error
        assert told.trace_id == request_id
        assert told.message
        assert b"Traceback" not in body
        assert b'File "' not in body

    def ask_about(operation: Operation) -> None:
        @settings(
            max_examples=(OF_A_DEAR_ONE if operation.path in DEAR else OF_AN_OPERATION) // TOGETHER,
            deadline=None, database=None, suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(chance=st.randoms(use_true_random=True))
        def ask(chance: random.Random) -> None:
            for _ in range(TOGETHER):
                judge(operation, spoiled(chance, operation))

        ask()
        if operation.path not in DEAR:
            return
        for name, values in NASTY_HEADERS.items():  # all that it reads: each for certain
            for value in values:
                asked = operation.sound()
                asked.headers[name] = value
                judge(operation, asked)

    for operation in operations:
        ask_about(operation)
    assert {f"{x.method} {x.path}" for x in operations} == set(refused)  # each refuses something
    assert sum(refused.values()) >= REFUSED, (statuses, refused)
    assert client.get("/v1/health/live").status_code == 200
    again = client.get("/v1/labels?" + QUERIES["/v1/labels"]).json()
    assert again["data"] == truth["data"]
