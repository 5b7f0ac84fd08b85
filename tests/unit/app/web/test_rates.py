"""Rate limits: enforced, reported in seconds, and fair between keys."""

import time
from pathlib import Path

import anyio
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.errors import SettingsInvalid
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.web.access import add_access
from app.web.keys import new_key
from app.web.observe import ObserveMiddleware
from app.web.rates import RateLimits

ALICE, ALICE_LINE = new_key("alice")
SPARE, SPARE_LINE = new_key("alice")
BOB, BOB_LINE = new_key("bob")


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("\n".join([ALICE_LINE, SPARE_LINE, BOB_LINE]), encoding="utf-8")
    return path


def build(settings: Settings) -> TestClient:
    app = FastAPI()

    async def answer() -> str:
        return "yes"

    for path in ("/predict", "/health"):
        app.add_api_route(path, answer)
    add_access(app, settings)
    app.add_middleware(ObserveMiddleware, metrics=Metrics(1))
    return TestClient(app)


def statuses(client: TestClient, count: int, key: str | None = None, path: str = "/predict") -> list[int]:
    headers = {"X-API-Key": key} if key else {}
    return [client.get(path, headers=headers).status_code for _ in range(count)]


def test_past_the_limit_the_answer_is_429_with_the_seconds_to_wait() -> None:
    client = build(Settings(rate_limit="3/day"))
    assert statuses(client, 4) == [200, 200, 200, 429]
    refused = client.get("/predict")
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["Retry-After"]) <= 24 * 3600
    assert refused.json()["request_id"] == refused.headers["X-Request-ID"]


@pytest.mark.parametrize("limit", ["1/second", "5/second", "1/second; 100/hour"])
def test_after_these_seconds_there_is_room(limit: str) -> None:
    client = build(Settings(rate_limit=limit))
    refused = next(answer for answer in iter(lambda: client.get("/predict"), None) if answer.status_code == 429)
    wait = int(refused.headers["Retry-After"])
    assert 1 <= wait <= 2
    time.sleep(wait)  # as the header asks
    assert client.get("/predict").status_code == 200


def test_health_is_not_counted() -> None:
    client = build(Settings(rate_limit="1/day"))
    assert statuses(client, 3, path="/health") == [200] * 3
    assert statuses(client, 2) == [200, 429]
    assert statuses(client, 1, path="/health") == [200]


def test_each_key_has_its_own_limit_by_its_name(keys_file: Path) -> None:
    client = build(Settings(keys_file=keys_file, rate_limit_per_key="2/day"))
    assert statuses(client, 1, ALICE) + statuses(client, 2, SPARE) == [200, 200, 429]
    assert statuses(client, 3, BOB) == [200, 200, 429]


def test_refused_requests_take_nothing_from_others(keys_file: Path) -> None:
    client = build(Settings(keys_file=keys_file, rate_limit="3/day", rate_limit_per_key="2/day"))
    assert statuses(client, 10, ALICE) == [200, 200] + [429] * 8
    assert statuses(client, 2, BOB) == [200, 429]


def test_guessing_is_bounded_without_memory_and_without_harm_to_keys(keys_file: Path) -> None:
    settings = Settings(keys_file=keys_file, rate_limit="20/day", rate_limit_per_key="20/day")
    client = build(settings)
    guesses = [statuses(client, 1, f"maeum_{number}")[0] for number in range(50)]
    assert guesses == [401] * 20 + [429] * 30
    assert statuses(client, 1) == [429]
    assert statuses(client, 1, ALICE) == [200]


async def _count(rates: RateLimits, requests: int) -> int:
    for _ in range(requests):
        await rates.take_refused()
    return len(rates._limiter.storage.storage)  # type: ignore[attr-defined]


def test_memory_does_not_grow_with_requests() -> None:
    rates = RateLimits(Settings(rate_limit="100000/hour; 1000000/day"))
    assert anyio.run(_count, rates, 2000) <= 4


@pytest.mark.parametrize("wrong", ["often", "0/second", "1/fortnight", "-1/second", "1.5/second", "10", "1/second;;"])
def test_a_limit_that_cannot_be_read_is_named(keys_file: Path, wrong: str) -> None:
    with pytest.raises(SettingsInvalid, match="MAEUM_RATE_LIMIT is "):
        RateLimits(Settings(rate_limit=wrong))
    with pytest.raises(SettingsInvalid, match="MAEUM_RATE_LIMIT_PER_KEY is "):
        RateLimits(Settings(rate_limit_per_key=wrong, keys_file=keys_file))


def test_a_limit_for_keys_without_keys_is_a_mistake() -> None:
    with pytest.raises(SettingsInvalid, match="MAEUM_KEYS_FILE"):
        RateLimits(Settings(rate_limit_per_key="1/second"))


def test_a_limit_that_is_written_twice_counts_once() -> None:
    with build(Settings(rate_limit="3/hour; 3/hour;3 per hour")) as client:
        assert [client.get("/predict").status_code for _ in range(4)] == [200, 200, 200, 429]


@pytest.mark.parametrize("jump_s", [7200, -7200, -86400, 365 * 86400])
def test_a_clock_that_jumps_locks_nobody_out(jump_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """At worst the limit begins anew."""

    async def take() -> tuple[list[int], list[int]]:
        rates, now = RateLimits(Settings(rate_limit="5/hour")), 500_000 * 3600 + 60.0
        monkeypatch.setattr(time, "time", lambda: now)
        before = [await rates.take(None) for _ in range(6)]
        monkeypatch.setattr(time, "time", lambda: now + jump_s)
        return before, [await rates.take(None) for _ in range(6)]

    before, after = anyio.run(take)
    for waits in (before, after):
        assert waits[:5] == [0] * 5 and 1 <= waits[5] <= 2 * 3600
