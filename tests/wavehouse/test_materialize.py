"""``materialize`` and ``backfill``: what is made, what is left alone, and how a script is told."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from market import tables
from market.ports import PartitionKey
from storage.lake import ParquetLake
from tests.fakes.line import BTC, hourly
from tests.fakes.terminal import foreground
from wavehouse.cli import app
from wavehouse.commands import materialize
from wavehouse.errors import INTERRUPTED


def wavehouse(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def summary(*words: str) -> dict[str, object]:
    result = wavehouse(*words, "--json")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    answer: dict[str, object] = json.loads(line)
    return answer


def months(home: Path, table: str, timeframe: str = "H4") -> tuple[str, ...]:
    return tuple(ParquetLake(home / "data" / "lake").months(table, timeframe, "SYN"))


def refused(*words: str) -> str:
    """Return the one line in which a command says why it could not be done."""
    result = wavehouse(*words)
    assert result.exit_code == 1, result.output
    (line,) = [text for text in result.stderr.splitlines() if text.strip()]
    return line


@pytest.mark.slow
def test_everything_asked_is_made_once(home: Path) -> None:
    made = summary("materialize", "labels", "-i", "SYN", "-t", "H4")
    assert made["partitions"] == made["out_of_date"] == 12
    assert len(made["runs"]) >= 1  # type: ignore[arg-type]
    assert months(home, "labels") == ("2017-03", "2017-04", "2017-05")
    assert months(home, "features") == ()
    assert months(home, "candles", "D") == ()
    again = summary("materialize", "labels", "-i", "SYN", "-t", "h4")
    assert again == {"partitions": 12, "out_of_date": 0, "runs": []}
    assert "Everything is fresh" in wavehouse("materialize", "labels", "-t", "H4").output


@pytest.mark.slow
def test_a_backfill_makes_the_months_asked_and_what_they_read(home: Path) -> None:
    summary(
        "backfill", "labels", "--instrument", "SYN", "--from", "2017-04", "--to", "2017-04",
        "--timeframe", "H4",
    )  # fmt: skip
    for table in ("level_events", "labels"):
        assert months(home, table) == ("2017-03", "2017-04")  # its state comes from there
    assert months(home, "raw_candles") == ("2017-03", "2017-04", "2017-05")  # its path goes there


@pytest.mark.slow
def test_a_month_by_its_first_day_is_the_month(home: Path) -> None:
    summary("backfill", "candles", "-i", "SYN", "--from", "2017-03-01", "--to", "2017-04-01")
    assert months(home, "candles") == ("2017-03", "2017-04")


@pytest.mark.slow
def test_force_makes_again_and_writes_nothing_that_is_there(home: Path) -> None:
    summary("materialize", "features", "-i", "SYN", "-t", "D")
    root = home / "data" / "lake"
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*.parquet")}
    forced = summary("materialize", "features", "-i", "SYN", "-t", "D", "--force")
    assert forced["out_of_date"] == 12
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*.parquet")} == before


REFUSED = {
    "materialize labels -i NOPE": "[UNKNOWN_INSTRUMENT] instrument: expected one of SYN",
    "materialize labels -t H3": "[UNKNOWN_TIMEFRAME] timeframe: expected one of M1",
    "materialize label": "[INVALID_INPUT] target: expected raw_candles,",
    "backfill labels --from 2017-13": "month: expected YYYY-MM, was '2017-13'",
    "backfill labels --from May": "month: expected YYYY-MM, was 'May'",
    "backfill labels --from 2019-01": "SYN: expected months from 2017-03 to 2017-05",
    "backfill labels --from 2017-05 --to 2017-04": "was 2017-05 to 2017-04",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_done_is_one_line_and_exit_code_1(home: Path, words: str) -> None:
    assert REFUSED[words] in refused(*words.split())
    assert not (home / "data").exists()


def test_a_missing_instruments_file_is_named(home: Path) -> None:
    (home / "instruments.toml").unlink()
    assert str(home / "instruments.toml") in refused("materialize", "labels")


@pytest.mark.parametrize(
    "name",
    [
        "WAVEHOUSE_STORAGE_FSYNC",
        "WAVEHOUSE_PROVIDER_RETRIES",
        "WAVEHOUSE_STORAGE_RETENTION_VERSIONS",
    ],
)
def test_a_setting_that_cannot_be_is_one_line_that_names_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "many")
    line = refused("materialize", "labels")
    assert line.startswith(f"error [INVALID_SETTING] {name}: ")
    assert line.endswith(", was 'many'")
    assert not (home / "data").exists()


@pytest.mark.slow
def test_a_run_that_fails_says_which_partition_and_why(home: Path) -> None:
    path = home / "bars.csv"
    path.write_text(
        "ts,open,high,low,close,volume\n"
        "2017-03-01 00:00:00,1,2,0.5,1.5,1\n"
        "2017-03-01 01:00:00,1,0.2,0.5,1.5,1\n"
        "2017-03-01 02:00:00,1,2,0.5,1.5,1\n",
        encoding="utf-8",
    )
    added = wavehouse(
        "instruments", "add", "BAD", "--provider", "csv", "--calendar", "crypto", "--base", "H1",
        "--option", f"path={path}",
    )  # fmt: skip
    assert added.exit_code == 0, added.output
    line = refused("materialize", "candles", "-i", "BAD")
    assert "BAD" in line
    assert "2017-03-01" in line
    assert "high" in line
    assert not (home / "data" / "lake" / "candles").exists()


TABLES = (("raw_candles", "H1"), *((t, "H4") for t in ("candles", "level_events", "labels")))


def versions(home: Path) -> dict[str, str]:
    """Return partition → data version of the instrument FILE."""
    lake = ParquetLake(home / "data" / "lake")
    keys = [
        PartitionKey(table, timeframe, "FILE", month)
        for table, timeframe in TABLES
        for month in lake.months(table, timeframe, "FILE")
    ]
    return {f"{key.table} {key.month}": lake.resolve(key).version for key in keys}


def restate(path: Path, row: int) -> None:
    """Lift one bar's high by a half, as a source would that corrects itself."""
    is_it = pl.int_range(pl.len()) == row
    high = pl.when(is_it).then(pl.col("high") * 1.5).otherwise(pl.col("high"))
    pl.read_csv(path).with_columns(high).write_csv(path)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["materialize", "backfill"])
def test_a_file_restated_is_noticed_without_force(home: Path, command: str) -> None:
    path = home / "bars.csv"
    hourly(BTC).write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S")
    added = wavehouse(
        "instruments", "add", "FILE", "--provider", "csv", "--calendar", "crypto", "--base", "H1",
        "--option", f"path={path}",
    )  # fmt: skip
    assert added.exit_code == 0, added.output
    asked = (command, "labels", "-i", "FILE", "-t", "H4")
    summary(*asked)
    was = versions(home)
    assert len(was) == 16
    assert summary(*asked)["out_of_date"] == 0

    restate(path, 1044)  # an hour of 13 April
    assert cast("int", summary(*asked)["out_of_date"]) > 0
    moved = {name for name, version in versions(home).items() if version != was[name]}
    assert moved == {
        "raw_candles 2017-04", "candles 2017-04",
        *(f"{table} 2017-{m}" for table in ("level_events", "labels") for m in ("04", "05", "06")),
    }  # fmt: skip
    assert summary(*asked)["out_of_date"] == 0
    path.touch()
    assert summary(*asked)["out_of_date"] == 0


INTERRUPTS_ITSELF = """
import os, sys
from wavehouse.cli import main
from wavehouse.progress import Watch

publish, sent = Watch.published, []

def published(self, key):
    publish(self, key)
    if key.table == "candles" and not sent:
        sent.append(key)
        os.kill(os.getpid(), {number})

Watch.published = published
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_in_a_run_it_says_so_and_goes_on_the_next_time(
    home: Path, number: signal.Signals
) -> None:
    asked = ("materialize", "labels", "-t", "H4")
    program = INTERRUPTS_ITSELF.format(number=int(number))
    with foreground():
        run = subprocess.run(  # noqa: S603
            [sys.executable, "-c", program, *asked], capture_output=True, text=True, check=False
        )
    assert (run.returncode, run.stderr) == (INTERRUPTED, "interrupted\n")
    assert months(home, "candles") == ("2017-03",)
    assert summary(*asked)["out_of_date"] == 12 - 4
    assert summary(*asked)["out_of_date"] == 0


@pytest.mark.parametrize("table", tables.TABLES)
def test_what_the_lake_says_to_run_for_a_table_can_be_run(table: str) -> None:
    asked = materialize._request([table], "SYN", "2017-05", "2017-05", None)
    assert set(asked.targets) <= {*materialize.GROUPS, "models"}
