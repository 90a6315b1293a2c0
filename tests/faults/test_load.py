"""Hundreds of callers at once: everyone is answered, and nothing stays open behind them."""

import time
from pathlib import Path

import orjson
import pytest

from benchmarks import client
from market.settings import HomeSettings
from tests.fakes.line import BTC, FrameProvider, fill, hourly, line_of, stages_of
from tests.fakes.server import Server
from tests.serving.label_world import SOURCE

pytestmark = pytest.mark.slow

CONNECTIONS, REQUESTS, WARM_UP = 300, 1200, 300
MONTHS = ("2017-03", "2017-04")
CLOSED_IN_S = 15.0
OPENED_LATER = 10  # descriptors, for good, by the first requests
SERIES = "instrument_id=BTC&granularity=H4"
COMPUTE = orjson.dumps(SOURCE)
QUESTIONS = (
    client.post("/v1/labels/compute", COMPUTE, {"X-Cache-Strategy": "bypass_cache"}),
    client.post("/v1/labels/compute", COMPUTE, {}),
    client.get("/v1/labels/BTC/H4/2017-03-16T04:00:00Z"),
    client.get(f"/v1/labels?{SERIES}&start_date=2017-03-10&end_date=2017-03-16"),
    client.get(f"/v1/levels?{SERIES}&as_of=2017-03-16T04:00:00Z"),
    client.get("/health"),
)
BOOK = f"""\
[{BTC.id}]
asset_class = "crypto"
calendar = "crypto"
provider = "synthetic"
symbol = "{BTC.id}"
base_timeframe = "H1"
tick_size = 0.01
lot_size = 1.0
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "instruments.toml").write_text(BOOK, encoding="utf-8")
    root = HomeSettings(home=tmp_path).lake_root
    line = line_of(root, FrameProvider(hourly(BTC, "2017-03", "2017-05")))
    fill(line, stages_of("H4", groups=["raw_candles", "candles", "levels", "labels"]), MONTHS)
    return tmp_path


def files(process: int) -> int:
    """Return how many descriptors a process has open."""
    return sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())


def settled(process: int, most: int) -> int:
    """Return how many are open, once they are few enough or a while has passed."""
    deadline = time.monotonic() + CLOSED_IN_S
    while (found := files(process)) > most and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_hundreds_of_callers_are_answered_and_nothing_stays_open_behind_them(home: Path) -> None:
    unlimited = {
        f"WAVEHOUSE_SERVING_{name}_RATE_LIMIT": ""
        for name in ("DEFAULT", "LABELS", "LABELS_COMPUTE")
    }
    book = str(home / "instruments.toml")
    with Server(home, WAVEHOUSE_INSTRUMENTS=book, **unlimited) as server:
        process, port = server.process.pid, server.port
        most = files(process) + OPENED_LATER
        client.closed_loop(port, QUESTIONS, len(QUESTIONS), connections=1).checked()  # compiles
        client.closed_loop(port, QUESTIONS, WARM_UP, connections=50).checked()
        before, seen = settled(process, most), 0
        assert before <= most

        def told(answered: int) -> None:
            nonlocal seen
            if not answered % 100:
                seen = max(seen, files(process))

        found = client.closed_loop(port, QUESTIONS, REQUESTS, connections=CONNECTIONS, told=told)
        assert found.checked().answered.size == REQUESTS
        assert seen >= CONNECTIONS  # all were there at once
        assert settled(process, before) <= before
        levels = {orjson.loads(x)["level"] for x in server.log.read_bytes().splitlines()}
        assert levels <= {"INFO", "DEBUG"}
