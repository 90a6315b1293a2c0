"""Tests that share what takes long to make run in one worker."""

import pytest


@pytest.mark.xdist_group("together")
def test_a_group_is_in_the_name_by_which_it_is_handed_out(request: pytest.FixtureRequest) -> None:
    is_grouped = getattr(request.config.option, "loadgroup", False)
    assert request.node.nodeid.endswith("@together") == is_grouped
