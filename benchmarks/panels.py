"""Many symbols at once: one new bar of eight indicators, and a history of six.

Run ``python -m benchmarks.panels --json OUT``. Values are compared before anything is timed, with
the one-series kernels and with TA-Lib. Contenders take turns; a figure is the median of the rounds,
a ratio the median of the rounds' ratios. Time is the thread's own, so that a busy machine counts
less.

One new bar is asked of TA-Lib in both of its ways: ``talib.stream`` over the history that a caller
keeps, and the object that it returns, which is handed the new bar (``update``). Three hundred bars
are timed for a round, the slowest of them apart: sums are begun anew now and then.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import talib
from talib import stream

from kernels import engine
from kernels.averages import ema, sma
from kernels.momentum import macd, rsi
from kernels.panel import aligned, panel, panel_tiles, tiled, untiled
from kernels.panel_bar import panel_bar, panel_bar_state
from kernels.volatility import atr, bollinger_bands
from kernels.volume import mfi, obv

ROUNDS = 11
SYMBOLS, BARS, HISTORY = 10_000, 60, 260
PEERS = 60  # symbols that TA-Lib is asked for in a round
TOUCHED = 63  # numbers of a symbol that are read or written at a bar: 47 of state, 4 in, 12 out
PANELS = ((1000, 250), (1000, 1000))
LONG_ENOUGH_S = 2e-3

Floats = npt.NDArray[np.float64]
Columns = tuple[Floats, ...]
Contenders = Mapping[str, tuple[engine.Choice, Callable[[], object]]]


def market(n_symbols: int, n: int) -> Columns:
    """Return high, low, close and volume of a random walk, shape (symbols, bars)."""
    rng = np.random.default_rng(5)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, 0.01, (n_symbols, n)), axis=1))
    high = close * (1.0 + np.abs(rng.normal(0, 0.004, close.shape)))
    low = close * (1.0 - np.abs(rng.normal(0, 0.004, close.shape)))
    return high, low, close, rng.integers(1, 10_000, close.shape).astype(np.float64)


def batch_lines(high: Floats, low: Floats, close: Floats, volume: Floats) -> list[Floats]:
    """Return the lines of the eight indicators from the one-series kernels."""
    return [
        sma(close, 20), ema(close, 20), rsi(close, 14), *macd(close), *bollinger_bands(close, 20),
        atr(high, low, close), obv(close, volume), mfi(high, low, close, volume),
    ]  # fmt: skip


def streams(high: Floats, low: Floats, close: Floats, volume: Floats) -> list[Any]:
    """Return TA-Lib's eight streams of one symbol at its last bar."""
    return [
        stream.SMA(close, 20), stream.EMA(close, 20), stream.RSI(close, 14), stream.MACD(close),
        stream.BBANDS(close, 20), stream.ATR(high, low, close, 14), stream.OBV(close, volume),
        stream.MFI(high, low, close, volume, 14),
    ]  # fmt: skip


def updated(known: list[Any], bar: tuple[float, float, float, float]) -> None:
    """Hand a new bar to the eight streams of one symbol."""
    high, low, close, volume = bar
    for each in known[:5]:
        each.update(close)
    known[5].update(high, low, close)
    known[6].update(close, volume)
    known[7].update(high, low, close, volume)


def require_equal_bars() -> None:
    """Fail unless every bar is the batch kernels' to 1e-12 of the larger of value and input."""
    columns = market(1500, 120)
    state = panel_bar_state(1500)
    bars = [panel_bar(*(x[:, t] for x in columns), state=state) for t in range(120)]
    found = np.array(bars).transpose(1, 2, 0)
    for s in range(0, 1500, 50):
        scale = max(float(np.abs(x[s]).max()) for x in columns)
        alone = np.array(batch_lines(*(x[s] for x in columns)))
        np.testing.assert_array_equal(np.isnan(found[:, s]), np.isnan(alone))
        allowed = 1e-12 * np.maximum(np.abs(alone), scale)
        assert not (np.abs(found[:, s] - alone) > allowed).any()


def one_bar(rounds: int) -> dict[str, Any]:
    """Return what a new bar of ten thousand symbols takes, and a symbol of it in TA-Lib."""
    columns = market(SYMBOLS, BARS)
    bars = [tuple(np.ascontiguousarray(x[:, t]) for x in columns) for t in range(BARS)]
    state, out = panel_bar_state(SYMBOLS), np.zeros((12, SYMBOLS))
    histories = list(zip(*market(PEERS, HISTORY), strict=True))
    known = [streams(*history) for history in histories]
    new = [tuple(float(x[-1]) for x in history) for history in histories]
    spent: dict[str, list[float]] = {"ours": [], "worst": [], "stream": [], "update": []}
    copy_in, copy_out = np.ones(TOUCHED * SYMBOLS // 2), np.zeros(TOUCHED * SYMBOLS // 2)
    copies = []
    for bar in bars:
        panel_bar(*bar, state=state, out=out)  # compiles, warms up
    for _ in range(rounds):
        each = [
            _seconds(lambda b=bar: panel_bar(*b, state=state, out=out))  # type: ignore[misc]
            for bar in bars * 5
        ]
        spent["ours"].append(statistics.median(each) / SYMBOLS)
        spent["worst"].append(statistics.quantiles(each, n=100)[98] / SYMBOLS)
        spent["stream"].append(_seconds(lambda: [streams(*h) for h in histories]) / PEERS)
        spent["update"].append(
            _seconds(lambda: [updated(k, b) for k, b in zip(known, new, strict=True)]) / PEERS
        )
        copies.append(_seconds(lambda: np.copyto(copy_out, copy_in)))

    def over(name: str) -> float:
        return statistics.median(t / o for t, o in zip(spent[name], spent["ours"], strict=True))

    return {
        "symbols": SYMBOLS,
        "bar_s": SYMBOLS * statistics.median(spent["ours"]),
        "slow_bar_s": SYMBOLS * statistics.median(spent["worst"]),
        "copy_s": statistics.median(copies),
        "talib_stream_s_a_symbol": statistics.median(spent["stream"]),
        "talib_update_s_a_symbol": statistics.median(spent["update"]),
        "talib_stream_over_ours": over("stream"),
        "talib_update_over_ours": over("update"),
    }


def panels(n_symbols: int, n: int) -> Contenders:
    """Return six indicators of many symbols: by rows and by tiles, and by a loop over TA-Lib."""
    columns = market(n_symbols, n)
    bars = tiled(*columns)
    given, lines = np.array(columns), aligned((*bars.shape[:2], 10, 8))
    rows = aligned((10, n_symbols, -(-n // 8) * 8))
    rows[:], lines[:] = 0.0, 0.0
    copy_in, copy_out = np.zeros_like(given), np.zeros_like(lines)

    def by_rows() -> object:
        return panel(*columns, out=rows if n % 8 == 0 else None)

    def by_tiles() -> object:
        return panel_tiles(bars, out=lines)

    def copied() -> None:
        np.copyto(copy_in, given)
        np.copyto(copy_out, lines)

    ours: dict[str, tuple[engine.Choice, Callable[[], object]]] = {
        "rows, numba": ("numba", by_rows), "tiles, numba": ("numba", by_tiles),
    }  # fmt: skip
    if engine.mojo_available():
        ours |= {"rows, mojo": ("mojo", by_rows), "tiles, mojo": ("mojo", by_tiles)}
    require_equal_panels(columns, [untiled(panel_tiles(bars), n_symbols), np.array(by_rows())])
    return {
        **ours,
        "talib": ("auto", lambda: [_six(*each) for each in zip(*columns, strict=True)]),
        "copy": ("auto", copied),
    }


def _six(high: Floats, low: Floats, close: Floats, volume: Floats) -> list[Floats]:
    return [
        talib.SMA(close, 20), talib.RSI(close, 14), *talib.MACD(close),
        *talib.BBANDS(close, 20)[::-1], talib.OBV(close, volume),
        talib.MFI(high, low, close, volume, 14),
    ]  # fmt: skip


def require_equal_panels(columns: Columns, found: list[Floats]) -> None:
    """Fail unless both layouts hold what TA-Lib gives."""
    for s in range(0, columns[0].shape[0], 50):
        expected = np.array(_six(*(x[s] for x in columns)))
        for lines in found:
            np.testing.assert_allclose(lines[:, s], expected, rtol=1e-12, atol=1e-9)


def timed(contenders: Contenders, rounds: int) -> dict[str, list[float]]:
    """Return each contender's seconds a call, a value a round."""
    repeats = {}
    for name, (choice, call) in contenders.items():
        with engine.forced(choice):
            call()
            repeats[name] = max(1, int(LONG_ENOUGH_S / max(_seconds(call), 1e-7)))
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (choice, call) in contenders.items():
            with engine.forced(choice):
                spent[name].append(_seconds(call, repeats[name]))
    return spent


def _seconds(call: Callable[[], object], repeats: int = 1) -> float:
    began = time.thread_time()
    for _ in range(repeats):
        call()
    return (time.thread_time() - began) / repeats


def history(n_symbols: int, n: int, rounds: int) -> list[dict[str, Any]]:
    """Return one row a contender: its median, and how often it fits into TA-Lib and a copy."""
    spent = timed(panels(n_symbols, n), rounds)

    def over(name: str, ours: str) -> float:
        return statistics.median(t / o for t, o in zip(spent[name], spent[ours], strict=True))

    return [
        {
            "symbols": n_symbols,
            "bars": n,
            "name": name,
            "seconds": statistics.median(spent[name]),
            "talib_over_it": over("talib", name),
            "it_over_copy": over(name, "copy"),
        }
        for name in spent
    ]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Compare, measure, print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    require_equal_bars()
    bar = one_bar(options.rounds)
    rows = [row for shape in PANELS for row in history(*shape, options.rounds)]
    if not engine.mojo_available():
        print(f"left out: the Mojo library ({engine.why_not()})")
    print(
        f"one new bar, 8 indicators, {bar['symbols']:,} symbols: {bar['bar_s'] * 1e3:.3f} ms "
        f"(1 in 100 takes {bar['slow_bar_s'] * 1e3:.3f}), copying the bytes that it touches "
        f"{bar['copy_s'] * 1e3:.3f} ms; a symbol in talib.stream takes "
        f"{bar['talib_stream_over_ours']:.0f} x, by update {bar['talib_update_over_ours']:.0f} x"
    )
    for row in rows:
        print(
            f"six indicators, {row['symbols']:,} x {row['bars']:>5,}  {row['name']:13}"
            f"{row['seconds'] * 1e3:8.2f} ms   TA-Lib takes {row['talib_over_it']:5.2f} x, "
            f"{row['it_over_copy']:5.2f} x a copy"
        )
    result = {
        "benchmark": "panels",
        "rounds": options.rounds,
        "talib": talib.__version__,
        "bar": bar,
        "rows": rows,
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
