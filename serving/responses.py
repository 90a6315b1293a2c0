"""The refusals that every router declares, for the OpenAPI page."""

from typing import Any, Final

from serving.schemas import ErrorResponse

ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorResponse, "description": "What was asked cannot be computed."},
    401: {"model": ErrorResponse, "description": "No key or token, or none that is valid."},
    403: {"model": ErrorResponse, "description": "The caller's scopes do not allow it."},
    404: {"model": ErrorResponse, "description": "Not known, or not materialised yet."},
    408: {"model": ErrorResponse, "description": "The body did not come in time."},
    409: {"model": ErrorResponse, "description": "Another run is writing it."},
    413: {"model": ErrorResponse, "description": "The body is too large."},
    422: {"model": ErrorResponse, "description": "The request does not parse."},
    429: {"model": ErrorResponse, "description": "Too many requests; `Retry-After` says when."},
    500: {"model": ErrorResponse, "description": "Our fault; the log has it under the trace id."},
    503: {"model": ErrorResponse, "description": "A part that is needed is not there."},
    504: {"model": ErrorResponse, "description": "The time limit of a request was reached."},
}

COMPUTE_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    **{status: ERRORS[status] for status in (400, 401, 403, 408, 413, 422, 429, 500, 503, 504)},
    415: {"model": ErrorResponse, "description": "A media type or encoding that is not read."},
}
