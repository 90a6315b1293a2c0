"""``compute``: file to file, without Dagster, with the functions that the assets call."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from market.errors import InputError, SchemaError
from market.instruments import CALENDAR_NAMES, Instrument
from market.months import month_of, month_start
from market.timeframes import Timeframe
from wavehouse.errors import said_plainly

if TYPE_CHECKING:
    import polars as pl

    from pipeline.levels import Extended

app = typer.Typer(
    no_args_is_help=True,
    help="Compute a table from a file of bars into a file: the same rows as a partition.\n\n"
    "IN is Parquet or CSV with ts (bar open, UTC), open, high, low, close, volume (may be null) at "
    "any base timeframe.",
)

In = Annotated[Path, typer.Argument(metavar="IN", help="Parquet or CSV file of base bars.")]
Out = Annotated[
    Path, typer.Option("--out", help="File to write: CSV if it ends in .csv, else Parquet.")
]
TimeframeOption = Annotated[
    str | None, typer.Option("--timeframe", "-t", help="M1 … W. Default: the file's own.")
]
Calendar = Annotated[str, typer.Option("--calendar", "-c", help=" | ".join(CALENDAR_NAMES))]
Name = Annotated[str, typer.Option("--instrument", "-i", help="Name written into the rows.")]


@app.command()
def candles(
    source: In, out: Out, timeframe: TimeframeOption = None, calendar: Calendar = "crypto",
    instrument: Name = "INSTRUMENT",
) -> None:  # fmt: skip
    """Cut bars by the session calendar into candles of a timeframe."""
    with said_plainly():
        job = _Job(source, timeframe, calendar, instrument)
        _write(job.candles(job.timeframe), out, job)


@app.command()
def levels(
    source: In, out: Out, timeframe: TimeframeOption = None, calendar: Calendar = "crypto",
    instrument: Name = "INSTRUMENT",
) -> None:  # fmt: skip
    """Write the log of support and resistance events."""
    with said_plainly():
        job = _Job(source, timeframe, calendar, instrument)
        _write(job.levels(job.candles(job.timeframe)).events, out, job)


@app.command()
def labels(
    source: In, out: Out, timeframe: TimeframeOption = None, calendar: Calendar = "crypto",
    instrument: Name = "INSTRUMENT",
    horizon: Annotated[int, typer.Option(min=1, max=100, help="Bars of the timeframe.")] = 6,
) -> None:  # fmt: skip
    """Label every complete candle; the path is the file's own bars."""
    with said_plainly():
        job = _Job(source, timeframe, calendar, instrument)
        _write(job.labels(horizon), out, job)


@app.command()
def features(
    source: In, out: Out, timeframe: TimeframeOption = None, calendar: Calendar = "crypto",
    instrument: Name = "INSTRUMENT",
) -> None:  # fmt: skip
    """Write every feature of the list, known at each bar's close."""
    with said_plainly():
        job = _Job(source, timeframe, calendar, instrument)
        _write(job.features(), out, job)


class _Job:
    """A file of bars and what is made of it."""

    def __init__(self, source: Path, timeframe: str | None, calendar: str, name: str) -> None:
        from pipeline.candles import check_bars, infer_step  # noqa: PLC0415 - numba is 1 s

        if calendar not in CALENDAR_NAMES:
            raise InputError(
                f"--calendar: expected one of {', '.join(CALENDAR_NAMES)}, was {calendar!r}"
            )
        self.source = source
        self.bars = _read(source)
        check_bars(self.bars, name=str(source))
        self.step_us = infer_step(self.bars)
        base = _base_timeframe(self.step_us, source)
        self.timeframe = Timeframe.parse(timeframe) if timeframe else base
        self.instrument = Instrument(
            id=name, asset_class=calendar, calendar=calendar, provider="file", symbol=name,
            base_timeframe=base, tick_size=0.0, lot_size=1.0,
        )  # fmt: skip
        self.first_us = month_start(month_of(int(self.bars["ts"].dt.timestamp("us")[0])))
        self.out_of_session = 0

    @property
    def watermark_us(self) -> int:
        """The scheduled end of the file's last bar: later bars may still come."""
        from providers.conventions import scheduled_end  # noqa: PLC0415 - the calendar's clock

        last_us = int(self.bars["ts"].dt.timestamp("us")[-1])
        if self.step_us == self.instrument.base_timeframe.microseconds:
            return scheduled_end(self.instrument, last_us)
        return last_us + self.step_us

    def candles(self, timeframe: Timeframe | None) -> "pl.DataFrame":
        """Candles of a timeframe, or the file's own bars in session (``None``)."""
        import polars as pl  # noqa: PLC0415

        from pipeline.candles import build  # noqa: PLC0415

        built = build(
            self.bars, instrument=self.instrument,
            timeframe=timeframe or self.instrument.base_timeframe,
            watermark_us=self.watermark_us, base_step_us=self.step_us,
        )  # fmt: skip
        self.out_of_session = built.n_out_of_session
        # a bar that opened in the month before the file's first has no partition either
        return built.rows.filter(pl.col("ts").dt.timestamp("us") >= self.first_us)

    def levels(self, candles: "pl.DataFrame") -> "Extended":
        """Level events, and the nearest levels at each close."""
        from pipeline import levels  # noqa: PLC0415

        return levels.extend(
            levels.initial(), candles, instrument=self.instrument.id, timeframe=self.timeframe
        )

    def labels(self, horizon: int) -> "pl.DataFrame":
        """Labels over the file's own bars as the path."""
        from pipeline import labels  # noqa: PLC0415

        candles = self.candles(self.timeframe)
        return labels.of_series(
            candles, self.levels(candles), self.candles(None), instrument=self.instrument,
            timeframe=self.timeframe, config=labels.LabelConfig(horizon=horizon),
            watermark_us=self.watermark_us,
        )  # fmt: skip

    def features(self) -> "pl.DataFrame":
        """Every feature of the list."""
        from pipeline import features  # noqa: PLC0415

        candles = self.candles(self.timeframe)
        return features.extend(
            features.initial(),
            candles,
            self.levels(candles).context,
            instrument=self.instrument,
            timeframe=self.timeframe,
        ).rows


def _base_timeframe(step_us: int, source: Path) -> Timeframe:
    """Return the file's own timeframe, or the finest that its bars fill (1 s bars: M1)."""
    for timeframe in Timeframe:
        if timeframe.microseconds % step_us == 0:
            return timeframe
    raise InputError(
        f"{source}: expected bars that fill a timeframe, was {step_us / 1e6:g} s apart"
    )


def _read(source: Path) -> "pl.DataFrame":
    import polars as pl  # noqa: PLC0415

    if not source.is_file():
        raise InputError(f"IN: expected a file, was nothing at {source}")
    try:
        frame = (
            pl.read_csv(source, try_parse_dates=True)
            if source.suffix.lower() in {".csv", ".txt"}
            else pl.read_parquet(source)
        )
    except (pl.exceptions.PolarsError, OSError) as e:
        first = str(e).strip().splitlines()[0]
        raise InputError(f"{source}: expected Parquet or CSV, was unreadable: {first}") from e
    missing = [c for c in ("ts", "open", "high", "low", "close") if c not in frame.columns]
    if missing:
        raise SchemaError(
            f"{source}: expected columns ts open high low close, {missing[0]} is missing"
        )
    if "volume" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, dtype=pl.Float64).alias("volume"))
    if not isinstance(frame.schema["ts"], pl.Datetime):
        raise SchemaError(f"{source}.ts: expected UTC instants, was {frame.schema['ts']}")
    instants = pl.col("ts").cast(pl.Datetime("us"))
    zone = frame.schema["ts"].time_zone
    instants = (
        pl.col("ts").dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC"))
        if zone
        else instants.dt.replace_time_zone("UTC")
    )
    prices = [pl.col(c).cast(pl.Float64) for c in ("open", "high", "low", "close", "volume")]
    try:
        return frame.select(instants.alias("ts"), *prices, pl.lit("file").alias("source"))
    except pl.exceptions.PolarsError as e:
        first = str(e).strip().splitlines()[0]
        raise SchemaError(
            f"{source}: expected numbers in open high low close volume, was: {first}"
        ) from e


def _write(rows: "pl.DataFrame", out: Path, job: _Job) -> None:
    from storage.durable import storage_errors, write_whole  # noqa: PLC0415

    if not out.parent.is_dir() or out.is_dir():
        raise InputError(f"--out: expected a file in an existing folder, was {out}")
    if out.exists() and out.samefile(job.source):
        raise InputError(f"--out: expected another file than IN, was {out}")
    buffer = io.BytesIO()
    if out.suffix.lower() == ".csv":
        rows.write_csv(buffer, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
    else:
        rows.write_parquet(buffer)
    with storage_errors(str(out), out.parent):
        write_whole(out, buffer.getvalue(), fsync=True)
    note = f", {job.out_of_session} bars outside the session left out" if job.out_of_session else ""
    typer.echo(f"{out}: {rows.height} rows of {job.instrument.id} {job.timeframe}{note}")
