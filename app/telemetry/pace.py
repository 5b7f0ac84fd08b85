"""How fast a queue moves, and so how long one more would wait in it."""

LATEST = 0.1  # weight of the newest item in the average


class Pace:
    """The pace of a queue that `servers` work on side by side. `took` may be called from any thread."""

    def __init__(self, servers: int) -> None:
        self._servers = servers
        self._item_s = 0.0  # a server's time per item, averaged over recent ones

    def took(self, seconds: float, items: int = 1) -> None:
        """A server has worked on `items` at once for `seconds`."""
        self._item_s += LATEST * (seconds / items - self._item_s)

    def expected_wait_s(self, ahead: int) -> float:
        """Estimated wait in seconds behind `ahead` waiting items. 0 where a server will be free."""
        return max(0, ahead + 1 - self._servers) * self._item_s / self._servers
