"""Pages of other sites, by the name in `Host`, `Origin` and `Sec-Fetch-Site`; everything else that clients send."""

import socket
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.errors import SettingsInvalid
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.web.browsers import add_pages
from app.web.cross_site import add_cross_site
from app.web.keys import new_key
from app.web.observe import ObserveMiddleware

PAGE = "https://page.example"


def build(address: str = "127.0.0.1", **settings: Any) -> TestClient:
    """A client of a service that answers every request with 200; its connections end at `address`, port 8000."""
    app = FastAPI()
    app.add_api_route("/predict", lambda: None, methods=["GET", "POST", "OPTIONS"])
    own = Settings(**settings)
    add_cross_site(app, own)
    app.add_middleware(ObserveMiddleware, metrics=Metrics(1))
    add_pages(app, own)
    host = f"[{address}]" if ":" in address else address
    return TestClient(app, base_url=f"http://{host}:8000")


def code(client: TestClient, method: str = "POST", **headers: str) -> str | None:
    """The code of the refusal, None without one."""
    answer = client.request(
        method, "/predict", headers={name.replace("_", "-"): text for name, text in headers.items()}
    )
    return None if answer.status_code == 200 else answer.json()["code"]


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:8000", "127.0.0.1", "localhost:8000", "LOCALHOST", "[::1]:8000", "[::1]", "192.0.2.7:9000"),
        *("maeum:8000", "x", "service.localhost:8000", "host.docker.internal:8000", "localhost.:8000"),
        *("[::ffff:127.0.0.1]:8000", socket.gethostname()),
    ],
)
def test_names_that_no_page_can_have(host: str) -> None:
    for client in (build(), build("::1"), build("::ffff:127.0.0.1"), build(allowed_hosts="speech.example.org")):
        assert code(client, Host=host) is None


@pytest.mark.parametrize(
    "host", ["page.example:8000", "page.example", "localhost.page.example:8000", "127.0.0.1.nip.io"]
)
def test_a_page_that_points_its_name_here_is_refused(host: str) -> None:
    for client in (
        build(),
        build("::1"),
        build(allowed_hosts="speech.example.org"),
        build(allowed_hosts=".example.org"),
    ):
        for method in ("GET", "POST"):
            assert code(client, method, Host=host, Sec_Fetch_Site="same-origin") == "host_not_allowed"


def test_where_others_may_call_or_need_keys_any_name_is_taken(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(new_key("shop")[1])
    for client in (build("192.0.2.7"), build(without_keys="anyone"), build(keys_file=keys), build(allowed_hosts="*")):
        assert code(client, Host="speech.example.org") is None


def test_names_that_are_allowed() -> None:
    client = build(without_keys="anyone", allowed_hosts="speech.example.org, .example.com")
    for host in ("speech.example.org", "Speech.Example.Org:443", "a.example.com", "a.b.example.com:1"):
        assert code(client, Host=host) is None
    for host in ("example.org", "a.speech.example.org", "example.com", "aexample.com"):
        assert code(client, Host=host) == "host_not_allowed"


@pytest.mark.parametrize("wrong", ["https://example.org", "example.org:8000", "*.example.org", "a b", "example.org/"])
def test_a_name_that_could_never_match_is_named(wrong: str) -> None:
    with pytest.raises(SettingsInvalid, match="MAEUM_ALLOWED_HOSTS"):
        add_cross_site(FastAPI(), Settings(allowed_hosts=f"a.example,{wrong}"))


@pytest.mark.parametrize("origin", [PAGE, "null", "http://127.0.0.1:3000", "http://localhost:8000"])
@pytest.mark.parametrize("site", ["cross-site", "same-site", None])
def test_what_a_page_of_another_site_posts_is_refused(origin: str, site: str | None) -> None:
    headers = {"Origin": origin, **({"Sec_Fetch_Site": site, "Sec_Fetch_Mode": "navigate"} if site else {})}
    for client in (build(), build(without_keys="anyone"), build(cors_origins="https://other.example")):
        assert code(client, **headers) == "origin_not_allowed"


@pytest.mark.parametrize("mode", ["no-cors", "cors", "websocket"])
def test_a_page_of_another_site_cannot_embed_an_answer(mode: str) -> None:
    assert code(build(), "GET", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode=mode) == "origin_not_allowed"


def test_a_link_from_another_site_works() -> None:
    assert code(build(), "GET", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate") is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec_Fetch_Site": "same-origin", "Origin": "http://127.0.0.1:8000"},
        {"Sec_Fetch_Site": "same-origin", "Origin": "https://speech.example.org"},  # behind a proxy that changes Host
        {"Sec_Fetch_Site": "none"},
        {"Origin": "http://127.0.0.1:8000"},
    ],
)
def test_pages_of_the_service_and_other_programs_are_not_affected(headers: dict[str, str]) -> None:
    for method in ("GET", "POST"):
        assert code(build(), method, **headers) is None


@pytest.mark.parametrize("allowed", [PAGE, "*", f"https://other.example,{PAGE}"])
def test_origins_that_are_allowed_may_call(allowed: str) -> None:
    client = build(cors_origins=allowed)
    assert code(client, Origin=PAGE, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="cors") is None
    asking = {"Origin": PAGE, "Access_Control_Request_Method": "POST", "Sec_Fetch_Site": "cross-site"}
    assert code(client, "OPTIONS", **asking) is None


def test_a_refusal_is_a_problem_that_names_the_setting() -> None:
    for headers, status, setting in (
        ({"Host": "page.example"}, 421, "MAEUM_ALLOWED_HOSTS"),
        ({"Origin": PAGE}, 403, "MAEUM_CORS_ORIGINS"),
    ):
        answer = build().post("/predict", headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert setting in answer.json()["detail"]
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
