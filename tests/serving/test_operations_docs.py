"""The commands in ``docs/cache.md`` and ``docs/metrics.md`` do what they say."""

import re
import shlex
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serving.metrics import Metrics
from serving.routers.cache import CacheReport, InvalidatedAnswer, Warmed

DOCS = Path(__file__).resolve().parents[2] / "docs"
HOST = "http://localhost:8000"


def commands(page: str) -> list[list[str]]:
    """Return the curl commands of a page as words."""
    text = (DOCS / page).read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(r"^    curl (.*)$", text, re.MULTILINE)]


def run(client: TestClient, words: list[str]) -> bytes:
    """Do what curl would."""
    method, body, headers, path = "GET", None, {}, ""
    rest = iter(words)
    for word in rest:
        if word == "-X":
            method = next(rest)
        elif word == "-d":
            body = next(rest)
        elif word == "-H":
            name, _, value = next(rest).partition(": ")
            headers[name] = value
        else:
            assert word.startswith(HOST)
            path = word.removeprefix(HOST)
    answer = client.request(method, path, content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.content


def test_the_cache_s_page(client: TestClient) -> None:
    stats, warm, invalidate = commands("cache.md")
    assert CacheReport.model_validate_json(run(client, stats)).memory.keys == 0
    assert Warmed.model_validate_json(run(client, warm)).candles == 7
    assert CacheReport.model_validate_json(run(client, stats)).memory.keys == 7
    assert InvalidatedAnswer.model_validate_json(run(client, invalidate)).removed == 7


def test_the_operations_page(client: TestClient) -> None:
    (windows,) = commands("metrics.md")
    assert b'"window":"15m"' in run(client, windows)


@pytest.mark.parametrize(
    "path", re.findall(r"`GET (/\S+?)(?:\?\S*)?`", (DOCS / "metrics.md").read_text())
)
def test_the_paths_are_there(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


def test_the_names_are_those_that_are_counted() -> None:
    table = (DOCS / "metrics.md").read_text(encoding="utf-8").split("| name |")[1]
    named = set(re.findall(r"`((?:http|label|cache)_[a-z_]+)`", table.split("\n\n")[0]))
    named -= {"label_type", "cache_level"}
    counted = {family.name for family in Metrics().registry.collect()}
    counted |= {f"{name}_total" for name in counted}
    assert len(named) == 10
    assert named <= counted
