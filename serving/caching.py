"""The cache of answers, as the settings describe it.

Belongs here: settings to a cache, the names of its kinds. Keep out: how it keeps
(``storage.cache``), what is kept (the routes).
"""

from typing import Final

from market.errors import InputError
from market.settings import ServingSettings
from storage.cache import Cache, Observe

LABELS: Final = "labels"
LEVELS: Final = "levels"


def open_cache(settings: ServingSettings, observe: Observe | None = None) -> Cache:
    """Return the cache; nothing is connected before the first question.

    Raise ``InputError`` for an address that is none of Redis'.
    """
    url = settings.redis_url.get_secret_value()
    redis = None
    if url:
        from storage.cache_redis import RedisTier  # noqa: PLC0415 - where needed

        try:
            redis = RedisTier(url, timeout_s=settings.cache_timeout_s)
        except ValueError as e:  # its message may name the password
            raise InputError("redis_url: expected redis://host:port/number, was another") from e
    return Cache(
        memory_bytes=settings.cache_bytes,
        redis=redis,
        ttls_s={LABELS: settings.cache_labels_ttl_s, LEVELS: settings.cache_levels_ttl_s},
        observe=observe,
    )
