"""Fixtures that every room shares: real data where it is there, a lake in a temporary folder."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("wavehouse", deadline=None)  # a busy machine is no fault of an example
settings.load_profile("wavehouse")

SHARED_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of recorded market data, or skip."""
    if not SHARED_DATA.is_dir():
        pytest.skip("recorded market data (../shared/data) is not on this machine")
    return SHARED_DATA
