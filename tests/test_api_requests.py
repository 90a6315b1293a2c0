"""The requests of ``docs/api``: each is sent as it stands there, and answered as it is stated."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.serving.fakes import World

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "api"
BLOCK = re.compile(r"^([^\n]+): (\d{3})\.\n\n```bash\n(.+?)\n```$", re.MULTILINE | re.DOTALL)
STATUS = re.compile(r"have\.status\((\d{3})\)")
KEY = "X-API-Key"


@dataclass(frozen=True)
class Asked:
    """A request as a page states it, and the status that it promises."""

    name: str
    method: str
    path: str
    body: str
    headers: dict[str, str] = field(hash=False)
    status: int


def of_page() -> list[Asked]:
    """Return the requests of the page of cURL commands."""
    found = []
    for name, status, command in BLOCK.findall((FOLDER / "requests.md").read_text("utf-8")):
        words = iter(shlex.split(command.replace("\\\n", " ")))
        assert next(words) == "curl"
        method, path, body, headers = "GET", "", "", {}
        for word in words:
            if word == "-X":
                method = next(words)
            elif word == "-H":
                key, _, value = next(words).partition(": ")
                headers[key] = value
            elif word == "-d":
                body = next(words)
            else:
                path = word.removeprefix("$BASE")
        assert headers.pop(KEY) == "$KEY"
        found.append(Asked(name, method, path, body, headers, int(status)))
    return found


def of_collection() -> list[Asked]:
    """Return the requests of the collection."""
    collection = json.loads((FOLDER / "wavehouse.postman_collection.json").read_text("utf-8"))
    found = []
    for item in (item for folder in collection["item"] for item in folder["item"]):
        request = item["request"]
        (line,) = item["event"][0]["script"]["exec"]
        (status,) = STATUS.findall(line)
        found.append(
            Asked(
                item["name"],
                request["method"],
                request["url"]["raw"].removeprefix("{{base}}"),
                request.get("body", {}).get("raw", ""),
                {header["key"]: header["value"] for header in request["header"]},
                int(status),
            )
        )
    return found


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    world = World(tmp_path_factory.mktemp("world"))
    world.register(1)
    with world.client() as made:
        yield made


@pytest.mark.parametrize("asked", of_page(), ids=lambda asked: asked.name)
def test_a_request_is_answered_as_it_is_stated(client: TestClient, asked: Asked) -> None:
    answer = client.request(
        asked.method, asked.path, content=asked.body or None, headers=asked.headers
    )
    assert answer.status_code == asked.status, answer.text


def test_the_collection_has_the_same_requests() -> None:
    assert len(of_page()) > 10
    assert of_collection() == of_page()


def test_the_collection_says_where_each_address_lies() -> None:
    collection = json.loads((FOLDER / "wavehouse.postman_collection.json").read_text("utf-8"))
    for item in (item for folder in collection["item"] for item in folder["item"]):
        url = item["request"]["url"]
        query = "&".join(f"{part['key']}={part['value']}" for part in url.get("query", []))
        path = f"{url['host'][0]}/{'/'.join(url['path'])}"
        assert url["raw"] == f"{path}?{query}".removesuffix("?")
