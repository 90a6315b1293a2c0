"""A request's body: which form it is in, and unpacked without ever holding more than the bound.

Belongs here: media types and content encodings. Keep out: what a body says.
"""

import sys
import zlib
from collections.abc import Iterator
from typing import Final, Literal

from starlette.datastructures import Headers

from serving import accepts
from serving.errors import BodyTooLargeError, MalformedRequestError, UnsupportedContentError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Form = Literal["json", "arrow"]

ARROW: Final = "application/vnd.apache.arrow.stream"
JSON: Final = "application/json"
ENCODINGS: Final = ("gzip", "zstd")

_PIECE: Final = 1 << 18
_GZIP: Final = 16 + zlib.MAX_WBITS
_WINDOW_LOG: Final = 27  # what `zstd --ultra -22` uses: 128 MB; decoders take 8 MB at least
_ALIASES: Final = {"x-gzip": "gzip", "identity": ""}


def form_of(headers: Headers) -> Form:
    """Return the form of the body; raise ``UnsupportedContentError`` for any other."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == JSON or (kind.startswith("application/") and kind.endswith("+json")):
        return "json"
    if kind == ARROW:
        return "arrow"
    raise UnsupportedContentError(
        f"Content-Type: expected {JSON} or {ARROW}, was {kind[:100] or 'none'}"
    )


def answer_form(headers: Headers, asked_in: Form) -> Form:
    """Return the form that ``Accept`` prefers; that of the request where it does not say."""
    weights = accepts.weights(headers.get("accept", ""))
    arrow, json = weights.get(ARROW, 0.0), weights.get(JSON, 0.0)
    if arrow == json:
        return asked_in
    return "arrow" if arrow > json else "json"


def encoding_of(headers: Headers) -> str:
    """Return how the body is packed, or nothing; raise for what is not unpacked here."""
    name = headers.get("content-encoding", "").strip().lower()
    name = _ALIASES.get(name, name)
    if name and name not in ENCODINGS:
        raise UnsupportedContentError(
            f"Content-Encoding: expected {' or '.join(ENCODINGS)}, was {name[:100]}"
        )
    return name


def unpacked(body: bytes, encoding: str, most: int) -> bytes | bytearray:
    """Return ``body`` unpacked.

    Raise ``BodyTooLargeError`` as soon as it unpacks to more than ``most`` bytes, and
    ``MalformedRequestError`` for a body that is damaged or cut short.
    """
    if not encoding:
        return body
    out = bytearray()
    try:
        for piece in _gunzipped(body) if encoding == "gzip" else _unzstd(body):
            if len(out) + len(piece) > most:
                raise BodyTooLargeError(f"body: expected at most {most} bytes unpacked, was more")
            out += piece
    except (zlib.error, zstd.ZstdError) as e:
        raise _damaged(encoding) from e
    return out


def _gunzipped(body: bytes) -> Iterator[bytes]:
    rest = body
    while rest:  # a file may have several members
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            piece = member.decompress(rest, _PIECE)
            rest = member.unconsumed_tail
            if not piece and not rest and not member.eof:
                raise _damaged("gzip")
            yield piece
        rest = member.unused_data


def _unzstd(body: bytes) -> Iterator[bytes]:
    rest = body
    limits: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    while rest:
        frame = zstd.ZstdDecompressor(options=limits)
        given = rest
        while not frame.eof:
            piece = frame.decompress(given, _PIECE)
            given = b""
            if not piece and frame.needs_input:
                raise _damaged("zstd")
            yield piece
        rest = frame.unused_data


def _damaged(encoding: str) -> MalformedRequestError:
    return MalformedRequestError(f"body: expected {encoding}, was damaged or cut short")
