"""Failures as HTTP answers, RFC 9457 `application/problem+json`, and their place in the OpenAPI document."""

from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from ..errors import (
    AudioEmpty,
    AudioFormatUnsupported,
    AudioTooCostly,
    AudioTooLong,
    AudioTooManyChannels,
    AudioUndecodable,
    BodyTooLarge,
    ChannelInvalid,
    ChannelMissing,
    ContentTypeUnsupported,
    DeadlineExceeded,
    DecoderUnavailable,
    DuplicateField,
    InferenceFailed,
    InternalError,
    InvalidRequest,
    MaeumError,
    MethodNotAllowed,
    NotFound,
    NothingGiven,
    NotReady,
    QueueFull,
    RequestsFull,
    TimeoutInvalid,
    TranscriptTooLong,
    UnknownField,
    UploadsFull,
    UploadTooSlow,
)
from .forms import Refusal
from .schemas import Problem
from .state import request_state, route_path

MEDIA_TYPE = "application/problem+json"

# Every failure of POST /predict.
PREDICT_ERRORS: tuple[type[MaeumError], ...] = (
    BodyTooLarge,
    UploadTooSlow,
    ContentTypeUnsupported,
    AudioFormatUnsupported,
    AudioUndecodable,
    AudioEmpty,
    AudioTooLong,
    AudioTooManyChannels,
    ChannelMissing,
    AudioTooCostly,
    NothingGiven,
    TranscriptTooLong,
    UnknownField,
    DuplicateField,
    ChannelInvalid,
    TimeoutInvalid,
    InvalidRequest,
    QueueFull,
    UploadsFull,
    InferenceFailed,
    InternalError,
    NotReady,
    DecoderUnavailable,
    DeadlineExceeded,
)

# The framework's own failures, by status.
_FRAMEWORK_ERRORS: dict[int, type[MaeumError]] = {404: NotFound, 405: MethodNotAllowed}

# Seconds. A batch takes less than one, and so does the rest of loading, mostly.
_LATER = (QueueFull, RequestsFull, UploadsFull, NotReady, DecoderUnavailable)
_RETRY_AFTER = dict.fromkeys([error.code for error in _LATER], "1")


class _ProblemResponse(JSONResponse):
    """A problem. Sending it puts its code into the request's state, for `app.web.observe`."""

    media_type = MEDIA_TYPE

    def __init__(self, problem: dict[str, Any], status: int, headers: Mapping[str, str]) -> None:
        super().__init__(problem, status, headers)
        self._code = problem["code"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_state(scope).problem = self._code
        await super().__call__(scope, receive, send)


def problem_response(error: MaeumError, request_id: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """`error` as an answer, with `headers`, which may replace the usual Retry-After."""
    usual = {"Retry-After": _RETRY_AFTER[error.code]} if error.code in _RETRY_AFTER else {}
    problem = _problem(type(error), str(error), request_id)
    return _ProblemResponse(problem.model_dump(), error.status, {**usual, **(headers or {})})


def openapi_responses(*errors: type[MaeumError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may fail with `errors`, by status, with an example of each."""
    responses: dict[int | str, dict[str, Any]] = {}
    for error in sorted(errors, key=lambda error: error.status):
        empty = {"schema": Problem.model_json_schema(), "examples": {}}
        response = responses.setdefault(
            error.status, {"description": HTTPStatus(error.status).phrase, "content": {MEDIA_TYPE: empty}}
        )
        example = _problem(error, error.sentence, "6f1d9a52c3e84b0f9a7d2c41e85b7306").model_dump()
        response["content"][MEDIA_TYPE]["examples"][error.code] = {"summary": error.title, "value": example}
    return responses


def add_handlers(app: FastAPI, paths: Collection[str] = ()) -> None:
    """Answers every failure that reaches the framework as a problem. `app.web.observe` answers unexpected ones.

    `paths` are those that are served: where a request has one with other slashes, the answer names it.
    """

    @app.exception_handler(MaeumError)
    async def known(request: Request, error: MaeumError) -> JSONResponse:
        return problem_response(error, request_state(request.scope).request_id)

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> JSONResponse:
        return problem_response(refusal.error, request_state(request.scope).request_id)

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> JSONResponse:
        kind = _FRAMEWORK_ERRORS.get(error.status_code, InvalidRequest if error.status_code < 500 else InternalError)
        sentence = _where(request.scope, paths) if kind is NotFound else None
        response = problem_response(kind(sentence), request_state(request.scope).request_id)
        response.headers.update(error.headers or {})
        return response


def _where(scope: Scope, paths: Collection[str]) -> str | None:
    """The sentence that names the path which was meant, where that is one of `paths` but for its slashes."""
    sent = route_path(scope)
    plain = "/" + "/".join(filter(None, sent.split("/")))
    if plain == sent or plain not in paths:
        return None
    return f"The path has a slash too many or too few; send the request to {scope.get('root_path', '')}{plain}."


def _problem(error: type[MaeumError], sentence: str, request_id: str) -> Problem:
    return Problem(
        type=f"urn:maeum:problem:{error.code}",
        title=error.title,
        status=error.status,
        detail=sentence,
        code=error.code,
        request_id=request_id,
    )
