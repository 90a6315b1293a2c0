"""What the rooms of faults share: a lake to which nothing happened, made once for all of them."""

import pytest

from tests.fakes.backfills import undisturbed_in


@pytest.fixture(scope="session")
def undisturbed_backfill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the bytes that a backfill makes; those who ask are in one group, so in one worker."""
    return undisturbed_in(tmp_path_factory.mktemp("undisturbed"))
