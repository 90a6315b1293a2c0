"""The blocking checks of every table, generated from its schema and calendar.

They run on the rows before they are published: a partition that fails is never pointed to, so
nothing downstream can read it.
"""

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from assets.stage import Outcome
from market.calendars import SessionCalendar
from market.errors import SchemaError
from market.tables import INSTANT, Table
from market.timeframes import Timeframe
from pipeline.candles import check_bars

MAX_MISSING_SHARE = 0.5  # of a month's scheduled base bars; a month with fewer bars is refused

DESCRIPTIONS = {
    "schema": "Exactly the table's columns and types, and no null where a row cannot do without.",
    "order": "Rows rise in time, keys are unique, and every row belongs to the partition's month.",
    "tiling": "Every bar is a scheduled bar of the session calendar, with its scheduled end.",
    "gaps": (
        "Scheduled bars that never came are counted; a month of which more than "
        f"{MAX_MISSING_SHARE:.0%} is missing is refused."
    ),
    "causality": (
        "Recomputed from base bars through every stage with the future cut off, and with it "
        "replaced, at random instants: nothing that was known by then may change."
    ),
    "maturity": "No label is in the training set that had not matured by the cutoff.",
    "out_of_sample": "Every row that judges a model was decided at or after its cutoff.",
}
"""What each check of a stage proves, as Dagster's pages say it; all of them block."""


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, plural where it is not one."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def of_table(
    table: Table, rows: pl.DataFrame, start_us: int, end_us: int
) -> dict[str, Callable[[], Outcome]]:
    """Return the checks that every table has: schema, order and uniqueness."""
    return {
        "schema": lambda: schema(table, rows),
        "order": lambda: order(table, rows, start_us, end_us),
    }


def require_bars(frame: pl.DataFrame, name: str) -> None:
    """Raise ``MalformedBarsError`` or ``SchemaError`` for a provider's bars that break a rule.

    By way of this module because checks are no part of a code version: they say whether bars are
    published, not which, and what was fetched is not fetched again because a resampler changed.
    """
    check_bars(frame, name=name)


def schema(table: Table, rows: pl.DataFrame) -> Outcome:
    """Exactly the table's columns and types, and no null where one row cannot do without."""
    try:
        table.conform(rows)
    except SchemaError as e:
        return Outcome(passed=False, description=str(e))
    if list(rows.columns) != list(table.schema):
        return Outcome(passed=False, description=f"{table.name}: columns in another order")
    nulls = {c: n for c in table.required if (n := rows[c].null_count())}
    nans = rows.select(pl.col(pl.Float64).is_nan().sum())
    nan = {c.name: int(c.sum()) for c in nans.iter_columns() if c.sum()}
    broken = {**nulls, **{f"{c} (NaN)": n for c, n in nan.items()}}
    text = ", ".join(f"{c}: {n}" for c, n in broken.items())
    return Outcome(
        passed=not broken,
        description=f"nulls where none may be: {text}" if broken else f"{table.name}: as declared",
        metadata={"rows": rows.height, "columns": rows.width},
    )


def order(table: Table, rows: pl.DataFrame, start_us: int, end_us: int) -> Outcome:
    """Rows rise in time, keys are unique, and every row belongs to the partition's month."""
    ts = rows["ts"].cast(INSTANT).cast(pl.Int64).to_numpy()
    is_strict = "ts" in table.key
    steps = np.diff(ts)
    disordered = int(np.count_nonzero(steps <= 0 if is_strict else steps < 0))
    duplicates = 0
    # what rises in a part of its key is unique; an instant that is null rises nowhere
    if rows.height and not (is_strict and (steps > 0).all()):
        duplicates = rows.height - rows.select(table.key).n_unique()
    outside = int(np.count_nonzero((ts < start_us) | (ts >= end_us)))
    passed = not (disordered or duplicates or outside)
    return Outcome(
        passed=passed,
        description="rows rise in time, keys are unique, all in the month"
        if passed
        else f"disordered {disordered}, duplicate keys {duplicates}, outside the month {outside}",
        metadata={"disordered": disordered, "duplicates": duplicates, "outside_month": outside},
    )


def tiling(calendar: SessionCalendar, timeframe: Timeframe, rows: pl.DataFrame) -> Outcome:
    """Every bar is a scheduled bar of the calendar, with its scheduled end."""
    if rows.is_empty():
        return Outcome(passed=True, description="no rows")
    ts = rows["ts"].dt.timestamp("us").to_numpy()
    grid = calendar.grid(timeframe, int(ts[0]), int(ts[-1]) + 1)
    known = rows["known_at"].dt.timestamp("us").to_numpy()
    at = np.minimum(np.searchsorted(grid.open_us, ts), max(grid.open_us.size - 1, 0))
    is_on = (grid.open_us[at] == ts) & (grid.end_us[at] == known) if grid.open_us.size else ts < 0
    off = ts[~is_on]
    return Outcome(
        passed=not off.size,
        description=f"{off.size} bars off the {calendar.name} grid, first at {off[0]} us"
        if off.size
        else f"every bar is scheduled by the {calendar.name} calendar",
        metadata={"off_grid": int(off.size), "scheduled": int(grid.open_us.size)},
    )


def gaps(rows: pl.DataFrame, scheduled: int) -> Outcome:
    """Scheduled bars that never came are counted; a month that is mostly hole is refused."""
    missing = max(scheduled - rows.height, 0)
    share = missing / scheduled if scheduled else 0.0
    inside = int(rows["n_missing"].sum()) if rows.height else 0
    return Outcome(
        passed=rows.is_empty() or share <= MAX_MISSING_SHARE,
        description=f"{missing} of {scheduled} scheduled bars missing, "
        f"{inside} base bars missing inside the others",
        metadata={"missing_bars": missing, "missing_share": share, "missing_base_bars": inside},
    )


def run(checks: Mapping[str, Callable[[], Outcome]]) -> dict[str, Outcome]:
    """Run every check and return what each found."""
    return {name: check() for name, check in checks.items()}
