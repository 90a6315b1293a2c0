"""The pages work in a browser under their own Content-Security-Policy."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.server import Server

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or ""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BROWSER, reason="no Chromium here to open the pages with"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.mark.parametrize(
    ("page", "made_by_script"), [("docs", "opblock-summary-path"), ("redoc", "data-section-id")]
)
def test_a_page_shows_the_routes_and_breaks_no_rule(
    server: Server, tmp_path: Path, page: str, made_by_script: str
) -> None:
    shown = subprocess.run(  # noqa: S603 - the browser that is installed
        [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={tmp_path}", "--enable-logging=stderr",
            "--virtual-time-budget=20000", "--dump-dom", f"http://127.0.0.1:{server.port}/{page}",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    )  # fmt: skip
    assert "Content Security Policy" not in shown.stderr, shown.stderr
    assert made_by_script in shown.stdout
    assert "/v1/labels/compute" in shown.stdout
