"""A command with children, for a test that sends it signals: ``children_child.py STOP_S FOLDER``.

Two children, each with one of its own: one that ends when it is asked to and leaves its own behind,
one that hears nothing. Their numbers are written to the folder; then it waits as the command
``wavehouse dev`` does.
"""

import sys
from pathlib import Path

from rich.console import Console

from wavehouse import processes
from wavehouse.processes import Children, Command

DEAF = "for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(n, signal.SIG_IGN)"
GRANDCHILD = f"import signal, time\n{DEAF}\nprint('deaf', flush=True)\ntime.sleep(120)"
CHILD = """
import os, signal, subprocess, sys, time
own = subprocess.Popen([sys.executable, "-c", {own!r}], stdout=subprocess.PIPE, text=True)
assert own.stdout.readline() == "deaf\\n"
{deaf}
open({folder!r} + "/" + str(os.getpid()), "w").write(str(own.pid))
time.sleep(120)
"""


def main() -> None:
    """Start them, and end as a signal says."""
    processes.STOP_S = float(sys.argv[1])  # type: ignore[misc]
    processes.REST_S = 0.2  # type: ignore[misc]
    folder = sys.argv[2]
    with Children({}, Console(stderr=True)) as children:
        for name, deaf in (("polite", ""), ("stubborn", DEAF)):
            program = CHILD.format(own=GRANDCHILD, deaf=deaf, folder=folder)
            children.start(Command(name, [sys.executable, "-c", program]))
        try:
            children.wait(lambda: len(list(Path(folder).iterdir())) == 2)
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            children.wait()
        except KeyboardInterrupt:
            sys.stdout.write("stopping\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
