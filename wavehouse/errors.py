"""How the command line says that something went wrong: a message that names it, one exit code.

Exit codes: 0 done; 1 it could not be done (the message says what and why); 2 the command's own
words are off (Typer's); 130 interrupted.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from pydantic import ValidationError

from market import settings
from market.errors import WavehouseError

INTERRUPTED = 130


class SettingError(WavehouseError):
    """An environment variable, or a line of ``.env``, has a value that cannot be."""

    code = "INVALID_SETTING"


@contextmanager
def said_plainly() -> Iterator[None]:
    """Turn errors that were raised on purpose into one message on stderr and exit code 1."""
    try:
        with settings_named():
            yield
    except WavehouseError as e:
        sys.stderr.write(f"error [{e.code}] {e}\n")
        raise typer.Exit(1) from e
    except KeyboardInterrupt as e:
        sys.stderr.write("interrupted\n")
        raise typer.Exit(INTERRUPTED) from e


@contextmanager
def settings_named() -> Iterator[None]:
    """Turn pydantic's refusal of a setting into a ``SettingError`` that names its variable."""
    try:
        yield
    except ValidationError as e:
        room = getattr(settings, e.title, None)
        if room is None:
            raise  # not a setting: nobody raised this on purpose
        first = e.errors(include_url=False)[0]
        name = f"{room.model_config['env_prefix']}{first['loc'][0]}".upper()
        raise SettingError(f"{name}: {first['msg']}, was {first['input']!r}") from e
