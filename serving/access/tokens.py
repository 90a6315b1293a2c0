"""JSON Web Tokens: one algorithm, one issuer, one audience, all from the settings.

Nothing that a token says about itself chooses how it is checked: not its ``alg`` (``none`` and the
confusion of HS256 with RS256 are refused by that), not its ``kid``, ``jku`` or ``x5u``.
"""

from typing import Final

import jwt

from market.errors import InputError
from market.settings import ServingSettings
from serving.access.principals import Principal
from serving.errors import UnauthenticatedError
from storage.api_keys import SCOPES

MAX_CHARACTERS: Final = 8192
MAX_NAME: Final = 128
_REQUIRED: Final = ("exp", "iss", "aud", "sub")
_REFUSED: Final = "Authorization: expected a bearer token that is valid now, was none"
_SECRET_BYTES: Final = 32  # as long as the hash, RFC 7518 3.2


class TokenVerifier:
    """Principals by token; without a key in the settings every token is refused."""

    def __init__(self, settings: ServingSettings) -> None:
        """Raise ``InputError`` for settings that would verify too little."""
        self._key = settings.jwt_key.get_secret_value().replace("\\n", "\n")
        self._algorithm = settings.jwt_algorithm
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._leeway_s = settings.jwt_leeway_s
        if self._key:
            self._check()

    def find(self, token: str) -> Principal:
        """Return who a token names.

        Raise ``UnauthenticatedError`` for whatever does not verify: the answer does not say why.
        """
        if not self._key or len(token) > MAX_CHARACTERS or not token.isascii():
            raise UnauthenticatedError(_REFUSED)
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway_s,
                options={"require": list(_REQUIRED)},
            )
        except (jwt.PyJWTError, ValueError, OverflowError) as e:
            raise UnauthenticatedError(_REFUSED) from e
        name, scope = claims["sub"], claims.get("scope", "")
        if not isinstance(scope, str) or not name or len(name) > MAX_NAME or not name.isprintable():
            raise UnauthenticatedError(_REFUSED)
        return Principal(f"token:{name}", SCOPES & frozenset(scope.split()), is_anonymous=False)

    def _check(self) -> None:
        if not self._issuer or not self._audience:
            raise InputError("jwt_issuer, jwt_audience: expected both beside jwt_key, was empty")
        if self._algorithm == "HS256":
            size = len(self._key.encode())
            if size < _SECRET_BYTES:
                raise InputError(f"jwt_key: expected at least {_SECRET_BYTES} bytes, was {size}")
        try:
            jwt.get_algorithm_by_name(self._algorithm).prepare_key(self._key)
        except (jwt.PyJWTError, ValueError, TypeError) as e:
            raise InputError(f"jwt_key: expected a key of {self._algorithm}, was another") from e
        if "PRIVATE KEY" in self._key:
            raise InputError("jwt_key: expected a public key, was a private one")
