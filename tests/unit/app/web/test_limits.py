"""The limit in a refusal is the configured one, not the default."""

import asyncio
import json
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.types import Message

from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.web.limits import UploadMiddleware
from app.web.observe import ObserveMiddleware
from app.web.problems import add_handlers
from tests.support.asgi import exchange


def problem(settings: Settings, *parts: bytes, **headers: str) -> dict[str, Any]:
    """The answer to a request of which `parts` arrive, and then nothing more."""
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})

    @app.post("/predict")
    async def predict(request: Request) -> None:
        await request.body()

    metrics = Metrics(max_queue=1)
    add_handlers(app)
    app.add_middleware(UploadMiddleware, settings=settings, admit=lambda scope: None, metrics=metrics)
    app.add_middleware(ObserveMiddleware, metrics=metrics)
    arriving: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    sent = asyncio.run(exchange(app, arriving, named))
    found: dict[str, Any] = json.loads(sent[1]["body"])
    return found


@pytest.mark.parametrize("headers", [{"content_length": "1500001"}, {}])
def test_a_body_that_is_too_large(headers: dict[str, str]) -> None:
    found = problem(Settings(max_body_bytes=1_500_000), b"x" * 1_000_000, b"x" * 500_001, **headers)
    assert (found["code"], found["detail"][:45]) == ("body_too_large", "The request may have at most 1.5 MB. Send one")


def test_a_body_that_is_too_slow() -> None:
    found = problem(Settings(upload_timeout_s=0.05), b"x")
    assert (found["code"], found["detail"][:45]) == ("upload_too_slow", "The request must arrive whole within 0.05 s. ")


@pytest.mark.parametrize("settings", [Settings(timeout_s=0.05), Settings(timeout_s=0.05, upload_timeout_s=0.05)])
def test_a_body_that_has_not_arrived_at_the_deadline_is_late_itself(settings: Settings) -> None:
    assert problem(settings, b"x")["code"] == "upload_too_slow"
    found = problem(Settings(), b"x", x_request_timeout="0.05")
    assert (found["code"], found["detail"][:45]) == ("upload_too_slow", "The request must arrive whole within 0.05 s. ")


@pytest.mark.parametrize(("zeros", "code"), [(5000, "upload_too_slow"), (0, "body_too_large")])
def test_an_announced_length_of_thousands_of_digits(zeros: int, code: str) -> None:
    announced = "0" * zeros if zeros else "1" * 5000
    assert problem(Settings(upload_timeout_s=0.05), b"x", content_length=announced)["code"] == code


def test_more_than_all_bodies_may_hold() -> None:
    full = Settings().model_copy(update={"max_upload_bytes": 10})  # as if the rest were others'
    assert problem(full, b"x" * 11)["code"] == "uploads_full"


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan", "inf", "1_0", "0x1", "1 0", "+1", "1e999", ".", ""])
def test_a_timeout_that_is_no_number_of_seconds(given: str) -> None:
    assert problem(Settings(), b"", x_request_timeout=given)["code"] == "timeout_invalid"
