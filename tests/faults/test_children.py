"""Processes that a command starts: none is left behind, and one that dies says why."""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.fakes.terminal import NUMBERS, foreground
from tests.faults import children_child
from wavehouse import processes
from wavehouse.processes import Child, Children, Command, ProcessError

pytestmark = pytest.mark.slow

PROGRAM = Path(children_child.__file__)
ROOT = PROGRAM.parents[2]
PATIENT_S = 60.0
needs_ps = pytest.mark.skipif(shutil.which("ps") is None, reason="ps is not installed")


def child(program: str, console: Console | None = None) -> Child:
    return Child(Command("child", [sys.executable, "-c", program]), os.environ, console)


def ended(started: Child) -> Child:
    deadline = time.monotonic() + PATIENT_S
    while not started.has_ended:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return started


def is_running(pid: int) -> bool:
    """Return whether a process is there and is no zombie that nobody has waited for."""
    found = subprocess.run(  # noqa: S603
        ["ps", "-o", "stat=", "-p", str(pid)],  # noqa: S607
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return found.stdout.strip()[:1] not in ("", "Z")


def test_a_child_that_died_is_named_with_its_code_and_its_last_lines() -> None:
    lines = "\\n".join(f"line {i}" for i in range(100))
    dead = ended(child(f"import sys; print('{lines}'); sys.exit(3)"))
    with pytest.raises(ProcessError) as told:
        dead.check()
    first, *said = str(told.value).splitlines()
    assert first == "child: expected it to run, was ended with exit code 3; its last lines:"
    assert said == [f"  line {i}" for i in range(100 - processes.LAST_LINES, 100)]


def test_one_that_said_nothing_and_one_that_was_killed() -> None:
    with pytest.raises(ProcessError, match=r"ended with exit code 0; it said nothing$"):
        ended(child("")).check()
    with pytest.raises(ProcessError, match=r"ended with SIGKILL; it said nothing$"):
        ended(child("import os; os.kill(os.getpid(), 9)")).check()


def test_what_was_shown_is_not_said_again() -> None:
    shown = io.StringIO()
    with pytest.raises(ProcessError, match=r"its last lines are above$"):
        ended(child("print('oh'); raise SystemExit(1)", Console(file=shown))).check()
    assert shown.getvalue() == "   child oh\n"


def test_what_does_not_start_is_named() -> None:
    with pytest.raises(ProcessError, match=r"child: expected it to start, was: .*no-such"):
        Child(Command("child", ["/no-such-program"]), os.environ, None)


def test_lines_are_whole_and_plain_down_a_pipe() -> None:
    shown = io.StringIO()
    long = "word " * 100 + "[bold]kept[/bold]"
    done = ended(
        child(f"print('\\x1b[32m' + {long!r} + '\\x1b[0m')", Console(file=shown, width=80))
    )
    with pytest.raises(ProcessError):
        done.check()
    assert shown.getvalue() == f"   child {long}\n"


class _Closed(io.StringIO):
    """A terminal that was closed."""

    def write(self, _text: str) -> int:
        raise OSError(5, "Input/output error")


def test_a_child_does_not_block_when_nobody_looks_any_more() -> None:
    talker = child("print(('x' * 999 + '\\n') * 500)", Console(file=_Closed()))  # a pipe holds 64
    with pytest.raises(ProcessError, match="exit code 0"):
        ended(talker).check()


def test_waiting_ends_with_what_was_waited_for_or_with_the_first_that_died(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with Children({}) as children:
        children.start(
            Command(
                "writer",
                [sys.executable, "-c", f"open({str(mark)!r}, 'w'); import time; time.sleep(120)"],
            )
        )
        children.wait(mark.exists)
        children.start(Command("dier", [sys.executable, "-c", "raise SystemExit(7)"]))
        with pytest.raises(ProcessError, match=r"dier: .* exit code 7"):
            children.wait()


def test_handlers_are_as_they_were_afterwards() -> None:
    before = [signal.getsignal(n) for n in NUMBERS]
    with Children({}):
        assert [signal.getsignal(n) for n in NUMBERS] != before
    assert [signal.getsignal(n) for n in NUMBERS] == before


@contextlib.contextmanager
def command(
    folder: Path, *ignored: signal.Signals, stop_s: float
) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Start the command, and yield it with the numbers of all that it started."""
    folder.mkdir()
    with foreground(*ignored):
        program = subprocess.Popen(  # noqa: S603
            [sys.executable, str(PROGRAM), str(stop_s), str(folder)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        pids = [int(n) for path in folder.iterdir() for n in (path.name, path.read_text())]
        assert len(pids) == 4
        assert all(is_running(pid) for pid in pids)
        yield program, pids
        assert not [pid for pid in pids if is_running(pid)]
    finally:
        program.kill()
        program.communicate()


@needs_ps
@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_ends_the_deaf_and_the_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    with command(tmp_path / "pids", stop_s=0.2) as (program, _):
        program.send_signal(number)
        assert program.wait(PATIENT_S) == 0


@needs_ps
def test_interrupted_while_it_stops_it_stops_at_once(tmp_path: Path) -> None:
    with command(tmp_path / "pids", stop_s=1_000_000) as (program, _):
        program.send_signal(signal.SIGINT)
        assert program.stdout is not None
        assert program.stdout.readline() == "stopping\n"
        program.send_signal(signal.SIGHUP)  # changes nothing
        program.send_signal(signal.SIGTERM)  # neither
        with pytest.raises(subprocess.TimeoutExpired):
            program.wait(0.5)
        program.send_signal(signal.SIGINT)
        assert program.wait(PATIENT_S) == 0


@needs_ps
def test_what_was_told_to_live_through_a_hangup_does(tmp_path: Path) -> None:
    """``nohup wavehouse dev``: the terminal may be closed."""
    with command(tmp_path / "pids", signal.SIGHUP, stop_s=0.2) as (program, pids):
        program.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            program.wait(0.5)
        assert all(is_running(pid) for pid in pids)
        program.send_signal(signal.SIGTERM)
        assert program.wait(PATIENT_S) == 0
