"""Who asks, and what they may do.

Belongs here: the caller's identity and the names of scopes. Keep out: how a caller proves who they
are (``keys``, ``tokens``), and what a route needs (``rules``).
"""

import ipaddress
from dataclasses import dataclass
from typing import Final

from storage.api_keys import ADMIN, SCOPES


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller: a name for logs, and the scopes that were granted."""

    name: str
    scopes: frozenset[str]
    is_anonymous: bool


ANONYMOUS: Final = Principal("anonymous", SCOPES - {ADMIN}, is_anonymous=True)
STRANGER: Final = Principal("anonymous", frozenset(), is_anonymous=True)


def is_loopback(host: str) -> bool:
    """Say whether an address is of this machine, IPv4 written as IPv6 included."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped.is_loopback
    return ip.is_loopback
