"""The tests' own Redis server: really there, really gone, there again at the same address."""

from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.fakes.redis_server import RedisServer


@pytest.mark.slow
def test_a_server_is_killed_and_comes_back_empty_at_the_same_address(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        client = redis.Redis.from_url(server.url, retry=Retry(NoBackoff(), 0))
        client.set("a", "1")
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.get("a")
        server.start()
        assert client.get("a") is None
        server.stop()
        server.stop()
        client.close()
    assert list(tmp_path.iterdir()) == []
