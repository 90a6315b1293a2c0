"""Fixtures that every room shares: real data where it is there, a lake in a temporary folder."""

import gc
import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from _pytest.doctest import DoctestModule
from _pytest.nodeid import NodeId
from hypothesis import settings

if TYPE_CHECKING:
    from tests.serving.label_world import LabelWorld

# a busy machine is no fault of an example
settings.register_profile("wavehouse", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "wavehouse"))

SHARED_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
MADE_ONCE: Final = frozenset({"filled", "label_world"})
"""Fixtures of a session that take seconds: who asks for one is kept in one worker."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave all that was imported and collected out of later rounds of garbage collection.

    It lives as long as the process, and a round over it takes half a second.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(
    file_path: Path,
) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Look for no doctests in the tests: there are none, and looking is an eighth of collection."""
    found = yield
    if file_path.is_relative_to(Path(__file__).parent):
        return [x for x in found if not isinstance(x, DoctestModule)]
    return found


@pytest.hookimpl(wrapper=True)  # round xdist's own, which names the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, object, object]:
    """Keep what reads a fixture that is made once in the worker that makes it.

    xdist 3.8 writes a group into ``_nodeid``, from which pytest 9.2 no longer reads: without what
    follows it, no group is kept together.
    """
    for item in items:
        for name in sorted(MADE_ONCE.intersection(getattr(item, "fixturenames", ()))):
            item.add_marker(pytest.mark.xdist_group(name))
    result = yield
    for item in items:
        named = vars(item).get("_nodeid", item.nodeid)
        if named != item.nodeid:
            item._id = NodeId.parse(named)
    return result


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of recorded market data, or skip."""
    if not SHARED_DATA.is_dir():
        pytest.skip("recorded market data (../shared/data) is not on this machine")
    return SHARED_DATA


@pytest.fixture(scope="session")
def label_world(tmp_path_factory: pytest.TempPathFactory) -> "LabelWorld":
    """Return a lake with labels that the line itself made; nobody writes to it."""
    from tests.serving.label_world import LabelWorld  # noqa: PLC0415 - kernels' tests need no app

    return LabelWorld(tmp_path_factory.mktemp("label_world"))
