"""The server that ``benchmarks.label_service`` asks: the app, with a cache, and an echo.

Run ``python -m benchmarks.label_server PORT LAKE RESIDENT_BYTES``.
"""

import sys
from dataclasses import replace
from pathlib import Path

import uvicorn
from fastapi import Request

from benchmarks.compute_server import NoModels, WithEcho
from benchmarks.graph import instrument_of
from market.instruments import InstrumentBook
from market.settings import ServingSettings
from market.timeframes import Timeframe
from serving import dependencies
from serving.app import create_app
from serving.dependencies import Services
from serving.label_compute.service import LabelService
from serving.main import request_log
from storage.cache import Cache
from storage.lake import ParquetLake

NAME = "BENCH"
CACHE_BYTES = 64_000_000


def main() -> None:
    """Serve until told to stop."""
    port, folder, resident_bytes = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    settings = ServingSettings(compute_rate_limit="", compute_warm=False, log_requests=False)
    lake, instrument = ParquetLake(folder, fsync=False), instrument_of(NAME, Timeframe.M1)
    app = create_app(
        settings, lake=lake, registry=NoModels(), book=InstrumentBook({NAME: instrument})
    )
    cache = Cache(memory_bytes=CACHE_BYTES)
    labels = LabelService(lake, resident_bytes=resident_bytes, cache=cache)

    def with_cache(request: Request) -> Services:
        return replace(dependencies.services(request), labels=labels)

    app.dependency_overrides[dependencies.services] = with_cache
    request_log(settings)
    uvicorn.run(
        WithEcho(app), port=port, access_log=False, log_level="warning", server_header=False
    )


if __name__ == "__main__":
    main()
