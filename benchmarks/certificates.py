"""What the causality certificate costs, beside all else that a partition costs.

``python -m benchmarks.certificates --write`` measures, keeps the figures in
``benchmarks/certificates.json`` and writes the table between the markers of ``docs/causality.md``;
without it, it prints the table. Milliseconds of processor time, so that waiting for a disk, which
would make the share smaller, does not count: medians over the months, in a plain loop. What Dagster
adds a partition is measured apart.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from assets.stage import Stage
from benchmarks.graph import instrument_of, line_of
from benchmarks.pages import main
from benchmarks.scaling import dagster_adds
from market.instruments import Instrument
from market.months import month_range
from market.timeframes import Timeframe
from orchestration.graph import data_stages

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "causality.md"
FIGURES: Final = ROOT / "benchmarks" / "certificates.json"
CERTIFICATE: Final = "causality"
WARM: Final = 2  # months that are made and not counted: what compiles, and what starts up
SAMPLE: Final = Instrument(
    id="EURUSD", asset_class="fx", calendar="fx", provider="sample", symbol="EURUSD",
    base_timeframe=Timeframe.H1, tick_size=0.00001, lot_size=100_000.0,
)  # fmt: skip
SAMPLE_MONTHS: Final = tuple(month_range("2017-05", "2018-01"))
SYNTHETIC_MONTHS: Final = tuple(month_range("2010-01", "2010-07"))


@dataclass(frozen=True, slots=True)
class Market:
    """Bars, and the timeframes of which partitions are made."""

    name: str
    instrument: Instrument
    timeframes: tuple[Timeframe, ...]
    months: tuple[str, ...]

    @property
    def stages(self) -> list[Stage]:
        """Return what is made of it."""
        wanted = (None, *self.timeframes)
        return [s for s in data_stages() if s.timeframe in wanted]


MARKETS: Final = (
    Market("EURUSD, hours", SAMPLE, (Timeframe.H1, Timeframe.H4), SAMPLE_MONTHS),
    Market(
        "synthetic, M5", instrument_of("FIVES", Timeframe.M5), (Timeframe.M5,), SYNTHETIC_MONTHS
    ),
    Market(
        "synthetic, M1",
        instrument_of("MINUTES", Timeframe.M1),
        (Timeframe.M1, Timeframe.M5, Timeframe.H1),
        SYNTHETIC_MONTHS,
    ),
)


@dataclass(slots=True)
class _Clock:
    spent: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.spent[part] = self.spent.get(part, 0.0) + 1e3 * (time.process_time() - start)


def measure(markets: Sequence[Market] = MARKETS) -> dict[str, Any]:
    """Return milliseconds by market, table and timeframe, and what Dagster adds."""
    hours = instrument_of("ADDS", Timeframe.H1)
    stages = [s for s in data_stages() if s.timeframe in (None, Timeframe.H1)]
    return {
        "partitions": [row for market in markets for row in _of_market(market)],
        "dagster_ms": 1e3 * dagster_adds(stages, hours, SYNTHETIC_MONTHS),
    }


def _of_market(market: Market) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        line, lake = line_of(Path(folder), market.instrument)
        for stage in market.stages:
            months = [_month(stage, line, lake, market.instrument.id, m) for m in market.months]
            counted = [m for m in months[WARM:] if CERTIFICATE in m]
            if counted:
                medians = {p: statistics.median(m[p] for m in counted) for p in counted[0]}
                timeframe = "" if stage.timeframe is None else stage.timeframe.value
                yield {
                    "market": market.name, "table": stage.table.name, "timeframe": timeframe,
                    **medians,
                }  # fmt: skip


def _month(stage: Stage, line: Any, lake: Any, instrument: str, month: str) -> dict[str, float]:  # noqa: ANN401 - a line over a timed lake
    clock = _Clock()
    key = stage.key(line, instrument, month)
    with clock.of("compute"):
        inputs = stage.inputs(line, key)
        result = stage.compute(line, key, inputs)
    for name, check in result.checks.items():
        with clock.of(name if name == CERTIFICATE else "checks"):
            outcome = check()
        assert outcome.passed, outcome
    with clock.of("lake"):
        lake.write(
            key, result.rows, state=result.state, code_version=stage.code_version,
            inputs=inputs.versions, attributes=result.attributes,
        )  # fmt: skip
    draw: Callable[[], bytes] | None = result.plot
    with clock.of("picture"):
        if draw is not None:
            draw()
    return {"rows": float(result.rows.height), **clock.spent}


def render(figures: dict[str, Any]) -> str:
    """Return the page's table in Markdown."""
    dagster = figures["dagster_ms"]
    lines = [
        (
            "| bars | partition | rows | compute | other checks | lake | picture | certificate "
            "| certificate / rest | with Dagster |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for x in figures["partitions"]:
        parts = [x[name] for name in ("compute", "checks", "lake", "picture")]
        rest, own = sum(parts), x[CERTIFICATE]
        shown = " | ".join(f"{part:.1f}" for part in parts)
        words = x["table"].replace("_", " ")
        lines.append(
            f"| {x['market']} | {x['timeframe']} {words} | {x['rows']:,.0f} | {shown} | {own:.1f} "
            f"| {own / rest:.0%} | {own / (rest + dagster):.0%} |"
        )
    return "\n".join([*lines, "", f"Dagster adds {dagster:.0f} ms a partition."])


if __name__ == "__main__":
    main(__doc__, measure, render, FIGURES, PAGE)
