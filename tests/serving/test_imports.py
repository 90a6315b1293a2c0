"""Serving starts in a second because what takes seconds to import is not imported."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = ("dagster", "mlflow", "pandas", "sklearn", "matplotlib", "exchange_calendars")

PROGRAM = """
import sys
from pathlib import Path
from starlette.testclient import TestClient
from market.settings import HomeSettings, LearningSettings, ServingSettings, StorageSettings
from serving import main
from tests.serving.fakes import World, mlflow_home

home = Path(sys.argv[1])
World(home / "data")
mlflow_home(home)
app = main.build(
    ServingSettings(),
    home=HomeSettings(home=home),
    storage=StorageSettings(),
    learning=LearningSettings(),
)
with TestClient(app) as client:
    series = {"instrument": "EURUSD", "timeframe": "H4"}
    assert client.post("/predict", json=series).status_code == 200
    dates = {"start_date": "2017-11-01", "end_date": "2017-12-01"}
    labels = {"instrument_id": "EURUSD", "granularity": "H4"} | dates
    assert client.get("/v1/labels", params=labels).status_code == 200
    assert client.get("/health").json()["status"] == "healthy"
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the packages that a process which has served has imported."""
    process = subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", PROGRAM, str(tmp_path_factory.mktemp("world"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    return set(process.stdout.split())


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_process_that_serves_does_not_import(imported: set[str], package: str) -> None:
    assert "polars" in imported  # the listing works
    assert package not in imported
