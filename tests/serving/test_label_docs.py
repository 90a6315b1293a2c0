"""The examples of ``docs/label-service.md``, run against a server."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.app import create_app
from tests.fakes.listening import listening
from tests.serving.fakes import World, book

PAGE = Path(__file__).resolve().parents[2] / "docs" / "label-service.md"
BLOCKS = re.findall(r"```(bash|json|python)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
SHELL = [text for kind, text in BLOCKS if kind == "bash"]
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
(ANSWER,) = (json.loads(text) for kind, text in BLOCKS if kind == "json")
VARYING = {"computation_time_ms", "version"}
DIRECT = {**os.environ, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    world = World(tmp_path_factory.mktemp("world"))
    app = create_app(world.settings, lake=world.lake, registry=world.registry, book=book())
    with listening(app) as address:
        yield address


def run(command: list[str]) -> Any:
    done = subprocess.run(  # noqa: S603 - the page's own programs
        command, capture_output=True, check=False, timeout=60, env=DIRECT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_answer_as_the_page_says(base: str) -> None:
    computed, page = (
        json.loads(run(["/bin/bash", "-c", text.replace("127.0.0.1:8000", base)])) for text in SHELL
    )
    told = {k: v for k, v in ANSWER.items() if k not in VARYING}
    assert {k: v for k, v in computed.items() if k not in VARYING} == told
    assert set(computed) == set(ANSWER)
    assert len(page["data"]) == 2
    returns = [row["labels"]["forward_return"] for row in page["data"]]
    assert returns == sorted(returns, reverse=True)
    assert page["pagination"]["has_next"]


@pytest.mark.slow
@pytest.mark.parametrize("program", PYTHON)
def test_a_program_runs(base: str, program: str) -> None:
    run([sys.executable, "-c", program.replace("127.0.0.1:8000", base)])


def test_the_page_has_examples_of_every_kind() -> None:
    assert (len(SHELL), len(PYTHON)) == (2, 2)
