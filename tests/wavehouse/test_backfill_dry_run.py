"""``backfill --dry-run``: which partitions are out of date, why, and that none is made."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from assets import code_versions
from assets.freshness import Reason
from assets.labels import Labels
from assets.levels import Levels
from market.ports import PartitionKey
from orchestration.line import build_line
from tests.fakes.line import (
    BTC,
    FrameProvider,
    Workshop,
    contents,
    drop,
    hourly,
    line_of,
)
from tests.fakes.updates import spy, updated
from tests.wavehouse.conftest import INSTRUMENTS, settle
from wavehouse.cli import app
from wavehouse.updating import Request, outstanding, stale

WORDS = ("backfill", "labels", "-i", "SYN", "-t", "H4")


def dry(*words: str) -> Result:
    return CliRunner().invoke(app, [*WORDS, "--dry-run", *words])


def reasons(*words: str) -> dict[str, str]:
    result = dry("--json", *words)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["out_of_date"] == len(answer["partitions"])
    return {one["partition"]: one["reason"] for one in answer["partitions"]}


@pytest.fixture
def mine(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a materialised home that a test may change."""
    copy = tmp_path / "copy"
    shutil.copytree(filled, copy)
    return settle(copy, monkeypatch)


def test_in_an_empty_home_all_is_missing_and_nothing_is_made(home: Path) -> None:
    found = reasons()
    assert set(found.values()) == {"missing"}
    assert Counter(path.split("/")[0] for path in found) == {
        "raw_candles": 3, "candles": 3, "level_events": 3, "labels": 3
    }  # fmt: skip
    assert not list(home.rglob("*.parquet"))
    assert not (home / "data" / "dagster").exists()


def test_months_that_were_not_asked_are_told_where_they_are_read(home: Path) -> None:
    assert home
    found = reasons("--from", "2017-04", "--to", "2017-04")
    made = [p for p in found if p.startswith("labels/")]
    assert made == ["labels/H4/SYN/2017-03", "labels/H4/SYN/2017-04"]  # whose state goes on
    assert "candles/H4/SYN/2017-03" in found
    assert "candles/H4/SYN/2017-05" not in found
    assert "raw_candles/H4/SYN/2017-05" in found  # a label looks ahead


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--force"], "force: expected none"),
        (["--from", "2019-01", "--to", "2019-02"], "SYN: expected months from"),
    ],
)
def test_what_a_dry_run_cannot_say(home: Path, words: list[str], said: str) -> None:
    assert home
    result = dry(*words)
    assert result.exit_code == 1
    assert said in result.stderr
    models = CliRunner().invoke(app, ["backfill", "models", "--dry-run"])
    assert (models.exit_code, "for a dry run, was 'models'" in models.stderr) == (1, True)


@pytest.mark.slow
def test_fresh_is_fresh(full_home: Path) -> None:
    before = contents(full_home / "data" / "lake")
    assert reasons() == {}
    assert dry().stdout == "Everything is fresh.\n"
    assert contents(full_home / "data" / "lake") == before


@pytest.mark.slow
def test_a_last_stage_of_other_code_touches_nothing_else(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mine
    monkeypatch.setattr(Labels, "code_version", "other")
    assert set(reasons()) == {f"labels/H4/SYN/2017-0{month}" for month in (3, 4, 5)}


@pytest.mark.slow
def test_bars_that_were_restated_are_data(mine: Path) -> None:
    (mine / "instruments.toml").write_text(INSTRUMENTS.replace("seed = 3", "seed = 4"), "utf-8")
    found = reasons()
    assert {found[p] for p in found if p.startswith("raw_candles/")} == {"data"}
    assert {found[p] for p in found if not p.startswith("raw_candles/")} == {"upstream"}
    assert len(found) == 12


@pytest.mark.slow
def test_a_partition_that_was_lost_is_missing_and_its_readers_lack_it(mine: Path) -> None:
    assert mine
    drop(build_line(), PartitionKey("candles", "H4", "SYN", "2017-05"))
    found = reasons()
    assert found["candles/H4/SYN/2017-05"] == "missing"
    assert found["labels/H4/SYN/2017-05"] == "upstream"
    assert "labels/H4/SYN/2017-03" not in found


@pytest.mark.slow
def test_the_first_month_of_labels_reads_no_levels(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three months of levels are of other code; the labels of two start from a state of theirs.

    Those of the series' first month start from nothing. When the code changes with which labels
    replay levels, their own code version moves, and all three are told as ``code``.
    """
    assert mine
    assert "pipeline.levels" in code_versions._closure("assets.labels")
    with monkeypatch.context() as patch:
        patch.setattr(Levels, "code_version", "other")
        found = reasons()
    assert found == {
        **{f"level_events/H4/SYN/2017-0{month}": "code" for month in (3, 4, 5)},
        **{f"labels/H4/SYN/2017-0{month}": "upstream" for month in (4, 5)},
    }
    first = build_line().lake.resolve(PartitionKey("labels", "H4", "SYN", "2017-03"))
    assert not [path for path in first.inputs if path.startswith("level_events/")]


MONTHLY_BARS = 720


@pytest.mark.slow
@pytest.mark.parametrize("case", ["nothing", "first", "middle", "last", "lost", "code"])
def test_what_is_told_is_what_a_run_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Whatever is made was told; whatever is told of itself is made.

    What is told for what it reads is made only if that has come out otherwise.
    """
    provider = FrameProvider(hourly(BTC))
    provider.is_marked = True
    made = Workshop(line_of(tmp_path / "lake", provider))
    request = Request(targets=("labels",), instrument="BTC", timeframes=("H4",))
    updated(made, request, monkeypatch)
    rows = {"first": 3, "middle": MONTHLY_BARS + 40, "last": 3 * MONTHLY_BARS + 40}
    if case in rows:
        close = float(provider.frame["close"][rows[case]])
        provider.restate(rows[case], high=close * 1.2)
    elif case == "lost":
        drop(made.line, PartitionKey("level_events", "H4", "BTC", "2017-04"))
    elif case == "code":
        monkeypatch.setattr(Levels, "code_version", "other")
    told = {one.key.path: one.reason for one in stale(made.line, request)}
    assert [key.path for key in outstanding(made.line, request, "BTC")] == list(told)
    computed = spy(monkeypatch)
    updated(made, request, monkeypatch)
    assert set(computed) <= set(told)
    assert {p for p, why in told.items() if why is not Reason.UPSTREAM} <= set(computed)
    assert bool(told) == (case != "nothing")
    assert stale(made.line, request) == ()
