"""Keys and frames: what a cached value is called, and how it is told from a damaged one.

A key is a hash of everything that the value depends on, so history never needs invalidating. Kind,
instrument and granularity stand in it readably, for invalidation by name.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import quote

import orjson

from market.errors import StorageError

PREFIX: Final = "wavehouse"
FRAME_VERSION: Final = 1
_NONE: Final = "-"
_LENGTH_BYTES: Final = 8
_DIGEST_BYTES: Final = 16
_HEAD_BYTES: Final = 1 + _LENGTH_BYTES + _DIGEST_BYTES


class FrameError(StorageError):
    """Bytes that a store gave back are not what was put there."""


def cache_key(
    kind: str,
    *,
    data_versions: Sequence[str],
    code_version: str,
    parameters: Mapping[str, Any],
) -> str:
    """Return ``wavehouse:{kind}:{instrument}:{granularity}:{hash}``.

    The tags are the parameters ``instrument`` and ``granularity``, ``-`` where there is none. The
    order of the data versions matters; that of the parameters does not.
    """
    parts = [kind, list(data_versions), code_version, dict(parameters)]
    digest = hashlib.blake2b(
        orjson.dumps(parts, option=orjson.OPT_SORT_KEYS), digest_size=_DIGEST_BYTES
    )
    tags = (kind, parameters.get("instrument"), parameters.get("granularity"))
    return ":".join([PREFIX, *map(_tag, tags), digest.hexdigest()])


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Which keys are meant: by tag, and by a shell pattern on all that follows the prefix."""

    instrument: str | None = None
    granularity: str | None = None
    pattern: str = "*"

    def __call__(self, key: str) -> bool:
        """Tell whether a key is meant; one that is not ours never is."""
        parts = key.split(":")
        if len(parts) != 5 or parts[0] != PREFIX:  # noqa: PLR2004 - the parts of cache_key
            return False
        if self.instrument is not None and parts[2] != _tag(self.instrument):
            return False
        if self.granularity is not None and parts[3] != _tag(self.granularity):
            return False
        return fnmatchcase(key.removeprefix(f"{PREFIX}:"), self.pattern)


def frame(key: str, value: bytes) -> bytes:
    """Return the value behind its version, length and checksum."""
    return b"".join((
        FRAME_VERSION.to_bytes(1, "big"),
        len(value).to_bytes(_LENGTH_BYTES, "big"),
        _checksum(key, value),
        value,
    ))  # fmt: skip


def unframe(key: str, framed: bytes) -> bytes:
    """Return the value of a frame; raise ``FrameError`` where a byte of it is not as it was.

    The checksum covers the key: a whole value that lies under another key is refused too. It guards
    against damage, not against somebody who may write to the store and knows this function.
    """
    value = framed[_HEAD_BYTES:]
    if framed[:1] != FRAME_VERSION.to_bytes(1, "big"):
        raise FrameError(f"cache frame: expected version {FRAME_VERSION}, was {framed[:1]!r}")
    length = int.from_bytes(framed[1 : 1 + _LENGTH_BYTES], "big")
    if length != len(value):
        raise FrameError(f"cache frame: expected {length} bytes, was {len(value)}")
    if framed[1 + _LENGTH_BYTES : _HEAD_BYTES] != _checksum(key, value):
        raise FrameError("cache frame: expected its checksum, was another")
    return value


def _checksum(key: str, value: bytes) -> bytes:
    digest = hashlib.blake2b(key.encode() + b"\0", digest_size=_DIGEST_BYTES)
    digest.update(value)
    return digest.digest()


def _tag(value: object) -> str:
    return _NONE if value is None else quote(str(value), safe="")
