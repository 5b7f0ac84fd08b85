"""The prefix of a proxy: everything works with it, also where the proxy has removed it."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.engine.load import Model
from app.errors import SettingsInvalid
from app.service import Service
from app.settings import Settings
from app.web.api import create_app


@pytest.fixture
def serve(model: Model, settings: Settings) -> Iterator[Callable[..., TestClient]]:
    clients: list[TestClient] = []

    def start(root_path: str = "/maeum", **changed: object) -> TestClient:
        own = settings.model_copy(update={"root_path": root_path, **changed})
        clients.append(TestClient(create_app(own, model)))
        return clients[-1].__enter__()

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.mark.parametrize("prefix", ["/maeum", ""], ids=["kept", "removed"])
def test_it_answers_with_the_prefix_and_without(serve: Callable[..., TestClient], prefix: str) -> None:
    client = serve()
    assert client.post(f"{prefix}/predict", data={"transcript": "hm"}).status_code == 200
    assert client.get(f"{prefix}/health/ready").status_code == 200
    assert client.get(f"{prefix}/static-offline-docs/swagger-ui.css").status_code == 200
    page = client.get(f"{prefix}/docs")
    assert "'/maeum/openapi.json'" in page.text and "sha256-" in page.headers["content-security-policy"]
    assert client.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/maeum"}]
    wrong = client.get(f"{prefix}/model/").json()["detail"]
    assert " /maeum/model." in wrong


def test_the_prefix_alone_is_told_its_slash(serve: Callable[..., TestClient]) -> None:
    client = serve()
    assert " /maeum/." in client.get("/maeum").json()["detail"]
    assert client.get("/maeum/").status_code == 200
    assert client.get("/maeumx/model").status_code == 404


def test_routes_are_counted_and_logged_without_it(
    serve: Callable[..., TestClient], caplog: pytest.LogCaptureFixture
) -> None:
    client = serve()
    with caplog.at_level(logging.INFO, "app.access"):
        client.get("/maeum/health/live")  # quiet
        client.post("/maeum/predict", headers={"X-Request-Timeout": "never"})  # refused before it is routed
        client.get("/maeum/static-offline-docs/predict")
    assert [record.getMessage() for record in caplog.records if record.name == "app.access"] == [
        "POST /predict 422",
        "GET unmatched 404",
    ]
    assert 'route="/health/live",status="200"} 1.0' in client.get("/maeum/metrics").text


def test_room_is_checked_before_the_body_under_a_prefix(
    serve: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(Service, "check_room", lambda self, has_audio: asked.append(1))
    serve().post("/maeum/predict", headers={"content-type": "text/plain"})
    assert asked


def test_keys_are_asked_for_under_a_prefix(serve: Callable[..., TestClient], tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"shop {'0' * 64}\n")
    client = serve(keys_file=keys, admin=True)
    assert client.get("/maeum/health/live").status_code == 200
    for path in ("/maeum/model", "/maeum/admin/reload", "/maeum//health/../model", "/maeum"):
        assert client.get(path).status_code == 401


@pytest.mark.parametrize("prefix", ["/predict", "/health", "/docs", "/admin"])
def test_a_prefix_that_is_a_path_of_ours(model: Model, settings: Settings, prefix: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"MAEUM_ROOT_PATH is '{prefix}'"):
        create_app(settings.model_copy(update={"root_path": prefix, "admin": True}), model)
