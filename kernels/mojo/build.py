"""``make mojo``: build the library of these sources. Needs the extra ``mojo``, no C compiler.

The compiler makes an object file and the linker that comes with it a library of that alone:
``-z defs`` fails on anything that the library would need at run time, and no path of this machine
gets in (``mojo build --emit shared-lib`` links by the host's ``cc``, with a RUNPATH).
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from kernels.engine import BUILT, SOURCES, LibraryError, fingerprint, opened

# x86-64-v3: never the builder's own processor. contract=off: no multiplication is fused into an
# addition where the source does not say so, which is what makes the numbers those of numba.
FLAGS = ("--emit", "object", "--fp-mode", "contract=off", "--target-cpu", "x86-64-v3", "--Werror")
LINK = ("-flavor", "gnu", "-shared", "-z", "defs", "--gc-sections", "--strip-all")


def main() -> int:
    """Build, check by loading, put in place; return an exit code."""
    mojo, lld = _tool("mojo"), _tool("lld")
    if not (mojo and lld):
        sys.stderr.write("The compiler of the extra `mojo` is not installed (linux x86-64 only).\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / BUILT.name
        try:
            build(mojo, lld, made)
            opened(made)
        except (subprocess.CalledProcessError, LibraryError) as e:
            sys.stderr.write(f"{getattr(e, 'stdout', '') or ''}{e}\n")
            return 1
        BUILT.parent.mkdir(exist_ok=True)
        partial = BUILT.with_suffix(f".{os.getpid()}")
        shutil.copy(made, partial)
        partial.replace(BUILT)  # a process that has the old one open keeps it
    sys.stdout.write(f"{BUILT.relative_to(SOURCES.parents[1])}: {BUILT.stat().st_size:,} bytes\n")
    return 0


def build(mojo: str, lld: str, library: Path) -> None:
    """Compile and link the sources into ``library``."""
    made = library.with_suffix(".o")
    stamp = ("-D", f"SOURCES={fingerprint()}")
    _run(mojo, "build", *FLAGS, *stamp, str(SOURCES / "library.mojo"), "-o", str(made))
    _run(lld, *LINK, "-o", str(library), str(made))


def _tool(name: str) -> str:
    beside = Path(sysconfig.get_path("scripts")) / name
    return str(beside) if beside.is_file() else shutil.which(name) or ""


def _run(*command: str) -> None:
    subprocess.run(  # noqa: S603 - the compiler that the extra installed
        command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


if __name__ == "__main__":
    sys.exit(main())
