"""``warehouse sync|verify`` through the command line, over HTTP as to a server."""

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from market.ports import PartitionKey
from market.settings import HomeSettings
from storage.clickhouse.lake import open_warehouse
from storage.lake import ParquetLake
from tests.fakes import warehouses
from tests.fakes.bars import candles
from wavehouse.cli import app

ROOT = Path(__file__).resolve().parents[2]
KEY = PartitionKey("candles", "H1", "EURUSD", "2017-05")
MONTHS = [f"2016-{month:02}" for month in range(1, 13)]


def warehouse(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["warehouse", *words])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def gateway_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    warehouses.need_engine()
    with warehouses.gateway(tmp_path_factory.mktemp("gateway")) as port:
        yield port


@pytest.fixture
def dsn(gateway_port: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name a new database to the commands that run below ``home``."""
    made = f"clickhouse://writer:hunter2@127.0.0.1:{gateway_port}/t{uuid.uuid4().hex}"
    assert home.is_dir()
    monkeypatch.setenv("WAREHOUSE_DSN", made)
    monkeypatch.setenv("WAREHOUSE_LEASE_S", "1")
    return made


@pytest.fixture
def lake(home: Path) -> ParquetLake:
    made = ParquetLake(HomeSettings(home=home).lake_root, fsync=False)
    for n, month in enumerate(("2017-04", "2017-05")):
        made.write(KEY.at(month), candles(month, 5 * n), code_version="1", inputs={})
    return made


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("command", ["sync", "verify"])
@pytest.mark.parametrize("given", ["", "mysql://writer:hunter2@db/market"])
def test_without_a_dsn_that_can_be_it_is_said_which_setting_to_set(
    monkeypatch: pytest.MonkeyPatch, command: str, given: str
) -> None:
    monkeypatch.setenv("WAREHOUSE_DSN", given)
    code, out, said = warehouse(command)
    assert (code, out) == (1, "")
    assert said.startswith("error [INVALID_INPUT] WAREHOUSE_DSN: expected")
    assert "hunter2" not in said


@pytest.mark.usefixtures("home")
def test_a_server_that_is_not_there_is_named_and_its_password_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("clickhouse_connect", reason="the extra clickhouse is not installed")
    monkeypatch.setenv("WAREHOUSE_DSN", "clickhouse://writer:hunter2@127.0.0.1:1/market")
    code, out, said = warehouse("verify")
    assert (code, out) == (1, "")
    assert "127.0.0.1:1/market" in said
    assert "hunter2" not in said


def test_the_help_says_what_is_moved_where() -> None:
    help_text = CliRunner().invoke(app, ["warehouse", "--help"], env={"COLUMNS": "200"}).output
    for words in ("WAREHOUSE_DSN", "WAVEHOUSE_HOME", "sync", "verify"):
        assert words in help_text
    assert "--prune" in CliRunner().invoke(app, ["warehouse", "sync", "--help"]).output


@pytest.mark.slow
@pytest.mark.usefixtures("dsn")
def test_a_lake_is_moved_and_proved_equal_and_a_second_sync_moves_nothing(
    lake: ParquetLake,
) -> None:
    code, out, _ = warehouse("verify", "--json")
    assert code == 1
    assert [(d["kind"], d["month"]) for d in json.loads(out)] == [
        ("missing", "2017-04"),
        ("missing", "2017-05"),
    ]
    code, out, _ = warehouse("sync")
    assert (code, out.strip()) == (0, "2 partitions moved (5 rows), 0 unchanged, 0 taken away")
    code, out, _ = warehouse("verify")
    assert (code, out.strip()) == (0, "lake and warehouse are equal")
    code, out, _ = warehouse("sync", "--json")
    assert code == 0
    assert json.loads(out) == {"moved": 0, "unchanged": 2, "extra": 0, "dropped": 0, "rows": 0}
    assert lake.months("candles", "H1", "EURUSD") == ("2017-04", "2017-05")


@pytest.mark.slow
def test_partitions_that_differ_are_named_and_nothing_is_taken_away_unasked(
    lake: ParquetLake, dsn: str
) -> None:
    warehouse("sync")
    lake.write(KEY, candles("2017-05", 6), code_version="1", inputs={})
    lake.drop(KEY.at("2017-04"))
    code, out, _ = warehouse("verify")
    assert code == 1
    first, second, last = out.splitlines()
    assert first == "extra: candles/H1/EURUSD/2017-04: expected in the lake, was not"
    assert second.startswith("version: candles/H1/EURUSD/2017-05: expected version ")
    assert last == "2 partitions differ"
    code, out, _ = warehouse("sync")
    assert code == 0
    assert "1 partitions moved" in out
    assert "1 are in the warehouse alone; --prune" in out
    assert _months(dsn) == ("2017-04", "2017-05")
    assert warehouse("sync", "--prune")[0] == 0
    assert _months(dsn) == ("2017-05",)
    assert warehouse("verify")[0] == 0


@pytest.mark.slow
def test_a_sync_that_was_killed_goes_on_where_it_was(lake: ParquetLake, dsn: str) -> None:
    for month in MONTHS:
        lake.write(KEY.at(month), candles(month, 3), code_version="1", inputs={})
    store = open_warehouse(dsn)
    command = [sys.executable, "-c", "from wavehouse.cli import main; main()", "warehouse", "sync"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as child:  # noqa: S603
        _until(lambda: len(store.keys()) >= 3)
        child.kill()
    assert child.returncode == -9
    there = len(store.keys())
    assert 3 <= there < len(MONTHS)
    for key in store.keys():  # noqa: SIM118 - a method of the store
        store.verify(store.resolve(key))
    _until(lambda: warehouse("sync", "--json")[0] == 0)  # once the dead one's lease has ended
    assert warehouse("verify")[1].strip() == "lake and warehouse are equal"
    assert len(store.keys()) == len(MONTHS) + 2
    moves = [len(store.versions(KEY.at(month))) for month in MONTHS]
    assert moves == [1] * len(MONTHS)
    store.close()


def _months(dsn: str) -> tuple[str, ...]:
    store = open_warehouse(dsn)
    months = tuple(store.months("candles", "H1", "EURUSD"))
    store.close()
    return months


def _until(is_so: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, "expected it in time, was not"
