"""What a stage needs from the outside, injected as one plain object.

Belongs here: ports bundled for the stages. Keep out: Dagster (a test makes a ``Line`` over a lake
in a temporary folder and calls a stage), and construction (``orchestration.line`` does that).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from market.instruments import Instrument, InstrumentBook
from market.ports import Lake, PartitionKey, Provider

if TYPE_CHECKING:
    from learning.tracking import ModelStore


@dataclass(frozen=True, slots=True)
class Line:
    """The lake, the instruments, where bars come from and where models are registered."""

    lake: Lake
    book: InstrumentBook
    provider_for: Callable[[Instrument], Provider]
    model_store: "Callable[[], ModelStore]"
    on_published: Callable[[PartitionKey], None] = lambda _key: (
        None
    )  # progress, for whoever watches
