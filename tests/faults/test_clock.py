"""A clock that is set back or forward under a running server: nothing breaks, nothing opens."""

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from jwt import api_jwt

from serving.access.keys import KeyRing
from storage.api_keys import ApiKeys
from storage.cache_memory import MemoryTier
from tests.serving.test_access import IN, OUT, World, asked, bearer, claims, secret, token

HOUR_S = 3600.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.opened:
        yield made


class Clock:
    """The machine's clock, as it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real, self.ahead_s = time.time, 0.0
        monkeypatch.setattr(time, "time", lambda: real() + self.ahead_s)
        monkeypatch.setattr(time, "time_ns", lambda: int((real() + self.ahead_s) * 1e9))
        clock = self

        class Now(dt.datetime):
            @classmethod
            def now(cls, tz: dt.tzinfo | None = None) -> Self:
                return cls.fromtimestamp(real() + clock.ahead_s, tz)

        monkeypatch.setattr(api_jwt, "datetime", Now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_key_lets_in_whatever_the_clock_does_unless_it_has_expired(
    world: World, clock: Clock
) -> None:
    key, _ = world.keys.create("ann", ["compute"])
    brief, row = world.keys.create("brief", ["compute"], days=1.0)
    gone, other = world.keys.create("gone", ["compute"])
    world.keys.revoke(other.key_id)
    client = world.client()
    for hours, expected in ((0, IN), (-48, IN), (23, IN), (25, OUT), (0, IN)):
        clock.ahead_s = hours * HOUR_S
        assert asked(client, {"X-API-Key": key}) == IN
        assert asked(client, {"X-API-Key": brief}) == expected
        assert asked(client, {"X-API-Key": gone}) == OUT  # no clock makes it valid again
    assert row.expires_us is not None


def test_a_key_that_was_remembered_is_looked_up_again_by_a_clock_that_nobody_sets(
    world: World, clock: Clock
) -> None:
    ring = KeyRing(ApiKeys(world.database), remember_s=0.05)
    key, row = world.keys.create("ann", ["read"])
    ring.find(key)
    clock.ahead_s = -HOUR_S
    world.keys.revoke(row.key_id)
    deadline = time.monotonic() + 10.0
    while ring.known(key) is not None:
        assert time.monotonic() < deadline


def test_a_token_is_valid_between_its_instants_and_nothing_else_happens(
    world: World, clock: Clock
) -> None:
    client = world.client(**secret())
    issued = int(time.time())
    sent = token(iat=issued, nbf=issued)
    assert claims()["exp"] - issued >= 600
    for ahead_s, expected in ((0, IN), (-HOUR_S, OUT), (0, IN), (2 * HOUR_S, OUT), (0, IN)):
        clock.ahead_s = ahead_s
        assert asked(client, bearer(sent)) == expected


def test_a_limit_counts_on(world: World, clock: Clock) -> None:
    key, _ = world.keys.create("ann", ["compute"])
    client = world.client(compute_rate_limit="3/day")
    said = []
    for hours in (0, -24 * 365, 24 * 365, 0):
        clock.ahead_s = hours * HOUR_S
        said.append(asked(client, {"X-API-Key": key})[0])
    assert said == [200, 200, 200, 429]


def test_what_is_kept_in_memory_lives_as_long_as_it_shall(clock: Clock) -> None:
    tier = MemoryTier[bytes](1_000_000, weigh=len)
    tier.put("key", b"value", 60.0)
    for hours in (-24, 24):
        clock.ahead_s = hours * HOUR_S
        assert tier.get("key") == b"value"
