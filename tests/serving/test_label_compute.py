"""``POST /v1/labels/compute``: the source's example, the batch's own rows, and what is refused."""

import copy
import datetime as dt
from typing import Any

import pytest
from starlette.testclient import TestClient

from market.calendars import calendar_named
from market.timeframes import Timeframe
from pipeline import label_row, level_fold
from serving import labels
from serving.instants import to_us
from serving.label_compute.contracts import ComputedLabels
from serving.label_compute.questions import close_of
from serving.label_compute.resident import Resident
from serving.label_compute.service import AGAINST_OTHERS
from serving.label_compute.warmth import Warmth
from serving.label_types import LABEL_TYPES
from serving.routers.levels import LevelsAnswer
from tests.serving.label_world import SOURCE, LabelWorld, candle_of, iso


@pytest.fixture
def world(label_world: LabelWorld) -> LabelWorld:
    return label_world


@pytest.fixture
def client(label_client: TestClient) -> TestClient:
    return label_client


def post(client: TestClient, body: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    response = client.post("/v1/labels/compute", json=body, params=parameters)
    assert response.status_code == 200, response.text
    ComputedLabels.model_validate_json(response.content)
    found: dict[str, Any] = response.json()
    return found


def changed(**changes: Any) -> dict[str, Any]:
    """Return the source's request with fields of dotted names changed."""
    body = copy.deepcopy(SOURCE)
    for name, value in changes.items():
        *parents, last = name.split("__")
        inside = body
        for parent in parents:
            inside = inside[parent]
        inside[last] = value
    return body


def path(
    n: int, *, high: dict[int, float] | None = None, low: dict[int, float] | None = None
) -> Any:
    first = dt.datetime(2024, 1, 10, 17, tzinfo=dt.UTC)
    return {
        "timeframe": "H1",
        "ts": [iso(first + dt.timedelta(hours=i)) for i in range(n)],
        "open": [1.0965] * n,
        "high": [(high or {}).get(i, 1.0970) for i in range(n)],
        "low": [(low or {}).get(i, 1.0960) for i in range(n)],
        "close": [1.0965] * n,
    }


def test_the_sources_example_without_a_path_is_pending_with_its_barriers(
    client: TestClient,
) -> None:
    response = client.post("/v1/labels/compute", json=SOURCE)
    answer = response.json()
    found = answer["labels"]["enhanced_triple_barrier"]
    assert (answer["status"], found["label"], found["barrier_hit"]) == ("pending", None, None)
    assert found["upper_barrier"] == pytest.approx(1.09875, abs=1e-12)
    assert found["lower_barrier"] == pytest.approx(1.09225, abs=1e-12)
    assert (found["nearest_support"], found["nearest_resistance"]) == (1.0920, 1.0990)
    assert (found["level_adjusted"], found["upper_adjusted"]) == (True, True)
    assert (answer["cache_hit"], response.headers["x-cache-hit"]) == (False, "false")
    assert float(response.headers["x-compute-time-ms"]) == answer["computation_time_ms"] > 0
    assert list(answer["labels"]) == ["enhanced_triple_barrier"]


def test_a_path_in_the_request_decides(client: TestClient) -> None:
    found = post(client, changed(path=path(27, high={9: 1.0990})), explain=True)
    barrier = found["labels"]["enhanced_triple_barrier"]
    assert (found["status"], barrier["label"], barrier["barrier_hit"]) == ("final", 1, "upper")
    assert (barrier["time_to_barrier"], barrier["time_to_barrier_path_bars"]) == (2, 10)
    assert barrier["barrier_price"] == barrier["upper_barrier"]
    assert barrier["label_unadjusted"] == found["explain"]["label_unadjusted"] == 0
    assert found["explain"]["upper"] == {
        "barrier": barrier["upper_barrier"],
        "unadjusted": pytest.approx(1.1015),
        "level_price": 1.0990,
        "level_id": None,
        "reason": "moved",
    }
    (touch,) = [bar for bar in found["explain"]["bars_around_touch"] if bar["is_touch"]]
    assert (touch["ts"], touch["high"]) == ("2024-01-11T02:00:00Z", 1.0990)
    assert len(found["explain"]["bars_around_touch"]) == 7


@pytest.mark.parametrize("is_upper", [True, False])
@pytest.mark.parametrize(
    ("distance", "reason"),  # P 1.0965, ATR 0.0025: the level's distance from the close
    [
        (None, "no level"),
        (0.00087, "too near"),  # 0.348 ATR, less its buffer of 0.1: below 0.25
        (0.00088, "moved"),
        (0.00524, "moved"),
        (0.00526, "outside the band"),  # behind the barrier at 2 ATR once the buffer is off
        (0.00749, "outside the band"),
        (0.00751, "beyond reach"),  # 3 ATR
    ],
)
def test_why_a_barrier_lies_where_it_does(
    client: TestClient, distance: float | None, reason: str, *, is_upper: bool
) -> None:
    side, sign = ("upper", 1.0) if is_upper else ("lower", -1.0)
    price = 1.0965 + sign * (distance or 0.0)
    given = [{"price": price, "type": "resistance" if is_upper else "support"}]
    found = post(client, changed(levels=given if distance else []), explain=True)["explain"]
    told, other = found[side], found["lower" if is_upper else "upper"]
    assert (told["reason"], other["reason"]) == (reason, "no level")
    assert told["unadjusted"] == pytest.approx(1.0965 + sign * 0.0050)
    assert told["level_price"] == (price if distance else None)
    moved = price - sign * 0.00025
    assert told["barrier"] == pytest.approx(moved if reason == "moved" else told["unadjusted"])
    assert found["bars_around_touch"] == []


def test_without_an_atr_the_reason_is_that(world: LabelWorld, client: TestClient) -> None:
    given = [{"price": 1e9, "type": "resistance"}]
    for changes in ({}, {"levels": given}):
        found = post(client, _materialized(world, 5, **changes), explain=True)["explain"]
        assert [found[x]["reason"] for x in ("upper", "lower")] == ["no atr", "no atr"]
        assert [found[x]["barrier"] for x in ("upper", "lower")] == [None, None]
        assert [found[x]["unadjusted"] for x in ("upper", "lower")] == [None, None]


def test_a_touch_before_the_first_bar_of_the_grid_counts_as_the_first(client: TestClient) -> None:
    # the candle closes at 17:00 and the next H4 bar of the calendar opens at 20:00
    found = post(client, changed(path=path(27, low={0: 1.0900})))
    barrier = found["labels"]["enhanced_triple_barrier"]
    assert (barrier["label"], barrier["time_to_barrier"]) == (-1, 1)


def test_a_bar_that_touches_both_is_ambiguous_and_never_the_upper(client: TestClient) -> None:
    body = changed(path=path(27, high={4: 1.2}, low={4: 1.0}))
    barrier = post(client, body)["labels"]["enhanced_triple_barrier"]
    assert (barrier["label"], barrier["is_ambiguous"]) == (None, True)
    assert (barrier["label_if_long"], barrier["label_if_short"]) == (-1, 1)


def test_a_path_that_does_not_reach_the_horizon_is_pending_even_touched(
    client: TestClient,
) -> None:
    found = post(client, changed(path=path(20, high={3: 1.2})))
    assert (found["status"], found["matured_at"]) == ("pending", None)
    assert found["labels"]["enhanced_triple_barrier"]["label"] is None


def test_what_lies_before_the_close_changes_nothing(client: TestClient) -> None:
    later = path(27, high={9: 1.0990})
    earlier = {k: v if k == "timeframe" else list(v) for k, v in later.items()}
    earlier["ts"] = ["2024-01-10T16:00:00Z", *later["ts"]]
    for name in ("open", "high", "low", "close"):
        earlier[name] = [1.5 if name == "high" else later[name][0], *later[name]]
    first, second = (post(client, changed(path=p)) for p in (later, earlier))
    assert first["labels"] == second["labels"]


@pytest.mark.parametrize("given", ["11.a", "7", "trend_scan", "mfe"])
def test_numbers_and_groups_are_names(client: TestClient, given: str) -> None:
    found = post(client, changed(label_types=[given]))
    expected = {
        "11.a": ["enhanced_triple_barrier"],
        "7": ["time_to_barrier"],
        "trend_scan": ["trend_scan_sign", "trend_scan_t"],
        "mfe": ["mfe"],
    }
    assert list(found["labels"]) == expected[given]


def test_every_row_of_a_partition_is_computed_alike(world: LabelWorld, client: TestClient) -> None:
    candles = {row["ts"]: row for row in world.rows("candles").to_dicts()}
    stored = world.rows("labels")
    assert {"pending", "final"} <= set(stored["status"])
    rows = labels.rows(stored, LABEL_TYPES)
    for batch in rows[::7] + rows[-8:]:
        candle = {k: candles[batch["ts"]][k] for k in ("open", "high", "low", "close")}
        body = {
            "instrument_id": "BTC",
            "granularity": "H4",
            "candle": {"ts": iso(batch["ts"]), **candle},
        }
        found = post(client, body)
        for name in ("status", "label_version", "horizon_periods", "entry_price", "atr"):
            assert found[name] == batch[name], (batch["ts"], name)
        for name, value in found["labels"].items():
            expected = batch["labels"][name]
            if isinstance(value, dict):
                expected = {
                    k: iso(v) if isinstance(v, dt.datetime) else v for k, v in expected.items()
                }
            assert value == expected, (batch["ts"], name)
        assert found["unavailable"] == {}
        assert f"candles/H4/BTC/{iso(batch['ts'])[:7]}" in found["data_versions"]


def test_levels_are_those_of_the_folded_log_as_of_the_close(
    world: LabelWorld, client: TestClient
) -> None:
    log = world.rows("level_events")
    t_c = dt.datetime(2017, 5, 9, 10, 30, tzinfo=dt.UTC)  # off the grid: closes in a bar
    as_of = int(t_c.timestamp()) * 10**6
    folded = level_fold.fold(log, as_of).filter(status="active")
    price = 1.0001 * folded["price"].median()  # type: ignore[operator]
    body = {
        "instrument_id": "BTC",
        "granularity": "H4",
        "candle": {
            "ts": iso(t_c - dt.timedelta(hours=4)),
            **dict.fromkeys(("open", "high", "low", "close"), price),
        },
    }
    found = post(client, body)["labels"]["enhanced_triple_barrier"]
    below = [
        (p, i)
        for p, i, t in folded.select("price", "level_id", "level_type").iter_rows()
        if t == "support" and p < price
    ]
    above = [
        (p, i)
        for p, i, t in folded.select("price", "level_id", "level_type").iter_rows()
        if t == "resistance" and p > price
    ]
    assert below
    assert above
    assert (found["nearest_support"], found["support_level_id"]) == max(below)
    assert (found["nearest_resistance"], found["resistance_level_id"]) == min(above)


@pytest.mark.parametrize(
    ("ts", "status"),
    [
        ("2017-06-30T20:00:00Z", 200),  # closes with the month, of which all is there
        ("2017-07-01T00:00:00Z", 404),  # the first bar of which the source has said nothing
        ("2017-07-30T00:00:00Z", 404),
        ("2017-08-01T00:00:00Z", 404),
    ],
)
def test_levels_of_before_the_source_fell_silent_are_not_those_of_a_later_close(
    world: LabelWorld, client: TestClient, ts: str, status: int
) -> None:
    row = world.rows("candles").row(-1, named=True)
    body = {"instrument_id": "BTC", "granularity": "H4", "candle": {**candle_of(row), "ts": ts}}
    response = client.post("/v1/labels/compute", json=body)
    assert response.status_code == status, response.text
    if status == 404:
        assert response.json()["error"]["details"][0]["field"] == "candle.ts"


REFUSALS: list[tuple[dict[str, Any], int, str]] = [
    ({"instrument_id": "NONE"}, 404, "instrument"),
    ({"granularity": "H5"}, 422, "granularity"),
    ({"granularity": None}, 422, "granularity"),
    ({"surprise": 1}, 422, "surprise"),
    ({"candle__ts": "yesterday"}, 422, "candle.ts"),
    ({"candle__ts": 1_700_000_000}, 422, "candle.ts"),
    ({"candle__ts": "1960-01-01T00:00:00Z"}, 400, "candle.ts"),
    ({"candle__ts": "9999-01-01T00:00:00Z"}, 400, "candle.ts"),
    ({"candle__close": -1.0}, 422, "candle.close"),
    ({"candle__close": "1.0965"}, 422, "candle.close"),
    ({"candle__close": True}, 422, "candle.close"),
    ({"candle__high": 1.0}, 400, "candle.high"),
    ({"candle__low": 1.0966}, 400, "candle.low"),
    ({"candle__open": None}, 422, "candle.open"),
    ({"candle__volume": -1}, 422, "candle.volume"),
    ({"candle__atr_14": 0}, 422, "candle.atr_14"),
    ({"label_types": ["enhanced_triple_barier"]}, 422, "label_types.0"),
    ({"label_types": []}, 422, "label_types"),
    ({"label_types": "mfe"}, 422, "label_types"),
    ({"options__horizon_periods": 0}, 422, "options.horizon_periods"),
    ({"options__horizon_periods": 101}, 422, "options.horizon_periods"),
    ({"options__use_cache": "maybe"}, 422, "options.use_cache"),
    ({"levels": [{"price": 1.0, "type": "wall"}]}, 422, "levels.0.type"),
    ({"levels": [{"price": "x", "type": "support"}]}, 422, "levels.0.price"),
    ({"levels": [{"price": 1.0, "type": "support"}] * 6}, 400, "levels"),
    ({"path": path(31)}, 400, "path.ts"),
    ({"path": {**path(3), "high": [1.2, 1.2]}}, 400, "path.high"),
    ({"path": {**path(3), "high": [1.2, None, 1.2]}}, 422, "path.high.1"),
    ({"path": {**path(3), "high": [1.2, 1.0, 1.2]}}, 400, "path.high.1"),
    ({"path": {**path(3), "low": [1.0, 1.0966, 1.0]}}, 400, "path.low.1"),
    ({"path": {**path(3), "ts": path(3)["ts"][::-1]}}, 400, "path.ts.1"),
    ({"path": {**path(1), "ts": ["2024-01-10T17:30:00Z"]}}, 400, None),
    ({"path": {**path(1), "timeframe": "D"}}, 400, "path.timeframe"),
    ({"levels": None}, 404, "candle.ts"),
]


@pytest.mark.parametrize(("change", "status", "field"), REFUSALS)
def test_refusals_name_the_field(
    world: LabelWorld, change: dict[str, Any], status: int, field: str | None
) -> None:
    with world.client(labels_max_levels=5, labels_max_path_bars=30) as client:
        response = client.post("/v1/labels/compute", json=changed(**change))
    assert response.status_code == status, response.text
    details = response.json()["error"]["details"]
    if field is not None:
        assert details[0]["field"] == field


@pytest.mark.parametrize(
    ("change", "names", "why"),
    [
        ({}, {"retouch_count", "meta_label"}, "its own levels"),
        ({"levels": None, "path": path(27)}, {"retouch_count", "max_penetration"}, "its own path"),
    ],
)
def test_what_cannot_be_known_of_what_was_brought_says_why(
    client: TestClient, change: dict[str, Any], names: set[str], why: str
) -> None:
    body = changed(**{"path": path(27), **change}, label_types=None)
    if "levels" in change:
        body["candle"]["ts"] = "2017-05-09T08:00:00Z"
        body["path"]["ts"] = [
            iso(dt.datetime(2017, 5, 9, 12, tzinfo=dt.UTC) + dt.timedelta(hours=i))
            for i in range(27)
        ]
    found = post(client, body)
    assert found["status"] == "final"
    assert names <= set(found["unavailable"])
    assert all(found["labels"][name] is None for name in found["unavailable"])
    assert all(reason.endswith(why) for reason in found["unavailable"].values())


@pytest.mark.parametrize(
    ("calendar", "timeframe", "ts", "close"),
    [
        ("us_equity", "H1", "2017-03-10T20:30:00Z", "2017-03-10T21:00:00Z"),  # the day's last
        ("us_equity", "H1", "2017-11-24T17:30:00Z", "2017-11-24T18:00:00Z"),  # of a half-day
        ("us_equity", "D", "2017-03-13T13:30:00Z", "2017-03-13T20:00:00Z"),
        ("fx", "W", "2017-03-05T22:00:00Z", "2017-03-10T22:00:00Z"),  # before the clocks change
        ("fx", "D", "2017-03-12T21:00:00Z", "2017-03-13T21:00:00Z"),
        ("crypto", "H4", "2024-01-10T13:00:00Z", "2024-01-10T17:00:00Z"),  # off the grid
    ],
)
def test_a_candle_closes_when_its_market_says(
    calendar: str, timeframe: str, ts: str, close: str
) -> None:
    opened, closed = (to_us(dt.datetime.fromisoformat(x)) for x in (ts, close))
    assert close_of(opened, Timeframe(timeframe), calendar_named(calendar)) == closed


def test_of_given_levels_the_nearest_on_its_side_of_the_close_counts(client: TestClient) -> None:
    given = [
        *({"price": p, "type": "resistance"} for p in (1.0999, 1.0990, 1.0965, 1.0900, 1.1001)),
        *({"price": p, "type": "support"} for p in (1.0910, 1.0920, 1.0965, 1.1000, 1.0901)),
    ]
    barrier = post(client, changed(levels=given))["labels"]["enhanced_triple_barrier"]
    assert (barrier["nearest_support"], barrier["nearest_resistance"]) == (1.0920, 1.0990)
    at_close = [{"price": 1.0965, "type": x} for x in ("support", "resistance")]
    barrier = post(client, changed(levels=at_close))["labels"]["enhanced_triple_barrier"]
    assert (barrier["nearest_support"], barrier["nearest_resistance"]) == (None, None)


def test_given_levels_tell_how_far_they_were_broken(client: TestClient) -> None:
    body = changed(path=path(27), label_types=["max_penetration"])
    body["levels"].append({"price": 1.0960, "type": "resistance"})
    found = post(client, body)
    assert found["unavailable"] == {}
    assert found["labels"]["max_penetration"] == pytest.approx((1.0965 - 1.0960) / 0.0025)


def _materialized(world: LabelWorld, at: int = 300, **changes: Any) -> dict[str, Any]:
    body = {"instrument_id": "BTC", "granularity": "H4"}
    return {**body, "candle": candle_of(world.rows("candles").row(at, named=True)), **changes}


def test_another_horizon_has_all_but_what_its_history_would_tell(
    world: LabelWorld, client: TestClient
) -> None:
    found = post(client, _materialized(world, options={"horizon_periods": 9}))
    assert set(found["unavailable"]) == {"return_quantile", "event_burst"}
    nulls = {name for name, value in found["labels"].items() if value is None}
    assert {"return_quantile", "event_burst"} <= nulls
    assert nulls <= {"return_quantile", "event_burst", "profit_factor"}
    assert found["horizon_periods"] == 9


def test_a_candle_that_is_not_the_materialised_one_has_no_place_among_them(
    world: LabelWorld, client: TestClient
) -> None:
    body = _materialized(world)
    body["candle"]["high"] += 1.0
    found = post(client, body)
    assert set(found["unavailable"]) == AGAINST_OTHERS
    assert all(found["labels"][name] is None for name in AGAINST_OTHERS)
    assert found["labels"]["forward_return"] is not None


def test_nothing_but_11a_is_read_where_nothing_else_is_asked(
    world: LabelWorld, client: TestClient
) -> None:
    body = _materialized(world, label_types=["11.a"])
    found, whole = post(client, body), post(client, {**body, "label_types": None})
    tables = {path.split("/")[0] for path in found["data_versions"]}
    assert tables == {"candles", "level_events"}
    assert "labels" in {path.split("/")[0] for path in whole["data_versions"]}
    assert found["labels"]["enhanced_triple_barrier"] == whole["labels"]["enhanced_triple_barrier"]


def test_a_misspelt_label_is_told_which_was_meant(client: TestClient) -> None:
    response = client.post("/v1/labels/compute", json=changed(label_types=["forward_retrun"]))
    message = response.json()["error"]["details"][0]["message"]
    assert message.endswith("did you mean forward_return?")


def test_a_candle_that_has_not_closed_is_refused(client: TestClient) -> None:
    running = iso(dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1))
    response = client.post("/v1/labels/compute", json=changed(candle__ts=running))
    assert response.status_code == 400
    assert "has closed" in response.json()["error"]["message"]


def test_not_a_number_is_refused(client: TestClient) -> None:
    text = '{"instrument_id": "BTC", "granularity": "H4", "candle": {"ts": "2024-01-10T13:00:00Z",'
    text += '"open": NaN, "high": 1, "low": 1, "close": 1}}'
    headers = {"Content-Type": "application/json"}
    response = client.post("/v1/labels/compute", content=text, headers=headers)
    assert response.status_code == 422


def test_what_is_warmed_is_all_that_a_label_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every compiled function that a label goes through has run."""
    ran: set[str] = set()
    for name in ("path_statistics", "trend_scan", "range_expansion", "max_penetration"):
        kernel = getattr(label_row, name)

        def noted(*args: Any, kernel: Any = kernel, **options: Any) -> Any:
            ran.add(kernel.__name__)
            return kernel(*args, **options)

        monkeypatch.setattr(label_row, name, noted)
    warmth = Warmth()
    warmth.start()
    warmth.close()
    assert ran == {"path_statistics", "trend_scan", "range_expansion", "max_penetration"}


class _Bytes(bytes):
    @property
    def nbytes(self) -> int:
        return len(self)


def test_what_is_resident_is_bounded_and_the_oldest_goes_first() -> None:
    made: list[int] = []

    def make(key: int, size: int) -> _Bytes:
        def decode() -> _Bytes:
            made.append(key)
            return _Bytes(size)

        return decode  # type: ignore[return-value]

    held: Resident[int, _Bytes] = Resident(100)
    for key in (1, 2, 1, 3, 1, 2):  # 3 pushes 2 out, not 1, which was asked since
        held.get(key, make(key, 40))  # type: ignore[arg-type]
    assert made == [1, 2, 3, 2]
    assert held.nbytes <= 100
    held.get(9, make(9, 101))  # type: ignore[arg-type]
    held.get(9, make(9, 101))  # type: ignore[arg-type]
    assert made[-2:] == [9, 9]


def test_levels_of_the_past_are_folded_from_the_log(world: LabelWorld, client: TestClient) -> None:
    asked = {"instrument_id": "BTC", "granularity": "H4", "as_of": "2017-05-09T10:30:00Z"}
    response = client.get("/v1/levels", params=asked)
    assert response.status_code == 200, response.text
    LevelsAnswer.model_validate_json(response.content)
    as_of = dt.datetime(2017, 5, 9, 10, 30, tzinfo=dt.UTC)
    expected = level_fold.fold(world.rows("level_events"), int(as_of.timestamp()) * 10**6)
    found = response.json()
    assert [x["level_id"] for x in found["levels"]] == expected["level_id"].to_list()
    assert [x["price"] for x in found["levels"]] == expected["price"].to_list()
    assert {x["status"] for x in found["levels"]} <= {"active", "broken"}
    # no month after the instant is even read
    assert max(found["data_versions"]) == "level_events/H4/BTC/2017-05"
    tag = response.headers["etag"]
    again = client.get("/v1/levels", params=asked, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    later = client.get("/v1/levels", params=asked | {"as_of": "2017-05-12"})
    assert later.headers["etag"] != tag


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"instrument_id": "NONE"}, 404, "instrument"),
        ({"granularity": "H5"}, 422, "granularity"),
        ({"as_of": "soon"}, 422, "as_of"),
        ({"as_of": "1901-01-01T00:00:00Z"}, 400, "as_of"),
        ({"as_of": "1999-01-01T00:00:00Z"}, 404, "level_events/H4/BTC"),
        ({"surprise": "1"}, 422, "surprise"),
    ],
)
def test_refusals_of_levels_name_the_field(
    client: TestClient, change: dict[str, str], status: int, field: str
) -> None:
    asked = {"instrument_id": "BTC", "granularity": "H4", "as_of": "2017-05-09T10:30:00Z"}
    response = client.get("/v1/levels", params=asked | change)
    assert response.status_code == status, response.text
    assert response.json()["error"]["details"][0]["field"] == field
