"""A clock that is set back or forward under a running server: nothing breaks, nothing opens."""

import datetime as dt
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from jwt import api_jwt

from serving.access.keys import KeyRing
from storage.api_keys import ApiKeys
from storage.backfill_jobs import Backfill, BackfillJobs, Made
from storage.cache_memory import MemoryTier
from storage.cache_redis import Breaker
from storage.database import Database
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


def test_a_breaker_opens_and_asks_again_by_a_clock_that_nobody_sets(clock: Clock) -> None:
    breaker = Breaker(failures=1, open_s=60.0)
    clock.ahead_s = HOUR_S
    breaker.fail()
    for hours in (-24, 24):
        clock.ahead_s = hours * HOUR_S
        assert not breaker.allows()


ASKED = Backfill("bf_1", "EURUSD", "H4", "2017-03", "2017-06")
LEASE_S = 60.0


@pytest.fixture
def database() -> Iterator[Database]:
    made = Database.in_memory()
    yield made
    made.close()


def jobs_of(database: Database, owner: str) -> BackfillJobs:
    return BackfillJobs(database, owner=owner, lease_s=LEASE_S)


@pytest.mark.parametrize("hours", [-24.0, -0.5, 24.0])
def test_a_job_of_a_worker_that_lives_stays_its_own_unless_its_lease_has_passed(
    database: Database, clock: Clock, hours: float
) -> None:
    worker, server = jobs_of(database, "worker"), jobs_of(database, "server")
    worker.submit(ASKED)
    assert worker.take("bf_1")
    clock.ahead_s = hours * HOUR_S
    if hours > 0:  # nobody can tell a clock that was set forward from a worker that is gone
        assert server.start_next(most=1, most_starts=9) == "bf_1"
        assert server.take("bf_1")
        assert not worker.made("bf_1", Made("a", "v", 1))  # it learns so, and stops
        return
    assert server.start_next(most=1, most_starts=9) is None
    assert not server.take("bf_1")
    assert worker.beat("bf_1")
    assert worker.made("bf_1", Made("a", "v", 1))
    clock.ahead_s += LEASE_S / 2
    assert server.start_next(most=1, most_starts=9) is None
    assert worker.finish("bf_1", "completed")


@pytest.mark.parametrize("hours", [-24.0, -0.5])
def test_a_job_whose_worker_is_gone_when_the_clock_is_set_back_waits_for_one_lease(
    database: Database, clock: Clock, hours: float
) -> None:
    worker, server = jobs_of(database, "worker"), jobs_of(database, "server")
    worker.submit(ASKED)
    assert worker.take("bf_1")
    clock.ahead_s = hours * HOUR_S
    assert server.start_next(most=1, most_starts=9) is None  # it may live, and renew it
    clock.ahead_s += LEASE_S + 1.0
    assert server.start_next(most=1, most_starts=9) == "bf_1"
    assert server.take("bf_1")
    assert server.read("bf_1").starts == 1


def test_what_a_job_tells_of_its_pace_is_never_less_than_nothing(
    database: Database, clock: Clock
) -> None:
    jobs = jobs_of(database, "worker")
    for job_id, back_s in (("bf_1", HOUR_S), ("bf_2", 0.0)):
        jobs.submit(replace(ASKED, job_id=job_id))
        assert jobs.take(job_id)
        jobs.expect(job_id, 4)
        clock.ahead_s -= back_s
        jobs.made(job_id, Made("labels/H4/EURUSD/2017-03", "v", 100))
        now = jobs.read(job_id)
        assert now.pace.took_us >= 0
        assert now.remaining_s is None or now.remaining_s >= 0
        assert jobs.finish(job_id, "completed")
        assert jobs.read(job_id).pace.took_us >= 0
        usual = jobs.usual_pace("H4")
        assert usual is None or usual.took_us > 0
