"""The line when the world is against it: a clear word, nothing half-written, the next run repairs.

Sources that break off or lie, disks that fill, a second writer, a process that is killed.
"""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets.freshness import plan
from market.errors import InputError, MalformedBarsError, UnknownInstrumentError
from market.instruments import Instrument
from market.settings import ProviderSettings
from market.timeframes import Timeframe
from orchestration.resources import provider_factory
from orchestration.runs import RunFailedError
from storage import durable
from tests.fakes.line import (
    BTC,
    MONTHS,
    FrameProvider,
    Workshop,
    broken_off,
    contents,
    failure,
    hourly,
    line_of,
    pointers,
    stages_of,
)
from tests.fakes.updates import updated
from tests.faults import line_child
from wavehouse.updating import Request

pytestmark = pytest.mark.slow

STAGES = stages_of("H4")
REQUEST = Request(targets=("labels", "features"), instrument="BTC", timeframes=("H4",))
CHILD = Path(line_child.__file__)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the bytes of a lake to which nothing happened."""
    root = tmp_path_factory.mktemp("undisturbed") / "lake"
    Workshop(line_of(root, FrameProvider(hourly(BTC)))).run(STAGES, MONTHS)
    return dict(contents(root))


def scene(tmp_path: Path) -> tuple[Workshop, FrameProvider]:
    provider = FrameProvider(hourly(BTC))
    return Workshop(line_of(tmp_path / "lake", provider)), provider


def temporary(root: Path) -> list[Path]:
    return [p for p in root.rglob("*") if p.name.startswith(durable.TEMP_PREFIX)]


def test_a_source_that_breaks_off_halfway_costs_the_month_it_was_in(
    tmp_path: Path, undisturbed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, provider = scene(tmp_path)
    provider.before = broken_off("2017-05")
    with pytest.raises(RunFailedError, match=r"raw_candles/H1/BTC/2017-05: .*broken off"):
        updated(made, REQUEST, monkeypatch)
    raw = {f"raw_candles/H1/BTC/{month}" for month in MONTHS[:2]}
    assert set(pointers(made.line, STAGES)) == raw
    (stage, *_) = STAGES
    for month in MONTHS:
        event = made.last_event(stage, f"BTC|{month}-01")
        assert (event is not None) == (month in MONTHS[:2])

    provider.before = lambda _month: None
    provider.fetched.clear()
    updated(made, REQUEST, monkeypatch)
    assert provider.fetched == ["2017-05", "2017-06"]
    assert contents(tmp_path / "lake") == undisturbed


def _rows(
    change: Callable[[pl.DataFrame], pl.DataFrame],
) -> Callable[[str, pl.DataFrame], pl.DataFrame]:
    return lambda month, rows: change(rows) if month == "2017-05" else rows


MALFORMED = {
    "duplicate": (
        _rows(lambda rows: pl.concat([rows.head(5), rows[4:]])),
        r"ts 2017-05-01 04:00:00\+00:00: expected one bar, was a duplicate in row 5",
    ),
    "disordered": (
        _rows(lambda rows: pl.concat([rows[:3], rows[4:5], rows[3:4], rows[5:]])),
        r"ts 2017-05-01 03:00:00\+00:00: expected ascending order",
    ),
    "high < low": (
        _rows(
            lambda rows: rows.with_columns(
                high=pl.when(pl.int_range(pl.len()) == 7).then(pl.col("low") - 1).otherwise("high")
            )
        ),
        r"high at 2017-05-01 07:00:00\+00:00: expected the bar's highest price",
    ),
    "not a number": (
        _rows(
            lambda rows: rows.with_columns(
                close=pl.when(pl.int_range(pl.len()) == 7).then(float("nan")).otherwise("close")
            )
        ),
        r"close at 2017-05-01 07:00:00\+00:00: expected a finite price above 0, was nan",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", MALFORMED)
def test_malformed_bars_are_named_and_nothing_of_their_month_is_published(
    tmp_path: Path, undisturbed: dict[str, str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    made, provider = scene(tmp_path)
    provider.spoil, words = MALFORMED[how]
    where = "raw_candles/H1/BTC/2017-05: frame BTC 2017-05: "
    with pytest.raises(RunFailedError, match=where + words):
        updated(made, REQUEST, monkeypatch)
    assert set(made.line.lake.months("raw_candles", "H1", "BTC")) == set(MONTHS[:2])
    provider.spoil = lambda _month, rows: rows
    updated(made, REQUEST, monkeypatch)
    assert contents(tmp_path / "lake") == undisturbed


def test_bars_off_the_calendars_grid_are_named(tmp_path: Path) -> None:
    made, provider = scene(tmp_path)
    shifted = pl.col("ts") + pl.duration(minutes=7)
    provider.spoil = _rows(lambda rows: rows.with_columns(shifted.cast(pl.Datetime("us", "UTC"))))
    failed = made.run(STAGES, MONTHS, succeeds=False)
    assert "2017-05-01T00:07:00" in failure(failed)
    assert "off the grid" in failure(failed)
    assert made.line.lake.months("candles", "H4", "BTC") == MONTHS[:2]  # the others are their own


def test_an_unknown_instrument_is_named_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = scene(tmp_path)
    with pytest.raises(UnknownInstrumentError, match=r"expected one of BTC .*, was 'NOPE'"):
        updated(made, Request(targets=("labels",), instrument="NOPE"), monkeypatch)
    assert not (tmp_path / "lake").exists()


def test_a_partition_of_an_instrument_that_left_the_file_fails_by_name(tmp_path: Path) -> None:
    made, _ = scene(tmp_path)
    failed = made.run(STAGES[:1], MONTHS[:1], instrument="GONE", succeeds=False)
    assert "'GONE'" in failure(failed)
    assert not (tmp_path / "lake").exists()


def test_a_missing_file_of_an_instrument_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "nowhere.csv"
    gone = Instrument(
        "CSV", "crypto", "crypto", "csv", "CSV", Timeframe.H1, 0.01, 1.0, None, {"path": str(path)}
    )
    made = Workshop(line_of(tmp_path / "lake", FrameProvider(hourly(BTC)), gone))
    object.__setattr__(made.line, "provider_for", provider_factory(ProviderSettings()))
    with pytest.raises(Exception, match=f"instrument CSV: .*{path}"):
        updated(made, Request(targets=("labels",), instrument="CSV"), monkeypatch)
    failed = made.run(STAGES[:1], MONTHS[:1], instrument="CSV", succeeds=False)
    assert failure(failed).startswith("raw_candles/H1/CSV/2017-03: ")
    assert str(path) in failure(failed)
    assert not pointers(made.line, STAGES[:1], "CSV")


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[None]:
    """Let the disk have room for so many more files, and half of one."""
    real, left = durable._write, [after]

    def write(file: Path, data: bytes, *, at: int, fsync: bool) -> None:
        if left[0] <= 0:
            real(file, data[: len(data) // 2], at=at, fsync=fsync)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        left[0] -= 1
        real(file, data, at=at, fsync=fsync)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "_write", write)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("files", [0, 1, 5, 22, 37, 55])
def test_a_disk_that_fills_in_mid_run_loses_the_partition_it_was_in(
    tmp_path: Path, undisturbed: dict[str, str], monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    made, _ = scene(tmp_path)
    with full_disk(monkeypatch, files), pytest.raises(RunFailedError) as caught:
        updated(made, REQUEST, monkeypatch)
    path = str(caught.value).split(": ")[1]
    assert "expected room on the disk, was full" in str(caught.value)
    there = pointers(made.line, STAGES)
    assert path not in there
    assert not temporary(tmp_path / "lake")
    for stage in STAGES:
        for month in MONTHS:
            key = stage.key(made.line, "BTC", month)
            event = made.last_event(stage, f"BTC|{month}-01")
            assert (event is not None) == (key.path in there), key.path
    for name, digest in contents(tmp_path / "lake").items():
        if name.rsplit("/", 1)[0] != path:
            assert undisturbed[name] == digest or name.endswith("current.json")

    updated(made, REQUEST, monkeypatch)
    assert contents(tmp_path / "lake") == undisturbed


def child(*words: object) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    environment = {k: v for k, v in os.environ.items() if k != "DAGSTER_HOME"}
    argv = [sys.executable, str(CHILD), *map(str, words)]
    return subprocess.Popen(  # noqa: S603 - our own program
        argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment
    )


@pytest.mark.slow
def test_two_runs_on_one_series_the_second_is_told_and_the_first_unharmed(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    made, _ = scene(tmp_path)
    first = child(tmp_path, "hold", "level_events/H4/BTC")
    assert first.stdout is not None
    holder = first.stdout.readline().strip()
    failed = made.run(STAGES, MONTHS, succeeds=False)
    assert failure(failed) == (
        "level_events/H4/BTC/2017-03: level_events/H4/BTC: expected no other writer, "
        f"was held by process {holder}"
    )
    assert not made.line.lake.months("level_events", "H4", "BTC")
    assert first.poll() is None
    _, errors = first.communicate("done", timeout=60)
    assert (first.returncode, errors) == (0, "")
    made.run(STAGES, MONTHS, stale_only=True)
    assert contents(tmp_path / "lake") == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "what", "whole"),
    [
        ("fetch", "2017-05", 2),
        ("write", "raw_candles/H1/BTC/2017-05/", 2),
        ("write", "candles/H4/BTC/2017-04/.tmp-current.json", 5),
        ("write", "level_events/H4/BTC/2017-05/", 10),
        ("write", "features/H4/BTC/2017-06/history.jsonl", None),
    ],
    ids=["fetch", "rows", "pointer", "state", "journal"],
)
def test_a_kill_costs_at_most_the_partition_it_was_in(
    tmp_path: Path,
    undisturbed: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    what: str,
    whole: int | None,
) -> None:
    killed = child(tmp_path, how, what)
    _, errors = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, errors

    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    made = Workshop(
        line_of(tmp_path / "lake", FrameProvider(hourly(BTC))), dg.DagsterInstance.get()
    )
    there = pointers(made.line, STAGES)
    assert len(there) == whole or (whole is None and len(there) < len(STAGES) * len(MONTHS))
    recorded = {
        stage.key(made.line, "BTC", month).path: event.tags or {}
        for stage in STAGES
        for month in MONTHS
        if (event := made.last_event(stage, f"BTC|{month}-01")) is not None
    }
    versions = {path: tags["dagster/data_version"] for path, tags in recorded.items()}
    assert versions == there  # every finished partition is in the event log, with its own version
    ingested = made.line.lake.months("raw_candles", "H1", "BTC")
    if len(ingested) == len(MONTHS):
        assert not plan(made.line, STAGES, "BTC", MONTHS).is_empty

    made.run(STAGES, MONTHS, stale_only=True)
    assert contents(tmp_path / "lake") == undisturbed
    assert plan(made.line, STAGES, "BTC", MONTHS).is_empty


def test_errors_of_the_market_are_input_errors() -> None:
    """What the command line shows in one line and the API as 400."""
    assert issubclass(MalformedBarsError, InputError)
