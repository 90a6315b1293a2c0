"""The Mojo library as a file, and whether it is used: what it needs, what is refused."""

import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kernels import engine
from kernels.averages import sma
from kernels.first_touch import _first_touch, first_touch
from kernels.jit import Compiled

KERNELS = Path(engine.__file__).resolve().parent

ASK = """
from kernels import engine
from kernels.first_touch import first_touch
with engine.recorded() as ran:
    found = first_touch(([1.0, 3.0], [0.5, 0.9]), ([0], [2]), [2.0], [0.0])
print(engine.mojo_available(), ran["first_touch"], int(found.bar[0]), engine.why_not(), sep="|")
"""


@pytest.fixture(scope="module")
def library() -> Path:
    """Return the built library, or skip."""
    if not engine.mojo_available():
        pytest.skip(f"the Mojo library: {engine.why_not()}")
    return engine.BUILT


@pytest.fixture
def fresh() -> Iterator[None]:
    """Let the engine look for its library and read its settings again."""
    engine.library.cache_clear()
    engine.environment.cache_clear()
    yield
    engine.library.cache_clear()
    engine.environment.cache_clear()


def tool(name: str, *arguments: str) -> str:
    if not shutil.which(name):
        pytest.skip(f"{name} (binutils) is not installed")
    run = subprocess.run([name, *arguments], capture_output=True, text=True, check=True)  # noqa: S603
    return run.stdout


def asked(folder: Path, **environment: str) -> list[str]:
    """Return what a process of its own says that imports ``kernels`` from ``folder``."""
    known = {k: v for k, v in os.environ.items() if not k.startswith(("WAVEHOUSE", "PYTHON"))}
    run = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", ASK], cwd=folder, env={**known, **environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return run.stdout.strip().split("|")


def test_it_needs_nothing_at_run_time(library: Path) -> None:
    dynamic = tool("readelf", "--dynamic", str(library))
    assert "NEEDED" not in dynamic
    assert not re.search("R(UN)?PATH", dynamic)
    undefined = tool("nm", "--dynamic", "--undefined-only", str(library)).split()
    assert undefined in ([], ["U", "memset"])


def test_it_has_these_functions_and_no_others(library: Path) -> None:
    lines = tool("nm", "--dynamic", "--defined-only", str(library)).splitlines()
    own = {f"wavehouse_{x}" for x in ("address", "interface", "is_plain", "size", "sources")}
    assert {line.split()[-1] for line in lines} == own | set(engine.SIGNATURES)


def test_it_runs_on_any_processor_with_avx2(library: Path) -> None:
    code = tool("objdump", "--disassemble", str(library))
    assert "ymm" in code
    assert "zmm" not in code


def test_it_has_no_path_of_the_machine_that_built_it(library: Path) -> None:
    assert str(KERNELS.parent).encode() not in library.read_bytes()
    assert sys.prefix.encode() not in library.read_bytes()


def test_the_document_says_which_engine_runs_what() -> None:
    text = (KERNELS.parent / "docs" / "mojo.md").read_text(encoding="utf-8")
    table = text.partition("<!-- engines:begin -->")[2].partition("<!-- engines:end -->")[0]
    told = {
        kernel: cells[3].strip()
        for cells in (line.split("|") for line in table.splitlines() if "`" in line)
        for kernel in re.findall("`([a-z_]+)`", cells[1])
    }
    faster = {
        kernel: f"numba, Mojo from {engine.FASTER_FROM[kernel]:,} bars"
        if kernel in engine.FASTER_FROM
        else "Mojo"
        for kernel in engine.SIGNATURES
    }
    assert told == faster
    assert engine.FASTER | set(engine.FASTER_FROM) == set(engine.SIGNATURES)


@pytest.mark.slow
def test_two_builds_at_once_leave_one_library(tmp_path: Path) -> None:
    from kernels.mojo import build  # noqa: PLC0415 - this test alone

    if not (build._tool("mojo") and build._tool("lld")):
        pytest.skip("the compiler of the extra `mojo` is not installed")
    copied = tmp_path / "kernels"
    shutil.copytree(KERNELS, copied, ignore=shutil.ignore_patterns("__pycache__", "build"))
    assert asked(tmp_path)[0] == "False"
    known = {k: v for k, v in os.environ.items() if not k.startswith(("WAVEHOUSE", "PYTHON"))}
    command = [sys.executable, "-m", "kernels.mojo.build"]
    builds = [
        subprocess.Popen(command, cwd=tmp_path, env=known, stdout=subprocess.DEVNULL)  # noqa: S603
        for _ in range(2)
    ]
    assert [each.wait(timeout=300) for each in builds] == [0, 0]
    assert [path.name for path in (copied / "mojo" / "build").iterdir()] == [engine.BUILT.name]
    assert asked(tmp_path) == ["True", "mojo", "1", ""]


@pytest.mark.usefixtures("library")
def test_a_cold_process_answers_without_numba() -> None:
    code = f"{ASK}\nimport sys; print('numba' in sys.modules)"
    run = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], cwd=KERNELS.parent, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines() == ["True|mojo|1|", "False"]


@pytest.mark.slow
def test_a_library_of_other_sources_is_refused(library: Path, tmp_path: Path) -> None:
    copied = tmp_path / "kernels"
    shutil.copytree(KERNELS, copied, ignore=shutil.ignore_patterns("__pycache__"))
    assert asked(tmp_path) == ["True", "mojo", "1", ""]
    source = copied / "mojo" / "first_touch.mojo"
    source.write_text(source.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    refused = ["False", "numba", "1", f"{library.name}: built from other sources (make mojo)"]
    assert asked(tmp_path) == refused
    assert asked(tmp_path, WAVEHOUSE_MOJO_LIBRARY=str(library)) == refused


@pytest.mark.slow
def test_without_a_library_numba_serves(tmp_path: Path) -> None:
    answer = asked(KERNELS.parent, WAVEHOUSE_MOJO_LIBRARY=str(tmp_path / "none.so"))
    assert answer == ["False", "numba", "1", "none.so: not built (make mojo)"]


@pytest.mark.usefixtures("library", "fresh")
def test_a_refusal_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "fingerprint", lambda: 1)
    with caplog.at_level(logging.WARNING, logger="kernels.engine"):
        for _ in range(3):
            assert not engine.mojo_available()
    assert [record.getMessage() for record in caplog.records] == [
        "numba runs every kernel: libwavehouse.so: built from other sources (make mojo)"
    ]


@pytest.mark.usefixtures("library", "fresh")
def test_a_processor_that_cannot_run_it_does_not_load_it(monkeypatch: pytest.MonkeyPatch) -> None:
    able = engine.processor_flags()
    monkeypatch.setattr(engine, "processor_flags", lambda: able - {"avx2", "fma"})
    assert engine.why_not() == "processor: expected x86-64-v3, has no avx2, fma"


@pytest.mark.usefixtures("library", "fresh")
def test_an_interface_of_another_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "INTERFACE", -1)
    assert engine.why_not().startswith("libwavehouse.so: expected interface -1, was ")


@pytest.mark.usefixtures("fresh")
def test_a_file_that_is_no_library_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text.so"
    path.write_text("not a library")
    monkeypatch.setenv("WAVEHOUSE_MOJO_LIBRARY", str(path))
    assert not engine.mojo_available()
    assert engine.why_not().startswith(("text.so: expected a library", "machine:", "processor:"))


@pytest.mark.usefixtures("fresh")
def test_mojo_can_be_demanded_and_is_missed_where_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVEHOUSE_MOJO_LIBRARY", str(tmp_path / "none.so"))
    monkeypatch.setenv("WAVEHOUSE_ENGINE", "mojo")
    with pytest.raises(RuntimeError, match="engine: expected mojo, but "):
        first_touch(([1.0], [1.0]), ([0], [1]), [2.0], [0.0])


@pytest.mark.usefixtures("fresh")
def test_an_unknown_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEHOUSE_ENGINE", "fast")
    with pytest.raises(ValueError, match="WAVEHOUSE_ENGINE: expected auto, numba or mojo"):
        first_touch(([1.0], [1.0]), ([0], [1]), [2.0], [0.0])


@pytest.mark.usefixtures("library")
def test_what_numba_has_not_made_yet_is_mojo_s(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = Compiled(lambda *_: None)
    monkeypatch.setattr(engine, "FASTER", frozenset({"sma"}))
    assert engine.engine_of("ema", twin) == "mojo"
    twin._dispatcher = twin.py_func
    assert engine.engine_of("ema", twin) == "numba"
    assert engine.engine_of("sma", twin) == "mojo"
    assert engine.engine_of("wma", Compiled(lambda *_: None)) == "numba"  # Mojo has none


@pytest.mark.usefixtures("library")
def test_long_series_are_mojo_s_where_it_is_faster_over_them() -> None:
    twin = Compiled(lambda *_: None)
    twin._dispatcher = twin.py_func
    least = engine.FASTER_FROM["sma"]
    short, long = np.ones(least - 1), np.ones(least)
    assert engine.engine_of("sma", twin, short) == "numba"
    assert engine.engine_of("sma", twin, long) == "mojo"
    assert engine.engine_of("ema", twin, long) == "numba"
    with engine.forced("numba"):
        sma(short)
    for series, expected in ((short, "numba"), (long, "mojo")):
        with engine.recorded() as ran:
            sma(series)
        assert ran == {"sma": expected}


def test_numba_can_be_demanded() -> None:
    with engine.forced("numba"), engine.recorded() as ran:
        first_touch(([1.0], [1.0]), ([0], [1]), [2.0], [0.0])
    assert ran == {"first_touch": "numba"}


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    "array",
    [np.zeros(4, np.float32), np.zeros(8)[::2], np.zeros(4, np.int64), np.zeros((2, 2)).T],
    ids=["float32", "strided", "int64", "transposed"],
)
def test_memory_of_another_form_is_never_read(array: np.ndarray) -> None:
    good, places = np.zeros(4), np.zeros(4, np.int64)
    side = np.zeros(4, np.int8)
    arrays = [good, array, places, places, good, good, side, places]
    with (
        engine.forced("mojo"),
        pytest.raises(TypeError, match="first_touch: expected contiguous arrays"),
    ):
        engine.run("first_touch", _first_touch, *arrays)
