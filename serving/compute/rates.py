"""How often one address may ask.

Belongs here: the limit and its headers. Keep out: whose address it is (a proxy's word is believed
only where a setting names the proxy: ``serving.app``).
"""

import ipaddress
import math
import time
from typing import Final

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from serving.errors import TooManyRequestsError

_IPV6_NETWORK: Final = 64  # one subscriber's network: its addresses are one caller


class RateLimit:
    """A sliding window of requests an address, in this process's memory; empty: no limit.

    Two counters an address, which expire. (The moving window of ``limits`` keeps a list an address,
    and in memory never forgets one.)
    """

    def __init__(self, rate: str) -> None:
        self._item: RateLimitItem | None = parse(rate) if rate.strip() else None
        self._limiter = (
            None if self._item is None else SlidingWindowCounterRateLimiter(MemoryStorage())
        )

    def take(self, address: str) -> dict[str, str]:
        """Count a request; return the headers of its answer.

        Raise ``TooManyRequestsError``, which says when to come back, for one too many.
        """
        if self._item is None or self._limiter is None:
            return {}
        caller = caller_of(address)
        is_taken = self._limiter.hit(self._item, caller)
        reset, remaining = self._limiter.get_window_stats(self._item, caller)
        wait_s = max(1, math.ceil(reset - time.time()))
        headers = {
            "X-RateLimit-Limit": str(self._item.amount),
            "X-RateLimit-Remaining": str(remaining),
            "X-RateLimit-Reset": str(wait_s),
        }
        if is_taken:
            return headers
        raise TooManyRequestsError(
            f"rate: expected at most {self._item}, was more",
            headers | {"Retry-After": str(wait_s)},
        )


def caller_of(address: str) -> str:
    """Return who is counted: an IPv4 address, or the /64 that an IPv6 address lies in."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, _IPV6_NETWORK), strict=False))
