"""``GET /v1/labels``: rows, pages, order, filters, tags, and what is refused."""

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from market.tables import LABELS
from serving import label_pages, labels
from serving.cached_labels import candle_query
from serving.instants import to_us
from serving.label_types import ALIASES, LABEL_TYPES, PLAIN_TYPES
from serving.schemas import LabelPage, LabelSet, OneLabel
from tests.serving.fakes import World, label_rows, opens, write

RANGE = {
    "instrument_id": "EURUSD",
    "granularity": "H4",
    "start_date": "2017-11-01",
    "end_date": "2018-01-31",
}


def ask(client: TestClient, **parameters: Any) -> Any:
    response = client.get("/v1/labels", params=RANGE | parameters)
    assert response.status_code == 200, response.text
    LabelPage.model_validate_json(response.content)
    return response.json()


def test_a_row_has_the_shape_of_the_source(client: TestClient) -> None:
    page = ask(client, start_date="2017-12-01T10:00:00Z", end_date="2017-12-01T10:00:00Z")
    (row,) = page["data"]
    assert (row["instrument_id"], row["granularity"]) == ("EURUSD", "H4")
    assert (row["ts"], row["status"]) == ("2017-12-01T10:00:00Z", "final")
    assert row["matured_at"] == "2017-12-02T14:00:00Z"
    assert row["label_version"] == "v1"
    barrier = row["labels"]["enhanced_triple_barrier"]
    assert (barrier["label"], barrier["barrier_hit"]) == (1, "upper")
    assert barrier["barrier_price"] == barrier["upper_barrier"] == 1.09875
    assert barrier["lower_barrier"] == 1.09225
    assert barrier["level_adjusted"] is True
    assert (barrier["nearest_support"], barrier["nearest_resistance"]) == (1.0920, 1.0990)
    assert row["labels"]["forward_return"] == pytest.approx(0.008)
    assert set(row["labels"]) == set(LABEL_TYPES)


def test_a_pending_label_is_null_and_never_zero(client: TestClient) -> None:
    page = ask(client, sort="ts_desc", per_page=4)
    for row in page["data"]:
        assert (row["status"], row["matured_at"]) == ("pending", None)
        barrier = row["labels"]["enhanced_triple_barrier"]
        assert barrier["label"] is None
        assert barrier["barrier_price"] is None
        assert barrier["upper_barrier"] == 1.09875
        assert row["labels"]["forward_return"] is None


def test_every_label_column_of_the_table_is_answered() -> None:
    assert set(LABEL_TYPES) == set(LabelSet.__annotations__)
    first = list(LABELS.schema).index("forward_return")
    assert set(PLAIN_TYPES) == set(list(LABELS.schema)[first:])


@pytest.mark.parametrize("types", ["forward_return,11.a", " mfe , 10", "enhanced_triple_barrier"])
def test_only_the_types_asked_are_answered(client: TestClient, types: str) -> None:
    asked = {ALIASES.get(t.strip(), t.strip()) for t in types.split(",")}
    row = ask(client, label_types=types, per_page=1)["data"][0]
    assert set(row["labels"]) == asked


def test_pages_walk_all_rows_once(client: TestClient) -> None:
    seen: list[str] = []
    for number in range(1, 14):
        page = ask(client, per_page=7, page=number)
        assert page["pagination"] == {
            "page": number,
            "per_page": 7,
            "total": 90,
            "total_pages": 13,
            "has_next": number < 13,
            "has_prev": number > 1,
            "next_cursor": page["pagination"]["next_cursor"],
        }
        assert (page["pagination"]["next_cursor"] is None) == (number == 13)
        seen += [row["ts"] for row in page["data"]]
    assert len(seen) == 90
    assert seen == sorted(set(seen))
    assert ask(client, per_page=7, page=14)["data"] == []


def test_a_page_by_time_reads_only_its_months(world: World, client: TestClient) -> None:
    ask(client, per_page=30, page=3)
    assert world.lake.months_read == ["2018-01"]


def test_months_outside_the_range_are_neither_read_nor_named(
    world: World, client: TestClient
) -> None:
    page = ask(client, start_date="2017-12-02", end_date="2017-12-02")
    assert world.lake.months_read == ["2017-12"]
    assert list(page["data_versions"]) == ["labels/H4/EURUSD/2017-12"]
    assert {row["ts"][:10] for row in page["data"]} == {"2017-12-02"}
    assert page["pagination"]["total"] == 6


def test_both_ends_are_included(client: TestClient) -> None:
    page = ask(client, start_date="2017-12-01T06:00:00Z", end_date="2017-12-01T14:00:00")
    assert [row["ts"][11:16] for row in page["data"]] == ["06:00", "10:00", "14:00"]


def test_a_filter_on_the_label_leaves_out_what_is_pending(client: TestClient) -> None:
    page = ask(client, enhanced_triple_barrier_label="0", per_page=1000)
    found = [row["labels"]["enhanced_triple_barrier"]["label"] for row in page["data"]]
    assert set(found) == {0}
    assert len(found) == page["pagination"]["total"] == 10 + 10 + 9


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_returns_are_ranked_over_all_months_and_nulls_come_last(
    client: TestClient, order: str
) -> None:
    rows = [
        row
        for number in (1, 2, 3)
        for row in ask(client, sort=f"forward_return_{order}", per_page=40, page=number)["data"]
    ]
    returns = [row["labels"]["forward_return"] for row in rows]
    known = [r for r in returns if r is not None]
    assert known == sorted(known, reverse=order == "desc")
    assert returns[len(known) :] == [None] * 4
    assert len({row["ts"] for row in rows}) == 90


@pytest.mark.slow
@given(
    start=st.integers(0, 60),
    length=st.integers(0, 60),
    per_page=st.integers(1, 20),
    page=st.integers(1, 8),
    label=st.sampled_from([None, -1, 0, 1]),
    sort=st.sampled_from(["ts_asc", "ts_desc", "forward_return_asc", "forward_return_desc"]),
)
def test_a_page_equals_the_slice_of_the_whole(  # noqa: PLR0917
    pages_world: World,
    start: int,
    length: int,
    per_page: int,
    page: int,
    label: int | None,
    sort: str,
) -> None:
    whole = pages_world.lake.newest("labels", "H4", "EURUSD", rows=1000)
    ts = whole["ts"].sort()
    first, last = ts[start], ts[min(start + length, 89)]
    query = labels.LabelQuery(
        "EURUSD", "H4", to_us(first), to_us(last), (), label, page, per_page, sort
    )
    read = label_pages.page(pages_world.lake, labels.resolve(pages_world.lake, query), query)
    found, total = read.rows, read.total
    expected = whole.filter(pl.col("ts").is_between(first, last))
    if label is not None:
        expected = expected.filter(pl.col("enhanced_triple_barrier") == label)
    if sort.startswith("ts"):
        expected = expected.sort("ts", descending=sort.endswith("desc"))
    else:
        by = pl.col("forward_return") * (-1 if sort.endswith("desc") else 1)
        expected = expected.sort(by, "ts", nulls_last=True)
    assert total == expected.height
    assert found.equals(expected.slice((page - 1) * per_page, per_page))


@pytest.fixture(scope="module")
def pages_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("pages"))


def test_the_tag_is_that_of_data_and_question(world: World, client: TestClient) -> None:
    first = client.get("/v1/labels", params=RANGE)
    tag = first.headers["etag"]
    world.lake.months_read.clear()
    again = client.get("/v1/labels", params=RANGE, headers={"If-None-Match": f'"x", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert world.lake.months_read == []
    other = client.get("/v1/labels", params=RANGE | {"page": 2}, headers={"If-None-Match": tag})
    assert other.status_code == 200
    assert other.headers["etag"] != tag
    write(world.lake, "labels", "2018-01", label_rows("2018-01", 30, pending=3))
    changed = client.get("/v1/labels", params=RANGE, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


def test_a_tag_is_of_all_that_an_answer_is_made_from(world: World) -> None:
    query = candle_query("EURUSD", "H4", to_us(opens("2017-11", 1)[0]))
    refs = labels.resolve(world.lake, query)
    first = labels.etag(refs, query, "1", "json")
    assert labels.etag(refs, query, "1", "json") == first
    others = [
        labels.etag([replace(refs[0], version="other")], query, "1", "json"),
        labels.etag([replace(refs[0], code_version="other")], query, "1", "json"),
        labels.etag([*refs, *refs], query, "1", "json"),
        labels.etag(refs, query, "2", "json"),
        labels.etag(refs, query, "1", "csv"),
        *(
            labels.etag(refs, replace(query, **{name: value}), "1", "json")
            for name, value in (
                ("types", ("mfe",)), ("end_us", query.end_us + 1), ("status", "final"),
                ("barrier_label", 1), ("ranges", (("forward_return", 0.0, None),)),
                ("cursor", "x"), ("per_page", 2), ("sort", "ts_desc"),
            )
        ),
    ]  # fmt: skip
    assert len({first, *others}) == len(others) + 1


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"instrument_id": "GBPUSD"}, 404, "UNKNOWN_INSTRUMENT", "instrument"),
        ({"granularity": "D"}, 404, "NOT_MATERIALIZED", "labels/D/EURUSD"),
        ({"end_date": "2019-01-01", "start_date": "2018-12-01"}, 404, "NOT_MATERIALIZED", None),
        ({"end_date": "2017-10-01"}, 400, "INVALID_INPUT", "end_date"),
        ({"label_types": "mfe,profit"}, 400, "INVALID_INPUT", "label_types"),
        ({"label_types": ""}, 400, "INVALID_INPUT", "label_types"),
        ({"granularity": "H5"}, 422, "VALIDATION_ERROR", "granularity"),
        ({"start_date": "2017"}, 422, "VALIDATION_ERROR", "start_date"),
        ({"start_date": "yesterday"}, 422, "VALIDATION_ERROR", "start_date"),
        ({"end_date": "2017-13-01"}, 422, "VALIDATION_ERROR", "end_date"),
        ({"per_page": "1001"}, 422, "VALIDATION_ERROR", "per_page"),
        ({"page": "0"}, 422, "VALIDATION_ERROR", "page"),
        ({"sort": "ts"}, 422, "VALIDATION_ERROR", "sort"),
        ({"enhanced_triple_barrier_label": "2"}, 422, "VALIDATION_ERROR",
         "enhanced_triple_barrier_label"),
        ({"surprise": "1"}, 422, "VALIDATION_ERROR", "surprise"),
    ],
)  # fmt: skip
def test_refusals_name_the_parameter(
    client: TestClient, change: dict[str, str], status: int, code: str, field: str | None
) -> None:
    response = client.get("/v1/labels", params=RANGE | change)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    if field is not None:
        assert [detail["field"] for detail in error["details"]] == [field]


@pytest.mark.parametrize("name", ["instrument_id", "granularity", "start_date", "end_date"])
def test_four_parameters_are_required(client: TestClient, name: str) -> None:
    response = client.get("/v1/labels", params={k: v for k, v in RANGE.items() if k != name})
    assert response.status_code == 422
    assert response.json()["error"]["details"][0]["code"] == "MISSING"


def test_rows_have_the_opens_that_were_written(client: TestClient) -> None:
    page = ask(client, per_page=30)
    assert [row["ts"] for row in page["data"]] == [
        t.isoformat().replace("+00:00", "Z") for t in opens("2017-11", 30)
    ]


def test_one_candle_is_answered_with_its_month_as_tag(client: TestClient) -> None:
    url = "/v1/labels/EURUSD/h4/2017-12-01T10:00:00Z"
    response = client.get(url, params={"label_types": "11.a,forward_return"})
    assert response.status_code == 200, response.text
    OneLabel.model_validate_json(response.content)
    row = response.json()
    assert (row["ts"], row["status"]) == ("2017-12-01T10:00:00Z", "final")
    assert list(row["labels"]) == ["enhanced_triple_barrier", "forward_return"]
    assert list(row["data_versions"]) == ["labels/H4/EURUSD/2017-12"]
    tag = response.headers["etag"]
    again = client.get(
        url, params={"label_types": "11.a,forward_return"}, headers={"If-None-Match": tag}
    )
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("NONE/H4/2017-12-01T10:00:00Z", 404),
        ("EURUSD/H5/2017-12-01T10:00:00Z", 422),
        ("EURUSD/H4/2017-12-01T11:00:00Z", 404),
        ("EURUSD/H4/2031-12-01T10:00:00Z", 404),
        ("EURUSD/H4/1512122400", 422),
    ],
)
def test_a_candle_that_is_not_there_is_refused(client: TestClient, path: str, status: int) -> None:
    response = client.get(f"/v1/labels/{path}")
    assert response.status_code == status, response.text
    assert response.json()["error"]["details"]


def test_ranges_and_status_keep_only_what_they_name(client: TestClient) -> None:
    page = ask(client, forward_return_min=0.0, forward_return_max=0.005, per_page=1000)
    returns = [row["labels"]["forward_return"] for row in page["data"]]
    assert len(returns) == page["pagination"]["total"] == 18
    assert min(returns) >= 0.0
    assert max(returns) <= 0.005
    pending = ask(client, status="pending", per_page=2)
    assert pending["pagination"]["total"] == 4
    assert {row["status"] for row in pending["data"]} == {"pending"}
    assert ask(client, return_quantile_min=1)["pagination"]["total"] == 0
