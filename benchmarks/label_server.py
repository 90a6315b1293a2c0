"""The server that ``benchmarks.label_service`` asks: the app as it ships, and an echo.

Run ``python -m benchmarks.label_server PORT LAKE RESIDENT_BYTES``. Rates are not limited.
"""

import sys
from pathlib import Path

import uvicorn

from benchmarks.compute_server import NoModels, WithEcho
from benchmarks.graph import instrument_of
from market import logs
from market.instruments import InstrumentBook
from market.settings import LogSettings, ServingSettings
from market.timeframes import Timeframe
from serving.app import create_app
from storage.lake import ParquetLake

NAME = "BENCH"


def main() -> None:
    """Serve until told to stop."""
    port, folder, resident_bytes = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    settings = ServingSettings(
        default_rate_limit="",
        labels_rate_limit="",
        labels_compute_rate_limit="",
        labels_resident_bytes=resident_bytes,
    )
    app = create_app(
        settings,
        lake=ParquetLake(folder, fsync=False),
        registry=NoModels(),
        owns_process=True,
        book=InstrumentBook({NAME: instrument_of(NAME, Timeframe.M1)}),
    )
    logs.configure(LogSettings())
    uvicorn.run(
        WithEcho(app), port=port, access_log=False, log_level="warning", server_header=False
    )


if __name__ == "__main__":
    main()
