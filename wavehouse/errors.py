"""How the command line says that something went wrong: one line that names it, one exit code.

Exit codes: 0 done; 1 it could not be done (the message says what and why); 2 the command's own
words are off (Typer's); 130 interrupted.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from market.errors import WavehouseError


@contextmanager
def said_plainly() -> Iterator[None]:
    """Turn errors that were raised on purpose into one line on stderr and exit code 1."""
    try:
        yield
    except WavehouseError as e:
        sys.stderr.write(f"error [{e.code}] {e}\n")
        raise typer.Exit(1) from e
