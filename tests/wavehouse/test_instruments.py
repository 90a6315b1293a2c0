"""``instruments list|add``: an edit of a file that is whole and valid, or not made."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from market.instruments import load_instruments
from wavehouse.cli import app

ADD = ("add", "BTCUSDT", "--provider", "binance", "--calendar", "crypto", "--base", "m1")


def instruments(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["instruments", *words])
    return result.exit_code, result.stdout, result.stderr


def test_an_instrument_is_appended_and_can_be_read(home: Path) -> None:
    path = home / "instruments.toml"
    before = path.read_text(encoding="utf-8")
    code, out, _ = instruments(*ADD, "--tick-size", "0.1", "--option", "a=b", "--option", "c=d=e")
    assert code == 0
    assert "wavehouse materialize --instrument BTCUSDT" in out
    assert path.read_text(encoding="utf-8").startswith(before.rstrip())
    added = load_instruments(path)["BTCUSDT"]
    assert (added.symbol, added.asset_class, added.tick_size) == ("BTCUSDT", "crypto", 0.1)
    assert added.base_timeframe.value == "M1"
    assert dict(added.options) == {"a": "b", "c": "d=e"}


def test_a_file_that_is_not_there_is_begun(home: Path) -> None:
    path = home / "instruments.toml"
    path.unlink()
    assert instruments(*ADD)[0] == 0
    assert [i.id for i in load_instruments(path)] == ["BTCUSDT"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "SYN", *ADD[2:]), "instrument SYN: expected a new id"),
        (("add", "A/B", *ADD[2:]), "expected letters, digits"),
        (("add", "X Y", *ADD[2:]), "instrument"),
        ((*ADD[:4], "--calendar", "moon", "--base", "M1"), "calendar: expected one of crypto, fx"),
        ((*ADD[:4], "--calendar", "fx", "--base", "H3"), "timeframe: expected one of M1"),
        ((*ADD, "--option", "novalue"), "--option: expected KEY=VALUE, was 'novalue'"),
        (
            ("add", "NEW", "--provider", "nowhere", *ADD[4:]),
            "provider: expected one of sample, csv",
        ),
    ],
)
def test_what_is_not_valid_is_refused_with_nothing_written(
    home: Path, words: tuple[str, ...], said: str
) -> None:
    path = home / "instruments.toml"
    before = path.read_bytes()
    code, _, error = instruments(*words)
    assert code == 1, error
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert path.read_bytes() == before
    assert [p.name for p in home.iterdir()] == ["instruments.toml"]


@pytest.mark.usefixtures("home")
def test_a_new_instrument_is_listed_with_nothing_made() -> None:
    instruments(*ADD)
    code, out, _ = instruments("list", "--json")
    assert code == 0
    assert [row["id"] for row in json.loads(out)] == ["SYN", "BTCUSDT"]
    assert json.loads(out)[1] == {
        "id": "BTCUSDT", "calendar": "crypto", "provider": "binance", "symbol": "BTCUSDT",
        "base_timeframe": "M1", "first_month": None, "last_month": None, "months": 0,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("full_home")
def test_the_list_says_which_months_are_there() -> None:
    (row,) = json.loads(instruments("list", "--json")[1])
    assert (row["first_month"], row["last_month"], row["months"]) == ("2017-03", "2017-05", 3)
    code, out, _ = instruments("list")
    assert code == 0
    assert "SYN" in out


def test_a_list_of_a_file_that_is_not_there_is_an_error_that_names_it(home: Path) -> None:
    (home / "instruments.toml").unlink()
    code, _, error = instruments("list")
    assert code == 1
    assert str(home / "instruments.toml") in error
