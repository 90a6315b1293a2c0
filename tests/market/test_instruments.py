"""Instruments are read from a file, and a wrong entry is named."""

from pathlib import Path

import pytest

from market.calendars import calendar_for
from market.errors import InputError, UnknownInstrumentError
from market.instruments import load_instruments
from market.timeframes import Timeframe

ENTRY = """
[{name}]
asset_class = "crypto"
calendar = "{calendar}"
provider = "binance"
symbol = "BTCUSDT"
base_timeframe = "m1"
tick_size = 0.01
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "instruments.toml"
    path.write_text(text, encoding="utf-8")
    return path


def entry(name: str = "BTCUSDT", calendar: str = "crypto", extra: str = "") -> str:
    return ENTRY.format(name=name, calendar=calendar) + extra


def test_an_entry_is_read_with_its_defaults(tmp_path: Path) -> None:
    book = load_instruments(written(tmp_path, entry(extra='options = { market = "spot" }')))
    instrument = book["BTCUSDT"]
    assert instrument.base_timeframe is Timeframe.M1
    assert instrument.timeframes == tuple(Timeframe)
    assert (instrument.lot_size, instrument.anchor) == (1.0, None)
    assert instrument.options == {"market": "spot"}
    assert "BTCUSDT" in book
    assert "ETHUSDT" not in book


def test_instruments_keep_the_order_of_the_file(tmp_path: Path) -> None:
    names = ["ZEC", "ADA", "BTC"]
    book = load_instruments(written(tmp_path, "".join(entry(n) for n in names)))
    assert [i.id for i in book] == names


def test_an_instrument_keeps_its_own_anchor(tmp_path: Path) -> None:
    book = load_instruments(written(tmp_path, entry(extra='anchor = "21:00 UTC"\n')))
    assert calendar_for(book["BTCUSDT"]).anchor == "21:00 UTC"


def test_an_unknown_instrument_is_told_which_are_known(tmp_path: Path) -> None:
    book = load_instruments(written(tmp_path, entry()))
    with pytest.raises(UnknownInstrumentError, match=r"expected one of BTCUSDT .*, was 'EURUSD'"):
        book["EURUSD"]
    empty = load_instruments(written(tmp_path, ""))
    with pytest.raises(UnknownInstrumentError, match="expected one of none"):
        empty["EURUSD"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "expected TOML, was"),
        ("BTC = 1", "instrument BTC: expected a table, was 1"),
        (entry(calendar="forex"), "instrument BTCUSDT.calendar: expected one of .*, was 'forex'"),
        (entry(extra="tick = 1\n"), "instrument BTCUSDT: unknown fields tick"),
        (entry().replace("tick_size = 0.01", ""), "expected a field 'tick_size', was missing"),
        (entry().replace('"m1"', '"M2"'), "timeframe: expected one of M1 .* was 'M2'"),
        (entry(name='"../etc"'), r"instrument '\.\./etc': expected letters, digits"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_instruments(written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"was nothing at .*absent\.toml"):
        load_instruments(tmp_path / "absent.toml")


def test_the_project_s_own_instruments_are_right() -> None:
    book = load_instruments(Path(__file__).resolve().parents[2] / "instruments.toml")
    for instrument in book:
        assert calendar_for(instrument).name == instrument.calendar
