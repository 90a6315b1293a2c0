"""The lake's files truncated, missing or replaced while labels are served: no wrong number ever.

What cannot be read is a 503 that names no file, what can be read is answered as ever, and a month
that is written anew under a load is answered from one version or from the other.
"""

import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from market.ports import PartitionKey, PartitionRef
from pipeline import levels
from serving.app import create_app
from storage.lake import ParquetLake
from tests.serving.fakes import FakeRegistry
from tests.serving.label_world import LabelWorld, candle_of

pytestmark = pytest.mark.slow

PATH = PartitionKey("candles", "H1", "BTC", "2017-05")
ROWS = PartitionKey("labels", "H4", "BTC", "2017-05")
DEADLINE_S = 60.0
OWN = ("computation_time_ms", "cache_hit")


@pytest.fixture
def world(label_world: LabelWorld) -> LabelWorld:
    """Return a line's lake; tests harm copies of it."""
    return label_world


@pytest.fixture
def lake(world: LabelWorld, tmp_path: Path) -> ParquetLake:
    root = tmp_path / "lake"
    shutil.copytree(world.line.lake.root, root)  # type: ignore[attr-defined]
    return ParquetLake(root, fsync=False)


@contextmanager
def serving(world: LabelWorld, lake: ParquetLake, **changes: Any) -> Iterator[TestClient]:
    settings = world.settings.model_copy(update=changes)
    app = create_app(settings, lake=lake, registry=FakeRegistry(), book=world.line.book)
    with TestClient(app) as client:
        yield client


def candle(world: LabelWorld, day: str) -> dict[str, Any]:
    """Return the question for the first H4 candle of a day."""
    rows = world.rows("candles")
    (row,) = rows.filter(pl.col("ts").dt.strftime("%Y-%m-%dT%H") == f"{day}T00").to_dicts()
    return {"instrument_id": "BTC", "granularity": "H4", "candle": candle_of(row)}


def ask(client: TestClient, question: Mapping[str, Any]) -> tuple[int, Any]:
    """Return status and what is the answer's own, or the error's code."""
    answer = client.post("/v1/labels/compute", json=question)
    content = answer.json()
    if answer.status_code != 200:
        return answer.status_code, content["error"]["code"]
    return 200, {k: v for k, v in content.items() if k not in OWN}


def page(client: TestClient, first: str, last: str) -> tuple[int, Any]:
    """Return the status and the rows of a range of days."""
    asked = {"instrument_id": "BTC", "granularity": "H4", "start_date": first, "end_date": last}
    answer = client.get("/v1/labels", params=asked)
    return answer.status_code, answer.json().get("data", answer.text)


def file_of(lake: ParquetLake, key: PartitionKey) -> Path:
    (path,) = lake.files([lake.resolve(key)])
    return path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def swap(path: Path) -> None:
    """Put the rows of another month under its name."""
    (other,) = (path.parent.parent / "2017-04").glob("*.parquet")
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("harm", [truncate, empty, Path.unlink, swap])
def test_a_damaged_path_is_a_503_and_other_months_are_answered_as_ever(
    world: LabelWorld, lake: ParquetLake, harm: Callable[[Path], None]
) -> None:
    hurt, sound = candle(world, "2017-05-10"), candle(world, "2017-04-10")
    with serving(world, lake) as client:
        truth = [ask(client, question) for question in (hurt, sound)]
    assert [status for status, _ in truth] == [200, 200]
    path = file_of(lake, PATH)
    whole = path.read_bytes()
    harm(path)
    with serving(world, lake) as client:
        for _ in range(2):  # the second time, too: a failure is not kept
            answer = client.post("/v1/labels/compute", json=hurt)
            assert answer.status_code == 503, answer.text
            assert str(lake.root) not in answer.text
        assert ask(client, sound) == truth[1]
        assert client.get("/v1/health/live").status_code == 200
        path.write_bytes(whole)
        assert ask(client, hurt) == truth[0]


@pytest.mark.parametrize("harm", [truncate, empty, Path.unlink])
def test_damaged_labels_are_a_503_and_other_months_are_answered_as_ever(
    world: LabelWorld, lake: ParquetLake, harm: Callable[[Path], None]
) -> None:
    month, other, both = (
        ("2017-05-05", "2017-05-08"), ("2017-04-05", "2017-04-08"), ("2017-04-05", "2017-05-08"),
    )  # fmt: skip
    one = "/v1/labels/BTC/H4/2017-05-10T00:00:00Z"
    with serving(world, lake, cache_bytes=0) as client:
        truth = page(client, *month), page(client, *other)
        row = client.get(one).json()
    assert [status for status, _ in truth] == [200, 200]
    path = file_of(lake, ROWS)
    whole = path.read_bytes()
    harm(path)
    with serving(world, lake, cache_bytes=0) as client:
        for question in (month, both):
            status, text = page(client, *question)
            assert status == 503
            assert str(lake.root) not in text
        assert client.get(one).status_code == 503
        assert page(client, *other) == truth[1]
        path.write_bytes(whole)
        assert page(client, *month) == truth[0]
        assert client.get(one).json() == row


def test_a_path_that_lacks_a_month_is_pending_until_it_is_made(
    world: LabelWorld, lake: ParquetLake
) -> None:
    """The month before has heard of the instants in it; what its bars say nobody here knows."""
    days = [f"2017-04-{day}" for day in range(20, 31)]
    questions = [candle(world, day) | {"options": {"horizon_periods": 100}} for day in days]
    with serving(world, lake) as client:
        truth = [ask(client, question)[1] for question in questions]
    assert {found["status"] for found in truth} == {"final"}
    lake.drop(PATH)
    with serving(world, lake) as client:
        for question, before in zip(questions, truth, strict=True):
            status, found = ask(client, question)
            assert (status, found["status"], found["matured_at"]) == (200, "pending", None)
            barrier, then = (x["labels"]["enhanced_triple_barrier"] for x in (found, before))
            assert barrier["label"] is None
            assert barrier["upper_barrier"] == then["upper_barrier"]
            assert (found["labels"]["mfe"], found["labels"]["forward_return"]) == (None, None)
            assert 0 < barrier["path_bars"] < then["path_bars"]
            assert barrier["path_bars_missing"] == 0


def restated(lake: ParquetLake, factor: float) -> Callable[[], PartitionRef]:
    """Return what writes May's path anew, its highs and lows that much wider."""
    ref = lake.resolve(PATH)
    wider = lake.read([ref]).with_columns(
        (pl.col("high") * factor).alias("high"), (pl.col("low") / factor).alias("low")
    )

    def write() -> PartitionRef:
        return lake.write(
            PATH, wider, state=lake.state(ref) if ref.state_version else None,
            code_version=ref.code_version, inputs=ref.inputs, attributes=ref.attributes,
        )  # fmt: skip

    return write


def test_a_month_that_is_replaced_under_a_load_is_answered_whole(
    world: LabelWorld, lake: ParquetLake
) -> None:
    questions = [candle(world, f"2017-05-{day:02d}") for day in range(3, 23)]
    first, second = restated(lake, 1.0), restated(lake, 1.1)
    truths: list[dict[str, Any]] = []
    for write in (second, first):
        version = write().version
        with serving(world, lake) as client:
            answers = [ask(client, question)[1] for question in questions]
        assert all(x["data_versions"][PATH.path] == version for x in answers)
        truths.append({"version": version, "answers": answers})
    assert all(
        a["labels"] != b["labels"] for a, b in zip(*(t["answers"] for t in truths), strict=True)
    )
    by_version = {truth["version"]: truth["answers"] for truth in truths}
    seen: set[str] = set()
    wrong: list[Any] = []
    stop = threading.Event()

    def load(client: TestClient, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - which candle, no secret
        while not stop.is_set():
            at = chance.randrange(len(questions))
            status, found = ask(client, questions[at])
            version = found["data_versions"][PATH.path] if status == 200 else ""
            if status != 200 or found != by_version[version][at]:
                wrong.append((status, found))
            seen.add(version)

    with serving(world, lake) as client:
        threads = [threading.Thread(target=load, args=(client, seed)) for seed in range(3)]
        for thread in threads:
            thread.start()
        try:
            for write in (second, first) * 10:
                seen.clear()
                version = write().version
                deadline = time.monotonic() + DEADLINE_S
                while version not in seen and not wrong:
                    assert time.monotonic() < deadline
                    time.sleep(0.002)
        finally:
            stop.set()
            for thread in threads:
                thread.join(DEADLINE_S)
    assert wrong == []


def test_levels_whose_past_is_restated_are_seen_at_once(
    world: LabelWorld, lake: ParquetLake
) -> None:
    """May's levels stand on the state at April's end: the same candles, another state."""
    question = candle(world, "2017-05-03") | {"label_types": ["11.a"]}
    before = PartitionKey("level_events", "H4", "BTC", "2017-04")
    ref = lake.resolve(before)
    with serving(world, lake) as client:
        first = ask(client, question)[1]
        lake.write(
            before, lake.read([ref]), state=levels.initial(), code_version=ref.code_version,
            inputs=ref.inputs, attributes=ref.attributes,
        )  # fmt: skip
        second = ask(client, question)[1]
    with serving(world, lake) as client:
        truth = ask(client, question)[1]
    assert second == truth
    assert second["labels"] != first["labels"]
