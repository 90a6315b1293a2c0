"""Children of a command: started together, followed together, stopped together."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from rich.console import Console

STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Command:
    """What to start, under which name its lines are shown, and where it is reached."""

    name: str
    argv: Sequence[str]
    url: str


def script(name: str) -> str:
    """Return the path of a script of this environment."""
    return str(Path(sys.executable).with_name(name))


class Children:
    """Processes in sessions of their own, so that one Ctrl-C stops whole trees in order."""

    def __init__(self, environment: Mapping[str, str], console: Console | None = None) -> None:
        self._environment = {**os.environ, **environment}
        self._console = console
        self._running: list[tuple[Command, subprocess.Popen[str]]] = []

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: nobody is left behind
            signal.signal(number, signal.default_int_handler)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, command: Command) -> subprocess.Popen[str]:
        """Start a child and follow its output."""
        child = subprocess.Popen(  # noqa: S603 - our own commands
            list(command.argv),
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._running.append((command, child))
        threading.Thread(target=self._follow, args=(command, child.stdout), daemon=True).start()
        return child

    def wait(self) -> str:
        """Wait until any child ends; return its name."""
        while True:
            for command, child in self._running:
                try:
                    child.wait(timeout=0.5)
                except subprocess.TimeoutExpired:
                    continue
                return command.name

    def stop(self) -> None:
        """Ask every child's whole session to end, then make it."""
        for _, child in self._running:
            _signal(child, signal.SIGINT)
        for _, child in self._running:
            try:
                child.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                _signal(child, signal.SIGKILL)
                child.wait()
            _signal(child, signal.SIGKILL)  # grandchildren that outlived it
        self._running.clear()

    def _follow(self, command: Command, output: IO[str] | None) -> None:
        for line in output or ():
            if self._console is not None:
                self._console.print(f"[bold]{command.name:>8}[/bold] ", end="")
                self._console.print(line.rstrip(), markup=False, highlight=False)


def _signal(child: subprocess.Popen[str], number: signal.Signals) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return
