"""Talk to Binance's REST interface: timeouts, limits, and retries of what a retry may help."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Self, TypeVar

import httpx2

from market.errors import ProviderDataError, ProviderUnavailableError
from market.settings import ProviderSettings
from providers.binance.parsing import Kline, parse_klines, parse_refusal, parse_server_time

PAGE_LIMIT = 1000

_KEY_HEADER = "X-MBX-APIKEY"
_TOO_MANY, _BANNED, _SERVER_ERROR = 429, 418, 500

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before asking again: doubling, or what the exchange says, up to a bound."""

    retries: int
    first_s: float = 0.5
    longest_s: float = 60.0

    def wait_s(self, attempt: int, retry_after_s: float | None) -> float | None:
        """Return the seconds to wait after the ``attempt``-th failure; ``None``: give up."""
        if attempt > self.retries:
            return None
        if retry_after_s is None:
            return min(self.first_s * 2.0 ** (attempt - 1), self.longest_s)
        return retry_after_s if retry_after_s <= self.longest_s else None


class _BusyError(ProviderUnavailableError):
    """The exchange asks for time (429, 418, 5xx)."""

    def __init__(self, message: str, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BinanceClient:
    """A connection for one fetch: ``with BinanceClient(settings) as client: …``.

    ``sleep`` and ``transport`` are handed in by tests; nothing is opened before ``with``.
    """

    _limits: ClassVar = httpx2.Limits(max_connections=2, max_keepalive_connections=1)

    def __init__(
        self,
        settings: ProviderSettings,
        *,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._backoff = Backoff(settings.retries)
        self._sleep = sleep
        self._transport = transport
        self._http: httpx2.Client | None = None

    def __repr__(self) -> str:
        key = "'**********'" if self._settings.binance_api_key.get_secret_value() else "none"
        return f"BinanceClient(url={self._settings.binance_url!r}, api_key={key})"

    def __enter__(self) -> Self:
        key = self._settings.binance_api_key.get_secret_value()
        self._http = httpx2.Client(
            base_url=self._settings.binance_url,
            headers={_KEY_HEADER: key} if key else {},
            timeout=httpx2.Timeout(self._settings.timeout_s),
            limits=self._limits,
            transport=self._transport,
            follow_redirects=False,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    def server_time_ms(self) -> int:
        """Return the exchange's clock in milliseconds."""
        return self._get("/api/v3/time", {}, parse_server_time)

    def klines(self, symbol: str, interval: str, *, start_ms: int, end_ms: int) -> list[Kline]:
        """Return up to ``PAGE_LIMIT`` bars that open in [start, end), oldest first."""
        query: dict[str, str | int] = {
            "symbol": symbol,
            "interval": interval,
            "startTime": start_ms,
            "endTime": end_ms - 1,
            "limit": PAGE_LIMIT,
        }
        return self._get("/api/v3/klines", query, parse_klines)

    def _get(self, path: str, query: dict[str, str | int], parse: Callable[[bytes], T]) -> T:
        attempt = 1
        while True:
            try:
                return parse(self._ask(path, query))
            except ProviderUnavailableError as e:
                asked = e.retry_after_s if isinstance(e, _BusyError) else None
                wait_s = self._backoff.wait_s(attempt, asked)
                if wait_s is None:
                    raise ProviderUnavailableError(f"{e} (attempt {attempt}, the last)") from e
            self._sleep(wait_s)
            attempt += 1

    def _ask(self, path: str, query: dict[str, str | int]) -> bytes:
        if self._http is None:
            raise RuntimeError("client: expected `with BinanceClient(…) as client`, was not opened")
        try:
            answer = self._http.get(path, params=query)
        except httpx2.TimeoutException as e:
            raise ProviderUnavailableError(
                f"expected an answer within {self._settings.timeout_s:g} s, was none "
                f"({type(e).__name__})"
            ) from e
        except httpx2.TransportError as e:
            raise ProviderUnavailableError(
                f"expected an answer, was a broken connection ({type(e).__name__}: {e})"
            ) from e
        return _body(answer)


def _body(answer: httpx2.Response) -> bytes:
    """Return the body of a good answer; raise what a bad one means."""
    status = answer.status_code
    if answer.is_success:
        return answer.content
    message = f"expected HTTP 200, was {status}{parse_refusal(answer.content)}"
    if status in (_TOO_MANY, _BANNED) or status >= _SERVER_ERROR:
        asked = answer.headers.get("Retry-After")
        wait = f", to be asked again after {asked} s" if asked else ""
        raise _BusyError(message + wait, _seconds(asked))
    raise ProviderDataError(message)


def _seconds(text: str | None) -> float | None:
    """Return ``Retry-After`` in seconds; its other form, a date, counts as not given."""
    return float(text) if text is not None and text.isdecimal() else None
