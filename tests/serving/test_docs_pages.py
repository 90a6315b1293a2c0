"""The pages that describe the API load nothing from anywhere but the app."""

import re

import pytest
from starlette.testclient import TestClient

from serving.app import bare_app
from serving.docs_pages import DOCS, REDOC

PAGES = (DOCS, REDOC)
ADDRESS = re.compile(r"""(?:src|href|spec-url)="([^"]*)"|\burl: '([^']*)'""")
TYPES = {
    "css": "text/css",
    "js": "text/javascript",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
}
LOADED = {
    DOCS: {"swagger-ui-bundle.js", "swagger-ui.css", "favicon.png", "openapi.json"},
    REDOC: {"redoc.standalone.js", "favicon.png", "openapi.json"},
}


def addresses(client: TestClient, page: str) -> list[str]:
    """Return what a browser that opens the page asks for."""
    response = client.get(page)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    return ["".join(found) for found in ADDRESS.findall(response.text)]


@pytest.mark.parametrize("page", PAGES)
def test_the_app_answers_all_that_a_page_loads(client: TestClient, page: str) -> None:
    found = addresses(client, page)
    assert {address.rpartition("/")[2] for address in found} == LOADED[page]
    for address in found:
        response = client.get(address)
        assert response.status_code == 200, address
        kind = response.headers["content-type"].partition(";")[0]
        assert kind == TYPES[address.rpartition(".")[2]], address
        assert len(response.content) > 1_000, address


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_no_other_host(client: TestClient, page: str) -> None:
    assert "//" not in re.sub(r"<!--.*?-->", "", client.get(page).text)


def test_the_scripts_ask_no_other_host_by_themselves(client: TestClient) -> None:
    script = client.get(f"{REDOC}/redoc.standalone.js").text
    assert "cdn.redoc.ly" not in script  # ReDoc as released loads its logo from there
    assert client.get(f"{REDOC}/logo-mini.svg").headers["content-type"] == TYPES["svg"]
    assert '"validatorUrl": null' in client.get(DOCS).text  # by default Swagger UI asks its makers


@pytest.mark.parametrize("page", PAGES)
def test_a_page_works_below_the_path_of_a_proxy(page: str) -> None:
    with TestClient(bare_app(), root_path="/wavehouse") as client:
        found = addresses(client, f"/wavehouse{page}")
        assert found
        for address in found:
            assert address.startswith("/wavehouse/")
            assert client.get(address).status_code == 200


@pytest.mark.parametrize(
    "name", ["", "nothing.js", "%2e%2e/%2e%2e/__init__.py", "%00", "x" * 5_000]
)
def test_what_is_no_file_of_a_page_is_a_404_in_the_one_shape(client: TestClient, name: str) -> None:
    response = client.get(f"{DOCS}/{name}")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "NOT_FOUND")


def test_a_copy_that_a_browser_has_is_not_sent_again(client: TestClient) -> None:
    address = f"{DOCS}/swagger-ui-bundle.js"
    tag = client.get(address).headers["etag"]
    assert client.get(address, headers={"If-None-Match": tag}).status_code == 304
