"""How often a caller may ask: by their key or token, else by their address, and by kind of route.

Belongs here: which routes share a rate, who is counted, the headers that say so. Keep out: counting
(``windows``), and whose address it is (``serving.app`` believes a proxy only where a setting names
it).
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from limits import RateLimitItem, parse

from market.errors import InputError
from market.settings import ServingSettings
from serving.access.principals import Principal
from serving.access.windows import MemoryWindows, Standing
from serving.errors import TooManyRequestsError

if TYPE_CHECKING:
    from serving.access.shared_windows import SharedWindows

_IPV6_NETWORK: Final = 64  # one subscriber's network: its addresses are one caller
_SAFE: Final = "GET HEAD OPTIONS"

FREE: Final = re.compile(
    r"/health|/v1/health(/.*)?|/metrics|/prometheus|/openapi\.json|/(docs|redoc)(/.*)?"
)
"""Probes, what scrapes and pages: they do nothing that a limit would protect."""


@dataclass(frozen=True, slots=True)
class RateClass:
    """Routes that share a rate; no rate: no limit."""

    name: str
    methods: frozenset[str]
    path: re.Pattern[str]
    item: RateLimitItem | None


def rate_classes(settings: ServingSettings) -> tuple[RateClass, ...]:
    """Return the classes, the first that fits holds; raise ``InputError`` for what is no rate."""
    return (
        _class(settings, "labels_compute_rate_limit", "POST", r"/v1/labels/compute"),
        _class(settings, "backfill_rate_limit", "POST", r"/v1/batch/backfill"),
        _class(settings, "labels_rate_limit", _SAFE, r"/v1/labels(/.*)?"),
        _class(
            settings,
            "compute_rate_limit",
            "POST",
            r"/compute/.*|(/v1)?/backtest/(run|sweep)|/ml/predict",
        ),
        _class(settings, "default_rate_limit", "", r".*"),
    )


class RateLimits:
    """Counts requests in Redis where there is one, else in this process's memory."""

    def __init__(self, settings: ServingSettings, shared: "SharedWindows | None" = None) -> None:
        """``shared`` is what counts for all processes; by default, Redis where a setting names it.

        Raise ``InputError`` for what is no rate.
        """
        self._classes = rate_classes(settings)
        self._own = MemoryWindows()
        self._shared = shared
        redis_url = settings.redis_url.get_secret_value()
        if shared is None and redis_url:
            from serving.access.shared_windows import SharedWindows  # noqa: PLC0415 - where needed

            self._shared = SharedWindows(redis_url)

    async def take(
        self, principal: Principal, address: str, *, method: str, path: str
    ) -> Mapping[str, str]:
        """Count a request; return the headers of its answer.

        Raise ``TooManyRequestsError``, which says when to come back, for one too many.
        """
        kind = self._class(method, path)
        if kind is None or kind.item is None:
            return {}
        caller = f"{kind.name}:{_caller(principal, address)}"
        if self._shared is None:
            standing = self._own.hit(kind.item, caller)
        else:
            standing = await self._shared.hit(kind.item, caller)
        headers = _headers(kind.item, standing)
        if standing.is_taken:
            return headers
        raise TooManyRequestsError(
            f"rate: expected at most {kind.item}, was more",
            headers | {"Retry-After": str(standing.wait_s)},
        )

    async def aclose(self) -> None:
        """Close what is open."""
        if self._shared is not None:
            await self._shared.aclose()

    def _class(self, method: str, path: str) -> RateClass | None:
        if FREE.fullmatch(path):
            return None
        for kind in self._classes:
            if (not kind.methods or method in kind.methods) and kind.path.fullmatch(path):
                return kind
        return None


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


def _caller(principal: Principal, address: str) -> str:
    if principal.is_anonymous:
        return f"address:{caller_of(address)}"
    return principal.name


def _headers(item: RateLimitItem, standing: Standing) -> dict[str, str]:
    said = {
        "Limit": item.amount,
        "Remaining": standing.remaining,
        "Reset": standing.wait_s,
    }
    return {
        f"{prefix}-{name}": str(value)
        for prefix in ("X-RateLimit", "X-Rate-Limit")  # the latter is the label service's spelling
        for name, value in said.items()
    }


def _class(settings: ServingSettings, name: str, methods: str, path: str) -> RateClass:
    rate: str = getattr(settings, name)
    item = None
    if rate.strip():
        try:
            item = parse(rate)
        except ValueError as e:
            raise InputError(f"{name}: expected a rate such as 100/minute, was {rate!r}") from e
    kind = name.removesuffix("_rate_limit")
    return RateClass(kind, frozenset(methods.split()), re.compile(path, re.DOTALL), item)
