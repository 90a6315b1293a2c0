"""Homes for the command line: an empty one, and one in which a small market is materialised."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wavehouse import reading
from wavehouse.cli import app

INSTRUMENTS = """\
[SYN]
asset_class = "crypto"
calendar = "crypto"
provider = "synthetic"
base_timeframe = "H4"
tick_size = 0.01

[SYN.options]
seed = 3
start = 2017-03-01
end = 2017-06-01
"""

NAMES = (
    "WAVEHOUSE_HOME", "WAVEHOUSE_INSTRUMENTS", "DAGSTER_HOME", "DAGSTER_DISABLE_TELEMETRY",
    "WAVEHOUSE_LEARNING_TRACKING_URI", "WAVEHOUSE_LEARNING_ARTIFACT_ROOT", "WAREHOUSE_DSN",
)  # fmt: skip


def settle(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Make a folder the home of whatever runs until the patch is undone."""
    for name in NAMES:
        patch.setenv(name, "")
        patch.delenv(name)  # so that what a command sets is taken away again
    patch.setenv("WAVEHOUSE_HOME", str(folder))
    patch.setenv("WAVEHOUSE_INSTRUMENTS", str(folder / "instruments.toml"))
    patch.setenv("WAVEHOUSE_SERVING_PORT", "1")  # nobody listens there
    patch.chdir(folder)
    reading._lake.cache_clear()
    reading._book.cache_clear()
    return folder


def leave() -> None:
    """Forget what pointed into a home."""
    for name in ("DAGSTER_HOME", "DAGSTER_DISABLE_TELEMETRY"):
        os.environ.pop(name, None)
    reading._lake.cache_clear()
    reading._book.cache_clear()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield an empty home with one synthetic instrument."""
    settle(tmp_path, monkeypatch)
    (tmp_path / "instruments.toml").write_text(INSTRUMENTS, encoding="utf-8")
    yield tmp_path
    leave()


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home in which labels and features of three months were materialised."""
    folder = tmp_path_factory.mktemp("filled")
    (folder / "instruments.toml").write_text(INSTRUMENTS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        settle(folder, patch)
        result = CliRunner().invoke(app, ["materialize", "labels", "features", "-i", "SYN"])
        leave()
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def full_home(filled: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the materialised home, to read from."""
    yield settle(filled, monkeypatch)
    leave()
