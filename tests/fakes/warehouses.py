"""Warehouses for tests: chdb in this process, and a server's HTTP interface in one of its own."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

GATEWAY = Path(__file__).with_name("clickhouse_gateway.py")


def need_engine() -> None:
    """Skip, and say why, where the client or the engine is not installed."""
    for module, where in (("clickhouse_connect", "extra clickhouse"), ("chdb", "group dev")):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} ({where}) is not installed: nothing ran over ClickHouse")


@contextmanager
def gateway(folder: Path) -> Iterator[int]:
    """Yield the port of a gateway over ``folder``; it ends with the block."""
    with subprocess.Popen(  # noqa: S603 - our own file
        [sys.executable, str(GATEWAY), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
