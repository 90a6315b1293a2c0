"""The log of a process that serves: a JSON line an event, on standard error, without secrets.

Belongs here: how a line looks, what surrounds it (request id, run id), what is masked. Add fields
with ``fields``; bind what every line of a request or a run shall carry with ``bound``. Keep out:
what is told. Code tells it with the standard library's loggers: an entry point alone calls
``configure``, and what is never configured (a notebook, a test) imports nothing for it.
"""

import logging
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final, TextIO

from market.settings import LogSettings

MASK: Final = "***"
_BOUND: Final[ContextVar[Mapping[str, str]]] = ContextVar(
    "wavehouse_log", default=MappingProxyType({})
)
_FIELDS: Final = "wavehouse_fields"
_LEVELS: Final = {
    "httpx": "WARNING",
    "httpx2": "WARNING",
    "alembic": "WARNING",
    "urllib3": "WARNING",
}
_SECRETS: Final = re.compile(
    r"(?P<key>\bwh_)[A-Za-z0-9_-]{20,}"
    r"|(?P<scheme>(?i:bearer)\s+)[^\s\"',;]+"
    r"|\beyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*"  # a token without its scheme
    r"|(?P<url>[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+(?=@)"
)


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send every logger's lines to ``stream`` (standard error) from the settings' level up."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(formatter(settings.form))
    handler.set_name("wavehouse")
    root = logging.getLogger()
    for other in [h for h in root.handlers if h.get_name() == handler.get_name()]:
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(settings.level)
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)


def formatter(form: str) -> logging.Formatter:
    """Return what turns a record into a line of ``json``, or of ``text`` for eyes."""
    import orjson  # noqa: PLC0415 - where lines are written
    import structlog  # noqa: PLC0415

    def written(line: Any, **_: Any) -> str:  # noqa: ANN401 - whatever is told
        return orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z).decode()

    last = (
        structlog.processors.JSONRenderer(serializer=written)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            _with_fields,
            structlog.stdlib.add_logger_name,
            _with_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _masked_line,
            last,
        ],
    )


def fields(**told: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever is told
    """Return the ``extra=`` of a record that carries these beside its message."""
    return {_FIELDS: told}


@contextmanager
def bound(**values: str) -> Iterator[None]:
    """Have every line of this context, and of the threads that it is handed to, carry these."""
    token = _BOUND.set({**_BOUND.get(), **values})
    try:
        yield
    finally:
        _BOUND.reset(token)


def masked(text: str) -> str:
    """Return a text without keys, tokens, and passwords of addresses."""
    return _SECRETS.sub(_mask, text)


def _mask(found: re.Match[str]) -> str:
    kept = next((part for part in found.groupdict().values() if part), "")
    return f"{kept}{MASK}"


def _with_fields(
    _: Any,  # noqa: ANN401 - as structlog calls it
    __: str,
    line: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    record = line["_record"]
    return {**line, **_BOUND.get(), **getattr(record, _FIELDS, {})}


def _with_level(
    _: Any,  # noqa: ANN401 - as structlog calls it
    __: str,
    line: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    line["level"] = line["_record"].levelname
    return line


def _masked_line(
    _: Any,  # noqa: ANN401 - as structlog calls it
    __: str,
    line: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    return {name: _masked_value(value) for name, value in line.items()}


def _masked_value(value: Any) -> Any:  # noqa: ANN401 - whatever is told
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {name: _masked_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_masked_value(inner) for inner in value]
    return value
