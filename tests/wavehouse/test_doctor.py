"""``doctor``: an empty home, a full one, and broken ones."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kernels import engine
from wavehouse.cli import app


def doctor() -> tuple[int, dict[str, dict[str, str]]]:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    return result.exit_code, {f["what"]: f for f in json.loads(result.stdout)}


@pytest.mark.usefixtures("home")
def test_an_empty_home_is_no_illness_and_says_what_to_run() -> None:
    code, found = doctor()
    assert code == 0, found
    assert found["python"]["state"] == "ok"
    assert found["dagster"]["state"] == "ok"
    assert found["instrument SYN"] == {
        "what": "instrument SYN", "state": "ok", "found": "synthetic, H4 bars", "advice": "",
    }  # fmt: skip
    assert found["lake SYN"]["found"] == "nothing materialised"
    assert found["lake SYN"]["advice"] == "wavehouse materialize --instrument SYN"
    assert found["freshness SYN"]["state"] == "warn"
    assert found["models"]["state"] == "warn"
    assert found["api"]["state"] == "warn"
    assert "wavehouse serve" in found["api"]["advice"]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("clickhouse://reader:hunter2@127.0.0.1:1/market", "127.0.0.1:1/market: expected"),
        ("mysql://reader:hunter2@db/market", "WAREHOUSE_DSN: expected clickhouse://"),
    ],
)
def test_a_warehouse_that_does_not_answer_is_bad_and_its_password_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, dsn: str, said: str
) -> None:
    pytest.importorskip("clickhouse_connect", reason="the extra clickhouse is not installed")
    _, found = doctor()
    assert found["warehouse"]["found"] == "none: the Parquet lake is the store"
    monkeypatch.setenv("WAREHOUSE_DSN", dsn)
    code, found = doctor()
    assert (code, found["warehouse"]["state"], found["lake"]["state"]) == (1, "bad", "bad")
    assert said in found["warehouse"]["found"]
    assert "hunter2" not in json.dumps(found)


@pytest.fixture
def engine_read_again() -> Iterator[None]:
    """Let the engine read its environment again, and once more when the test is over."""
    for read in (engine.environment, engine.library):
        read.cache_clear()
    yield
    for read in (engine.environment, engine.library):
        read.cache_clear()


@pytest.mark.usefixtures("home", "engine_read_again")
@pytest.mark.parametrize(
    ("variables", "state", "said", "advice"),
    [
        ({"WAVEHOUSE_ENGINE": "auto"}, "ok", "numba; Mojo: none.so: not built", "make mojo"),
        ({"WAVEHOUSE_ENGINE": "numba"}, "ok", "numba, as WAVEHOUSE_ENGINE says", ""),
        ({"WAVEHOUSE_ENGINE": "mojo"}, "bad", "none.so: not built", "unset WAVEHOUSE_ENGINE"),
        ({"WAVEHOUSE_ENGINE": "cuda"}, "bad", "was cuda", "set one of them"),
    ],
)
def test_which_engine_runs_the_kernels(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], state: str, said: str, advice: str
) -> None:
    monkeypatch.setenv("WAVEHOUSE_MOJO_LIBRARY", "none.so")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code, found = doctor()
    assert (code, found["kernels"]["state"]) == (int(state == "bad"), state)
    assert said in found["kernels"]["found"]
    assert advice in found["kernels"]["advice"]


@pytest.mark.slow
@pytest.mark.usefixtures("full_home")
def test_a_full_home_is_fresh() -> None:
    code, found = doctor()
    assert code == 0
    assert found["lake SYN"]["found"] == "3 months, 2017-03 to 2017-05"
    assert found["lake SYN"]["state"] == "ok"
    assert found["freshness SYN"]["found"] == "39 partitions, all fresh"
    assert found["freshness SYN"]["state"] == "ok"


@pytest.mark.slow
@pytest.mark.usefixtures("full_home")
def test_people_get_a_table() -> None:
    result = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "160"})
    assert result.exit_code == 0
    assert "39 partitions, all fresh" in result.output


def test_a_missing_instruments_file_is_bad_and_exit_code_1(home: Path) -> None:
    (home / "instruments.toml").unlink()
    code, found = doctor()
    assert code == 1
    assert found["instruments"]["state"] == "bad"
    assert str(home / "instruments.toml") in found["instruments"]["found"]


def test_a_source_that_cannot_be_read_is_named(home: Path) -> None:
    path = home / "instruments.toml"
    text = path.read_text(encoding="utf-8").replace('"synthetic"', '"csv"')
    path.write_text(text.split("[SYN.options]")[0] + '[SYN.options]\npath = "gone.csv"\n')
    code, found = doctor()
    assert code == 1
    assert found["instrument SYN"]["state"] == "bad"
    assert "gone.csv" in found["instrument SYN"]["found"]
    assert "csv" in found["instrument SYN"]["advice"]


@pytest.mark.usefixtures("home")
def test_a_setting_that_cannot_be_is_named_and_the_rest_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WAVEHOUSE_STORAGE_RETENTION_VERSIONS", "few")
    code, found = doctor()
    assert code == 1
    assert found["lake"]["state"] == found["freshness"]["state"] == "bad"
    assert found["lake"]["found"].startswith("WAVEHOUSE_STORAGE_RETENTION_VERSIONS: ")
    assert found["lake"]["found"].endswith(", was 'few'")
    assert found["instrument SYN"]["state"] == "ok"
    assert found["api"]["state"] == "warn"


def test_a_missing_instruments_file_is_said_once(home: Path) -> None:
    (home / "instruments.toml").unlink()
    code, found = doctor()
    assert code == 1
    assert [what for what, f in found.items() if f["state"] == "bad"] == ["instruments"]
    assert found["instruments"]["found"] == f"nothing at {home / 'instruments.toml'}"
    assert "wavehouse instruments add" in found["instruments"]["advice"]
