"""A code version moves with what a stage computes, and not with words about it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assets import code_versions
from assets.code_versions import code_version
from orchestration.graph import data_stages, learning_stages

pytestmark = pytest.mark.slow

CACHES = (code_versions.code_version, code_versions._closure, code_versions._tree)

Edit = Callable[[str, str, str], None]


def forget() -> None:
    for cache in CACHES:
        cache.cache_clear()


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edit]:
    """Yield what replaces text in a copy of a module that stands in its place."""
    real = code_versions._source
    copies: dict[str, Path] = {}

    def change(module: str, old: str, new: str) -> None:
        text = real(module).read_text(encoding="utf-8")
        assert old in text, f"{module}: expected {old!r} in it"
        copies[module] = tmp_path / f"{module}.py"
        copies[module].write_text(text.replace(old, new, 1), encoding="utf-8")
        forget()

    monkeypatch.setattr(code_versions, "_source", lambda m: copies.get(m) or real(m))
    yield change
    forget()


def versions() -> dict[str, str]:
    return {
        name: code_version(f"assets.{name}")
        for name in ("raw", "candles", "levels", "labels", "features")
    }


def moved_by(edit: Edit, module: str, old: str, new: str) -> set[str]:
    before = versions()
    edit(module, old, new)
    after = versions()
    return {name for name in after if after[name] != before[name]}


def test_arithmetic_of_a_kernel_moves_the_stages_that_can_reach_it(edit: Edit) -> None:
    old = "0.5"
    moved = moved_by(edit, "kernels.level_machine", old, "0.51")
    # candles share assets.reading with the rest, which knows the level machine
    assert {"levels", "labels", "features"} <= moved
    assert "raw" not in moved


def test_a_kernel_that_features_alone_use_moves_features_alone(edit: Edit) -> None:
    assert moved_by(edit, "kernels.wavelets", "import", "import os\nimport") == {"features"}


@pytest.mark.slow
def test_what_is_read_is_part_of_the_version(edit: Edit) -> None:
    moved = moved_by(
        edit, "assets.reading", "shift_month(key.month, -1)", "shift_month(key.month, -2)"
    )
    assert moved == {"candles", "levels", "labels", "features"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("market.calendars", '"17:00 America', '"18:00 America'),
        ("kernels.resample", "import", "import os\nimport"),
        ("pipeline.candles", "low <= open_", "low < open_"),
    ],
    ids=["calendar", "resampler", "check of bars"],
)
def test_what_cuts_bars_moves_all_that_is_cut_and_fetches_nothing_again(
    edit: Edit, module: str, old: str, new: str
) -> None:
    assert moved_by(edit, module, old, new) == set(versions()) - {"raw"}


def test_a_table_moves_every_stage_down_to_the_bars_as_fetched(edit: Edit) -> None:
    assert moved_by(edit, "market.tables", "pl.Int8()", "pl.Int16()") == set(versions())


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("assets.levels", '"""``levels/<timeframe>``', '"""Other words: ``levels/<timeframe>``'),
        ("kernels.levels", "\nimport", "\n# a comment, measured\nimport"),
        ("kernels.levels", "\nimport", "\n\n\n\nimport"),
        ("pipeline.levels", '"""Feed the complete', '"""Give the complete'),
    ],
    ids=["module docstring", "comment", "blank lines", "function docstring"],
)
def test_words_move_nothing(edit: Edit, module: str, old: str, new: str) -> None:
    assert moved_by(edit, module, old, new) == set()


def test_another_process_comes_to_the_same_versions() -> None:
    program = "from assets.code_versions import code_version as v; print(v('assets.features'))"
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(code_versions.__file__).parent.parent,
        env={"PYTHONHASHSEED": "7"},
    )
    assert done.stdout.strip() == code_version("assets.features")


def test_every_stage_has_one() -> None:
    found = [stage.code_version for stage in (*data_stages(), *learning_stages())]
    assert all(found)
    assert len(set(found)) >= len(versions())
