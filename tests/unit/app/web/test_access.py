"""Access: with a key where keys are required, and by no other way."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient
from starlette.types import Message, Scope
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.engine.load import Model
from app.errors import SettingsInvalid
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.web.access import add_access
from app.web.api import create_app
from app.web.browsers import add_pages
from app.web.keys import new_key
from app.web.observe import ObserveMiddleware
from app.web.problems import add_handlers
from app.web.state import request_state

KEY, LINE = new_key("alice")
ADMIN, ADMIN_LINE = new_key("root", admin=True)


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"{LINE}\n{ADMIN_LINE}\n", encoding="utf-8")
    return path


def build(settings: Settings) -> FastAPI:
    """A service that answers with the name of the request's key, at every path that has a meaning."""
    app = FastAPI()
    add_handlers(app)

    async def asked(request: Request) -> dict[str, Any]:
        return {"key_name": request_state(request.scope).key_name}

    for path in ("/", "/predict", "/health", "/health/ready", "/healthx", "/admin/reload", "/administrator", "/Health"):
        app.add_api_route(path, asked, methods=["GET", "POST"], include_in_schema=False)
    add_access(app, settings)
    add_pages(app, settings)
    app.add_middleware(ObserveMiddleware, metrics=Metrics(1))
    return app


@pytest.fixture
def client(keys_file: Path) -> TestClient:
    return TestClient(build(Settings(keys_file=keys_file)), raise_server_exceptions=False)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer   {KEY} "},
        {"X-API-Key": KEY},
        {"X-API-Key": KEY, "Authorization": f"Bearer {KEY}"},
        {"X-API-Key": KEY, "Authorization": "Basic YTpi"},
    ],
)
def test_a_key_lets_in_and_its_name_is_known(client: TestClient, headers: dict[str, str]) -> None:
    response = client.get("/predict", headers=headers)
    assert (response.status_code, response.json()) == (200, {"key_name": "alice"})


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "key_missing"),
        ({"Authorization": "Basic YTpi"}, "key_missing"),
        ({"Authorization": "Bearer "}, "key_missing"),
        ({"X-API-Key": ""}, "key_missing"),
        ({"Authorization": KEY}, "key_missing"),
        ({"X-API-Key": "maeum_wrong"}, "key_unknown"),
        ({"X-API-Key": LINE.split()[1]}, "key_unknown"),
        ({"X-API-Key": KEY, "Authorization": f"Bearer {ADMIN}"}, "key_unknown"),
        ({"X-API-Key": "한국어".encode()}, "key_unknown"),
        ({"Authorization": b"Bearer \xff\xfe\x80"}, "key_unknown"),
        ({"X-API-Key": "x" * 1_000_000}, "key_unknown"),
    ],
)
def test_without_a_valid_key_the_answer_is_401(client: TestClient, headers: Any, code: str) -> None:
    response = client.get("/predict", headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, code)
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["request_id"] == response.headers["X-Request-ID"]


def test_two_keys_in_the_same_header_are_not_tried_one_by_one(client: TestClient) -> None:
    response = client.get("/predict", headers=[("X-API-Key", "maeum_wrong"), ("X-API-Key", KEY)])
    assert response.status_code == 401


async def _asked(app: FastAPI, path: str, method: str = "GET", root_path: str = "", **headers: str) -> int:
    """The status of a request whose path reaches the service as it is written, with a body that must not be read."""
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": root_path,
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        "state": {},
    }
    statuses: list[int] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    return statuses[0]


@pytest.fixture
def ask(keys_file: Path) -> Callable[..., int]:
    app = build(Settings(keys_file=keys_file))
    return lambda path, **rest: anyio.run(lambda: _asked(app, path, **rest))


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_health_is_open(ask: Callable[..., int], path: str) -> None:
    assert ask(path) == 200
    assert ask("/api" + path, root_path="/api") == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/", "", "/predict", "/healthx", "/Health", "/HEALTH/ready", "/health.", "/health%2fready", "/healthx/ready"),
        *("//health", "/health//ready", "//health/ready", "/./health", "/health/..", "/health/../predict"),
        *(
            "/health/./ready",
            "/health/%2e%2e/../predict",
            "/predict/health",
            "/health;/predict",
            "/health\x00",
            "health",
        ),
        *("/predict/", "/predict//", "/nothing", "/openapi.json", "/docs", "/admin/reload", "/health\\..\\predict"),
    ],
)
def test_nothing_else_is_open_however_it_is_written(ask: Callable[..., int], path: str) -> None:
    assert ask(path, method="POST") == 401


def test_a_prefix_opens_nothing(ask: Callable[..., int]) -> None:
    assert ask("/health/predict", root_path="/health") == 401  # routed as /predict
    assert ask("/health", root_path="/health") == 401  # routed as the empty path
    assert ask("/api/health/../predict", root_path="/api") == 401


def test_the_body_of_a_refused_request_is_not_read(ask: Callable[..., int]) -> None:
    assert ask("/predict", method="POST", content_length="25000000") == 401


def test_open_paths_are_those_of_the_settings(keys_file: Path) -> None:
    with TestClient(build(Settings(keys_file=keys_file, open_paths="/predict/ , /docs"))) as client:
        assert client.get("/predict").json() == {"key_name": None}
        assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 200
        assert client.get("/health").status_code == 401
    with TestClient(build(Settings(keys_file=keys_file, open_paths=""))) as client:
        assert client.get("/health").status_code == 401


@pytest.mark.parametrize("wrong", ["/", "health", "//", "/health/../predict", "/a//b", "/health,/"])
def test_open_paths_that_open_everything_or_are_none_are_refused(keys_file: Path, wrong: str) -> None:
    with pytest.raises(SettingsInvalid, match="MAEUM_OPEN_PATHS"):
        build(Settings(keys_file=keys_file, open_paths=wrong))


def test_admin_takes_a_key_marked_admin(client: TestClient) -> None:
    assert client.post("/admin/reload").json()["code"] == "key_missing"
    refused = client.post("/admin/reload", headers={"X-API-Key": KEY})
    assert (refused.status_code, refused.json()["code"]) == (403, "key_not_admin")
    assert client.post("/admin/reload", headers={"X-API-Key": ADMIN}).json() == {"key_name": "root"}
    assert client.get("/administrator", headers={"X-API-Key": KEY}).status_code == 200


@pytest.mark.parametrize("path", ["/admin", "/admin/", "/ADMIN/reload", "//admin/reload", "/admin/x/../reload"])
def test_admin_is_guarded_however_it_is_written(ask: Callable[..., int], path: str) -> None:
    assert ask(path, x_api_key=KEY) == 403
    assert ask("/api" + path, root_path="/api", x_api_key=KEY) == 403


def test_admin_cannot_be_opened_by_a_setting(keys_file: Path) -> None:
    with TestClient(build(Settings(keys_file=keys_file, open_paths="/health,/admin"))) as client:
        assert client.post("/admin/reload").status_code == 401


def test_without_keys_everyone_gets_in(store: Path) -> None:
    with TestClient(build(Settings())) as client:
        assert client.get("/predict").json() == {"key_name": None}
        assert client.get("/predict", headers={"X-API-Key": "whatever"}).status_code == 200
        assert client.post("/admin/reload").status_code == 200


def test_websockets_are_refused_even_where_one_would_be_served() -> None:
    app = build(Settings())

    async def accept(websocket: WebSocket) -> None:
        await websocket.accept()

    app.add_api_websocket_route("/health/socket", accept)
    with pytest.raises(WebSocketDisconnect) as closed, TestClient(app).websocket_connect("/health/socket"):
        pass
    assert closed.value.code == 1008


def test_a_preflight_carries_no_key(keys_file: Path) -> None:
    origin = {"Origin": "https://example.com"}
    asking = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    with TestClient(build(Settings(keys_file=keys_file, cors_origins="https://example.com"))) as client:
        assert client.options("/predict", headers=asking).status_code == 200
        refused = client.post("/predict", headers=origin)
        assert refused.status_code == 401
        assert refused.headers["Access-Control-Allow-Origin"] == "https://example.com"
    with TestClient(build(Settings(keys_file=keys_file))) as client:
        assert client.options("/predict", headers=asking).status_code == 405  # passed, and nobody answers it
        assert client.options("/predict", headers=origin).status_code == 401


def test_a_key_is_exchanged_while_the_service_runs(client: TestClient, keys_file: Path) -> None:
    key, line = new_key("alice")
    assert client.get("/predict", headers={"X-API-Key": key}).status_code == 401
    keys_file.write_text(line, encoding="utf-8")
    assert client.get("/predict", headers={"X-API-Key": key}).status_code == 200
    assert client.get("/predict", headers={"X-API-Key": KEY}).status_code == 401


@pytest.fixture
def service(model: Model, settings: Settings, keys_file: Path) -> Iterator[TestClient]:
    """The whole service, with keys."""
    settings = settings.model_copy(update={"keys_file": keys_file, "open_paths": "/health,/docs"})
    app = create_app(settings, model)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_the_whole_service_with_keys(service: TestClient, wav: bytes) -> None:
    assert service.get("/health/live").status_code == 200
    assert service.post("/predict", files={"audio": wav}).status_code == 401
    answer = service.post("/predict", files={"audio": wav}, headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200 and answer.json()["arousal"] is not None


def test_the_document_asks_for_a_key_where_one_is_needed(service: TestClient) -> None:
    for _ in range(2):
        document = service.get("/openapi.json").json()
        schemes = document["components"]["securitySchemes"]
        assert schemes["Bearer"]["scheme"] == "bearer" and schemes["X-API-Key"]["in"] == "header"
        operation = document["paths"]["/predict"]["post"]
        assert operation["security"] == [{name: []} for name in schemes]
        examples = operation["responses"]["401"]["content"]["application/problem+json"]["examples"]
        assert set(examples) == {"key_missing", "key_unknown"}
        assert "security" not in document["paths"]["/health/live"]["get"]


def test_no_key_and_no_hash_is_in_a_log_or_an_answer(
    service: TestClient, wav: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = [KEY, ADMIN, "maeum_guessed", LINE.split()[1], ADMIN_LINE.split()[1]]
    answers = []
    for headers in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {ADMIN}"}, {"X-API-Key": "maeum_guessed"}):
        answers.append(service.post("/predict", files={"audio": wav}, headers=headers))
        answers.append(service.post("/predict", files={"audio": b"nothing"}, headers=headers))
        answers.append(service.post("/admin/reload", headers=headers))
        answers.append(service.get("/nowhere", headers=headers))
    assert {answer.status_code for answer in answers} >= {200, 401, 403, 404}
    shown = caplog.text + "".join(answer.text + str(answer.headers) for answer in answers)
    assert not any(secret in shown for secret in secrets)


def test_a_request_refused_before_routing_counts_under_its_route(service: TestClient) -> None:
    assert service.post("/predict").status_code == 401
    scraped = service.get("/metrics", headers={"X-API-Key": KEY}).text
    assert 'maeum_requests_total{method="POST",route="/predict",status="401"} 1.0' in scraped
