"""The one-sided wavelet transform as it is compiled: by bars or by blocks, to the same bits.

Belongs here: the arithmetic of ``wavelets``. With s = 2**j, and ``factors`` those of smoothing and
of detail in turn, k = 0 the oldest of a span's L bars::

    smooth_{j+1}[t] = sum over k of factors[2 * k]     * smooth_j[t - (L - 1 - k) * s], smooth_0 = x
    detail_{j+1}[t] = sum over k of factors[2 * k + 1] * smooth_j[t - (L - 1 - k) * s]

each added from the oldest bar to the newest, which is all that one level waits for in the other.

The state holds what the next bar sees of each level: the number of the bar, modulo the coarsest
level's s; then a row for each of a level's s interleaved sequences, its last L - 1 values, oldest
first. A bar reads and moves one row a level: faster than keeping sums under way (0.7 of the time),
which a processor cannot read back while they are still being written. It is NaN before the first
bar: the warm-up needs no case of its own.
"""

from typing import Final

import numpy as np

from kernels.blocks import U
from kernels.gate import Matrix, Series
from kernels.jit import compiled, compiled_borrowing, compiled_inline

BLOCK: Final = 4096
"""Bars that all levels see before the next ones: what a level writes is still near for the next."""

Pair = tuple[Series, Series]
"""What a level gives: smooth and detail."""


def cascade_size(taps: int, levels: int) -> int:
    """Return how many numbers the state has for filters of ``taps`` bars."""
    return 1 + (taps - 1) * ((1 << levels) - 1)


def cascade_state(taps: int, levels: int) -> Series:
    """Return the state before the first bar, for filters of ``taps`` bars."""
    state = np.full(cascade_size(taps, levels), np.nan)
    state[0] = 0.0
    return state


@compiled
def cascade(x: Series, factors: Series, state: Series, details: Matrix, smooths: Matrix) -> None:
    """Write every level's detail and smooth of each bar, continuing from ``state``."""
    n, levels = x.size, details.shape[0]
    reach = factors.size // 2 - 1
    head = reach << (levels - 1)  # a bar after so many sees none from before ``x``
    if n - head < BLOCK // 32:
        head = n
    for t in range(head):
        cascade_bar(x[t], factors, state, details, smooths, t)
    room = np.empty(min(reach + BLOCK, n))
    for start in range(head, n, BLOCK):
        end = min(start + BLOCK, n)
        _finite(x[start - reach : end], room)
        for j in range(levels):
            out = smooths[j, start:end], details[j, start:end]
            if j == 0:
                _level(room[: reach + end - start], factors, 1, out)
            else:
                _level(smooths[j - 1, start - (reach << j) : end], factors, 1 << j, out)
    if head < n:
        _keep(x, smooths, n - head, state)


@compiled_inline
def cascade_bar(
    newest: float, factors: Series, state: Series, details: Matrix, smooths: Matrix, t: int
) -> None:
    """Write one bar's detail and smooth of every level, and move ``state`` to it."""
    phase, reach, at = U(int(state[0])), U(factors.size // 2 - 1), U(t)
    first, span, one = U(1), U(1), U(1)
    value = newest if abs(newest) < np.inf else np.nan
    for j in range(U(details.shape[0])):
        row = first + (phase & (span - one)) * reach
        old = state[row]
        smooth, detail = factors[U(0)] * old, factors[one] * old
        for k in range(one, reach, U(2)):  # there is an even number of them
            old, new = state[row + k], state[row + k + one]
            state[row + k - one] = old
            state[row + k] = new
            i = k + k
            smooth += factors[i] * old
            detail += factors[i + one] * old
            smooth += factors[i + U(2)] * new
            detail += factors[i + U(3)] * new
        state[row + reach - one] = value
        last = reach + reach
        details[j, at] = detail + factors[last + one] * value
        value = smooth + factors[last] * value
        smooths[j, at] = value
        first += span * reach
        span += span
    state[0] = (phase + one) & ((span >> one) - one)


@compiled_borrowing
def _finite(x: Series, room: Series) -> None:
    """Copy ``x``, with NaN for what is infinite."""
    for i in range(U(x.size)):
        value = x[i]
        room[i] = value if abs(value) < np.inf else np.nan


@compiled
def _level(x: Series, factors: Series, span: int, out: Pair) -> None:
    """Write one level, eight bars of a span at a time, before them two and four where needed."""
    taps = factors.size // 2
    done = 0
    for step in (2, 4, 8):
        while done < taps and (step == 8 or (taps - done) & step):  # noqa: PLR2004
            rest, given = x[done * span :], factors[2 * done :]
            if step == 2:  # noqa: PLR2004
                _two(rest, given, span, out)
            elif step == 4:  # noqa: PLR2004
                _four(rest, given, span, out, done)
            else:
                _eight(rest, given, span, out, done)
            done += step


@compiled
def _two(x: Series, factors: Series, span: int, out: Pair) -> None:
    smooth, detail = out
    n = smooth.size
    a, b = x[:n], x[span : span + n]
    low0, low1, high0, high1 = factors[0], factors[2], factors[1], factors[3]
    for i in range(n):
        smooth[i] = low0 * a[i] + low1 * b[i]
        detail[i] = high0 * a[i] + high1 * b[i]


@compiled
def _four(x: Series, factors: Series, span: int, out: Pair, done: int) -> None:
    """Add what the first four factors give, or begin with it where nothing is done."""
    smooth, detail = out
    n = smooth.size
    a, b, c = x[:n], x[span : span + n], x[2 * span : 2 * span + n]
    d = x[3 * span : 3 * span + n]
    low0, low1, low2, low3 = factors[0], factors[2], factors[4], factors[6]
    high0, high1, high2, high3 = factors[1], factors[3], factors[5], factors[7]
    if done == 0:
        for i in range(n):
            smooth[i] = low0 * a[i] + low1 * b[i] + low2 * c[i] + low3 * d[i]
            detail[i] = high0 * a[i] + high1 * b[i] + high2 * c[i] + high3 * d[i]
        return
    for i in range(n):
        smooth[i] = smooth[i] + low0 * a[i] + low1 * b[i] + low2 * c[i] + low3 * d[i]
        detail[i] = detail[i] + high0 * a[i] + high1 * b[i] + high2 * c[i] + high3 * d[i]


@compiled
def _eight(x: Series, factors: Series, span: int, out: Pair, done: int) -> None:
    """Add what the first eight factors give, or begin with it where nothing is done."""
    smooth, detail = out
    n = smooth.size
    a, b, c = x[:n], x[span : span + n], x[2 * span : 2 * span + n]
    d, e, f = x[3 * span : 3 * span + n], x[4 * span : 4 * span + n], x[5 * span : 5 * span + n]
    g, h = x[6 * span : 6 * span + n], x[7 * span : 7 * span + n]
    low0, low1, low2, low3 = factors[0], factors[2], factors[4], factors[6]
    low4, low5, low6, low7 = factors[8], factors[10], factors[12], factors[14]
    high0, high1, high2, high3 = factors[1], factors[3], factors[5], factors[7]
    high4, high5, high6, high7 = factors[9], factors[11], factors[13], factors[15]
    if done == 0:
        for i in range(n):
            low = low0 * a[i] + low1 * b[i] + low2 * c[i] + low3 * d[i]
            high = high0 * a[i] + high1 * b[i] + high2 * c[i] + high3 * d[i]
            smooth[i] = low + low4 * e[i] + low5 * f[i] + low6 * g[i] + low7 * h[i]
            detail[i] = high + high4 * e[i] + high5 * f[i] + high6 * g[i] + high7 * h[i]
        return
    for i in range(n):
        low = smooth[i] + low0 * a[i] + low1 * b[i] + low2 * c[i] + low3 * d[i]
        high = detail[i] + high0 * a[i] + high1 * b[i] + high2 * c[i] + high3 * d[i]
        smooth[i] = low + low4 * e[i] + low5 * f[i] + low6 * g[i] + low7 * h[i]
        detail[i] = high + high4 * e[i] + high5 * f[i] + high6 * g[i] + high7 * h[i]


@compiled
def _keep(x: Series, smooths: Matrix, moved: int, state: Series) -> None:
    """Put into ``state`` what the bar after the last one sees, ``moved`` bars after its own."""
    n, levels = x.size, smooths.shape[0]
    reach = (state.size - 1) // ((1 << levels) - 1)
    phase = int(state[0]) + moved
    first = 1
    for j in range(levels):
        span = 1 << j
        for back in range(span):  # the bar that comes after so many others
            row = first + ((phase + back) & (span - 1)) * reach
            for k in range(reach):
                at = n + back - (reach - k) * span
                if j:
                    state[row + k] = smooths[j - 1, at]
                else:
                    state[row + k] = x[at] if abs(x[at]) < np.inf else np.nan
        first += span * reach
    state[0] = phase & ((1 << (levels - 1)) - 1)
