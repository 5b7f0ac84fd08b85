"""The names of what a request holds: fields, query parameters, keys of JSON, and the channel."""

import base64
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.engine.load import Model
from app.service import Service
from app.settings import Settings
from app.web.api import create_app
from tests.support.forms import JSON, URLENCODED, code, part, send


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/model", "/metrics"])
@pytest.mark.parametrize(
    "query", ["verbose=1", "transcript=hm", "x", "x=1&x=2", "%ec%a0%95=1", "%20&" * 500, "x" * 9000]
)
def test_query_parameters_that_nothing_reads(client: TestClient, path: str, query: str) -> None:
    assert code(client.get(f"{path}?{query}")) == (422, "unknown_field")
    assert client.get(f"{path}?").status_code == 200


def test_a_field_in_the_address_is_told_its_place(client: TestClient) -> None:
    for field in ("transcript", "audio", "channel"):
        for body in ({"data": {"transcript": "hm"}}, {}):
            refused = client.post(f"/predict?{field}=hm", **body)
            assert code(refused) == (422, "unknown_field")
            assert f"`{field}` is a field of the body" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("sent", "meant"),
    [("transcripts", "transcript"), ("Transcript", "transcript"), ("auido", "audio"), ("chanel", "channel")],
)
def test_an_unknown_field_is_named_with_the_one_that_was_meant(client: TestClient, sent: str, meant: str) -> None:
    form = send(client, part(sent, b"x"))
    for refused in (form, client.post("/predict", json={sent: "x"}), client.post("/predict", data={sent: "x"})):
        assert code(refused) == (422, "unknown_field")
        assert f"`{sent}`; did you mean `{meant}`?" in refused.json()["detail"]
    far = send(client, part("zzz`\t" + "z" * 500, b"x")).json()["detail"]
    assert "did you mean" not in far and "`audio`, `channel` and `transcript`" in far and len(far) < 200


@pytest.mark.parametrize(("channel", "number"), [("mix", None), ("0", 0), ("1", 1), ("12", 12), ("9999", 9999)])
def test_the_channel_reaches_the_service(
    client: TestClient, wav: bytes, monkeypatch: pytest.MonkeyPatch, channel: str, number: int | None
) -> None:
    asked: list[Any] = []

    async def predict(*given: Any, channel: int | None = None) -> Any:
        asked.append(channel)
        return await answered(*given)

    answered = Service.predict
    monkeypatch.setattr(Service, "predict", predict)
    encoded = base64.b64encode(wav).decode()
    client.post("/predict", files={"audio": wav, "channel": (None, channel)}).raise_for_status()
    for in_json in (channel, channel if number is None else number):
        client.post("/predict", json={"audio": encoded, "channel": in_json}).raise_for_status()
    client.post("/predict", files={"audio": wav}).raise_for_status()
    assert asked == [number, number, number, None]


@pytest.mark.parametrize(
    "channel", ["", "Mix", "left", "-1", "+1", "01", "1.0", " 1", "1 ", "１", "1e3", "10000", "9" * 5000]
)
def test_a_channel_that_is_none(client: TestClient, wav: bytes, channel: str) -> None:
    form = send(client, part("audio", wav, file=True), part("channel", channel.encode()))
    for refused in (form, client.post("/predict", json={"transcript": "hm", "channel": channel})):
        assert code(refused) == (422, "channel_invalid") and "`mix`" in refused.json()["detail"]


@pytest.mark.parametrize("channel", [-1, 1.0, True, 10_000, [0]])
def test_a_channel_in_json_that_is_none(client: TestClient, channel: Any) -> None:
    assert code(client.post("/predict", json={"transcript": "hm", "channel": channel})) == (422, "channel_invalid")


def test_a_reload_is_told_of_json_and_not_of_forms(model: Model, settings: Settings) -> None:
    with TestClient(create_app(settings.model_copy(update={"admin": True}), model)) as client:
        for content, status, kind, said in (
            (b'{"modle": "starter"}', 422, "unknown_field", "`modle`; did you mean `model`?"),
            (b'{"model": "starter", "model": "other"}', 422, "duplicate_field", "twice"),
            (b'{"model": 5}', 422, "invalid_request", "Invalid: model."),
            (b'{"model": "star', 422, "invalid_request", "does not end"),
            (b"[]", 422, "invalid_request", "object"),
            ('{"model": "정"}'.encode("cp949"), 422, "invalid_request", "UTF-8"),
            (b"", 422, "invalid_request", "JSON"),
        ):
            refused = client.post("/admin/reload", content=content, headers=JSON)
            assert code(refused) == (status, kind)
            assert said in refused.json()["detail"] and "multipart" not in refused.text
        for other in ({}, URLENCODED, {"content-type": "text/plain"}):
            refused = client.post("/admin/reload", content=b'{"model": "starter"}', headers=other)
            assert code(refused) == (415, "content_type_unsupported")
            assert "application/json" in refused.json()["detail"]
        assert code(client.post("/admin/reload?model=starter", json={})) == (422, "unknown_field")
