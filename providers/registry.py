"""The providers by name: the one place that knows them all.

Add a provider: a folder of the fixed shape (docs/providers.md), and a line in ``_FACTORIES``.
Keep out: anything about one provider.
"""

from collections.abc import Callable, Mapping
from typing import Final

from market.errors import InputError
from market.ports import Provider
from market.settings import ProviderSettings
from providers.binance import provider as binance
from providers.csv import provider as csv
from providers.options import did_you_mean
from providers.sample import provider as sample
from providers.synthetic import provider as synthetic

Factory = Callable[[ProviderSettings], Provider]

_FACTORIES: Final[Mapping[str, Factory]] = {
    "sample": sample.build,
    "csv": csv.build,
    "binance": binance.build,
    "synthetic": synthetic.build,
}


def names() -> tuple[str, ...]:
    """Return the known providers' names, in the order of the registry."""
    return tuple(_FACTORIES)


def build(name: str, settings: ProviderSettings) -> Provider:
    """Return the provider called ``name``; raise ``InputError`` that lists the known ones."""
    try:
        factory = _FACTORIES[name]
    except KeyError as e:
        raise InputError(
            f"provider: expected one of {', '.join(_FACTORIES)}, "
            f"was {name!r}{did_you_mean(name, _FACTORIES)}"
        ) from e
    return factory(settings)
