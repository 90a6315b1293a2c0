"""Lines of the log: JSON, with what surrounds them and without secrets."""

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import copy_context
from datetime import datetime
from typing import Any

import pytest

from market import logs
from market.settings import LogSettings

KEY = "wh_" + "Ab3-_" * 8 + "xyz"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"  # noqa: S105 - of nobody


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Yield where lines go, with the root logger as it was afterwards."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    written = io.StringIO()
    logs.configure(LogSettings(), written)
    yield written
    root.setLevel(level)
    for handler in [h for h in root.handlers if h not in handlers]:
        root.removeHandler(handler)


def fail(error: Exception) -> None:
    raise error


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_its_fields(stream: io.StringIO) -> None:
    log = logging.getLogger("wavehouse.test")
    log.info("%d bars\nof %s", 3, "EURUSD", extra=logs.fields(status=200, name="x", parts=[1]))
    (line,) = lines(stream)
    assert datetime.fromisoformat(line.pop("timestamp")).tzinfo is not None
    assert line == {
        "event": "3 bars\nof EURUSD", "logger": "wavehouse.test", "level": "INFO",
        "status": 200, "name": "x", "parts": [1],
    }  # fmt: skip


def test_what_is_bound_is_in_every_line_and_thread_until_it_is_not(stream: io.StringIO) -> None:
    log = logging.getLogger("wavehouse.test")
    with logs.bound(request_id="a"):
        with logs.bound(run_id="b"):
            log.info("one")
            thread = threading.Thread(target=copy_context().run, args=(log.info, "two"))
            thread.start()
            thread.join()
        log.info("three")
    log.info("four")
    found = [(line.get("request_id"), line.get("run_id")) for line in lines(stream)]
    assert found == [("a", "b"), ("a", "b"), ("a", None), (None, None)]


def test_an_error_carries_its_trace_in_one_line(stream: io.StringIO) -> None:
    try:
        fail(ValueError(f"close: expected a number, was {KEY}"))
    except ValueError:
        logging.getLogger("wavehouse.test").exception("broken")
    (line,) = lines(stream)
    assert "ValueError: close: expected a number, was wh_***" in line["exception"]


@pytest.mark.parametrize(
    ("secret", "carried"),
    [
        (KEY, KEY),
        (TOKEN, TOKEN),
        (TOKEN, f"Bearer {TOKEN}"),
        ("opaque", "bearer opaque"),
        ("hunter2", "postgresql+psycopg://ann:hunter2@db:5432/x redis://:hunter2@cache/0"),
    ],
    ids=["key", "token", "bearer", "opaque", "urls"],
)
@pytest.mark.parametrize("form", ["json", "text"])
def test_no_line_has_a_secret_however_it_comes(
    stream: io.StringIO, secret: str, carried: str, form: Any
) -> None:
    logs.configure(LogSettings(form=form, level="DEBUG"), stream)
    log = logging.getLogger("wavehouse.test")
    log.info("sent %s", carried)
    log.debug("sent", extra=logs.fields(header=carried, all={"deep": [carried, (carried,)]}))
    with logs.bound(header=carried):
        log.warning("sent")
    try:
        fail(RuntimeError(carried))
    except RuntimeError:
        log.exception("broken")
    written = stream.getvalue()
    assert written.count("sent") >= 3
    assert logs.MASK in written
    assert secret not in written


def test_what_is_no_secret_stays() -> None:
    for text in (
        "wh_", "wavehouse", "http://127.0.0.1:8000/docs", "12:30:00", "eyJ", "key:ab12:ann",
        "sqlite:///data/wavehouse.db", "a@b.example",
    ):  # fmt: skip
        assert logs.masked(text) == text


def test_the_level_is_the_settings_and_lines_come_once(stream: io.StringIO) -> None:
    logs.configure(LogSettings(level="WARNING"), stream)
    log = logging.getLogger("wavehouse.test")
    log.info("quiet")
    log.warning("said")
    assert [line["event"] for line in lines(stream)] == ["said"]


def test_text_is_for_eyes(stream: io.StringIO) -> None:
    logs.configure(LogSettings(form="text"), stream)
    logging.getLogger("wavehouse.test").info("told", extra=logs.fields(status=200))
    (line,) = stream.getvalue().splitlines()
    assert "told" in line
    assert "status=200" in line


def test_nothing_is_imported_for_it_before_it_is_configured() -> None:
    program = "import sys, market.logs; sys.exit('structlog' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=False)  # noqa: S603 - our own
    assert done.returncode == 0
