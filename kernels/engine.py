"""Which engine runs a kernel: numba, or the library that Mojo compiled from ``kernels/mojo``.

Belongs here: finding, checking and calling that library. Keep out: arithmetic.

The two give the same numbers, so which one ran is a matter of speed alone. numba is always there.
The library is used where it was built (``make mojo``), from these very sources, and the processor
can run it; then it runs the kernels that it is faster at, and any kernel that numba has not made
in this process yet: the library loads in milliseconds, numba in seconds.

``WAVEHOUSE_ENGINE`` is ``auto``, ``numba`` or ``mojo`` (which fails where there is no library);
``WAVEHOUSE_MOJO_LIBRARY`` names a library elsewhere. Both are read at the first call.
"""

import ctypes
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from kernels.jit import Compiled

Engine = Literal["numba", "mojo"]
Choice = Literal["auto", "numba", "mojo"]

INTERFACE: Final = 1  # of the library's functions; ``INTERFACE`` in ``library.mojo``

# What each function takes: a an array, i an integer, f a float.
SIGNATURES: Final[Mapping[str, str]] = {
    "sma": "aiaa",
    "ema": "aiaa",
    "rsi": "aiaa",
    "macd": "aiiiaaaa",
    "bollinger": "aifaaaaaaa",
    "atr": "aaaiaa",
    "mfi": "aaaaiaa",
    "sma_rows": "aiaa",
    "ema_rows": "aiaa",
    "rsi_rows": "aiaa",
    "macd_rows": "aiiiaa",
    "bollinger_rows": "aifaa",
    "first_touch": "aaaaaaaa",
    "panel_rows": "aaaaaaa",
    "panel_tiles": "aaaa",
}

# Kernels that the library runs faster than numba: ``python -m benchmarks.mojo``, docs/mojo.md.
FASTER: Final = frozenset(
    {
        "first_touch", "panel_rows", "panel_tiles",
        "sma_rows", "ema_rows", "rsi_rows", "macd_rows", "bollinger_rows",
    }
)  # fmt: skip

# Of one series: from so many bars on, which are more than the caches keep; it writes past them.
FASTER_FROM: Final[Mapping[str, int]] = {
    "sma": 250_000, "ema": 500_000, "atr": 500_000, "macd": 500_000, "mfi": 500_000,
    "bollinger": 1_000_000, "rsi": 1_000_000,
}  # fmt: skip

SOURCES: Final = Path(__file__).resolve().parent / "mojo"
BUILT: Final = SOURCES / "build" / "libwavehouse.so"

# what x86-64-v3 means, in the kernel's words
_PROCESSOR: Final = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}

_REFUSED: Final = 1  # what the functions return, as in ``library.mojo``
_OTHER_ARRAY: Final = 2

_FORCED: ContextVar[Choice | None] = ContextVar("kernels.engine.forced", default=None)
_RECORD: ContextVar[dict[str, Engine] | None] = ContextVar("kernels.engine.record", default=None)


class Library(NamedTuple):
    """The functions of the loaded library by kernel; or none, and the reason."""

    functions: Mapping[str, Callable[..., int]]
    reason: str


def mojo_available() -> bool:
    """Say whether the Mojo library is there and may be used."""
    return not library().reason


def why_not() -> str:
    """Say why the Mojo library is not used; empty where it is."""
    return library().reason


def engine_of(kernel: str, compiled: Callable[..., None], *args: object) -> Engine:
    """Say which engine would run ``kernel`` over ``args`` now."""
    return "numba" if _function(kernel, compiled, args) is None else "mojo"


def _is_faster(kernel: str, args: tuple[Any, ...]) -> bool:
    """Say whether Mojo is the faster one at ``kernel``, both being ready."""
    least = FASTER_FROM.get(kernel)
    return kernel in FASTER or (least is not None and bool(args) and args[0].size >= least)


def run(kernel: str, compiled: Callable[..., None], *args: object) -> None:
    """Run ``kernel`` over ``args``: Mojo's function of that name, or ``compiled``.

    Both take the same arguments, write into the arrays among them and return nothing. To Mojo a
    tuple is what is in it.
    """
    record, is_warm = _RECORD.get(), type(compiled) is not Compiled
    is_plain = is_warm and record is None and _FORCED.get() is None
    if (
        is_plain and not _is_faster(kernel, args) and environment() != "mojo"
    ):  # numba's: the long way takes as long as 500 bars
        compiled(*args)
        return
    function = _function(kernel, compiled, args)
    status = _REFUSED if function is None else function(*_flat(args))
    if status == _OTHER_ARRAY:
        raise TypeError(f"{kernel}: expected contiguous arrays of its types")
    if record is not None:
        record[kernel] = "numba" if status == _REFUSED else "mojo"
    if status == _REFUSED:
        compiled(*args)


@contextmanager
def forced(choice: Choice) -> Iterator[None]:
    """Choose the engine inside the block: for tests, benchmarks, and for warming numba up."""
    token = _FORCED.set(choice)
    try:
        yield
    finally:
        _FORCED.reset(token)


@contextmanager
def recorded() -> Iterator[dict[str, Engine]]:
    """Give a dictionary that learns which engine ran which kernel inside the block."""
    record: dict[str, Engine] = {}
    token = _RECORD.set(record)
    try:
        yield record
    finally:
        _RECORD.reset(token)


def fingerprint(sources: Path = SOURCES) -> int:
    """Return 62 bits of checksums over what the library is built from; 0 where no sources are.

    Against a forgotten ``make mojo``, not against malice: ``hashlib`` alone takes 5 ms to import.
    """
    paths = sorted(sources.glob("*.mojo"))
    text = b"".join(
        b"%s\0%s" % (path.name.encode(), path.read_bytes())
        for path in (*paths, sources / "build.py")
        if path.is_file()
    )
    return (zlib.crc32(text) << 30 | zlib.adler32(text) >> 2) if paths else 0


@cache
def library() -> Library:
    """Return the library, loaded and checked once; a library that is refused says why."""
    path = Path(os.environ.get("WAVEHOUSE_MOJO_LIBRARY") or BUILT)
    try:
        return Library(opened(path), "")
    except LibraryError as e:
        if path.exists():
            import logging  # noqa: PLC0415 - 2 ms, for those who have something to say

            logging.getLogger(__name__).warning("numba runs every kernel: %s", e)
        return Library({}, str(e))


class LibraryError(Exception):
    """A Mojo library that is not there, or must not be used."""


def opened(path: Path) -> dict[str, Callable[..., int]]:
    """Return the functions of the library at ``path``; raise ``LibraryError`` if it is not ours."""
    _check_machine()
    if not path.is_file():
        raise LibraryError(f"{path.name}: not built (make mojo)")
    try:
        loaded = ctypes.CDLL(str(path))
        interface, sources = loaded.wavehouse_interface, loaded.wavehouse_sources
    except (OSError, AttributeError) as e:
        raise LibraryError(f"{path.name}: expected a library of these kernels, was {e}") from e
    interface.restype = sources.restype = ctypes.c_ssize_t
    if interface() != INTERFACE:
        raise LibraryError(f"{path.name}: expected interface {INTERFACE}, was {interface()}")
    if sources() != fingerprint():
        raise LibraryError(f"{path.name}: built from other sources (make mojo)")
    _check_arrays(loaded)
    return {kernel: _declared(loaded, kernel) for kernel in SIGNATURES}


def _function(
    kernel: str, compiled: Callable[..., None], args: tuple[Any, ...]
) -> Callable[..., int] | None:
    choice = _FORCED.get() or environment()
    if choice == "numba":
        return None
    known = library()
    if choice == "mojo":
        if known.reason:
            raise RuntimeError(f"engine: expected mojo, but {known.reason}")
        return known.functions.get(kernel)
    is_cold = isinstance(compiled, Compiled) and not compiled.is_made
    return known.functions.get(kernel) if is_cold or _is_faster(kernel, args) else None


@cache
def environment() -> Choice:
    """Return what ``WAVEHOUSE_ENGINE`` chooses, read once."""
    value = os.environ.get("WAVEHOUSE_ENGINE") or "auto"
    if value in {"auto", "numba", "mojo"}:
        return value  # type: ignore[return-value]
    raise ValueError(f"WAVEHOUSE_ENGINE: expected auto, numba or mojo, was {value}")


def _flat(args: tuple[Any, ...]) -> list[Any]:
    flat: list[Any] = []
    for value in args:
        if isinstance(value, tuple):
            flat.extend(value)
        else:
            flat.append(value)
    return flat


def _check_machine() -> None:
    machine = os.uname().machine if sys.platform == "linux" else ""
    if machine != "x86_64":
        raise LibraryError(f"machine: expected linux x86_64, was {sys.platform} {machine}")
    missing = _PROCESSOR - processor_flags()
    if missing:
        raise LibraryError(f"processor: expected x86-64-v3, has no {', '.join(sorted(missing))}")


def processor_flags() -> set[str]:
    """Return what the first processor says that it can do."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("flags"):
                    return set(line.partition(":")[2].split())
    except OSError as e:
        raise LibraryError(f"processor: its flags cannot be read: {e}") from e
    return set()


def _check_arrays(loaded: ctypes.CDLL) -> None:
    """Refuse an interpreter or a NumPy that lays arrays out otherwise than the library reads."""
    address, size, is_plain = (
        loaded.wavehouse_address, loaded.wavehouse_size, loaded.wavehouse_is_plain
    )  # fmt: skip
    address.argtypes = [ctypes.py_object]
    size.argtypes = is_plain.argtypes = [ctypes.py_object, ctypes.c_ssize_t]
    address.restype = size.restype = is_plain.restype = ctypes.c_ssize_t
    whole = np.zeros((3, 5))
    # the address first: where it is wrong, what stands beside it is not read
    is_known = address(whole) == whole.ctypes.data and (size(whole, 0), size(whole, 1)) == (3, 5)
    for array in (whole, whole.T, whole[:, 1:], np.zeros(3, np.int64), np.zeros(3, np.int8)):
        for letter in "dlbf":
            expected = array.dtype.char == letter and array.flags.c_contiguous
            is_known = is_known and is_plain(array, ord(letter)) == expected
    if not is_known:
        raise LibraryError("arrays: laid out in memory otherwise than the library reads them")


_TYPES: Final[Mapping[str, Any]] = {
    "a": ctypes.py_object, "i": ctypes.c_ssize_t, "f": ctypes.c_double,
}  # fmt: skip


def _declared(loaded: ctypes.CDLL, kernel: str) -> Callable[..., int]:
    function = loaded[kernel]
    function.argtypes = [_TYPES[code] for code in SIGNATURES[kernel]]
    function.restype = ctypes.c_ssize_t
    return function
