"""The causal MODWT, db4 at four levels, against PyWavelets and against copying the same bytes.

Run ``python -m benchmarks.wavelets --json OUT``. What equals what is checked before anything is
timed: the inside of ``pywt.swt``, shifted into the past, and the stream's bits to the batch's.
``pywt.wavedec`` of the last 256 candles at every candle is what a live feature costs there; its
last coefficients are another quantity (they see the window's mirrored end), so that row compares
costs. Contenders take turns; a figure is the median of the rounds, a ratio the median of the
rounds' ratios. Time is the thread's own, so that a busy machine counts less.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pywt

from kernels.gate import Matrix, Series
from kernels.wavelets import Modwt, modwt, modwt_state
from kernels.wavelets_cascade import cascade_bar
from kernels.wavelets_filters import filters

ROUNDS = 15
MOMENTS, LEVELS, WINDOW = 4, 4, 256
WAVELET = f"db{MOMENTS}"
SHORT, LONG = 10_000, 1_000_000
CANDLES = 400  # for which PyWavelets is asked in a round
LONG_ENOUGH_S = 5e-3

Contenders = Mapping[str, tuple[Callable[[], object], int]]
"""By name, what to call and how many candles that is."""


def walk(n: int) -> Series:
    """Return the logarithm of a random walk of prices."""
    steps: Series = np.random.default_rng(7).normal(0.0, 1e-3, n)
    return np.log(100.0) + steps.cumsum()


def room(n: int) -> tuple[Matrix, Matrix]:
    """Return memory for every level's details and smooths, touched before."""
    return np.zeros((LEVELS, n)), np.zeros((LEVELS, n))


def streamed() -> Callable[..., None]:
    """Return a loop that hands over one bar after the other, as a compiled service would."""
    bar = cascade_bar.dispatcher

    def loop(x: Series, factors: Series, state: Series, details: Matrix, smooths: Matrix) -> None:
        for t in range(x.size):
            bar(x[t], factors, state, details, smooths, t)

    compiled: Callable[..., None] = numba.njit(loop)
    return compiled


def require_equal(stream: Callable[..., None]) -> None:
    """Fail unless the inside is PyWavelets', and the stream the batch bit by bit."""
    x = walk(SHORT - SHORT % 2**LEVELS)
    ours, theirs = modwt(x), pywt.swt(x, WAVELET, level=LEVELS, norm=True)[::-1]
    for j, pair in enumerate(theirs):
        ahead = MOMENTS * (2 ** (j + 1) - 1)
        first = (2 ** (j + 1) - 1) * (2 * MOMENTS - 1)
        for line, expected in zip((ours.smooths[j], ours.details[j]), pair, strict=True):
            inside = expected[first : x.size - ahead]
            np.testing.assert_allclose(line[first + ahead :], inside, rtol=0, atol=1e-13)
    out = Modwt(*room(x.size))
    stream(x, filters(MOMENTS), modwt_state(), *out)
    for line, batch in zip(out, ours, strict=True):
        np.testing.assert_array_equal(line, batch)


def by_candle(stream: Callable[..., None]) -> Contenders:
    """Return what one more candle takes: in a batch, in a stream, by a call, by PyWavelets."""
    x, out = walk(SHORT), room(SHORT)
    one, one_out = x[:1].copy(), room(1)
    states = modwt_state(), modwt_state()
    factors = filters(MOMENTS)
    windows = [x[t : t + WINDOW] for t in range(CANDLES)]
    return {
        "batch": (lambda: modwt(x, out=out), SHORT),
        "stream": (lambda: stream(x, factors, states[0], *out), SHORT),
        "step from Python": (lambda: modwt(one, state=states[1], out=one_out), 1),
        "pywt.wavedec": (
            lambda: [pywt.wavedec(window, WAVELET, level=LEVELS) for window in windows], CANDLES
        ),
        "copy": (_copy(SHORT), SHORT),
    }  # fmt: skip


def series(n: int) -> Contenders:
    """Return a whole series: into memory that is there, into new memory, and by PyWavelets."""
    x, out = walk(n), room(n)
    return {
        "batch": (lambda: modwt(x, out=out), n),
        "batch, new arrays": (lambda: modwt(x), n),
        "pywt.swt": (lambda: pywt.swt(x, WAVELET, level=LEVELS, norm=True), n),
        "copy": (_copy(n), n),
    }


def _copy(n: int) -> Callable[[], object]:
    """Return a copy of as many bytes as the batch reads and writes."""
    half = n * (1 + 2 * LEVELS) // 2
    source, target = np.ones(half), np.zeros(half)
    return lambda: np.copyto(target, source)


def timed(contenders: Contenders, rounds: int) -> dict[str, list[float]]:
    """Return each contender's seconds a candle, a value a round."""
    repeats = {}
    for name, (call, _) in contenders.items():
        call()
        repeats[name] = max(1, int(LONG_ENOUGH_S / max(_seconds(call, 1), 1e-7)))
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (call, candles) in contenders.items():
            spent[name].append(_seconds(call, repeats[name]) / candles)
    return spent


def _seconds(call: Callable[[], object], repeats: int) -> float:
    began = time.thread_time()
    for _ in range(repeats):
        call()
    return (time.thread_time() - began) / repeats


def rows_of(work: str, n: int, spent: Mapping[str, list[float]]) -> list[dict[str, Any]]:
    """Return one row a contender: its median, and how often it fits into each of the others."""

    def ratio(theirs: str, name: str) -> float:
        return statistics.median(a / b for a, b in zip(spent[theirs], spent[name], strict=True))

    return [
        {
            "work": work,
            "candles": n,
            "name": name,
            "ns_a_candle": 1e9 * statistics.median(spent[name]),
            "times_faster_than": {other: ratio(other, name) for other in spent if other != name},
        }
        for name in spent
    ]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Compare, measure, print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    stream = streamed()
    require_equal(stream)
    rows = rows_of("a candle", SHORT, timed(by_candle(stream), options.rounds))
    for n in (SHORT - SHORT % 2**LEVELS, LONG - LONG % 2**LEVELS):
        rows += rows_of("a series", n, timed(series(n), options.rounds))
    result = {
        "benchmark": "wavelets",
        "rounds": options.rounds,
        "wavelet": WAVELET,
        "levels": LEVELS,
        "window": WINDOW,
        "pywavelets": pywt.__version__,
        "rows": rows,
    }
    for row in rows:
        beside = ", ".join(f"{k} {v:.2f} x" for k, v in row["times_faster_than"].items())
        print(
            f"{row['work']:9}{row['candles']:>10,}  {row['name']:18}"
            f"{row['ns_a_candle']:10.1f} ns a candle   faster than {beside}"
        )
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
