"""How often somebody may ask: a bucket of tokens for each key or address, which fills up again at a steady rate."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

MOST_BUCKETS = 10_000
"""Buckets kept in memory; beyond that the one that was used least lately is forgotten (it is full again)."""


class Rates(Protocol):
    """Buckets by name."""

    def wait(self, name: str, *, per_minute: int) -> int:
        """Take a token: 0 where there was one, else the seconds (at least 1) until there is."""


class LocalRates:
    """Buckets of this process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, name: str, *, per_minute: int) -> int:
        """As `Rates` says; a full bucket holds the tokens of one minute.

        >>> rates = LocalRates(clock=lambda: 0.0)
        >>> [rates.wait("somebody", per_minute=2) for _ in range(3)]
        [0, 0, 30]
        """
        with self._lock:
            now = self._clock()
            tokens, at = self._buckets.pop(name, (float(per_minute), now))
            tokens = min(float(per_minute), tokens + (now - at) * per_minute / 60)
            given = tokens >= 1
            self._buckets[name] = (tokens - given, now)
            while len(self._buckets) > MOST_BUCKETS:
                self._buckets.popitem(last=False)
        return 0 if given else math.ceil((1 - tokens) * 60 / per_minute)


class RedisRates:
    """Buckets that several servers share, in Redis; where Redis does not answer, nobody is held up."""

    _SCRIPT = """
        local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
        local most, clock = tonumber(ARGV[1]), redis.call('TIME')
        local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
        local tokens, at = tonumber(kept[1]) or most, tonumber(kept[2]) or now
        tokens = math.min(most, tokens + math.max(0, now - at) * most / 60)
        local wait = 0
        if tokens >= 1 then tokens = tokens - 1 else wait = math.ceil((1 - tokens) * 60 / most) end
        redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now))
        redis.call('EXPIRE', KEYS[1], 120)
        return wait
    """

    def __init__(self, url: str) -> None:
        """Buckets in the Redis at this URL; nothing is asked yet."""
        import redis

        self._unreachable = redis.RedisError
        self._redis = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
        self._take: Any = self._redis.register_script(self._SCRIPT)

    def wait(self, name: str, *, per_minute: int) -> int:
        """As `Rates` says."""
        try:
            return int(self._take(keys=[f"osteon:rate:{name}"], args=[per_minute]))
        except self._unreachable:
            return 0

    def close(self) -> None:
        """Let go of Redis."""
        self._redis.close()
