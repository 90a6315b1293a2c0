"""``compute``: what it says, what it refuses, and that a refusal writes nothing."""

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from storage import durable
from tests.fakes.line import BTC, hourly
from wavehouse.cli import app

BARS = hourly(BTC, "2017-03", "2017-04")
TABLES = ("candles", "levels", "labels", "features")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "bars.parquet"
    BARS.write_parquet(path)
    return path


def compute(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["compute", *map(str, words)])
    return result.exit_code, result.stdout, result.stderr


def refused(table: str, *words: object, out: Path) -> str:
    """Return the one line of a refusal, having seen that nothing was written."""
    before = sorted(out.parent.rglob("*")) if out.parent.is_dir() else None
    code, _, error = compute(table, *words, "--out", out)
    assert code == 1, error
    (line,) = error.strip().splitlines()
    if before is not None:
        assert sorted(out.parent.rglob("*")) == before
    assert line.startswith("error [")
    return line


@pytest.mark.parametrize("table", TABLES)
def test_a_missing_file_is_named(tmp_path: Path, table: str) -> None:
    gone = tmp_path / "gone.parquet"
    assert f"was nothing at {gone}" in refused(table, gone, out=tmp_path / "out.parquet")
    assert "was nothing at" in refused(table, tmp_path, out=tmp_path / "out.parquet")


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv"])
def test_a_file_that_is_no_table_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x00\x01\xff nothing of the kind")
    assert str(path) in refused("candles", path, out=tmp_path / "out.parquet")


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_bytes(b"")
    assert str(path) in refused("candles", path, out=tmp_path / "out.parquet")
    path.write_text("ts,open,high,low,close,volume\n")
    assert "bars" in refused("candles", path, out=tmp_path / "out.parquet")


SPOILT = {
    "no close": (BARS.drop("close"), "close is missing"),
    "text for ts": (BARS.with_columns(ts=pl.lit("yesterday")), "ts: expected UTC instants"),
    "text for a price": (BARS.with_columns(high=pl.lit("dear")), "expected numbers"),
    "duplicate": (
        pl.concat([BARS[:9], BARS[8:]]),
        "ts 2017-03-01 08:00:00+00:00: expected one bar",
    ),
    "disordered": (BARS.reverse(), "expected ascending order"),
    "high < low": (BARS.with_columns(high=pl.col("low") - 1), "high at 2017-03-01 00:00:00+00:00"),
    "one bar": (BARS[:1], "expected at least 2 bars"),
    "off the grid": (
        BARS.with_columns(pl.col("ts") + pl.duration(minutes=7)),
        "2017-03-01T00:07:00",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_malformed_bars_are_named(tmp_path: Path, how: str) -> None:
    frame, words = SPOILT[how]
    path = tmp_path / "bars.parquet"
    frame.write_parquet(path)
    assert words in refused("levels", path, out=tmp_path / "out.parquet")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--calendar", "moon"), "--calendar: expected one of crypto, fx, us_equity, was 'moon'"),
        (("--timeframe", "H3"), "timeframe: expected one of M1"),
        (("--timeframe", "M5"), "timeframe: expected H1 (the base of INSTRUMENT) or coarser"),
    ],
)
@pytest.mark.parametrize("table", TABLES)
def test_options_that_cannot_be_are_named(
    source: Path, table: str, options: tuple[str, ...], words: str
) -> None:
    assert words in refused(table, source, *options, out=source.with_name("out.parquet"))


def test_out_must_lie_in_a_folder(source: Path) -> None:
    out = source.parent / "no" / "such" / "out.parquet"
    assert f"--out: expected a file in an existing folder, was {out}" in refused(
        "candles", source, out=out
    )
    assert not out.parent.exists()
    assert "--out: expected a file" in refused("candles", source, out=source.parent)


def test_a_horizon_out_of_range_is_exit_code_2(source: Path) -> None:
    out = source.with_name("out.parquet")
    for bars in ("0", "101", "six"):
        code, _, error = compute("labels", source, "--out", out, "--horizon", bars)
        assert code == 2
        assert "--horizon" in error
    assert not out.exists()


def test_a_full_disk_leaves_what_was_there(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = source.with_name("out.parquet")
    out.write_bytes(b"what was there")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "_write", full)
    assert "expected room on the disk" in refused("candles", source, out=out)
    assert out.read_bytes() == b"what was there"


def test_the_default_timeframe_is_the_files_own(source: Path) -> None:
    out = source.with_name("out.parquet")
    code, said, _ = compute("candles", source, "--out", out)
    assert code == 0
    assert said.strip() == f"{out}: {BARS.height} rows of INSTRUMENT H1"
    assert pl.read_parquet(out)["timeframe"].unique().to_list() == ["H1"]


def test_bars_outside_the_session_are_counted(source: Path) -> None:
    out = source.with_name("out.parquet")
    code, said, _ = compute("candles", source, "--out", out, "--calendar", "fx")
    assert code == 0
    assert "bars outside the session left out" in said


def test_a_file_without_volume_has_none_and_features_of_it_are_null(source: Path) -> None:
    BARS.drop("volume").write_parquet(source)
    out = source.with_name("out.parquet")
    assert compute("candles", source, "--out", out)[0] == 0
    assert pl.read_parquet(out)["volume"].null_count() == BARS.height
    assert compute("features", source, "--out", out)[0] == 0


@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_stamps_without_a_zone_are_utc_and_others_are_turned(
    source: Path, zone: str | None
) -> None:
    plain = pl.col("ts").dt.replace_time_zone(None)
    stamps = plain if zone is None else pl.col("ts").dt.convert_time_zone(zone)
    BARS.with_columns(stamps.cast(pl.Datetime("ms", zone))).write_parquet(source)
    out = source.with_name("out.parquet")
    assert compute("candles", source, "--out", out)[0] == 0
    assert pl.read_parquet(out)["ts"].equals(BARS["ts"])


def test_the_horizon_changes_the_labels_and_their_version(source: Path) -> None:
    out = source.with_name("out.parquet")
    versions = []
    for bars in (6, 12):
        assert compute("labels", source, "--out", out, "--horizon", bars)[0] == 0
        rows = pl.read_parquet(out)
        assert rows["horizon_bars"].unique().to_list() == [bars]
        versions += rows["label_version"].unique().to_list()
    assert len(set(versions)) == 2


@pytest.mark.parametrize("table", TABLES)
def test_a_csv_holds_what_the_parquet_does(tmp_path: Path, source: Path, table: str) -> None:
    for name in ("out.parquet", "out.csv"):
        assert compute(table, source, "--out", tmp_path / name, "-t", "H4")[0] == 0
    rows = pl.read_parquet(tmp_path / "out.parquet")
    back = pl.read_csv(
        tmp_path / "out.csv", schema_overrides=dict.fromkeys(rows.columns, pl.String)
    )
    assert back.columns == rows.columns
    assert len(back) == len(rows) > 0
    instants = [c for c, kind in rows.schema.items() if isinstance(kind, pl.Datetime)]
    for column, kind in rows.schema.items():
        if column in instants:
            kept = back[column].str.to_datetime("%Y-%m-%dT%H:%M:%S%.6fZ", time_zone="UTC")
        elif kind == pl.Boolean:
            kept = back[column].replace_strict({"true": True, "false": False}, return_dtype=kind)
        else:
            kept = back[column].cast(kind)
        assert kept.equals(rows[column], null_equal=True), column


def test_candles_written_as_csv_are_bars_again(tmp_path: Path, source: Path) -> None:
    compute("candles", source, "--out", tmp_path / "h4.csv", "-t", "H4")
    compute("candles", source, "--out", tmp_path / "d.parquet", "-t", "D")
    code, said, _ = compute(
        "candles", tmp_path / "h4.csv", "--out", tmp_path / "d2.parquet", "-t", "D"
    )
    assert code == 0
    assert said.endswith("d2.parquet: 31 rows of INSTRUMENT D\n")
    columns = ["ts", "open", "high", "low", "close", "known_at"]
    first, again = (
        pl.read_parquet(tmp_path / n, columns=columns) for n in ("d.parquet", "d2.parquet")
    )
    assert again.equals(first)


def test_the_source_is_not_written_over(source: Path) -> None:
    before = source.read_bytes()
    assert "expected another file than IN" in refused("candles", source, out=source)
    link = source.with_name("link.parquet")
    link.symlink_to(source)
    assert "expected another file than IN" in refused("candles", source, out=link)
    assert source.read_bytes() == before
