"""Every refusal in one shape, and the one table from errors to HTTP statuses.

    WavehouseError (market.errors)
    ├── InputError
    │   ├── MalformedRequestError     the request does not parse, field by field (422)
    │   │   ├── InvalidJsonError      the body is not JSON
    │   │   └── UnknownIndicatorError the path names none that there is (404)
    │   ├── BodyTooLargeError         more than is taken, as sent or unpacked (413)
    │   ├── UnsupportedContentError   a media type or an encoding that is not read (415)
    │   └── NotAcceptableError        none of the media types that are written is taken (406)
    ├── RefusedForNowError
    │   ├── TooManyRequestsError      over the rate that one caller may ask at (429)
    │   └── OverloadedError           every worker is busy, and as many wait as may (503)
    ├── UnauthenticatedError          no key or token, or none that is valid (401)
    ├── ForbiddenError                the scopes of the caller do not allow it (403)
    ├── TimeLimitError                took longer than a request may (504)
    └── LearningError
        ├── FeatureMismatchError
        │   └── FeatureVectorError    which given features are missing or unknown, one by one (422)
        └── ModelNotReadyError        registered under the alias, and not one version loads (503)

Belongs here: statuses, codes, the shape. Keep out: what a route does. A message of a 5xx stays in
the log, under the trace id that the answer carries: it may name files.
"""

import datetime as dt
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from market import errors as market_errors
from market.errors import FeatureMismatchError, InputError, LearningError, WavehouseError

log = logging.getLogger("wavehouse.serving")

STATUSES: Final[Mapping[type[WavehouseError], int]] = {
    WavehouseError: 500,
    market_errors.InputError: 400,
    market_errors.UnknownInstrumentError: 404,
    market_errors.ProviderError: 503,
    market_errors.StorageError: 503,
    market_errors.NotMaterializedError: 404,
    market_errors.UnknownRunError: 404,
    market_errors.UnknownJobError: 404,
    market_errors.BackfillInProgressError: 409,
    market_errors.UnknownKeyError: 404,
    market_errors.PartitionBusyError: 409,
    market_errors.LearningError: 500,
    market_errors.NotEnoughDataError: 400,
    market_errors.FeatureMismatchError: 422,
    market_errors.ModelNotFoundError: 404,
    market_errors.ModelArtefactError: 503,
}

HTTP_CODES: Final = {
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "BODY_TIMEOUT",
    413: "BODY_TOO_LARGE",
    504: "TIMEOUT",
}

UNION_TAGS: Final = frozenset({"{features}", "{series}", "{mapping}", "{list}"})
MAX_DETAILS: Final = 50  # a body of 100,000 bad numbers is answered in one page
MAX_FIELD_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Detail:
    """One field of the request and what is wrong with it."""

    field: str
    message: str
    code: str


class FeatureVectorError(FeatureMismatchError):
    """The features that were given are not the model's, named one by one."""

    def __init__(self, message: str, details: Sequence[Detail]) -> None:
        super().__init__(message)
        self.details = tuple(details)


class ModelNotReadyError(LearningError):
    """A version is registered under the alias, and none could be loaded."""

    code = "MODEL_NOT_READY"


class MalformedRequestError(InputError):
    """The request does not parse, field by field."""

    code = "VALIDATION_ERROR"

    def __init__(self, message: str, details: Sequence[Detail] = ()) -> None:
        super().__init__(message)
        self.details = tuple(details)


class InvalidJsonError(MalformedRequestError):
    """The body is not JSON."""

    code = "INVALID_JSON"


class UnknownIndicatorError(MalformedRequestError):
    """The path names an indicator that there is not."""

    code = "UNKNOWN_INDICATOR"


class BodyTooLargeError(InputError):
    """More than is taken, as it was sent or as it unpacks."""

    code = "BODY_TOO_LARGE"


class UnsupportedContentError(InputError):
    """A media type or a content encoding that is not read."""

    code = "UNSUPPORTED_MEDIA_TYPE"


class NotAcceptableError(InputError):
    """The caller takes none of the media types that are written."""

    code = "NOT_ACCEPTABLE"


class RefusedForNowError(WavehouseError):
    """Refused for now: the same request may be taken after ``headers["Retry-After"]`` seconds."""

    def __init__(self, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.headers = dict(headers)


class TooManyRequestsError(RefusedForNowError):
    """Over the rate that one caller may ask at."""

    code = "TOO_MANY_REQUESTS"


class OverloadedError(RefusedForNowError):
    """Every worker is busy, and as many requests wait as may."""

    code = "OVERLOADED"


class UnauthenticatedError(WavehouseError):
    """No key or token came with the request, or none that is valid."""

    code = "UNAUTHENTICATED"


class ForbiddenError(WavehouseError):
    """The scopes of the caller do not allow it."""

    code = "FORBIDDEN"


class TimeLimitError(WavehouseError):
    """Took longer than a request may."""

    code = "TIMEOUT"


_OWN_STATUSES: Final[Mapping[type[WavehouseError], int]] = {
    ModelNotReadyError: 503,
    MalformedRequestError: 422,
    UnknownIndicatorError: 404,
    BodyTooLargeError: 413,
    UnsupportedContentError: 415,
    NotAcceptableError: 406,
    TooManyRequestsError: 429,
    UnauthenticatedError: 401,
    ForbiddenError: 403,
    OverloadedError: 503,
    TimeLimitError: 504,
}
_ALL_STATUSES: Final = {**STATUSES, **_OWN_STATUSES}
_SAYS_WHY: Final = (OverloadedError, TimeLimitError)  # 5xx whose message names nothing of ours


def status_of(error: WavehouseError) -> int:
    """Return the status of the closest class of ``error`` that a table names."""
    return next(_ALL_STATUSES[cls] for cls in type(error).__mro__ if cls in _ALL_STATUSES)


def trace_id_of(request: Request) -> str:
    """Return the id that the request's answer and log lines carry."""
    return str(getattr(request.state, "trace_id", ""))


def error_response(
    status: int,
    *,
    code: str,
    message: str,
    trace_id: str,
    details: Iterable[Detail] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a refusal in the one shape."""
    content = {
        "error": {**_content(code, message, details), "trace_id": trace_id},
        "timestamp": dt.datetime.now(dt.UTC),
    }
    body = orjson.dumps(content, option=orjson.OPT_UTC_Z)
    return Response(
        body,
        status_code=status,
        headers=None if headers is None else dict(headers),
        media_type="application/json",
    )


def refused(error: WavehouseError, *, trace_id: str, headers: Mapping[str, str]) -> Response:
    """Return a refusal of what never reached a route."""
    status, message = status_of(error), str(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s %s [trace_id=%s]", error.code, error, trace_id, exc_info=error)
        message = f"{HTTPStatus(status).phrase}: the cause is in the log under this trace_id"
    return error_response(
        status,
        code=error.code,
        message=message,
        trace_id=trace_id,
        details=_details_of(message, error.code)
        if status < HTTPStatus.INTERNAL_SERVER_ERROR
        else (),
        headers=headers,
    )


def described(error: WavehouseError) -> dict[str, Any]:
    """Return a refusal as a part of an answer: code, message and details."""
    message = str(error)
    details = getattr(error, "details", ()) or _details_of(message, error.code)
    return _content(error.code, message, details[:MAX_DETAILS])


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` in the one shape."""
    app.add_exception_handler(WavehouseError, _on_wavehouse_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_wavehouse_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, WavehouseError)  # noqa: S101 - registered for this class alone
    status = status_of(error)
    message = str(error)
    details: Sequence[Detail] = getattr(error, "details", ())
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, _SAYS_WHY):
        log.error("%s %s [trace_id=%s]", error.code, error, trace_id_of(request), exc_info=error)
        message = f"{HTTPStatus(status).phrase}: the cause is in the log under this trace_id"
        details = ()
    elif not details:
        details = _details_of(message, error.code)
    return error_response(
        status,
        code=error.code,
        message=message,
        trace_id=trace_id_of(request),
        details=details[:MAX_DETAILS],
        headers=getattr(error, "headers", None),
    )


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
    found: Sequence[ErrorDetails] = error.errors()
    is_json = any(e["type"] == "json_invalid" for e in found)
    return error_response(
        422,
        code="INVALID_JSON" if is_json else "VALIDATION_ERROR",
        message="body: expected JSON" if is_json else _count(len(found)),
        trace_id=trace_id_of(request),
        details=[_validation_detail(e) for e in found[:MAX_DETAILS]],
    )


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    if error.status_code == HTTPStatus.BAD_REQUEST:
        # the framework's word for bytes that its JSON parser gave up on: nothing of ours raises it
        return error_response(
            422,
            code="INVALID_JSON",
            message="body: expected JSON",
            trace_id=trace_id_of(request),
        )
    code = HTTP_CODES.get(error.status_code, HTTPStatus(error.status_code).name)
    return error_response(
        error.status_code,
        code=code,
        message=f"{request.method} {request.url.path}: {error.detail}",
        trace_id=trace_id_of(request),
        headers=error.headers,
    )


def _content(code: str, message: str, details: Iterable[Detail]) -> dict[str, Any]:
    return {
        "code": code,
        "message": _text(message),
        "details": [
            {"field": _text(d.field), "message": _text(d.message), "code": d.code} for d in details
        ],
    }


def _count(errors: int) -> str:
    return f"request: expected no invalid field, was {errors}"


def _validation_detail(error: ErrorDetails) -> Detail:
    context: Mapping[str, Any] = error.get("ctx") or {}
    message = error["msg"]
    if error["type"] == "json_invalid":
        message = f"{message}: {context.get('error', '')}"
    return Detail(
        field=_field(error["loc"]),
        message=message.removeprefix("Value error, "),
        code=error["type"].upper(),
    )


def _field(loc: tuple[int | str, ...]) -> str:
    """Return a location without where it was sent and without the names of union branches."""
    inside = [str(part) for part in loc[1:] if part not in UNION_TAGS]
    return ".".join(inside) or str(loc[0])


def _details_of(message: str, code: str) -> tuple[Detail, ...]:
    """Return the field that a message of the form ``name: expected …, was …`` names."""
    name, colon, rest = message.partition(": ")
    return (Detail(field=name, message=rest, code=code),) if colon else ()


def _text(text: str) -> str:
    """Return ``text`` as valid, bounded UTF-8: a JSON body can bring lone surrogates."""
    return text[: MAX_FIELD_CHARACTERS * 10].encode("utf-8", "replace").decode("utf-8")
