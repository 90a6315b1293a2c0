"""API keys as they come with a request: looked up in SQL, remembered for a few seconds."""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from serving.access.principals import Principal
from serving.errors import UnauthenticatedError
from storage.api_keys import ApiKeys

REMEMBERED: Final = 1024  # keys
REFUSED: Final = "X-API-Key: expected a key that is valid now, was none"


class KeyRing:
    """Principals by API key; a revoked key is refused after ``remember_s`` at the latest."""

    def __init__(
        self, keys: ApiKeys, *, remember_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys = keys
        self._remember_s = remember_s
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    def known(self, key: str) -> Principal | None:
        """Return who was found to have a key a moment ago, without asking the database."""
        name = _name(key)
        with self._lock:
            found = self._known.get(name)
            if found is None or self._clock() >= found[0]:
                self._known.pop(name, None)
                return None
            self._known.move_to_end(name)
            return found[1]

    def find(self, key: str) -> Principal:
        """Return who has a key; asks the database.

        Raise ``UnauthenticatedError`` for whatever is no valid key: the answer does not say why.
        """
        asked = self._clock()  # before the row is read: it may be revoked at once after
        row = self._keys.find(key)
        if row is None:
            raise UnauthenticatedError(REFUSED)
        principal = Principal(f"key:{row.key_id}:{row.name}", row.scopes, is_anonymous=False)
        with self._lock:
            self._known[_name(key)] = (asked + self._remember_s, principal)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return principal


def _name(key: str) -> bytes:
    """Return what a key is remembered by: no key is kept in memory."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
