"""The registry: every provider by name, and a name that is none."""

import pytest

from market.errors import InputError
from market.settings import ProviderSettings
from providers import registry


@pytest.mark.parametrize("name", registry.names())
def test_a_provider_is_built_by_its_name(name: str) -> None:
    assert registry.build(name, ProviderSettings()).name == name


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        registry.build("binanse", ProviderSettings())
    assert str(caught.value) == (
        "provider: expected one of sample, csv, binance, synthetic, "
        "was 'binanse' (did you mean 'binance'?)"
    )


def test_a_name_that_is_near_none_gets_no_guess() -> None:
    with pytest.raises(InputError, match=r"was 'bloomberg'$"):
        registry.build("bloomberg", ProviderSettings())
