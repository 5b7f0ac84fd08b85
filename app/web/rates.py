"""Rate limits: for all requests together and for each key, counted in this process.

Windows slide, with two counters each (the library's `sliding-window-counter`), so that memory does not grow with a
limit. The previous window counts as if its requests were spread evenly, so bursts around its end can together come
near twice the limit. Nothing is kept for a key that does not exist.
"""

import time

from limits import RateLimitItem, parse_many
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from ..errors import SettingsInvalid
from ..settings import Settings


class RateLimits:
    """The limits of the settings. Raises SettingsInvalid, naming the wrong one."""

    def __init__(self, settings: Settings) -> None:
        self._all = _parsed("MAEUM_RATE_LIMIT", settings.rate_limit)
        self._each = _parsed("MAEUM_RATE_LIMIT_PER_KEY", settings.rate_limit_per_key)
        if self._each and settings.keys_file is None:
            raise SettingsInvalid("MAEUM_RATE_LIMIT_PER_KEY needs keys: set MAEUM_KEYS_FILE, or use MAEUM_RATE_LIMIT.")
        # The asyncio store, although nothing in it waits: the synchronous one starts a thread for nearly every request.
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def take(self, name: str | None) -> int:
        """Counts a request by the key `name` (None where there are no keys) and returns 0, or else the seconds to wait.

        A request that must wait is not counted at all, so that a busy key takes nothing from the others.
        """
        limits = [(limit, "all") for limit in self._all]
        if name is not None:
            limits += [(limit, f"key:{name}") for limit in self._each]
        return await self._take(limits)

    async def take_refused(self) -> int:
        """The same for a request without a valid key.

        These have the general limits once more, in a count of their own: guessing is bounded, and takes nothing from
        requests with a key.
        """
        return await self._take([(limit, "refused") for limit in self._all])

    async def _take(self, limits: list[tuple[RateLimitItem, str]]) -> int:
        waits = [await self._wait(*limit) for limit in limits if not await self._limiter.test(*limit)]
        if waits:
            return max(waits)
        for limit in limits:
            await self._limiter.hit(*limit)
        return 0

    async def _wait(self, limit: RateLimitItem, who: str) -> int:
        """Whole seconds, at least 1, after which `limit` has room."""
        stats = await self._limiter.get_window_stats(limit, who)
        # Rounded up and past the reset: at its very moment there may be no room yet.
        return int(max(0.0, stats.reset_time - time.time())) + 1


def _parsed(variable: str, text: str) -> list[RateLimitItem]:
    """The limits in `text`, each once, none where it is empty."""
    if not text.strip():
        return []
    try:
        limits = parse_many(text)
    except ValueError:
        limits = []
    if not limits or any(limit.amount < 1 for limit in limits):
        raise SettingsInvalid(f"{variable} is {text!r}: write it as 100/second, or 10/second; 200/minute.")
    return list(dict.fromkeys(limits))  # a limit that is written twice would count every request twice
