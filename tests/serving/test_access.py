"""Who is let in: keys, tokens, scopes, anonymous callers; every refusal in the one shape."""

import base64
import hmac
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from market.errors import InputError, StorageError
from market.settings import ServingSettings
from serving.access.audit import AuditTrail
from serving.access.keys import KeyRing
from serving.access.middleware import AccessMiddleware, Guard
from serving.access.principals import ANONYMOUS, Principal, is_loopback
from serving.access.rates import RateLimits
from serving.access.rules import DOCS, METRICS, PROBES, RULES, rules, scope_of
from serving.access.tokens import TokenVerifier
from serving.app import bare_app, create_app
from serving.errors import UnauthenticatedError
from storage.api_keys import ApiKeys
from storage.audit_log import AuditLog
from storage.database import Database
from storage.lake import ParquetLake
from tests.serving.compute_world import SETTINGS, TestClient, refusal
from tests.serving.fakes import FakeRegistry

SECRET = "s" * 32
ISSUER = "https://issuer.example"
BODY = {"symbol": "TCS", "prices": [1.0, 2.0, 3.0], "period": 2}
REMOTE = ("198.51.100.7", 50000)


class World:
    """The app over a database of keys; whoever asks comes from another machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database.at(folder / "wavehouse.db")
        self.keys = ApiKeys(self.database)
        self.opened = ExitStack()

    def client(self, client: tuple[str, int] = REMOTE, **settings: Any) -> TestClient:
        """Serve until the test ends."""
        given = {"anonymous": "none", "jwt_issuer": ISSUER, "key_remember_s": 0.0, **settings}
        app = create_app(
            SETTINGS.model_copy(update=given),
            lake=ParquetLake(self.folder / "lake", fsync=False),
            registry=FakeRegistry(),
            database=self.database,
        )
        made = TestClient(app, client=client, raise_server_exceptions=False)
        return self.opened.enter_context(made)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.opened:
        yield made


def secret(text: str = SECRET) -> dict[str, Any]:
    made = ServingSettings(jwt_key=text)
    return {"jwt_key": made.jwt_key}


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {"sub": "ann", "iss": ISSUER, "aud": "wavehouse", "exp": now + 600, "scope": "compute"}
    return {name: value for name, value in {**made, **changes}.items() if value is not None}


def token(key: Any = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def asked(client: TestClient, headers: dict[str, str]) -> tuple[int, str]:
    answer = client.post("/compute/sma", json=BODY, headers=headers)
    if answer.status_code == 200:
        return 200, ""
    assert (answer.status_code != 401) or answer.headers["WWW-Authenticate"].startswith("Bearer ")
    status, code, _ = refusal(answer)
    return status, code


IN = (200, "")
OUT = (401, "UNAUTHENTICATED")
FORBIDDEN = (403, "FORBIDDEN")


# keys


def test_a_key_lets_in_and_its_answer_is_kept_by_no_cache(world: World) -> None:
    key, _ = world.keys.create("ann", ["compute"])
    client = world.client()
    assert asked(client, {"X-API-Key": key}) == IN
    answer = client.post("/compute/sma", json=BODY, headers={"X-API-Key": key})
    assert answer.headers["Cache-Control"] == "no-store"


def test_any_key_of_the_right_prefix_does_not_let_in(world: World) -> None:
    key, _ = world.keys.create("ann", ["compute"])
    client = world.client()
    for wrong in ("wh_", "label_demo_key", "wh_" + "A" * 43, key[:-1], key + "A", key.upper()):
        assert asked(client, {"X-API-Key": wrong}) == OUT


def test_a_key_that_has_expired_or_was_revoked_is_refused(world: World) -> None:
    old, _ = world.keys.create("old", ["compute"], days=1e-11)
    gone, row = world.keys.create("gone", ["compute"])
    client = world.client()
    assert asked(client, {"X-API-Key": old}) == OUT
    assert asked(client, {"X-API-Key": gone}) == IN
    world.keys.revoke(row.key_id)
    assert asked(client, {"X-API-Key": gone}) == OUT


def test_a_key_in_another_header_or_beside_a_token_is_refused(world: World) -> None:
    key, _ = world.keys.create("ann", ["compute"])
    client = world.client(**secret())
    assert asked(client, bearer(key)) == OUT
    assert asked(client, {"Authorization": key}) == OUT
    assert asked(client, {"X-API-Key": key, **bearer(token())}) == OUT


def test_a_missing_scope_is_a_403_that_names_it(world: World) -> None:
    key, _ = world.keys.create("ann", ["read"])
    answer = world.client().post("/compute/sma", json=BODY, headers={"X-API-Key": key})
    assert refusal(answer) == (403, "FORBIDDEN", ["scope"])
    assert "compute" in answer.json()["error"]["message"]


def test_a_revoked_key_is_remembered_for_as_long_as_the_setting_says(world: World) -> None:
    now = [0.0]
    ring = KeyRing(world.keys, remember_s=5.0, clock=lambda: now[0])
    key, row = world.keys.create("ann", ["read"])
    assert ring.known(key) is None
    found = ring.find(key)
    world.keys.revoke(row.key_id)
    now[0] = 4.9
    assert ring.known(key) == found
    now[0] = 5.0
    assert ring.known(key) is None
    with pytest.raises(UnauthenticatedError):
        ring.find(key)


def test_a_database_that_does_not_answer_is_a_503_and_lets_nobody_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = world.client()

    def away(_: str) -> None:
        raise StorageError("database: expected an answer, was none")

    monkeypatch.setattr(ApiKeys, "find", lambda _, key: away(key))
    assert asked(client, {"X-API-Key": "wh_" + "A" * 43})[0] == 503


# tokens


def test_a_token_lets_in_by_its_scopes(world: World) -> None:
    client = world.client(**secret())
    assert asked(client, bearer(token())) == IN
    assert asked(client, bearer(token(scope="read compute unheard_of"))) == IN
    assert asked(client, bearer(token(scope="read"))) == FORBIDDEN
    assert asked(client, bearer(token(scope=None))) == FORBIDDEN


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": -600},
        {"nbf": 600},
        {"iat": 600},
        {"iss": "https://other.example"},
        {"aud": "other"},
        {"exp": None},
        {"iss": None},
        {"aud": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "a\nb"},
        {"scope": ["compute"]},
    ],
    ids=str,
)
def test_a_token_whose_claims_are_off_is_refused(world: World, changes: dict[str, Any]) -> None:
    now = int(time.time())  # what is a number is so many seconds from here
    claimed = {name: now + x if isinstance(x, int) else x for name, x in changes.items()}
    assert asked(world.client(**secret()), bearer(token(**claimed))) == OUT


def test_a_token_of_another_key_or_algorithm_is_refused(world: World) -> None:
    client = world.client(**secret())
    assert asked(client, bearer(token("t" * 64))) == OUT
    assert asked(client, bearer(token("s" * 64, "HS512"))) == OUT
    good = token()
    assert asked(client, bearer(good[:-8] + "AAAAAAAA")) == OUT
    assert asked(client, bearer(good.rpartition(".")[0] + ".")) == OUT


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
def test_a_token_that_is_not_signed_is_refused(world: World, algorithm: str) -> None:
    parts = [{"alg": algorithm, "typ": "JWT"}, claims()]
    text = ".".join(_encoded(json.dumps(part).encode()) for part in parts) + "."
    assert asked(world.client(**secret()), bearer(text)) == OUT


def test_a_public_key_is_no_secret(world: World) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    client = world.client(**secret(pem.decode()), jwt_algorithm="RS256")
    assert asked(client, bearer(token(private, "RS256"))) == IN
    # HS256 with the public key's bytes as the secret: made by hand, PyJWT refuses to
    head, body = (_encoded(json.dumps(p).encode()) for p in ({"alg": "HS256"}, claims()))
    signature = hmac.digest(pem, f"{head}.{body}".encode(), "sha256")
    assert asked(client, bearer(f"{head}.{body}.{_encoded(signature)}")) == OUT


def test_without_a_key_in_the_settings_every_token_is_refused(world: World) -> None:
    assert asked(world.client(), bearer(token())) == OUT


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"jwt_key": "short", "jwt_issuer": ISSUER}, "32 bytes"),
        ({"jwt_key": SECRET}, "jwt_issuer"),
        ({"jwt_key": SECRET, "jwt_issuer": ISSUER, "jwt_audience": ""}, "jwt_audience"),
        ({"jwt_key": SECRET, "jwt_issuer": ISSUER, "jwt_algorithm": "RS256"}, "RS256"),
    ],
)
def test_settings_that_would_verify_too_little_are_refused(
    settings: dict[str, Any], names: str
) -> None:
    with pytest.raises(InputError, match=names):
        TokenVerifier(ServingSettings(**settings))


GARBAGE = [
    "",
    "Bearer",
    "Bearer ",
    "Basic YTpi",
    "Bearer a.b.c",
    "Bearer ...",
    "Bearer " + "A" * 60_000,
    "Bearer " + "." * 5000,
    "Bearer \xff\xfe",
    "Bearer " + base64.urlsafe_b64encode(b"[" * 6000).decode() + ".e30.AAAA",
    "Bearer " + base64.urlsafe_b64encode(b'{"alg":[],"crit":1}').decode() + ".e30.AAAA",
]


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_garbage_is_a_401(world: World, header: str, text: str) -> None:
    client = world.client(**secret())
    sent = {header.encode(): text.encode("latin-1")}
    answer = client.post("/compute/sma", json=BODY, headers=sent)
    assert refusal(answer)[:2] == OUT


# anonymous callers


@pytest.mark.parametrize(
    ("host", "headers", "expected"),
    [
        ("127.0.0.1", {}, IN),
        ("127.9.9.9", {}, IN),
        ("::1", {}, IN),
        ("::ffff:127.0.0.1", {}, IN),
        ("198.51.100.7", {}, OUT),
        ("testclient", {}, OUT),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, OUT),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}, OUT),
        ("127.0.0.1", {"X-API-Key": "wh_wrong"}, OUT),
    ],
)
def test_only_a_caller_on_this_machine_needs_no_key(
    world: World, host: str, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    assert asked(world.client((host, 1), anonymous="loopback"), headers) == expected


def test_a_trusted_proxy_cannot_be_made_to_say_that_a_caller_is_local(world: World) -> None:
    client = world.client(anonymous="loopback", trusted_proxies="*")
    assert asked(client, {"X-Forwarded-For": "127.0.0.1"}) == OUT


@pytest.mark.parametrize("trusted", ["", "10.0.0.1"])
@pytest.mark.parametrize(
    "forged",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-For": "127.0.0.1, 10.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1;by=10.0.0.1"},
        {"X-Forwarded-User": "admin", "X-Remote-User": "admin", "Remote-User": "admin"},
        {"X-Forwarded-Host": "localhost", "Host": "localhost"},
    ],
    ids=str,
)
def test_headers_of_a_stranger_make_nobody_local_nor_somebody(
    world: World, trusted: str, forged: dict[str, str]
) -> None:
    client = world.client(anonymous="loopback", trusted_proxies=trusted)
    assert asked(client, forged) == OUT
    key, _ = world.keys.create("ann", ["read"])
    assert asked(client, {"X-API-Key": key, **forged}) == FORBIDDEN


def test_no_socket_is_open(world: World) -> None:
    client = world.client(("127.0.0.1", 1), anonymous="all")
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/predict"):
        pass
    assert closed.value.code == 1008


def test_anonymous_callers_may_do_all_but_administer() -> None:
    assert ServingSettings().anonymous == "loopback"
    assert ANONYMOUS.scopes == {"read", "compute", "write"}
    assert not is_loopback("")


# rules


def routes() -> list[tuple[str, str]]:
    """Return every method and path of the app, with a word for each parameter."""
    found = []
    for route in iter_route_contexts(bare_app().routes):
        path = re.sub(r"{[^}]*}", "word", route.path or "")
        methods = {"GET"} if isinstance(route.route, Mount) else route.methods or set()
        found += [(method, path) for method in methods]
    return found


def test_every_route_has_a_rule() -> None:
    assert ("POST", "/v1/labels/compute") in routes()
    assert ("GET", "/v1/labels/word/word/word") in routes()
    for method, path in routes():
        assert any(method in rule.methods and rule.path.fullmatch(path) for rule in RULES), (
            f"{method} {path}"
        )


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/levels", "read"),
        ("POST", "/v1/labels/compute", "compute"),
        ("POST", "/v1/batch/backfill", "write"),
        ("GET", "/v1/batch/jobs", "read"),
        ("GET", "/v1/batch/jobs/bf_20240101_eurusd_h4_abc123", "read"),
        ("DELETE", "/v1/batch/jobs/bf_20240101_eurusd_h4_abc123", "write"),
        ("GET", "/v1/cache/stats", "read"),
        ("POST", "/v1/cache/warm", "write"),
        ("DELETE", "/v1/cache/invalidate", "write"),
        ("POST", "/backtest/run", "compute"),
        ("POST", "/v1/backtest/run", "compute"),
        ("GET", "/v1/backtest/results/1", "read"),
        ("GET", "/api/v1/data/binance/BTCUSDT", "read"),
        ("GET", "/api/v1/providers", "read"),
        ("POST", "/api/v1/background/warm-cache", "write"),
        ("GET", "/live/books/BTCUSDT", "read"),
        ("POST", "/models/update", "write"),
    ],
)
def test_a_rule_names_the_scope(method: str, path: str, scope: str) -> None:
    fitting = [r for r in RULES if method in r.methods and r.path.fullmatch(path)]
    assert fitting[0].scope == scope
    assert scope_of(method, path, rules(probes=True, metrics=True, docs=True)) == scope


def test_what_no_rule_names_is_not_open() -> None:
    assert scope_of("GET", "/health/../v1/labels", rules(probes=True, metrics=True, docs=True))
    assert scope_of("GET", "/nowhere", RULES) == "read"
    assert scope_of("POST", "/nowhere", RULES) == "write"
    assert scope_of("DELETE", "/health", (*PROBES, *METRICS, *DOCS, *RULES)) == "write"


@pytest.mark.parametrize(
    ("path", "setting"),
    [("/health", "open_health"), ("/metrics", "open_metrics"), ("/openapi.json", "open_docs")],
)
def test_probes_and_pages_are_open_as_configured(world: World, path: str, setting: str) -> None:
    assert world.client().get(path).status_code not in {401, 403}
    assert world.client(**{setting: False}).get(path).status_code == 401


def test_a_route_is_told_who_asks(world: World) -> None:
    key, row = world.keys.create("ann", ["read"])
    seen: list[Principal] = []

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        seen.append(scope["state"]["principal"])

    guard = Guard(
        keys=KeyRing(world.keys, remember_s=5.0),
        tokens=TokenVerifier(ServingSettings()),
        rules=RULES,
        rates=RateLimits(ServingSettings()),
        trail=AuditTrail(AuditLog(world.database)),
        anonymous="none",
    )
    scope = {
        "type": "http", "method": "GET", "path": "/models", "client": REMOTE,
        "headers": [
            (b"x-api-key", key.encode()), (b"x-forwarded-user", b"admin"),
            (b"x-forwarded-for", b"127.0.0.1"), (b"x-remote-user", b"admin"),
        ],
    }  # fmt: skip
    unused: Callable[..., Any] = dict
    anyio.run(AccessMiddleware(app, guard=guard), scope, unused, unused)
    expected = Principal(f"key:{row.key_id}:ann", frozenset({"read"}), is_anonymous=False)
    assert seen == [expected]


# headers


def test_every_answer_has_the_security_headers(world: World) -> None:
    client = world.client()
    for answer in (client.get("/docs"), client.get("/models")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_pages_of_other_origins_ask_as_configured(world: World) -> None:
    asks = {
        "Origin": "https://ui.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "X-API-Key",
    }
    allowed = "Access-Control-Allow-Origin"
    answer = world.client(cors_origins="https://ui.example").options("/compute/sma", headers=asks)
    assert (answer.status_code, answer.headers[allowed]) == (200, "https://ui.example")
    assert allowed not in world.client().options("/compute/sma", headers=asks).headers


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()
