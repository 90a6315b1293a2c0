"""``/v1/cache`` and what the cached routes say of it."""

import orjson
import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from market.errors import InputError
from serving.caching import open_cache
from tests.serving.fakes import World, label_rows, opens, write

STAMPS = [ts.isoformat() for ts in opens("2018-01", 30)]
SERIES = {"instrument": "EURUSD", "granularity": "H4"}


def one(client: TestClient, ts: str = STAMPS[0], strategy: str | None = None) -> tuple[str, bytes]:
    headers = {} if strategy is None else {"X-Cache-Strategy": strategy}
    answer = client.get(f"/v1/labels/EURUSD/H4/{ts}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Cache-Hit"], answer.content


@pytest.fixture
def reads(world: World) -> list[str]:
    """Return the months of which a row was read, as it grows."""
    return world.lake.rows_read


def test_a_label_is_read_once_and_then_comes_from_memory(
    client: TestClient, reads: list[str]
) -> None:
    first, again = one(client), one(client)
    assert (first[0], again[0]) == ("false", "true")
    assert first[1] == again[1]
    assert reads.count("2018-01") == 1
    assert one(client, strategy="bypass_cache") == ("false", first[1])
    assert one(client, strategy="refresh_cache") == ("false", first[1])
    assert reads.count("2018-01") == 3


def test_an_answer_of_some_labels_is_not_that_of_others(client: TestClient) -> None:
    for is_hit in ("false", "true"):
        for types in ("mfe", "forward_return,mfe", "forward_return"):
            path = f"/v1/labels/EURUSD/H4/{STAMPS[0]}"
            answer = client.get(path, params={"label_types": types})
            assert set(answer.json()["labels"]) == set(types.split(","))
            assert answer.headers["X-Cache-Hit"] == is_hit


def test_new_rows_of_the_month_are_seen_at_once(world: World, client: TestClient) -> None:
    before = one(client, STAMPS[29])
    write(world.lake, "labels", "2018-01", label_rows("2018-01", 30, pending=0))
    after = one(client, STAMPS[29])
    assert b'"pending"' in before[1]
    assert b'"final"' in after[1]
    assert after[0] == "false"


def test_a_row_that_stays_as_it_was_is_not_read_again(
    world: World, client: TestClient, reads: list[str]
) -> None:
    before = one(client)[1]
    ref = write(world.lake, "labels", "2018-01", label_rows("2018-01", 31))
    assert ref.version.encode() not in before
    one(client, STAMPS[29])  # the first of a version makes its index
    reads.clear()
    is_hit, after = one(client)
    assert (is_hit, reads) == ("true", [])
    path = "labels/H4/EURUSD/2018-01"
    then, now = orjson.loads(before), orjson.loads(after)
    assert now.pop("data_versions") == {path: ref.version} != then.pop("data_versions")
    assert now == then
    assert one(client, strategy="bypass_cache")[1] == after


def test_what_is_not_there_is_not_kept(world: World, client: TestClient) -> None:
    missing = opens("2018-01", 31)[30].isoformat()
    assert client.get(f"/v1/labels/EURUSD/H4/{missing}").status_code == 404
    write(world.lake, "labels", "2018-01", label_rows("2018-01", 31))
    assert one(client, missing)[0] == "false"


@pytest.mark.parametrize("path", [f"/v1/labels/EURUSD/H4/{STAMPS[0]}", "/v1/levels"])
def test_an_unknown_strategy_is_refused(client: TestClient, path: str) -> None:
    query = {"instrument_id": "EURUSD", "granularity": "H4", "as_of": STAMPS[0]}
    params = query if path == "/v1/levels" else {}
    answer = client.get(path, params=params, headers={"X-Cache-Strategy": "guess"})
    assert answer.status_code == 422
    assert "cache" in answer.json()["error"]["details"][0]["field"].lower()


def test_warm_has_the_answers_ready_that_would_be_computed(
    client: TestClient, reads: list[str]
) -> None:
    cold = one(client, STAMPS[29], "bypass_cache")[1]
    warmed = client.post("/v1/cache/warm", json=SERIES | {"hours": 24})
    assert warmed.status_code == 200
    assert warmed.json() == SERIES | {"hours": 24, "candles": 7}  # both ends of a day of H4
    reads.clear()
    assert one(client, STAMPS[29]) == ("true", cold)
    assert one(client, STAMPS[23])[0] == "true"
    assert reads == []
    assert one(client, STAMPS[22])[0] == "false"
    stats = client.get("/v1/cache/stats").json()["kinds"]["labels"]
    assert (stats["memory"], stats["computed"], stats["bypassed"]) == (2, 1, 1)  # warming asks not


def test_warm_reaches_over_the_month_s_start(world: World, client: TestClient) -> None:
    write(world.lake, "labels", "2017-12", label_rows("2017-12", 186))  # to its end
    warmed = client.post("/v1/cache/warm", json=SERIES | {"hours": 168}).json()
    assert warmed["candles"] == 30 + 13  # since the evening of the 29th
    assert one(client, opens("2017-12", 186)[-1].isoformat())[0] == "true"


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (SERIES | {"hours": 0}, 422, "hours"),
        (SERIES | {"hours": 169}, 422, "hours"),
        (SERIES | {"granularity": "H3"}, 422, "granularity"),
        ({"granularity": "H4"}, 422, "instrument"),
        (SERIES | {"more": 1}, 422, "more"),
        (SERIES | {"instrument": "NOBODY"}, 404, ""),
        (SERIES | {"granularity": "D"}, 404, ""),
    ],
)
def test_warm_refuses(client: TestClient, body: dict[str, object], status: int, field: str) -> None:
    answer = client.post("/v1/cache/warm", json=body)
    assert answer.status_code == status
    details = answer.json()["error"]["details"]
    assert not field or any(detail["field"].endswith(field) for detail in details)


def test_invalidate_drops_what_every_parameter_fits(client: TestClient) -> None:
    def invalidated(**params: str) -> dict[str, object]:
        answer = client.delete("/v1/cache/invalidate", params=params)
        assert answer.status_code == 200
        found: dict[str, object] = answer.json()
        return found

    one(client)
    one(client, STAMPS[1])
    nothing = {"removed": 0, "memory": 0, "redis": None}
    assert invalidated(instrument="BTCUSD") == nothing
    assert invalidated(granularity="H1") == nothing
    assert invalidated(pattern="levels:*") == nothing
    assert invalidated(instrument="EURUSD", granularity="H4", pattern="labels:*")["removed"] == 2
    assert one(client)[0] == "false"
    assert invalidated()["memory"] == 1


@pytest.mark.parametrize(
    "params", [{"granularity": "H3"}, {"pattern": "x" * 201}, {"instrument": "../"}, {"all": "1"}]
)
def test_invalidate_refuses(client: TestClient, params: dict[str, str]) -> None:
    answer = client.delete("/v1/cache/invalidate", params=params)
    assert answer.status_code == 422
    (detail,) = answer.json()["error"]["details"]
    assert detail["field"].endswith(next(iter(params)))


def test_stats_tell_the_hit_rate_and_what_is_held(client: TestClient) -> None:
    empty = client.get("/v1/cache/stats").json()
    assert (empty["hit_rate"], empty["kinds"], empty["memory"]["keys"]) == (None, {}, 0)
    for _ in range(4):
        one(client)
    stats = client.get("/v1/cache/stats").json()
    assert (stats["hit_rate"], stats["kinds"]["labels"]["hit_rate"]) == (0.75, 0.75)
    assert stats["memory"]["keys"] == 1
    assert 0 < stats["memory"]["bytes"] < stats["memory"]["max_bytes"] == 128_000_000
    assert stats["redis"]["status"] == "off"
    client.post("/compute/sma", json={"symbol": "T", "prices": [1, 2, 3], "period": 2})
    assert client.get("/v1/cache/stats").json()["compute_memory"]["keys"] == 1


def test_an_address_that_is_none_is_refused_without_being_told(world: World) -> None:
    secret = SecretStr("http://user:hunter2@host")
    settings = world.settings.model_copy(update={"redis_url": secret})
    with pytest.raises(InputError, match="redis_url: expected redis://") as refused:
        open_cache(settings)
    assert "hunter2" not in str(refused.value)
