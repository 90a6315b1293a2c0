"""The examples of ``docs/compute.md`` and ``docs/backtest.md``, run against a server."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.app import create_app
from storage.lake import ParquetLake
from tests.fakes.listening import listening
from tests.serving.compute_world import SETTINGS
from tests.serving.fakes import FakeRegistry

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("compute.md", "backtest.md")
FENCED = re.compile(r"```(bash|json|python)\n(.*?)```", re.DOTALL)
BLOCKS = [block for page in PAGES for block in FENCED.findall((DOCS / page).read_text("utf-8"))]
SHELL = [(text, BLOCKS[i + 1][1]) for i, (kind, text) in enumerate(BLOCKS) if kind == "bash"]
PYTHON = [text for kind, text in BLOCKS if kind == "python" and "127.0.0.1" in text]
VARYING = {
    "computation_time_ms", "total_computation_time_ms", "mojo_used", "trace_id", "timestamp",
    "run_id", "submitted_at", "started_at", "finished_at",
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    lake = ParquetLake(tmp_path_factory.mktemp("lake"), fsync=False)
    app = create_app(SETTINGS, lake=lake, registry=FakeRegistry())
    with listening(app) as address:
        yield address


def constant(value: Any) -> Any:
    """Return an answer without what differs from run to run."""
    if isinstance(value, dict):
        return {k: None if k in VARYING else constant(v) for k, v in value.items()}
    if isinstance(value, float):
        return float(f"{value:.12g}")
    return [constant(x) for x in value] if isinstance(value, list) else value


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(("command", "answer"), SHELL)
def test_a_command_answers_as_the_page_says(base: str, command: str, answer: str) -> None:
    here = command.replace("127.0.0.1:8000", base)
    done = subprocess.run(  # noqa: S603 - the page's own commands
        ["/bin/bash", "-c", here], capture_output=True, check=True, timeout=60
    )
    assert constant(json.loads(done.stdout)) == constant(json.loads(answer))


@pytest.mark.parametrize("program", PYTHON)
def test_a_program_runs(base: str, program: str) -> None:
    exec(compile(program.replace("127.0.0.1:8000", base), "docs", "exec"), {})  # noqa: S102


def test_the_page_has_examples_of_every_kind() -> None:
    assert (len(SHELL), len(PYTHON)) == (8, 2)
