"""Headers for browsers: which pages may call the service, and the permitted uses of its answers."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.engine.load import Model
from app.errors import SettingsInvalid
from app.settings import Settings
from app.web.api import create_app
from app.web.browsers import add_pages

ORIGIN = "https://example.com"


@pytest.fixture
def serve(model: Model, settings: Settings) -> Iterator[Callable[[str], TestClient]]:
    """The whole service, for pages of some origins."""
    clients: list[TestClient] = []

    def served(origins: str = "") -> TestClient:
        chosen = settings.model_copy(update={"cors_origins": origins})
        app = create_app(chosen, model)

        @app.get("/broken")
        async def broken() -> None:
            raise RuntimeError

        client = TestClient(app, raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return client

    yield served
    for client in clients:
        client.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("path", "status"), [("/model", 200), ("/health/live", 200), ("/nowhere", 404), ("/predict", 405), ("/broken", 500)]
)
def test_answers_are_data_that_browsers_neither_keep_nor_show(
    serve: Callable[..., TestClient], path: str, status: int
) -> None:
    response = serve().get(path)
    assert response.status_code == status
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "Strict-Transport-Security" not in response.headers


def test_the_page_may_run_its_own_script_and_no_other(serve: Callable[..., TestClient]) -> None:
    client = serve()
    page = client.get("/docs")
    policy = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    (inline,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["connect-src"] == "'self'"  # to call the service from the page
    assert "//" not in page.headers["Content-Security-Policy"].replace(digest, "")
    # Every script is either that one or a file of ours, and none sits in an attribute.
    assert all(source.startswith("/") for source in re.findall(r'<script src="([^"]*)', page.text))
    assert not re.search(r"<[^>]+\son\w+=", page.text)


def test_the_files_of_the_page_may_be_kept(serve: Callable[..., TestClient]) -> None:
    client = serve()
    styles = client.get("/static-offline-docs/swagger-ui.css")
    assert styles.status_code == 200 and "Cache-Control" not in styles.headers
    again = client.get("/static-offline-docs/swagger-ui.css", headers={"If-None-Match": styles.headers["ETag"]})
    assert again.status_code == 304 and "Cache-Control" not in again.headers
    assert client.get("/static-offline-docs/nothing.css").headers["Cache-Control"] == "no-store"


def test_by_default_no_page_of_another_origin_may_read(serve: Callable[..., TestClient]) -> None:
    response = serve().get("/model", headers={"Origin": ORIGIN})
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_a_page_of_a_named_origin_may_ask_and_read(serve: Callable[..., TestClient]) -> None:
    client = serve(f"{ORIGIN}, http://localhost:3000")
    asking = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,x-request-timeout",
    }
    for origin in (ORIGIN, "http://localhost:3000"):
        allowed = client.options("/predict", headers={"Origin": origin, **asking})
        assert allowed.status_code == 200
        assert allowed.headers["Access-Control-Allow-Origin"] == origin
        assert "Access-Control-Allow-Credentials" not in allowed.headers
    for path in ("/model", "/broken"):
        answer = client.get(path, headers={"Origin": ORIGIN})
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "Origin" in answer.headers["Vary"]
        exposed = {name.strip() for name in answer.headers["Access-Control-Expose-Headers"].split(",")}
        assert exposed == {"X-Request-ID", "Retry-After", "Server-Timing", "traceresponse"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
        {"Origin": f"{ORIGIN}.evil.example", "Access-Control-Request-Method": "POST"},
        {"Origin": "null", "Access-Control-Request-Method": "POST"},
        {"Origin": ORIGIN, "Access-Control-Request-Method": "DELETE"},
        {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "cookie"},
    ],
)
def test_other_origins_methods_and_headers_are_not_allowed(
    serve: Callable[..., TestClient], headers: dict[str, str]
) -> None:
    assert serve(ORIGIN).options("/predict", headers=headers).status_code == 400


def test_any_origin_is_allowed_without_credentials(serve: Callable[..., TestClient]) -> None:
    answer = serve("*").get("/model", headers={"Origin": ORIGIN, "Cookie": "a=b"})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["https://a.example", "http://10.0.0.1:8080", "http://[::1]:3000", "http://localhost"]
)
def test_origins_are_taken_as_browsers_write_them(origin: str) -> None:
    add_pages(FastAPI(), Settings(cors_origins=origin))


@pytest.mark.parametrize(
    "wrong",
    [
        *("example.com", "https://example.com/", "https://example.com/path", "https://*.example.com", "null"),
        *("https://Example.com", "https://example.com:443", "http://example.com:80", "https://user@example.com"),
        *("https://", "https://a.example https://b.example", "https://example.com\nx", "https://집.example"),
    ],
)
def test_an_origin_that_could_never_match_is_named(wrong: str) -> None:
    with pytest.raises(SettingsInvalid, match="MAEUM_CORS_ORIGINS"):
        add_pages(FastAPI(), Settings(cors_origins=f"{ORIGIN},{wrong}"))
