"""A Postgres server of the tests' own, in a temporary folder."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import sqlalchemy as sa

NOBODY = 65534


def is_installed() -> bool:
    """Say whether there is a server to start, and a user to start it as."""
    programs = ["postgres", "initdb", *(["runuser"] if os.getuid() == 0 else [])]
    return all(shutil.which(program) for program in programs)


@contextmanager
def running() -> Iterator[str]:
    """Start a server; yield the address of an empty database; leave nothing behind."""
    folder = Path(tempfile.mkdtemp(prefix="wavehouse-pg-"))
    as_user = []
    if os.getuid() == 0:  # Postgres refuses to run as root
        os.chown(folder, NOBODY, NOBODY)
        as_user = ["runuser", "-u", "nobody", "--"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = str(folder / "data")
    initdb = ["initdb", "-D", data, "-U", "w", "-A", "trust", "--no-sync"]
    subprocess.run([*as_user, *initdb], check=True, capture_output=True, cwd=folder)  # noqa: S603
    server = subprocess.Popen(  # noqa: S603
        [*as_user, "postgres", "-D", data, "-p", str(port), "-k", str(folder), "-h", "127.0.0.1"],
        stderr=subprocess.DEVNULL, cwd=folder,
    )  # fmt: skip
    url = f"postgresql://w@127.0.0.1:{port}/postgres"
    try:
        _wait_for(url, server)
        yield url
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until it answers: it listens a little before that."""
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def emptied(url: str) -> str:
    """Drop whatever is in a database; return its address."""
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()
    return url
