"""The causality certificate as a check of a partition, before it is published."""

import hashlib
from collections.abc import Callable

import polars as pl

from assets import reading
from assets.checks import counted
from assets.line import Line
from assets.stage import Outcome
from market.months import month_bounds
from market.ports import PartitionKey
from market.tables import LABELS, TABLES
from market.timeframes import Timeframe
from pipeline import causality


def seed_of(key: PartitionKey) -> int:
    """Return the partition's own seed: random instants that a re-run draws again."""
    return int.from_bytes(hashlib.sha256(key.path.encode()).digest()[:4], "big")


def of_rows(line: Line, key: PartitionKey, chain: causality.Chain, rows: pl.DataFrame) -> Outcome:
    """Recompute from base bars with the future cut off and replaced; nothing known may change."""
    late = _misdated(line, key, rows)
    if late:  # a known_at that is too late would hide its row from the comparison
        return Outcome(passed=False, description=f"known_at is not the bar's end: {late} rows")
    refs = reading.raw_window(line, key, 1)
    start_us, end_us = month_bounds(key.month)
    certificate = causality.certify(
        chain,
        rows,
        raw=reading.before(line.lake.read(refs), reading.settled(line, key)),
        watermark_us=reading.watermark(line, refs),
        seed=seed_of(key),
        key=TABLES[key.table].key,
        start_us=start_us,
        end_us=end_us,
        instrument=line.book[key.instrument],
    )
    return _outcome(certificate)


def of_labels(  # noqa: PLR0913 - two experiments, each with what it alters
    line: Line,
    key: PartitionKey,
    chain: causality.Chain,
    rows: pl.DataFrame,
    *,
    raw: pl.DataFrame,
    watermark_us: int,
    path: pl.DataFrame,
    replay: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame],
) -> Outcome:
    """Do the same for labels, for what is known at their entry, and for the path before it."""
    start_us, end_us = month_bounds(key.month)
    instrument, timeframe = line.book[key.instrument], Timeframe(key.timeframe)
    matured = causality.certify(
        chain, rows, raw=raw, watermark_us=watermark_us, seed=seed_of(key), key=LABELS.key,
        start_us=start_us, end_us=end_us, instrument=instrument,
        claims=causality.label_claims(instrument, timeframe),
    )  # fmt: skip
    entries = causality.certify_entry(
        replay, rows, path=path, instrument=instrument, timeframe=timeframe, seed=seed_of(key)
    )
    return _outcome(matured, entries)


def _misdated(line: Line, key: PartitionKey, rows: pl.DataFrame) -> int:
    """Count the rows that are not known at the scheduled end of their bar."""
    ts, known = (rows[c].dt.timestamp("us").to_numpy() for c in ("ts", "known_at"))
    ends = reading.calendar_of(line, key).bar_ends(Timeframe(key.timeframe), ts)
    return int((ends != known).sum())


def _outcome(*certificates: causality.Certificate) -> Outcome:
    violations = [v for c in certificates for v in c.violations]
    compared = sum(c.rows_compared for c in certificates)
    cuts = [cut for c in certificates for cut in c.cuts_us]
    return Outcome(
        passed=not violations,
        description="; ".join(violations[:3])
        if violations
        else f"{counted(compared, 'row')} unchanged, the future cut off and replaced at "
        f"{counted(len(cuts), 'instant')}",
        metadata={"rows_compared": compared, "instants": len(cuts), "violations": len(violations)},
    )
