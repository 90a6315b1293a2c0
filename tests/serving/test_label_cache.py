"""``POST /v1/labels/compute`` with a cache: who reads it, who writes it, and what a key is."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from market.timeframes import Timeframe
from pipeline import labels
from serving.label_compute.questions import Question
from serving.label_compute.service import Resolved, answer_key
from tests.serving.label_world import SOURCE, CachedApp, LabelWorld, candle_of

CALLERS = 12
OWN = ("computation_time_ms", "cache_hit")


@pytest.fixture
def cached(label_world: LabelWorld) -> CachedApp:
    return label_world.cached()


def post(client: TestClient, body: dict[str, Any], strategy: str | None = None) -> Any:
    headers = {} if strategy is None else {"X-Cache-Strategy": strategy}
    response = client.post("/v1/labels/compute", json=body, headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["x-cache-hit"] == str(response.json()["cache_hit"]).lower()
    assert float(response.headers["x-compute-time-ms"]) == response.json()["computation_time_ms"]
    return response.json()


def content(answer: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in answer.items() if k not in OWN}


def body_of(world: LabelWorld, **changes: Any) -> dict[str, Any]:
    candle = candle_of(world.rows("candles").row(300, named=True))
    return {"instrument_id": "BTC", "granularity": "H4", "candle": candle, **changes}


def test_the_second_time_it_is_read(label_world: LabelWorld, cached: CachedApp) -> None:
    with cached.client() as client:
        first, second = (post(client, body_of(label_world)) for _ in range(2))
    assert (first["cache_hit"], second["cache_hit"]) == (False, True)
    assert content(first) == content(second)
    assert cached.service.computed == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("header", "options", "hits", "computed"),
    [
        ("prefer_cache", {}, [False, True, True], 1),
        (None, {"use_cache": True}, [False, True, True], 1),
        ("bypass_cache", {}, [False, False, False], 3),
        (None, {"use_cache": False}, [False, False, False], 3),
        (None, {"use_cache": False, "force_recompute": True}, [False, False, False], 3),
        ("refresh_cache", {}, [False, False, True], 2),
        (None, {"force_recompute": True}, [False, False, True], 2),
        ("prefer_cache", {"use_cache": False}, [False, True, True], 1),
        ("bypass_cache", {"force_recompute": True}, [False, False, False], 3),
    ],
)
def test_a_strategy_says_what_is_read_and_written(
    label_world: LabelWorld,
    cached: CachedApp,
    header: str | None,
    options: dict[str, bool],
    hits: list[bool],
    computed: int,
) -> None:
    """Twice as told, then once by one who takes what is there."""
    told, plain = body_of(label_world, options=options), body_of(label_world)
    with cached.client() as client:
        found = [post(client, told, header), post(client, told, header), post(client, plain)]
    if header == "bypass_cache" or (header is None and not options.get("use_cache", True)):
        assert cached.cache.stats().memory_keys == 1  # that of the last one
    assert [x["cache_hit"] for x in found] == hits
    assert cached.service.computed == computed


@pytest.mark.slow
def test_who_asks_the_same_at_once_waits_for_one_computation(
    label_world: LabelWorld, cached: CachedApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, compute, resolve = [], cached.service.compute, cached.service.resolve
    go = threading.Event()

    def waiting(resolved: Resolved) -> Mapping[str, Any]:
        assert go.wait(30)
        return compute(resolved)

    def noted(question: Question) -> Resolved:
        found = resolve(question)
        asked.append(found)
        if len(asked) == CALLERS:
            go.set()
        return found

    monkeypatch.setattr(cached.service, "compute", waiting)
    monkeypatch.setattr(cached.service, "resolve", noted)
    with cached.client() as client, ThreadPoolExecutor(CALLERS) as pool:
        calls = [pool.submit(post, client, body_of(label_world)) for _ in range(CALLERS)]
        answers = [call.result(60) for call in calls]
    assert cached.service.computed == 1
    assert all(content(x) == content(answers[0]) for x in answers)


def test_an_unknown_strategy_is_refused(cached: CachedApp, label_world: LabelWorld) -> None:
    with cached.client() as client:
        headers = {"X-Cache-Strategy": "perhaps"}
        response = client.post("/v1/labels/compute", json=body_of(label_world), headers=headers)
    assert response.status_code == 422
    assert response.json()["error"]["details"][0]["field"].lower() == "x-cache-strategy"


def test_a_refusal_is_not_kept(cached: CachedApp) -> None:
    prices = {name: [1.0] for name in ("open", "high", "low", "close")}
    off_grid = {"timeframe": "H1", "ts": ["2024-01-10T17:30:00Z"], **prices}
    wrong = {**SOURCE, "path": off_grid}
    with cached.client() as client:
        statuses = [client.post("/v1/labels/compute", json=wrong).status_code for _ in range(2)]
    assert statuses == [400, 400]
    assert cached.cache.stats().memory_keys == 0


def keys_of(cached: CachedApp, bodies: list[dict[str, Any]], *, explain: bool = False) -> list[str]:
    """Return the key of each body's answer, as the route makes it."""
    seen: list[str] = []
    fetch = cached.cache.fetch

    async def noted(key: str, make: Any, **options: Any) -> Any:
        seen.append(key)
        return await fetch(key, make, **options)

    cached.cache.fetch = noted  # type: ignore[method-assign]
    with cached.client() as client:
        for body in bodies:
            parameters = {"explain": "true"} if explain else {}
            response = client.post("/v1/labels/compute", json=body, params=parameters)
            assert response.status_code == 200, response.text
    return seen


def test_a_key_has_all_that_an_answer_is_made_from(
    label_world: LabelWorld, cached: CachedApp
) -> None:
    plain = body_of(label_world)
    path = {
        "timeframe": "H1", "ts": ["2024-01-10T17:00:00Z"],
        "open": [1.0965], "high": [1.0970], "low": [1.0960], "close": [1.0965],
    }  # fmt: skip
    candle, given = plain["candle"], dict(SOURCE)
    bodies = [
        plain,
        {**plain, "options": {"horizon_periods": 5}},
        {**plain, "label_types": ["mfe"]},
        {**plain, "label_types": ["mae"]},
        {**plain, "candle": {**candle, "close": candle["open"]}},
        {**plain, "candle": {**candle, "high": candle["high"] + 1.0}},
        {**plain, "candle": {**candle, "low": candle["low"] - 1.0}},
        {**plain, "candle": {**candle, "atr_14": 1.0}},
        {**plain, "levels": []},
        {**plain, "levels": [{"price": candle["close"] + 1.0, "type": "resistance"}]},
        {**plain, "levels": [{"price": candle["close"] - 1.0, "type": "resistance"}]},
        given,
        {**given, "path": path},
        {**given, "path": {**path, "low": [1.0955]}},
        {**given, "path": {**path, "timeframe": "M30"}},
    ]
    keys = [*keys_of(cached, bodies), *keys_of(cached, [plain], explain=True)]
    assert len(set(keys)) == len(bodies) + 1
    same = [plain, {**plain, "options": {"use_cache": True, "force_recompute": True}}]
    same.append({**plain, "candle": {**candle, "volume": 5.0}})
    assert len({*keys_of(cached, same)}) == 1


def test_a_key_moves_with_data_code_and_maturity(
    label_world: LabelWorld, cached: CachedApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    resolve = cached.service.resolve
    monkeypatch.setattr(cached.service, "resolve", lambda q: seen.append(resolve(q)) or seen[-1])
    with cached.client() as client:
        post(client, body_of(label_world))
    (resolved,) = seen
    first = answer_key(resolved, "1")
    assert answer_key(resolved, "2") != first
    as_of, path, series = resolved.as_of, resolved.path, resolved.series
    history = replace(series.history, state_version="another")
    assert answer_key(replace(resolved, series=replace(series, history=history)), "1") != first
    resolved = replace(resolved, series=None)  # which reads the same month again
    first = answer_key(resolved, "1")
    restated = replace(as_of.candles, version="another")
    assert answer_key(replace(resolved, as_of=replace(as_of, candles=restated)), "1") != first
    state = replace(as_of.state, state_version="another")
    assert answer_key(replace(resolved, as_of=replace(as_of, state=state)), "1") != first
    refs = [replace(path.refs[0], version="another"), *path.refs[1:]]
    assert answer_key(replace(resolved, path=replace(path, refs=refs)), "1") != first
    later = replace(path, watermark_us=resolved.question.end_us - 1)
    assert answer_key(replace(resolved, path=later), "1") != first
    # a source that has spoken of what lies behind the horizon says nothing new
    beyond = replace(path, watermark_us=path.watermark_us + 1)
    assert answer_key(replace(resolved, path=beyond), "1") == first


def test_a_key_is_of_one_series_and_formula(
    cached: CachedApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all was brought, so that no partition's name is in it."""
    seen: list[Any] = []
    resolve = cached.service.resolve
    monkeypatch.setattr(cached.service, "resolve", lambda q: seen.append(resolve(q)) or seen[-1])
    path = {
        "timeframe": "H1", "ts": ["2024-01-10T17:00:00Z"],
        "open": [1.0965], "high": [1.0970], "low": [1.0960], "close": [1.0965],
    }  # fmt: skip
    with cached.client() as client:
        post(client, {**SOURCE, "path": path})
    (resolved,) = seen
    assert resolved.versions == {}
    first, q = answer_key(resolved, "1"), resolved.question
    other = replace(q, instrument=replace(q.instrument, id="ETH"))
    assert answer_key(replace(resolved, question=other), "1") != first
    finer = replace(q, timeframe=Timeframe.H1)
    assert answer_key(replace(resolved, question=finer), "1") != first
    monkeypatch.setattr(labels, "FORMULA", labels.FORMULA + 1)
    assert answer_key(resolved, "1") != first


def test_a_pending_answer_is_of_one_horizon(label_world: LabelWorld, cached: CachedApp) -> None:
    """What is not over says no horizon's end: the key has to."""
    last = candle_of(label_world.rows("candles").row(-2, named=True))
    plain = {"instrument_id": "BTC", "granularity": "H4", "candle": last}
    short = [dict(SOURCE), {**SOURCE, "levels": []}]
    bodies = [
        {**body, "options": {"horizon_periods": horizon}}
        for body in (plain, *short)
        for horizon in (20, 30)
    ]
    with cached.client() as client:
        found = [post(client, body) for body in bodies]
    assert {x["status"] for x in found} == {"pending"}
    assert [x["cache_hit"] for x in found] == [False] * len(bodies)
    assert [x["horizon_periods"] for x in found] == [20, 30] * 3


def test_what_is_kept_is_json(label_world: LabelWorld, cached: CachedApp) -> None:
    kept: list[bytes] = []
    fetch = cached.cache.fetch

    async def noted(key: str, make: Any, **options: Any) -> Any:
        found = await fetch(key, make, **options)
        kept.append(found.value)
        return found

    cached.cache.fetch = noted  # type: ignore[method-assign]
    with cached.client() as client:
        answer = post(client, body_of(label_world))
    assert content(orjson.loads(kept[0])) == {
        k: v for k, v in content(answer).items() if k != "version"
    }
