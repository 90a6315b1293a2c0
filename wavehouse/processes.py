"""Children of a command: started together, followed together, stopped together."""

import io
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, Self

from rich.console import Console
from rich.text import Text

from market.errors import WavehouseError

STOP_S: Final = 20.0
"""How long a child may take to end when it is asked to."""
REST_S: Final = 3.0
"""How long what a child started may outlive it."""
AGAIN_S: Final = 1.0
"""How soon after one ``KeyboardInterrupt`` there is no other."""
LAST_LINES: Final = 20

_LOOK_S: Final = 0.05
_ASKED_TO_STOP: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ProcessError(WavehouseError):
    """A process that the command started did not do its part."""

    code = "PROCESS"


@dataclass(frozen=True, slots=True)
class Command:
    """What to start, under which name its lines are shown, where it is reached, how it is ended."""

    name: str
    argv: Sequence[str]
    url: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    end_with: signal.Signals = signal.SIGTERM


def script(name: str) -> str:
    """Return the path of a script of this environment."""
    return str(Path(sys.executable).with_name(name))


class Child:
    """One process in a session of its own, what it says, and whatever it starts.

    What it says is shown on the console, if there is one. Raises ``ProcessError`` if it does not
    start.
    """

    def __init__(
        self, command: Command, environment: Mapping[str, str], console: Console | None
    ) -> None:
        self.command = command
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own commands
                list(command.argv),
                env={**environment, **command.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as e:
            raise ProcessError(f"{command.name}: expected it to start, was: {e}") from e
        self._said: deque[str] = deque(maxlen=LAST_LINES)
        self._is_gone = False
        self._is_shown = console is not None
        self._reader = threading.Thread(target=self._read, args=(console,), daemon=True)
        self._reader.start()

    @property
    def has_ended(self) -> bool:
        """Whether the process itself has ended (what it started may not have)."""
        return self._process.poll() is not None

    def check(self) -> None:
        """Raise ``ProcessError`` with its exit code, and its last lines unless they were shown."""
        code = self._process.poll()
        if code is None:
            return
        self._reader.join(timeout=REST_S)
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        said = "" if self._is_shown else "".join(f"\n  {line}" for line in self._said)
        where = "its last lines are above" if self._is_shown else "its last lines:" * bool(said)
        raise ProcessError(
            f"{self.command.name}: expected it to run, was ended with {how}; "
            f"{where or 'it said nothing'}{said}"
        )

    def is_there(self) -> bool:
        """Whether it, or something of its session's first group, is still running."""
        if not self._is_gone and self.has_ended:
            try:
                os.killpg(self._process.pid, 0)
            except ProcessLookupError:
                self._is_gone = True  # from now on the number may be somebody else's
        return not self._is_gone

    def ask(self) -> None:
        """Ask the process alone to end: it may want to end in order what it started."""
        self._process.send_signal(self.command.end_with)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all that is still there."""
        if self.is_there():
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                return

    def kill(self) -> None:
        """Make all that is still there end, and leave no zombie of the process."""
        self.send(signal.SIGKILL)
        self._process.wait()

    def _read(self, console: Console | None) -> None:
        with self._process.stdout or io.StringIO() as output:
            for line in output:
                text = Text.from_ansi(line.rstrip())
                self._said.append(text.plain)
                console = self._show(text, console)

    def _show(self, text: Text, console: Console | None) -> Console | None:
        """Print a line; return the console, or ``None`` as soon as nobody looks any more."""
        if console is not None:
            name = (f"{self.command.name:>8} ", "bold")
            try:
                # whole lines: a reader down the pipe breaks them where it likes
                console.print(Text.assemble(name, text), soft_wrap=True)
            except (OSError, SystemExit):  # Rich exits on a broken pipe; the child must not block
                return None
        return console


class Children:
    """Processes that end with the block: on its end, Ctrl-C, SIGTERM, or a closed terminal.

    What asks to stop is a ``KeyboardInterrupt`` in the block. While children are being stopped
    nothing interrupts that; another Ctrl-C kills what is left.
    """

    def __init__(self, environment: Mapping[str, str], console: Console | None = None) -> None:
        self._environment = {**os.environ, **environment}
        self._console = console
        self._running: list[Child] = []
        self._handlers: dict[signal.Signals, Any] = {}
        self._is_held = False
        self._asked_at = -math.inf
        self._interrupts = 0

    def __enter__(self) -> Self:
        for number in _ASKED_TO_STOP:
            self._handlers[number] = signal.getsignal(number)
            # a handler even where it is ignored (nohup): children would inherit the ignoring
            signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def start(self, command: Command) -> Child:
        """Start a child and follow its output."""
        self._is_held = True  # a child that runs is a child that is known
        child = Child(command, self._environment, self._console)
        self._running.append(child)
        self._is_held = False
        if self._asked_at > -math.inf:
            raise KeyboardInterrupt
        return child

    def wait(self, until: Callable[[], bool] = lambda: False) -> None:
        """Wait until something is so; raise ``ProcessError`` as soon as any child has ended."""
        while not until():
            for child in self._running:
                child.check()
            time.sleep(10 * _LOOK_S)

    def stop(self) -> None:
        """Ask every child and what it started to end, then make them."""
        self._is_held = True
        interrupts = self._interrupts
        for child in self._running:
            child.ask()
        self._await(lambda child: child.has_ended, STOP_S, interrupts)
        for child in self._running:  # what was left behind by one that has ended
            child.send(signal.SIGTERM)
        self._await(lambda child: not child.is_there(), REST_S, interrupts)
        for child in self._running:
            child.kill()
        self._running.clear()
        self._is_held = False

    def _await(self, is_done: Callable[[Child], bool], limit_s: float, interrupts: int) -> None:
        """Wait until it is so of every child, at most so long, and not past another Ctrl-C."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end and self._interrupts == interrupts:
            if all(is_done(child) for child in self._running):
                return
            time.sleep(_LOOK_S)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._handlers[signal.Signals(number)] is signal.SIG_IGN:
            return
        self._interrupts += number == signal.SIGINT
        before, self._asked_at = self._asked_at, time.monotonic()
        # a second one at once (a closed terminal sends two) must not hit the way to ``stop``
        if not self._is_held and self._asked_at - before > AGAIN_S:
            raise KeyboardInterrupt
