"""Behind the real nginx and the real Caddy, with the very configurations of docs/proxy.md."""

import asyncio
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from app.engine.load import Model
from app.settings import Settings
from app.web.api import create_app
from tests.support import ROOT

PAGE = ROOT / "docs/proxy.md"
PROXIES = ("nginx", "caddy")
ELSEWHERE = "127.0.0.2"  # a client's address that is not the proxy's


def example(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return found


def put(text: str, replacements: dict[str, str]) -> str:
    """`text` with each replacement, every one of which must occur exactly once."""
    for old, new in replacements.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def command(proxy: str, folder: Path, port: int, service: str, removes_prefix: bool) -> list[str]:
    """Writes the configuration of the page and returns the command that runs it."""
    if proxy == "nginx":
        text = put(
            example("nginx"),
            {
                "server 127.0.0.1:8000;": f"server {service};",
                "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
                "/etc/ssl/speech.example.org.pem": f"{folder}/own.pem",
                "/etc/ssl/speech.example.org.key": f"{folder}/own.key",
                **({"proxy_pass http://maeum;": "proxy_pass http://maeum/;"} if removes_prefix else {}),
            },
        )
        user = "user root;" if os.geteuid() == 0 else ""
        paths = [f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
        around = f"{user} daemon off; pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off;"
        (folder / "nginx.conf").write_text(" ".join([around, *paths]) + text + "}")
        return [str(found("nginx")), "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
    text = put(
        example("caddyfile"),
        {
            "{\n    servers {": f"{{\n    admin off\n    storage file_system {folder}\n    servers {{",
            "speech.example.org {": f"https://127.0.0.1:{port} {{\n    tls {folder}/own.pem {folder}/own.key",
            "reverse_proxy 127.0.0.1:8000": f"reverse_proxy {service}",
            **({"handle /maeum/*": "handle_path /maeum/*"} if removes_prefix else {}),
        },
    )
    (folder / "Caddyfile").write_text(
        put(text, {"\n    servers {": "\n    auto_https disable_redirects\n    servers {"})
    )
    return [str(found("caddy")), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def found(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with own.pem and own.key, for 127.0.0.1."""
    if found("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", *request.split(), "-keyout", "own.key", "-out", "own.pem"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture
def behind(
    listen: Callable[[FastAPI, Settings], tuple[str, int]],
    certificate: Path,
    tmp_path: Path,
    settings: Settings,
    model: Model,
) -> Iterator[Callable[..., httpx.Client]]:
    """Starts the service behind a proxy and returns a client of the proxy, at /maeum/."""
    with ExitStack() as stack:

        def start(proxy: str, removes_prefix: bool = False, **changed: Any) -> httpx.Client:
            if found(proxy) is None:
                pytest.skip(f"{proxy} is not installed (apt-get install {proxy})")
            own = settings.model_copy(update={"root_path": "/maeum", **changed})
            app = create_app(own, model)
            app.router.routes += [Route("/who", who), Route("/lines", lines)]
            host, port = listen(app, own)
            for name in ("own.pem", "own.key"):
                shutil.copy(certificate / name, tmp_path)
            with socket.create_server(("127.0.0.1", 0)) as free:
                outside = free.getsockname()[1]
            run = command(proxy, tmp_path, outside, f"{host}:{port}", removes_prefix)
            log = stack.enter_context((tmp_path / "proxy.log").open("w"))
            process = subprocess.Popen(run, stdout=log, stderr=log, env={**os.environ, "HOME": str(tmp_path)})
            stack.callback(process.wait)
            stack.callback(process.terminate)
            trusted = ssl.create_default_context(cafile=str(certificate / "own.pem"))
            client = stack.enter_context(
                httpx.Client(
                    base_url=f"https://127.0.0.1:{outside}",
                    timeout=60,
                    transport=httpx.HTTPTransport(verify=trusted, local_address=ELSEWHERE),
                )
            )
            deadline = time.monotonic() + 30
            while True:
                assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "proxy.log").read_text()
                try:
                    if client.get("/maeum/health/ready").status_code == 200:
                        return client
                except httpx.ConnectError:
                    time.sleep(0.05)

        yield start


async def who(request: Request) -> JSONResponse:
    return JSONResponse({"client": request.client and request.client.host, "url": str(request.url)})


async def lines(request: Request) -> StreamingResponse:
    """Two lines of an answer, three seconds apart."""

    async def content() -> AsyncIterator[bytes]:
        yield b'{"n": 1}\n'
        await asyncio.sleep(3)
        yield b'{"n": 2}\n'

    return StreamingResponse(content(), media_type="application/x-ndjson", headers={"X-Accel-Buffering": "no"})


@pytest.mark.parametrize("removes_prefix", [False, True], ids=["prefix kept", "prefix removed"])
@pytest.mark.parametrize("proxy", PROXIES)
def test_everything_is_reached_behind_a_proxy(
    behind: Callable[..., httpx.Client], tmp_path: Path, wav: bytes, proxy: str, removes_prefix: bool
) -> None:
    client = behind(proxy, removes_prefix)

    # An answer, also to the largest body.
    answer = client.post("/maeum/predict", files={"audio": wav, "transcript": (None, "정말 고마워요".encode())})
    assert answer.status_code == 200 and answer.json()["modalities"] == ["audio", "text"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "max-age" in answer.headers["strict-transport-security"]
    largest = client.post("/maeum/predict", files={"audio": wav + bytes(24_999_000 - len(wav))})
    assert largest.status_code == 200
    assert "temporary file" not in (tmp_path / "proxy.log").read_text()  # as nginx warns when it writes one

    # The documentation, with all that it loads, and where it sends requests.
    page = client.get("/maeum/docs")
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) == 3 and all(asset.startswith("/maeum/") for asset in assets)
    for asset in assets:
        assert client.get(asset).status_code == 200
    (document,) = re.findall(r"url: '([^']+)'", page.text)
    described = client.get(document).json()
    assert described["servers"] == [{"url": "/maeum"}]
    assert client.get("/maeum/").text == page.text
    for path, methods in described["paths"].items():
        if "get" in methods and path != "/metrics":
            assert client.get(described["servers"][0]["url"] + path).status_code == 200

    # Failures are the service's.
    for path in ("/maeum/predict/", "/maeum/predict//"):
        lost = client.post(path, data={"transcript": "hm"}, follow_redirects=False)
        assert (lost.status_code, lost.json()["code"]) == (404, "not_found")
        assert " /maeum/predict." in lost.json()["detail"]
    for path in ("/maeum/admin/reload", "/maeum/metrics"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize("size", [25_000_001, 30_000_000])
@pytest.mark.parametrize("proxy", PROXIES)
def test_a_body_that_is_too_large_is_a_problem_document(
    behind: Callable[..., httpx.Client], proxy: str, size: int
) -> None:
    client = behind(proxy)
    refused = client.post("/maeum/predict", files={"audio": bytes(size)})
    assert refused.status_code == 413 and refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["code"] == "body_too_large" and problem["request_id"]
    assert set(problem) == {"type", "title", "status", "detail", "code", "request_id"}


@pytest.mark.parametrize("proxy", PROXIES)
def test_an_answer_arrives_piece_by_piece(behind: Callable[..., httpx.Client], proxy: str) -> None:
    client = behind(proxy)
    began = time.monotonic()
    with client.stream("GET", "/maeum/lines") as answer:
        pieces = answer.iter_lines()
        assert next(pieces) == '{"n": 1}'
        assert time.monotonic() - began < 2.5
        assert next(pieces) == '{"n": 2}'


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_client_is_known_behind_a_proxy(behind: Callable[..., httpx.Client], proxy: str) -> None:
    client = behind(proxy)
    for forged in ({}, {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http"}):
        seen = client.get("/maeum/who", headers=forged).json()
        assert seen["client"] == ELSEWHERE
        assert seen["url"].startswith("https://127.0.0.1") and seen["url"].endswith("/maeum/who")


def test_the_name_that_a_proxy_passes_on_can_be_allowed(behind: Callable[..., httpx.Client]) -> None:
    """Only nginx, as the test's Caddy answers for no other name."""
    named = {"Host": "speech.example.org"}
    asked = behind("nginx", allowed_hosts="speech.example.org").get("/maeum/model", headers=named)
    assert asked.status_code == 200


def test_the_name_of_a_proxy_that_is_not_allowed_is_refused(behind: Callable[..., httpx.Client]) -> None:
    refused = behind("nginx").get("/maeum/model", headers={"Host": "speech.example.org"})
    assert (refused.status_code, refused.json()["code"]) == (421, "host_not_allowed")
    assert "MAEUM_ALLOWED_HOSTS" in refused.json()["detail"]


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_proxy_that_is_not_named_is_not_believed(behind: Callable[..., httpx.Client], proxy: str) -> None:
    client = behind(proxy, forwarded_allow_ips="10.0.0.0/8")
    seen = client.get("/maeum/who").json()
    assert seen["client"] == "127.0.0.1" and seen["url"].startswith("http://")
