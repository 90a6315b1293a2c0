"""Small pictures for the asset's page: SVG, drawn without a plotting library.

A run over a year makes hundreds of them, and a figure object a picture would outweigh the rows.
"""

import datetime as dt
import html
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from kernels.levels import EVENTS
from market.ports import State
from pipeline import level_fold

WIDTH, HEIGHT, MARGIN = 640, 240, 28
UP, DOWN, FLAT, INK, GRID = "#2a9d6f", "#c8503c", "#8a8f98", "#30343b", "#e4e6ea"
MAX_BARS = 240  # the newest; more would be thinner than a pixel

_BEGINS = frozenset(event for event in EVENTS if event.startswith(("NEW", "FLIP")))
_ENDS = frozenset(event for event in EVENTS if event.startswith(("BREAK", "DEACTIVATE")))

Floats = npt.NDArray[np.float64]


def candles(rows: pl.DataFrame, *, title: str) -> bytes:
    """Draw the newest candles of a partition."""
    rows = rows.tail(MAX_BARS)
    if rows.is_empty():
        return _svg(title, [])
    low, high = float(rows["low"].min()), float(rows["high"].max())  # type: ignore[arg-type]
    return _svg(title, _candle_marks(rows, low, high) + _axis(low, high))


def levels(
    rows: pl.DataFrame,
    events: pl.DataFrame,
    before: State,
    *,
    instrument: str,
    timeframe: str,
    month: str,
) -> bytes:
    """Draw the newest candles with the levels that stood among them; ``before`` is the machine.

    Levels from before the month are drawn from its start, whether or not anything happens to them.
    """
    title = f"{instrument} {timeframe} {month}"
    standing = level_fold.table(before, instrument=instrument, timeframe=timeframe)
    rows = rows.tail(MAX_BARS)
    if rows.is_empty():
        return _svg(title, [])
    low, high = float(rows["low"].min()), float(rows["high"].max())  # type: ignore[arg-type]
    index = {ts: i for i, ts in enumerate(rows["ts"].to_list())}
    lines = []
    is_drawn = pl.col("price").is_between(low, high)  # a level keeps its price
    for price, kind, first, last in _spans(standing.filter(is_drawn), events, is_drawn, index):
        y = _y(price, low, high)
        colour = UP if kind == "support" else DOWN
        lines.append(
            f'<line x1="{_x(first, rows.height):.1f}" x2="{_x(last, rows.height):.1f}" '
            f'y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-opacity=".55"/>'
        )
    return _svg(title, lines + _candle_marks(rows, low, high) + _axis(low, high))


def label_mix(rows: pl.DataFrame, *, title: str) -> bytes:
    """Draw how many labels are -1, 0, +1, ambiguous, pending and censored."""
    label, status = rows["enhanced_triple_barrier"], rows["status"]
    counts = {
        "-1": int((label == -1).sum()),
        "0": int((label == 0).sum()),
        "+1": int((label == 1).sum()),
        "ambiguous": int(rows["is_ambiguous"].fill_null(value=False).sum()),
        "pending": int((status == "pending").sum()),
        "censored": int((status == "censored").sum()),
    }
    colours = (DOWN, FLAT, UP, INK, GRID, "#d9a441")
    top = max([*counts.values(), 1])
    step = (WIDTH - 2 * MARGIN) / len(counts)
    marks = []
    for i, ((name, count), colour) in enumerate(zip(counts.items(), colours, strict=True)):
        tall = (HEIGHT - 3 * MARGIN) * count / top
        x, y = MARGIN + i * step, HEIGHT - MARGIN - tall
        marks.append(
            f'<rect x="{x + 8:.1f}" y="{y:.1f}" width="{step - 16:.1f}" height="{tall:.1f}" '
            f'fill="{colour}"/>'
            + _text(x + step / 2, HEIGHT - 10, name)
            + _text(x + step / 2, y - 5, str(count))
        )
    return _svg(title, marks)


def reliability(dots: Mapping[str, Sequence[tuple[float, float, int]]], *, title: str) -> bytes:
    """Draw observed frequency over predicted probability; dots are as large as their bins.

    ``dots`` are (mean probability, observed frequency, rows) of each bin, by class.
    """
    side, left, bottom = HEIGHT - 3 * MARGIN, 2 * MARGIN, HEIGHT - 2 * MARGIN
    top = max([1, *(n for bins in dots.values() for _, _, n in bins)])
    marks = [
        f'<g fill="none" stroke="{GRID}"><rect x="{left}" y="{bottom - side}" width="{side}" ',
        f'height="{side}"/><path d="M{left} {bottom}l{side} {-side}" stroke-dasharray="4 4" ',
        f'stroke="{FLAT}"/></g>',
        _text(left + side / 2, bottom + 32, "predicted probability"),
        f'<g transform="translate({left - 34} {bottom - side / 2}) rotate(-90)">',
        _text(0, 0, "observed frequency") + "</g>",
    ]
    for share in (0.0, 0.5, 1.0):
        marks.append(_text(left + side * share, bottom + 14, f"{share:g}"))
        marks.append(_text(left - 14, bottom - side * share + 4, f"{share:g}"))
    colours = dict(zip(dots, (DOWN, FLAT, UP), strict=True))
    for i, (name, bins) in enumerate(dots.items()):
        across, down = left + side + 40, bottom - side + 20 * (i + 1)
        circles = [
            (left + side * p, bottom - side * o, 2 + 8 * (n / top) ** 0.5) for p, o, n in bins
        ]
        marks += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colours[name]}" '
            f'fill-opacity=".7"/>'
            for x, y, radius in [*circles, (across, down, 5)]
        ]
        marks.append(_text(across + 44, down + 4, name))
    return _svg(title, marks)


def _spans(
    standing: pl.DataFrame, events: pl.DataFrame, is_drawn: pl.Expr, index: dict[dt.datetime, int]
) -> list[tuple[float, str, int, int]]:
    """Return (price, type, first bar, last bar) of each time that a drawn level was a barrier.

    NEW and FLIP begin one, BREAK and DEACTIVATE end it, each with the type that it had then. What
    was broken before the month is none until it flips. Times that ended before the bars of
    ``index`` are left out.
    """
    active = standing.filter(pl.col("status") == "active")
    open_ = {
        level_id: (price, kind, 0)
        for level_id, price, kind in active.select("level_id", "price", "level_type").iter_rows()
    }
    # a month of M5 has tens of thousands of touches, and its picture shows a day of them
    turns = (
        events.lazy()
        .filter(is_drawn & pl.col("event").is_in(_BEGINS | _ENDS))
        .select("level_id", "ts", "event", "price", "level_type")
        .collect()
    )
    is_seen = pl.col("ts") >= min(index)
    before = turns.filter(~is_seen).unique("level_id", keep="last", maintain_order=True)
    done: list[tuple[float, str, int, int]] = []
    for level_id, _, event, price, kind in before.iter_rows():
        open_.pop(level_id, None)
        if event in _BEGINS:
            open_[level_id] = (price, kind, 0)
    for level_id, ts, event, price, kind in turns.filter(is_seen).iter_rows():
        if event in _BEGINS:
            open_[level_id] = (price, kind, index[ts])
        elif level_id in open_:
            done.append((*open_.pop(level_id), index[ts]))
    return done + [(*span, len(index) - 1) for span in open_.values()]


def _candle_marks(rows: pl.DataFrame, low: float, high: float) -> list[str]:
    """Draw all candles of a colour as two paths, wicks and bodies: a third of a rectangle each."""
    n = rows.height
    wide = max((WIDTH - 2 * MARGIN) / n * 0.7, 0.8)
    wicks: dict[str, list[str]] = {UP: [], DOWN: []}
    bodies: dict[str, list[str]] = {UP: [], DOWN: []}
    for i, (o, h, l, c) in enumerate(rows.select("open", "high", "low", "close").iter_rows()):  # noqa: E741
        x, colour = _x(i, n), UP if c >= o else DOWN
        top, bottom = _y(max(o, c), low, high), _y(min(o, c), low, high)
        wicks[colour].append(f"M{x:.1f} {_y(h, low, high):.1f}V{_y(l, low, high):.1f}")
        bodies[colour].append(f"M{x:.1f} {top:.1f}V{max(bottom, top + 0.6):.1f}")
    return [
        f'<path d="{"".join(marks[colour])}" stroke="{colour}" stroke-width="{width:.1f}"/>'
        for marks, width in ((wicks, 1.0), (bodies, wide))
        for colour in (UP, DOWN)
    ]


def _axis(low: float, high: float) -> list[str]:
    return [
        _text(WIDTH - MARGIN, MARGIN - 4, f"{high:.6g}"),
        _text(WIDTH - MARGIN, HEIGHT - MARGIN + 12, f"{low:.6g}"),
    ]


def _x(i: int, n: int) -> float:
    return MARGIN + (WIDTH - 2 * MARGIN) * (i + 0.5) / n


def _y(price: float, low: float, high: float) -> float:
    spread = (high - low) or 1.0
    return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (price - low) / spread


def _text(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{html.escape(words)}</text>'


def _svg(title: str, marks: list[str]) -> bytes:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="11" fill="{INK}">'
        f'<rect width="100%" height="100%" fill="white"/>'
        f'<text x="{MARGIN}" y="16" font-weight="bold">{html.escape(title)}</text>'
    )
    return (head + "".join(marks) + "</svg>").encode()
