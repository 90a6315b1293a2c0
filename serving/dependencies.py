"""What a route is given: the app's parts as one typed value, built once, never a global."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from market.errors import UnknownInstrumentError
from market.instruments import Instrument, InstrumentBook
from market.ports import Lake
from market.settings import ServingSettings
from serving.backfills.service import BackfillService
from serving.backtests.service import BacktestService
from serving.cached_labels import CandleLabels
from serving.compute.service import ComputeService
from serving.label_compute.service import LabelService
from serving.looks import Looks
from serving.metrics import Metrics
from serving.metrics_windows import Windows
from serving.models import ModelStore
from storage.cache import Cache


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of a running app."""

    settings: ServingSettings
    lake: Lake
    book: InstrumentBook | None
    models: ModelStore
    metrics: Metrics
    compute: ComputeService
    backtests: BacktestService
    labels: LabelService
    cache: Cache
    candles: CandleLabels
    windows: Windows
    backfills: BackfillService
    version: str
    started_at: dt.datetime
    looks: Looks = field(default_factory=Looks)

    @property
    def warming(self) -> list[str]:
        """Return the parts whose kernels are being compiled."""
        parts = {
            "indicators": self.compute.warmth.is_running,
            "backtests": self.backtests.is_warming,
            "labels": self.labels.is_warming,
        }
        return [name for name, is_warming in parts.items() if is_warming]

    def check_instrument(self, instrument_id: str) -> None:
        """Raise ``UnknownInstrumentError`` if the book does not have it."""
        if self.book is not None:
            self.book[instrument_id]

    def instrument(self, instrument_id: str) -> Instrument:
        """Return an instrument; raise ``UnknownInstrumentError`` if there is no such."""
        if self.book is None:
            raise UnknownInstrumentError(
                f"instrument: expected one of instruments.toml, which is not here, "
                f"was {instrument_id!r}"
            )
        return self.book[instrument_id]


def services_of(request: Request) -> Services:
    """Return what the lifespan built."""
    found: Services = request.state.services
    return found


async def services(request: Request) -> Services:
    """Return the same as a dependency; one that is no coroutine costs a thread a request."""
    return services_of(request)


ServicesDep = Annotated[Services, Depends(services)]
