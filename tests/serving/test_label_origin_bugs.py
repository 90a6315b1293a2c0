"""The label source's mistakes, by their number in its list, as the service would make them.

Those of the labels themselves are tested where they are computed; here stands what a caller gets.
"""

import ast
import datetime as dt
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from starlette.testclient import TestClient

from tests.serving.label_world import SOURCE, CachedApp, LabelWorld, candle_of, iso

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def candles(label_world: LabelWorld) -> list[dict[str, Any]]:
    return label_world.rows("candles").to_dicts()


def body(row: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"instrument_id": "BTC", "granularity": "H4", "candle": candle_of(row), **changes}


def post(client: TestClient, asked: dict[str, Any]) -> Any:
    response = client.post("/v1/labels/compute", json=asked)
    assert response.status_code == 200, response.text
    return response.json()


def path(n: int, **bars: dict[int, float]) -> dict[str, Any]:
    """Return hours after the close of the source's candle, at its close but for some bars."""
    first = dt.datetime(2024, 1, 10, 17, tzinfo=dt.UTC)
    names = ("open", "high", "low", "close")
    return {
        "timeframe": "H1",
        "ts": [iso(first + dt.timedelta(hours=i)) for i in range(n)],
        **{name: [bars.get(name, {}).get(i, 1.0965) for i in range(n)] for name in names},
    }


def computed(client: TestClient, **changes: Any) -> Any:
    return post(client, {**SOURCE, "label_types": None, **changes})


def test_1_the_path_starts_at_the_close(
    label_world: LabelWorld, label_client: TestClient, candles: list[dict[str, Any]]
) -> None:
    hours = label_world.rows("candles", "H1")
    row = candles[300]
    later = hours.filter(
        (pl.col("ts") >= row["known_at"]) & (pl.col("ts") < row["known_at"] + dt.timedelta(days=1))
    )
    found = post(label_client, body(row))["labels"]
    assert found["enhanced_triple_barrier"]["path_bars"] == later.height == 24
    highest = float(later["high"].max())  # type: ignore[arg-type]
    assert found["mfe"] == pytest.approx(max(highest / row["close"] - 1, 0.0))


def test_2_levels_of_the_past_are_not_those_of_today(
    label_world: LabelWorld, candles: list[dict[str, Any]]
) -> None:
    """Who asks for today first, with a cache, does not change what stood then."""
    old, new = body(candles[300]), body(candles[-8])
    cached, other = label_world.cached(), label_world.cached()
    with cached.client() as client, other.client() as second:
        newest_first = [post(client, new), post(client, old)]
        oldest_first = [post(second, old), post(second, new)]
    barriers = [x["labels"]["enhanced_triple_barrier"] for x in newest_first]
    assert barriers[0]["support_level_id"] != barriers[1]["support_level_id"]
    assert [x["labels"] for x in newest_first] == [x["labels"] for x in oldest_first[::-1]]
    (stored,) = label_world.rows("labels").filter(pl.col("ts") == candles[300]["ts"]).to_dicts()
    of_then = ("support_level_id", "resistance_level_id", "upper_barrier", "lower_barrier")
    assert [barriers[1][name] for name in of_then] == [stored[name] for name in of_then]
    made = barriers[1]["support_level_id"].split("_")[2]
    assert (
        dt.datetime.strptime(made, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
        < (candles[300]["known_at"])
    )


def test_3_a_bar_that_hits_both_is_ambiguous_not_upper(label_client: TestClient) -> None:
    found = computed(label_client, path=path(27, high={4: 1.2}, low={4: 1.0}))["labels"]
    barrier = found["enhanced_triple_barrier"]
    assert (barrier["label"], barrier["barrier_hit"]) == (None, "ambiguous")
    assert (barrier["label_if_long"], barrier["label_if_short"]) == (-1, 1)
    assert found["triple_barrier"] is None


@pytest.mark.parametrize("n", [0, 1, 20])
def test_4_a_short_path_is_null_not_0(label_client: TestClient, n: int) -> None:
    found = computed(label_client, path=path(n))
    assert (found["status"], found["matured_at"]) == ("pending", None)
    labels = dict(found["labels"])
    barrier = labels.pop("enhanced_triple_barrier")
    assert (barrier["label"], barrier["barrier_hit"], barrier["t1"]) == (None, None, None)
    assert labels.pop("nearest_level_distance") == pytest.approx(1.0)
    assert set(labels.values()) == {None}


def test_4_a_path_with_a_hole_is_censored_not_0(label_client: TestClient) -> None:
    """Hours 7 to 14 never came: a whole bar of the label's timeframe went unseen."""
    whole = path(27)
    holed = {k: v if k == "timeframe" else v[:7] + v[15:] for k, v in whole.items()}
    found = computed(label_client, path=holed)
    assert (found["status"], found["labels"]["triple_barrier"]) == ("censored", None)
    assert computed(label_client, path=whole)["labels"]["triple_barrier"] == 0


def test_5_without_an_atr_there_are_no_barriers(
    label_client: TestClient, candles: list[dict[str, Any]]
) -> None:
    """No fraction stands in for it."""
    found = post(label_client, body(candles[5]))
    barrier = found["labels"]["enhanced_triple_barrier"]
    assert (found["atr"], barrier["upper_barrier"], barrier["label"]) == (None, None, None)
    assert found["labels"]["vol_scaled_return"] is None
    assert found["labels"]["forward_return"] is not None


def test_6_horizon_and_labels_are_part_of_what_is_kept(
    label_world: LabelWorld, candles: list[dict[str, Any]]
) -> None:
    asked = [
        body(candles[300], label_types=types, options={"horizon_periods": horizon})
        for horizon in (2, 6, 30)
        for types in (["mfe"], ["mfe", "mae"], None)
    ]
    cached: CachedApp = label_world.cached()
    with cached.client() as client:
        first, second = ([post(client, x) for x in asked] for _ in range(2))
    assert [x["cache_hit"] for x in first] == [False] * len(asked)
    assert [x["cache_hit"] for x in second] == [True] * len(asked)
    assert [x["labels"] for x in first] == [x["labels"] for x in second]
    assert len({x["labels"]["mfe"] for x in first}) > 1


def test_7_and_8_a_loss_may_exceed_the_gain_and_both_are_fractions(
    label_client: TestClient,
) -> None:
    found = computed(label_client, path=path(27, high={3: 1.0970}, low={5: 1.0745}))["labels"]
    assert found["mfe"] == pytest.approx(0.0005 / 1.0965)
    assert found["mae"] == pytest.approx(-0.0220 / 1.0965)
    assert found["mfe"] < -found["mae"]
    assert found["profit_factor"] == pytest.approx(0.0005 / 0.0220)


def test_9_a_scaled_return_is_in_atr(label_client: TestClient) -> None:
    found = computed(label_client, path=path(27, high={26: 1.0990}, close={26: 1.0990}))["labels"]
    assert found["vol_scaled_return"] == pytest.approx((1.0990 - 1.0965) / 0.0025)


def test_10_the_gap_is_a_share_of_the_move_to_the_extreme(label_client: TestClient) -> None:
    bars = path(27, high={3: 1.0975, 26: 1.0970}, close={26: 1.0970})
    found = computed(label_client, path=bars)["labels"]
    assert found["end_vs_extremum_gap"] == pytest.approx(0.5)


def test_11_a_drawdown_is_not_above_0(label_client: TestClient) -> None:
    bars = path(27, high={3: 1.0975}, close={3: 1.0975, 4: 1.0960}, low={4: 1.0960})
    found = computed(label_client, path=bars)["labels"]
    assert found["drawdown_depth"] == pytest.approx(1.0960 / 1.0975 - 1)


def test_12_a_quantile_is_a_decile_of_what_had_matured(
    label_world: LabelWorld, label_client: TestClient
) -> None:
    rows = label_world.rows("labels").filter(pl.col("return_quantile").is_not_null())
    assert set(rows["return_quantile"]) == set(range(1, 11))
    assert rows["ts"][0] > label_world.rows("labels")["ts"][100]  # a hundred had matured by then
    asked = {
        "instrument_id": "BTC", "granularity": "H4", "start_date": "2017-03-01",
        "end_date": "2017-06-30", "return_quantile_min": 10, "return_quantile_max": 100,
        "per_page": 1000,
    }  # fmt: skip
    page = label_client.get("/v1/labels", params=asked).json()
    assert page["pagination"]["total"] == rows.filter(pl.col("return_quantile") == 10).height
    assert {x["labels"]["return_quantile"] for x in page["data"]} == {10}


def test_13_a_stay_at_a_level_is_one_touch(
    label_world: LabelWorld, label_client: TestClient, candles: list[dict[str, Any]]
) -> None:
    labels = label_world.rows("labels").filter(pl.col("touch_run") > pl.col("retouch_count"))
    stayed = labels.row(0, named=True)
    row = next(x for x in candles if x["ts"] == stayed["ts"])
    found = post(label_client, body(row))["labels"]
    assert (found["retouch_count"], found["touch_run"]) == (
        stayed["retouch_count"], stayed["touch_run"],
    )  # fmt: skip
    assert found["touch_run"] > found["retouch_count"]


def test_14_a_break_of_any_level_and_of_the_nearest_are_two_labels(
    label_world: LabelWorld, label_client: TestClient, candles: list[dict[str, Any]]
) -> None:
    differ = label_world.rows("labels").filter(
        pl.col("breakout_occurred") & ~pl.col("nearest_breakout_occurred")
    )
    row = next(x for x in candles if x["ts"] == differ["ts"][0])
    found = post(label_client, body(row, label_types=["16", "nearest_breakout_occurred"]))
    assert found["labels"] == {"breakout_occurred": True, "nearest_breakout_occurred": False}


def test_15_what_is_kept_is_read_without_running_it(
    label_world: LabelWorld, candles: list[dict[str, Any]]
) -> None:
    kept: list[bytes] = []
    cached = label_world.cached()
    fetch = cached.cache.fetch

    async def noted(key: str, make: Any, **options: Any) -> Any:
        found = await fetch(key, make, **options)
        kept.append(found.value)
        return found

    cached.cache.fetch = noted  # type: ignore[method-assign]
    with cached.client() as client:
        post(client, body(candles[300]))
    assert orjson.loads(kept[0])["instrument_id"] == "BTC"
    for file in [*(ROOT / "serving").rglob("*.py"), *(ROOT / "storage").rglob("*.py")]:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = [a.name for x in ast.walk(tree) if isinstance(x, ast.Import) for a in x.names]
        names += [x.module or "" for x in ast.walk(tree) if isinstance(x, ast.ImportFrom)]
        assert not {"pickle", "dill", "cloudpickle", "marshal"}.intersection(names), file


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "label_demo_key"},
        {"Authorization": "Bearer eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ4In0."},
    ],
)
def test_16_an_unsigned_token_and_a_key_of_the_right_prefix_are_refused(
    label_world: LabelWorld, headers: dict[str, str]
) -> None:
    with label_world.client() as client:
        response = client.post("/v1/labels/compute", json=SOURCE, headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "UNAUTHENTICATED"
