"""Pages by cursor, and the forms of ``GET /v1/labels``: CSV, Arrow, Parquet."""

import base64
import datetime as dt
import io
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from market.tables import LABELS
from serving import accepts, label_formats, label_pages, labels
from serving.instants import to_us
from serving.label_types import LABEL_TYPES
from serving.schemas import LabelPage, Sort
from tests.serving.fakes import World, label_rows, write
from tests.serving.test_labels import RANGE

SORTS: tuple[Sort, ...] = ("ts_asc", "ts_desc", "forward_return_asc", "forward_return_desc")
MOST_PAGES = 100  # of 90 rows
FORMS = [label_formats.CSV, label_formats.ARROW, label_formats.PARQUET]


@pytest.fixture(scope="module")
def pages_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("pages"))


def walked(world: World, query: labels.LabelQuery) -> list[pl.DataFrame]:
    """Follow cursors from a first page to the last."""
    pages: list[pl.DataFrame] = []
    while len(pages) < MOST_PAGES:
        found = label_pages.page(world.lake, labels.resolve(world.lake, query), query)
        pages.append(found.rows)
        if found.next_cursor is None:
            return pages
        fields = {name: getattr(query, name) for name in query.__slots__}
        query = labels.LabelQuery(**fields | {"cursor": found.next_cursor, "page": 1})
    pytest.fail("pages: expected an end, was none")


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(
    start=st.integers(0, 60),
    length=st.integers(0, 89),
    per_page=st.integers(4, 40),
    label=st.sampled_from([None, -1, 0, 1]),
    status=st.sampled_from([None, "final", "pending"]),
    least=st.sampled_from([None, 0.0]),
    sort=st.sampled_from(SORTS),
)
def test_pages_joined_are_the_whole(
    pages_world: World,
    *,
    start: int,
    length: int,
    per_page: int,
    label: int | None,
    status: str | None,
    least: float | None,
    sort: str,
) -> None:
    whole = pages_world.lake.newest("labels", "H4", "EURUSD", rows=1000)
    ts = whole["ts"].sort()
    first, last = to_us(ts[start]), to_us(ts[min(start + length, 89)])
    query = labels.LabelQuery(
        "EURUSD", "H4", first, last, (), label, 1, per_page, sort,
        ranges=(("forward_return", least, None),), status=status,
    )  # fmt: skip
    pages = walked(pages_world, query)
    expected = whole.filter(query.condition())
    if sort.startswith("ts"):
        expected = expected.sort("ts", descending=sort.endswith("desc"))
    else:
        by = pl.col("forward_return") * (-1 if sort.endswith("desc") else 1)
        expected = expected.sort(by, "ts", nulls_last=True)
    assert pl.concat(pages).equals(expected)
    assert all(page.height == per_page for page in pages[:-1])
    assert len(pages) == max(-(-expected.height // per_page), 1)


@pytest.mark.slow
@pytest.mark.parametrize("per_page", [1, 7, 29, 43, 86, 87, 88, 89])
@pytest.mark.parametrize("sort", SORTS)
def test_no_row_is_skipped_or_told_twice_at_ties_and_among_what_is_unknown(
    pages_world: World, sort: Sort, per_page: int
) -> None:
    """Each return is that of three rows, and the last four rows have none."""
    ts = pages_world.lake.newest("labels", "H4", "EURUSD", rows=1000)["ts"]
    first, last = to_us(ts[0]), to_us(ts[-1])
    query = labels.LabelQuery("EURUSD", "H4", first, last, (), None, 1, per_page, sort)
    pages = walked(pages_world, query)
    found = [instant for page in pages for instant in page["ts"]]
    assert sorted(found) == ts.to_list()
    assert [page.height for page in pages[:-1]] == [per_page] * (len(pages) - 1)
    returns = pl.concat(pages)["forward_return"].to_list()
    if not sort.startswith("ts"):
        assert returns[-4:] == [None] * 4
        assert returns[:-4] == sorted(returns[:-4], reverse=sort.endswith("desc"))


def ask(client: TestClient, **parameters: Any) -> Any:
    response = client.get("/v1/labels", params=RANGE | parameters)
    assert response.status_code == 200, response.text
    LabelPage.model_validate_json(response.content)
    return response.json()


def test_a_page_by_cursor_is_not_counted(client: TestClient) -> None:
    first = ask(client, per_page=40)
    second = ask(client, per_page=40, cursor=first["pagination"]["next_cursor"])
    third = ask(client, per_page=40, cursor=second["pagination"]["next_cursor"])
    assert first["pagination"]["total"] == 90
    assert second["pagination"] == {
        "page": None,
        "per_page": 40,
        "total": None,
        "total_pages": None,
        "has_next": True,
        "has_prev": True,
        "next_cursor": second["pagination"]["next_cursor"],
    }
    assert third["pagination"]["next_cursor"] is None
    seen = [row["ts"] for page in (first, second, third) for row in page["data"]]
    assert (len(seen), seen) == (90, sorted(set(seen)))


def test_rows_that_are_added_move_no_page(world: World, client: TestClient) -> None:
    """By number, rows added ahead would be seen twice; a cursor knows the last one it told."""
    world_rows = ask(client, per_page=1000)["data"]
    asked = {"per_page": 40, "start_date": "2017-10-01"}
    first = ask(client, **asked)
    write(world.lake, "labels", "2017-10", label_rows("2017-10", 30))
    second = ask(client, **asked, cursor=first["pagination"]["next_cursor"])
    assert second["data"] == world_rows[40:80]
    assert ask(client, **asked, page=2)["data"] != world_rows[40:80]


def test_a_page_by_cursor_reads_only_its_months(world: World, client: TestClient) -> None:
    cursor = ask(client, per_page=60)["pagination"]["next_cursor"]
    world.lake.months_read.clear()
    assert len(ask(client, per_page=30, cursor=cursor)["data"]) == 30
    assert world.lake.months_read == ["2018-01"]


def forged(*parts: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x", "*", "====", "ä", "bm90IGpzb24", forged(), forged("0", None, 1), forged("0", None),
        forged("0", "1", 1), forged(None, None, 1), forged("0", None, 2**63),
        forged("0", None, 1.5),
    ],
)  # fmt: skip
def test_a_cursor_that_is_none_is_refused(client: TestClient, cursor: str) -> None:
    response = client.get("/v1/labels", params=RANGE | {"cursor": cursor})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["details"][0]["field"] == "cursor"


def test_a_cursor_that_is_too_large_for_an_instant_is_refused(client: TestClient) -> None:
    cursor = ask(client, per_page=40)["pagination"]["next_cursor"]
    asked = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))[0]
    response = client.get("/v1/labels", params=RANGE | {"cursor": forged(asked, None, 2**63)})
    assert response.status_code == 400, response.text


@pytest.mark.parametrize(
    "change",
    [
        {"sort": "ts_desc"}, {"status": "final"}, {"end_date": "2018-01-30"},
        {"start_date": "2017-11-02"}, {"forward_return_min": "0"}, {"forward_return_max": "0.1"},
        {"return_quantile_min": "1"}, {"enhanced_triple_barrier_label": "1"},
    ],
)  # fmt: skip
def test_a_cursor_of_another_question_is_refused(
    client: TestClient, change: dict[str, str]
) -> None:
    cursor = ask(client, per_page=40)["pagination"]["next_cursor"]
    response = client.get("/v1/labels", params=RANGE | {"cursor": cursor} | change)
    assert response.status_code == 400
    assert response.json()["error"]["details"][0]["field"] == "cursor"


def test_a_page_number_beside_a_cursor_is_refused(client: TestClient) -> None:
    cursor = ask(client, per_page=40)["pagination"]["next_cursor"]
    response = client.get("/v1/labels", params=RANGE | {"cursor": cursor, "page": 2})
    assert response.status_code == 400
    assert response.json()["error"]["details"][0]["field"] == "page"


# ---------------------------------------------------------------- forms


def told(client: TestClient, accept: str, **parameters: Any) -> Any:
    response = client.get("/v1/labels", params=RANGE | parameters, headers={"Accept": accept})
    assert response.status_code == 200, response.text
    return response


def frame_of(form: str, content: bytes) -> pl.DataFrame:
    if form == label_formats.CSV:
        schema = {n: t for n, t in LABELS.schema.items() if not isinstance(t, pl.Datetime)}
        read = pl.read_csv(io.BytesIO(content), schema_overrides=schema, try_parse_dates=True)
        return read.cast({n: t for n, t in LABELS.schema.items() if n in read.columns})
    if form == label_formats.ARROW:
        return pl.read_ipc_stream(io.BytesIO(content))
    return pl.read_parquet(io.BytesIO(content))


@pytest.mark.parametrize("form", FORMS)
def test_a_form_has_the_rows_of_the_table(world: World, client: TestClient, form: str) -> None:
    response = told(client, form, per_page=1000)
    assert response.headers["content-type"].partition(";")[0] == form
    whole = world.lake.newest("labels", "H4", "EURUSD", rows=1000)
    found = frame_of(form, response.content)
    assert found.equals(whole.select(found.columns))
    assert set(LABELS.schema) == set(found.columns)


@pytest.mark.parametrize("form", FORMS)
def test_a_form_has_the_types_asked(client: TestClient, form: str) -> None:
    response = told(client, form, label_types="mfe,7", per_page=2, sort="ts_desc")
    found = frame_of(form, response.content)
    assert found.columns[-2:] == ["time_to_barrier_bars", "mfe"]
    assert "upper_barrier" not in found.columns
    assert found.height == 2
    assert found["mfe"].null_count() == 2


@pytest.mark.parametrize("form", [label_formats.JSON, *FORMS])
def test_a_form_names_the_next_page_and_has_a_tag_of_its_own(client: TestClient, form: str) -> None:
    response = told(client, form, per_page=40)
    cursor, tag = response.headers["x-next-cursor"], response.headers["etag"]
    assert cursor == ask(client, per_page=40)["pagination"]["next_cursor"]
    assert response.headers["vary"] == "Accept"
    headers = {"Accept": form, "If-None-Match": tag}
    again = client.get("/v1/labels", params=RANGE | {"per_page": 40}, headers=headers)
    assert (again.status_code, again.content) == (304, b"")
    for other in {label_formats.JSON, *FORMS} - {form}:
        headers = {"Accept": other, "If-None-Match": tag}
        again = client.get("/v1/labels", params=RANGE | {"per_page": 40}, headers=headers)
        assert again.status_code == 200
    last = told(client, form, per_page=50, cursor=cursor)
    assert "x-next-cursor" not in last.headers


@pytest.mark.parametrize("form", FORMS)
def test_no_rows_are_a_table_too(client: TestClient, form: str) -> None:
    response = told(client, form, forward_return_min=9.0)
    found = frame_of(form, response.content)
    assert (found.height, found.columns[0]) == (0, "instrument")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", label_formats.JSON),
        ("*/*", label_formats.JSON),
        ("text/*", label_formats.CSV),
        ("text/csv;q=0.5, application/json;q=0.4", label_formats.CSV),
        ("text/csv;q=0.4, application/json;q=0.5", label_formats.JSON),
        ("text/csv; q=1, */*; q=0.1", label_formats.CSV),
        ("application/json;q=0, */*", label_formats.CSV),
        ("TEXT/CSV", label_formats.CSV),
        ("application/*;q=0.2, application/vnd.apache.parquet", label_formats.PARQUET),
        ("image/png, application/vnd.apache.arrow.stream;q=0.1", label_formats.ARROW),
    ],
)
def test_the_form_is_the_one_that_weighs_most(accept: str, form: str) -> None:
    assert label_formats.chosen(accept) == form


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "text/csv;q=x", "*/*;q=0"])
def test_what_is_not_written_is_refused_by_name(client: TestClient, accept: str) -> None:
    response = client.get("/v1/labels", params=RANGE, headers={"Accept": accept})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (406, "NOT_ACCEPTABLE")
    assert error["details"][0]["field"] == "Accept"
    assert accepts.best(accept, (label_formats.JSON,)) is None


def test_an_instant_is_iso_in_csv(client: TestClient) -> None:
    text = told(client, label_formats.CSV, per_page=1).text
    header, row = text.splitlines()
    found = dict(zip(header.split(","), row.split(","), strict=True))
    assert dt.datetime.fromisoformat(found["ts"]).tzinfo is not None
    assert found["ts"].endswith(".000000Z")


def test_every_label_is_a_column_of_a_form() -> None:
    assert set(label_formats.columns(LABEL_TYPES)) == set(LABELS.schema)
