"""Read a file out of an installed package, without importing the package."""

import hashlib
import importlib.metadata
from collections.abc import Callable

from market.errors import ProviderDataError

PACKAGE = "backtesting"
VERSION = "0.6.6"
FILE = "backtesting/test/EURUSD.csv"
SHA256 = "81e977905a006cc8fbc034ebdb83c999a8ed6ba00191dc7ea5ef5b386fb74a82"

_INSTALL = "run `make install`, or `pip install wavehouse[demo]`"


def read_sample(
    distribution: Callable[[str], importlib.metadata.Distribution] = (
        importlib.metadata.distribution
    ),
) -> bytes:
    """Return the sample file's bytes; raise ``ProviderDataError`` that says what to install."""
    try:
        installed = distribution(PACKAGE)
        with open(str(installed.locate_file(FILE)), "rb") as file:  # noqa: PTH123 - SimplePath has no read_bytes
            data = file.read()
    except importlib.metadata.PackageNotFoundError as e:
        raise ProviderDataError(
            f"sample: expected the package {PACKAGE} {VERSION}, was not installed: {_INSTALL}"
        ) from e
    except OSError as e:
        raise ProviderDataError(
            f"sample: expected {FILE} in the package {PACKAGE} {VERSION}, "
            f"was not in {PACKAGE} {installed.version}: {_INSTALL}"
        ) from e
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise ProviderDataError(
            f"sample: expected sha256 {SHA256} of {FILE} ({PACKAGE} {VERSION}), "
            f"was {digest} ({PACKAGE} {installed.version}): {_INSTALL}"
        )
    return data
