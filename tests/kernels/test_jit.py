"""The compiled-function wrapper: numba imported late, a cache that is never stale."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = Path(__file__).resolve().parents[2] / "kernels"

INNER = "from kernels.jit import compiled\n\n@compiled\ndef scale(x):\n    return {factor} * x\n"
OUTER = """
from kernels.inner import scale
from kernels.jit import compiled

@compiled
def twice(x):
    return 2.0 * scale(x)
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Return a folder with a package ``kernels`` of two modules, the outer calling the inner."""
    package = tmp_path / "kernels"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "jit.py").write_text((KERNELS / "jit.py").read_text(encoding="utf-8"))
    (package / "inner.py").write_text(INNER.format(factor=3.0))
    (package / "outer.py").write_text(OUTER)
    return tmp_path


def _run(house: Path, code: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "PYTHON"))}
    return subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code],
        cwd=house, env=environment, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip


@pytest.mark.slow
def test_a_change_in_a_called_module_is_never_served_stale(house: Path) -> None:
    call = "from kernels.outer import twice; print(twice(1.0), type(twice.py_func).__name__)"
    assert _run(house, call) == "6.0 function"
    outer = house / "kernels" / "outer.py"
    stamp = outer.stat().st_mtime
    (house / "kernels" / "inner.py").write_text(INNER.format(factor=15.0))
    os.utime(outer, (stamp, stamp))
    assert _run(house, call) == "30.0 function"


@pytest.mark.slow
@pytest.mark.parametrize("names", ["inner", "inner as other", "(\n    inner,\n)"])
def test_a_change_in_a_module_of_constants_is_never_served_stale(house: Path, names: str) -> None:
    name = names.rsplit(maxsplit=1)[-1] if " as " in names else "inner"
    (house / "kernels" / "inner.py").write_text("FACTOR = 3.0\n")
    (house / "kernels" / "outer.py").write_text(
        f"from kernels import {names}\nfrom kernels.jit import compiled\n\n"
        f"@compiled\ndef twice(x):\n    return {name}.FACTOR * x\n"
    )
    call = "from kernels.outer import twice; print(twice(2.0))"
    assert _run(house, call) == "6.0"
    (house / "kernels" / "inner.py").write_text("FACTOR = 15.0\n")
    assert _run(house, call) == "30.0"


@pytest.mark.slow
def test_a_change_compiles_again_only_what_it_reaches(house: Path) -> None:
    _run(house, "from kernels.outer import twice; twice(1.0)")
    before = {path.name for path in (house / ".numba_cache").iterdir()}
    (house / "kernels" / "outer.py").write_text(OUTER.replace("2.0 *", "14.0 *"))
    assert _run(house, "from kernels.outer import twice; print(twice(1.0))") == "42.0"
    added = {path.name for path in (house / ".numba_cache").iterdir()} - before
    assert [name.rpartition("-")[0] for name in added] == ["kernels.outer"]


@pytest.mark.slow
def test_a_second_process_compiles_nothing(house: Path) -> None:
    call = (
        "from kernels.outer import twice; twice(1.0); "
        "print(sum(twice.dispatcher.stats.cache_misses.values()), "
        "sum(twice.dispatcher.stats.cache_hits.values()))"
    )
    assert _run(house, call) == "1 0"
    assert _run(house, call) == "0 1"


@pytest.mark.slow
def test_constants_and_variables_share_one_machine_code(house: Path) -> None:
    (house / "kernels" / "outer.py").write_text(
        "from kernels.inner import scale\nfrom kernels.jit import compiled\n\n"
        "@compiled\ndef twice(x):\n    return scale(0) + scale(1) + scale(x)\n"
    )
    call = "from kernels.outer import twice; from kernels.inner import scale; print(twice(2), {})"
    seen = _run(house, call.format("scale.dispatcher.signatures"))
    assert seen == "9.0 [(int64,)]"


WRITER = """
import pathlib, sys, time
import numba.core.caching as caching
from kernels.inner import scale

read = caching.IndexDataCacheFile._load_index
def slowly(cache):
    index = read(cache)
    time.sleep(0.5)  # longer than the other takes to come here
    return index
caching.IndexDataCacheFile._load_index = slowly

pathlib.Path(sys.argv[1]).touch()
while len(list(pathlib.Path.cwd().glob("ready-*"))) < 2:
    time.sleep(0.01)
print(scale({number}), sum(scale.dispatcher.stats.cache_misses.values()))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("numbers", "compiled"), [(("7", "7.5"), 2), (("7", "7"), 1)])
def test_two_processes_keep_the_machine_code_of_both(
    house: Path, numbers: tuple[str, str], compiled: int
) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "PYTHON"))}
    writers = [
        subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-c", WRITER.format(number=number), f"ready-{k}"],
            cwd=house, env=environment, stdout=subprocess.PIPE, text=True,
        )
        for k, number in enumerate(numbers)
    ]  # fmt: skip
    said = [writer.communicate(timeout=60)[0].split() for writer in writers]
    assert [float(result) for result, _ in said] == [3.0 * float(number) for number in numbers]
    assert sum(int(misses) for _, misses in said) == compiled
    code = "from kernels.inner import scale; print(scale(7), scale({}), {})"
    again = _run(
        house, code.format(numbers[1], "sum(scale.dispatcher.stats.cache_misses.values())")
    )
    assert again.split() == ["21.0", str(3.0 * float(numbers[1])), "0"]  # each was kept


def test_importing_every_kernel_does_not_import_numba() -> None:
    modules = ", ".join(f"kernels.{p.stem}" for p in KERNELS.glob("*.py") if p.stem != "__init__")
    seen = _run(KERNELS.parent, f"import sys; import {modules}; print('numba' in sys.modules)")
    assert seen == "False"


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_leaves_numba_its_own_choice(house: Path) -> None:
    (house / ".numba_cache").write_text("a file where the folder should be")
    assert _run(house, "from kernels.outer import twice; print(twice(1.0))") == "6.0"
