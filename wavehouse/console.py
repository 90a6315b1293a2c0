"""The console that commands print to."""

import os

from rich.console import Console

PIPED_WIDTH = 1000
"""Columns where nobody looks at a screen: a table's lines must not break, nor its words."""


def open_console(*, stderr: bool = False) -> Console:
    """Return a console as wide as the screen, or as ``COLUMNS``; a pipe breaks no line."""
    console = Console(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    return console
