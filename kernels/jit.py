"""Compiles a kernel at its first call, and keeps the machine code where no other source reaches it.

Belongs here: how a function becomes machine code. Keep out: arithmetic.

``numba`` takes 0.3 s to import, so importing a kernel does not import it. And its cache looks at
the file of a function alone: a change in a file that this one imports from would be served stale.
So what a module compiled lies in a folder named by a hash of its source and of every kernel module
that it imports from, and a change compiles again what it can reach, and nothing else.
"""

import fcntl
import os
import re
import threading
from collections.abc import Callable
from functools import cache, update_wrapper
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Generic, Literal, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")
ErrorModel = Literal["python", "numpy"]

_IMPORTED = re.compile(
    r"^\s*(?:(?:from|import) kernels\.(\w+)|from kernels import (\([^)]*\)|[^\n]*))", re.MULTILINE
)
_FOLDER = Path(__file__).resolve().parent
_RESOLVING = threading.RLock()


class Compiled(Generic[P, R]):
    """A function that numba compiles when it is first called.

    ``py_func`` is the Python original. Compiled functions call one another by their module-level
    names, and by no other way.
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        error_model: ErrorModel = "python",
        fastmath: frozenset[str] = frozenset(),
        is_borrowing: bool = False,
        is_inline: bool = False,
    ) -> None:
        self.py_func = function
        self._options: dict[str, Any] = {
            "error_model": error_model,
            "fastmath": set(fastmath),
            "_nrt": not is_borrowing,
            "forceinline": is_inline,
            "no_cfunc_wrapper": True,  # for C that calls it, which nobody does: 7 % of compiling
        }
        self._dispatcher: Callable[P, R] | None = None
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the machine code, which is made or read from the cache at the first call."""
        return (self._dispatcher or self.dispatcher)(*args, **kwargs)

    @property
    def is_made(self) -> bool:
        """Whether numba has been asked for the machine code in this process."""
        return self._dispatcher is not None

    @property
    def dispatcher(self) -> Callable[P, R]:
        """Numba's own object, made at the first use, after those of the functions that it calls."""
        with _RESOLVING:
            if self._dispatcher is None:
                self._dispatcher = self._made()
        return self._dispatcher

    def _made(self) -> Callable[P, R]:
        import numba  # noqa: PLC0415 - 0.3 s, for those who compile

        config: Any = import_module("numba.core.config")
        function = cast("FunctionType", self.py_func)
        known = function.__globals__
        for name in _names(function.__code__):
            callee = known.get(name)
            if isinstance(callee, Compiled) and callee is not self:
                known[name] = callee.dispatcher  # a name that compiled code can call
        ambient = config.CACHE_DIR
        config.CACHE_DIR = _cache_folder(function.__module__) or ambient
        try:
            made: Any = numba.njit(cache=True, nogil=True, **self._options)(function)
        finally:
            config.CACHE_DIR = ambient
        made.compile = _by_one_process_at_a_time(made)
        made.get_call_template = _whatever_the_constant(made.get_call_template)
        known[function.__name__] = made  # callers in its own module skip this object
        return cast("Callable[P, R]", made)


def _by_one_process_at_a_time(dispatcher: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - numba's
    """Let a process compile a function while no other does: the next one reads what it kept.

    Two would each take the whole time. And if they compile it for different types, numba may keep
    the machine code of the one under the types of the other: they number their files alike.
    """
    compile_ = dispatcher.compile
    alone_here: Any = import_module("numba.core.compiler_lock").global_compiler_lock
    folder = Path(dispatcher._cache.cache_path)  # noqa: SLF001
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / f"{dispatcher.__name__}.lock"

    def alone(signature: Any) -> Any:  # noqa: ANN401 - numba's
        with alone_here, lock.open("w") as held:  # first the lock that a caller being compiled has
            fcntl.flock(held, fcntl.LOCK_EX)  # until it is closed, by whatever end
            return compile_(signature)

    return alone


def _whatever_the_constant(template: Callable[..., Any]) -> Callable[..., Any]:
    """Let compiled callers that hand over 0, 1 and a variable share one machine code.

    numba would make one each, and each takes as long as the first.
    """
    unliteral: Any = import_module("numba.core.types").unliteral

    def general(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - numba's
        return template(tuple(map(unliteral, args)), {k: unliteral(v) for k, v in kwargs.items()})

    return general


def compiled(function: Callable[P, R]) -> Compiled[P, R]:
    """Compile ``function`` at its first call; a division by zero raises ``ZeroDivisionError``."""
    return Compiled(function)


def compiled_ieee(function: Callable[P, R]) -> Compiled[P, R]:
    """Compile ``function`` at its first call; a division by zero gives an infinity or NaN."""
    return Compiled(function, error_model="numpy")


def compiled_borrowing(function: Callable[P, R]) -> Compiled[P, R]:
    """Compile ``function`` as ``compiled_ieee`` does; it makes, slices and returns no arrays.

    So nothing counts who holds the arrays that it is given: two atomic operations an array and
    call otherwise. The level machine, some ten calls a candle: 0.39 of the time.
    """
    return Compiled(function, error_model="numpy", is_borrowing=True)


def compiled_inline(function: Callable[P, R]) -> Compiled[P, R]:
    """Compile ``function`` as ``compiled_borrowing`` does, and copy it into each of its callers.

    For short functions inside loops, which take several arrays: 0.66 of the time there again.
    """
    return Compiled(function, error_model="numpy", is_borrowing=True, is_inline=True)


def compiled_reassociated(function: Callable[P, R]) -> Compiled[P, R]:
    """Compile ``function`` as ``compiled_ieee`` does, and let its sums be added in any order.

    For reports alone, never for what feeds a comparison: the last bits then depend on how wide the
    processor's registers are. NaN and infinity keep their meaning. Five sums over 10,000 returns:
    0.20 ns a bar in place of 1.55.
    """
    return Compiled(function, error_model="numpy", fastmath=frozenset({"reassoc"}))


def _names(code: CodeType) -> set[str]:
    inner = (_names(each) for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*inner)


@cache
def _cache_folder(module: str) -> str:
    """Return where ``module`` keeps its machine code; empty where no folder of ours can be made."""
    base = os.environ.get("NUMBA_CACHE_DIR") or str(_FOLDER.parent / ".numba_cache")
    import hashlib  # noqa: PLC0415 - 5 ms, for those who compile

    digest = hashlib.sha256()
    for path in sorted(_sources(_FOLDER / f"{module.rpartition('.')[2]}.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    checked = "-checked" if os.environ.get("NUMBA_BOUNDSCHECK") == "1" else ""
    folder = Path(base) / f"{module}-{digest.hexdigest()[:12]}{checked}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(folder) if os.access(folder, os.W_OK) else ""


def _sources(path: Path, found: set[Path] | None = None) -> set[Path]:
    found = set() if found is None else found
    if path not in found and path.is_file():
        found.add(path)
        for module, names in _IMPORTED.findall(path.read_text(encoding="utf-8")):
            for name in re.findall(r"\w+", module or names):  # "as x" names no file
                _sources(_FOLDER / f"{name}.py", found)
    return found
