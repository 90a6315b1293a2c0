"""Serving starts in a second because what takes seconds to import is not imported."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from tests.serving.fakes import FEATURE_NAMES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = (
    "dagster", "mlflow", "pandas", "sklearn", "scipy", "xgboost", "matplotlib",
    "exchange_calendars",
)  # fmt: skip

PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
from starlette.testclient import TestClient
from learning.registry import BUNDLE_FOLDER
from market.settings import HomeSettings, LearningSettings, ServingSettings, StorageSettings
from serving import main
from tests.serving.fakes import World, bundle, mlflow_home

home, trees = map(Path, sys.argv[1:])
World(home / "data")
artefact = mlflow_home(home).parent / "artifacts" / "1" / BUNDLE_FOLDER
if trees.name != "none":
    replace(bundle(), kind="xgboost", booster=trees.read_bytes()).save(artefact)
app = main.build(
    ServingSettings(compute_warm=False, anonymous="all"),
    home=HomeSettings(home=home),
    storage=StorageSettings(),
    learning=LearningSettings(),
)
with TestClient(app) as client:
    series = {"instrument": "EURUSD", "timeframe": "H4"}
    answer = client.post("/predict", json=series)
    assert answer.status_code == 200
    assert answer.json()["kind"] == ("first_passage" if trees.name == "none" else "xgboost")
    dates = {"start_date": "2017-11-01", "end_date": "2017-12-01"}
    labels = {"instrument_id": "EURUSD", "granularity": "H4"} | dates
    assert client.get("/v1/labels", params=labels).status_code == 200
    assert client.get("/health").json()["status"] == "healthy"
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""

COMPUTES = """
import io
import sys
from pathlib import Path
import polars as pl
from tests.serving.compute_world import ARROW_TYPE, served

sent = io.BytesIO()
pl.DataFrame({"close": [1.0, 2.0, 3.0]}).write_ipc_stream(sent)

with served(Path(sys.argv[1])) as client:
    body = {"symbol": "TCS", "prices": [1.0, 2.0, 3.0], "period": 2}
    assert client.post("/compute/sma", json=body).status_code == 200
    query = {"symbol": "T", "period": 2}
    answer = client.post(
        "/compute/sma", params=query, content=sent.getvalue(), headers=ARROW_TYPE
    )
    assert pl.read_ipc_stream(answer.content).height == 3
    sent = io.BytesIO()
    pl.DataFrame({"symbol": ["A"], "close": [[1.0, 2.0]]}).write_ipc_stream(sent)
    query = {"indicators": '[{"type": "sma", "params": {"period": 2}}]'}
    answer = client.post(
        "/compute/batch", params=query, content=sent.getvalue(), headers=ARROW_TYPE
    )
    assert pl.read_ipc_stream(answer.content)["sma"].to_list() == [[None, 1.5]]
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def grown() -> bytes:
    """Return a few trees on the features that the tests' model takes."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((300, len(FEATURE_NAMES))), rng.integers(0, 3, 300)
    settings = {"objective": "multi:softprob", "num_class": 3, "nthread": 1}
    booster = xgb.train(settings, xgb.DMatrix(x, y), num_boost_round=5)
    return bytes(booster.save_raw("ubj"))


@pytest.fixture(scope="module", params=["none", "booster.ubj"])
def imported(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> set[str]:
    """Return the packages that a process which has served has imported; with trees or without."""
    world = tmp_path_factory.mktemp("world")
    trees = world / request.param
    trees.write_bytes(grown())
    return packages_after(PROGRAM, str(world), str(trees))


def packages_after(program: str, *arguments: str) -> set[str]:
    process = subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", program, *arguments],
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


def test_a_process_that_computes_imports_no_more_than_numba_does(tmp_path: Path) -> None:
    imported = packages_after(COMPUTES, str(tmp_path))
    assert "pyarrow" in imported  # and numba, where the Mojo library is not there
    assert imported & set(FORBIDDEN) <= {"scipy"}
