"""The command line as a whole: what it says of itself, and what it does not import."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wavehouse.cli import app

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "dagster", "mlflow", "numba", "polars", "numpy", "pandas", "duckdb", "sklearn", "xgboost",
    "matplotlib", "fastapi", "exchange_calendars",
)  # fmt: skip

SAYS = {
    (): ["demo", "materialize", "backfill", "train", "serve", "dev", "doctor", "compute",
         "instruments", "keys", "audit", "WAVEHOUSE_HOME"],
    ("demo",): ["Materialise every asset of the sample", "serve", "EURUSD"],
    ("materialize",): ["up to date", "--force", "--from", "--to", "--json", "--timeframe"],
    ("backfill",): ["range of months", "wavehouse backfill labels --instrument EURUSD"],
    ("train",): ["walk-forward", "--from"],
    ("serve",): ["HTTP", "/docs", "WAVEHOUSE_SERVING_PORT", "--workers"],
    ("dev",): ["Ctrl-C", "3000", "5000", "8000"],
    ("doctor",): ["exit code 1", "--json"],
    ("compute",): ["candles", "levels", "labels", "features", "Parquet or CSV"],
    ("compute", "candles"): ["session calendar", "--out"],
    ("compute", "levels"): ["support and resistance", "--timeframe"],
    ("compute", "labels"): ["Label every complete candle", "--horizon"],
    ("compute", "features"): ["feature", "--calendar", "us_equity"],
    ("instruments",): ["list", "add", "instruments.toml"],
    ("instruments", "list"): ["months of candles", "--json"],
    ("instruments", "add"): ["nothing is written if it is not valid", "--provider"],
    ("keys",): ["create", "list", "revoke"],
    ("keys", "create"): ["shown this once", "--scope", "--days"],
    ("keys", "list"): ["never what they are"],
    ("keys", "revoke"): ["running servers notice within seconds"],
    ("audit",): ["who was refused", "--principal", "--since", "--json"],
    ("warehouse",): ["sync", "verify", "ClickHouse"],
}  # fmt: skip


@pytest.mark.parametrize("words", SAYS, ids=lambda words: " ".join(words) or "wavehouse")
def test_help_says_what_a_command_does(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 0
    plain = " ".join(result.output.replace("│", " ").split())
    for said in SAYS[words]:
        assert said in plain, plain


def test_every_command_is_asked_above() -> None:
    groups = {group.name for group in app.registered_groups}
    assert {words[0] for words in SAYS if words} == groups | {
        command.name for command in app.registered_commands
    }


def test_importing_the_command_line_waits_for_nothing_heavy() -> None:
    program = f"import sys, wavehouse.cli; print(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []


def test_the_notebooks_door_opens_on_what_it_names_and_nothing_else() -> None:
    program = (
        "import sys, wavehouse as wh; assert 'polars' not in sys.modules; "
        "assert all(callable(getattr(wh, n)) for n in wh.__all__); "
        "assert 'dagster' not in sys.modules and 'mlflow' not in sys.modules; wh.nothing"
    )
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert "AttributeError: module 'wavehouse' has no attribute 'nothing'" in done.stderr
    assert "AssertionError" not in done.stderr


def test_it_knows_its_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"wavehouse {version('wavehouse')}\n")


def test_an_unknown_command_is_exit_code_2() -> None:
    assert CliRunner().invoke(app, ["fly"]).exit_code == 2
