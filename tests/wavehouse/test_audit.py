"""``audit``: who made and revoked keys is there too; filters, tables and JSON."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from market.settings import HomeSettings
from storage.audit_log import AuditEvent, AuditLog
from storage.database import Database
from wavehouse.cli import app


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEHOUSE_HOME", str(tmp_path))
    monkeypatch.delenv("WAVEHOUSE_STORAGE_DATABASE_URL", raising=False)


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*words])
    return result.exit_code, result.stdout, result.stderr


def write(event: AuditEvent) -> None:
    database = Database.at(HomeSettings().database)
    AuditLog(database).append([event])
    database.close()


def test_who_made_and_revoked_a_key_is_written_and_the_key_is_not() -> None:
    made = json.loads(run("keys", "create", "ann", "--scope", "write", "--json")[1])
    run("keys", "revoke", made["id"])
    assert run("keys", "revoke", "nothing")[0] == 1
    code, out, _ = run("audit", "--json")
    assert code == 0
    assert made["key"] not in out
    revoked, created = json.loads(out)
    assert created["path"] == f"keys create {made['id']} ann: write"
    assert revoked["path"] == f"keys revoke {made['id']}"
    assert created["principal"].startswith("cli:")
    assert (created["method"], created["status"]) == ("CLI", 0)


def test_filters_and_the_table() -> None:
    write(AuditEvent("anonymous", "192.0.2.1", "GET", "/[bold]x", 401, "req_1", left_out=7))
    write(AuditEvent("key:1:ann", "192.0.2.2", "POST", "/v1/batch/backfill", 202, "req_2"))
    assert len(json.loads(run("audit", "--json")[1])) == 2
    for words in (
        ("--status", "401"), ("--principal", "anon"), ("--path", "/["),
        ("--status", "401", "--since", "2000-01-01", "--until", "2999-01-01T00:00:00Z"),
    ):  # fmt: skip
        (row,) = json.loads(run("audit", "--json", *words)[1])
        assert row["request_id"] == "req_1"
    assert json.loads(run("audit", "--json", "--until", "2000-01-01")[1]) == []
    (row,) = json.loads(run("audit", "--json", "-n", "1")[1])
    assert row["request_id"] == "req_2"
    table = run("audit")[1]
    assert "(+7)" in table


@pytest.mark.parametrize("words", [("--since", "soon"), ("--until", "32"), ("-n", "0")])
def test_what_cannot_be_is_said_in_one_line(words: tuple[str, str]) -> None:
    code, _, said = run("audit", *words)
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("error [INVALID_INPUT]")
