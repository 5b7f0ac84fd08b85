"""Access: keys and rate limits, checked before a request's body is read, and their place in the OpenAPI document.

`app.web.keys` has the keys, `app.web.rates` the counts; `app.web.server` checks where the service may listen without
keys.
"""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from ..errors import KeyMissing, KeyNotAdmin, KeyUnknown, MaeumError, RateLimited, SettingsInvalid
from ..settings import Settings
from .keys import Key, KeyRing
from .problems import openapi_responses, problem_response
from .rates import RateLimits
from .state import request_state, route_path

_POLICY_VIOLATION = 1008


def add_access(app: FastAPI, settings: Settings) -> None:
    """Makes `app` require keys and apply rate limits as set. Raises SettingsInvalid."""
    open_paths = OpenPaths(settings.open_paths)
    keys = None if settings.keys_file is None else KeyRing(settings.keys_file)
    app.add_middleware(AccessMiddleware, keys=keys, rates=RateLimits(settings), open_paths=open_paths)
    if keys is not None:
        _add_security(app, open_paths)


class OpenPaths:
    """The paths that need no key, with all paths below them. Raises SettingsInvalid for an invalid path and for `/`."""

    def __init__(self, text: str) -> None:
        paths = [path.strip() for path in text.split(",") if path.strip()]
        # The documentation page needs the files that it loads.
        paths += ["/openapi.json", "/static-offline-docs"] if "/docs" in paths else []
        self._open = [_segments(path.removesuffix("/")) for path in paths]
        for path, segments in zip(paths, self._open, strict=True):
            if not path.startswith("/") or not segments or {"", ".", ".."} & set(segments):
                raise SettingsInvalid(
                    f"MAEUM_OPEN_PATHS has {path!r}: write paths as in /health,/docs. "
                    "To require no keys at all, leave MAEUM_KEYS_FILE unset."
                )

    def __contains__(self, path: str) -> bool:
        segments = _segments(path)
        # A path that another program may read as a different one is not open.
        if "" in segments[:-1] or {".", ".."} & set(segments):
            return False
        return any(segments[: len(each)] == each for each in self._open)


class AccessMiddleware:
    """Lets a request through that is within the rate limits and, where there are `keys`, has a valid key.

    The key's name goes into the request's state. Open paths, and CORS preflights, which can carry no key, need no key
    and are not counted. /admin requires a key marked admin and is never open. No WebSocket is served, so none is let
    through. Must be inside ObserveMiddleware.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing | None, rates: RateLimits, open_paths: OpenPaths) -> None:
        self.app = app
        self.keys = keys
        self.rates = rates
        self.open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose(_POLICY_VIOLATION)(scope, receive, send)
            return
        if scope["type"] == "http":
            path = route_path(scope)
            admin = _is_admin(path)
            if not _is_preflight(scope) and (admin or path not in self.open_paths):
                refusal = await self._refusal(scope, admin)
                if refusal is not None:
                    await refusal(scope, receive, send)
                    return
        await self.app(scope, receive, send)

    async def _refusal(self, scope: Scope, admin: bool) -> ASGIApp | None:
        """The answer that refuses the request; None where it may pass, and its key's name is in the state."""
        state = request_state(scope)
        key: Key | None = None
        unidentified: MaeumError | None = None
        if self.keys is not None:
            try:
                key = _identified(self.keys, scope["headers"])
            except (KeyMissing, KeyUnknown) as error:
                unidentified = error
        name = key and key.name
        wait = await (self.rates.take(name) if unidentified is None else self.rates.take_refused())
        if wait:
            return problem_response(RateLimited(), state.request_id, {"Retry-After": str(wait)})
        if unidentified is not None:
            return problem_response(unidentified, state.request_id, {"WWW-Authenticate": "Bearer"})
        state.key_name = name
        if admin and key is not None and not key.admin:
            return problem_response(KeyNotAdmin(), state.request_id)
        return None


def _identified(keys: KeyRing, headers: Iterable[tuple[bytes, bytes]]) -> Key:
    """The key of a request. Raises KeyMissing without one, KeyUnknown for an unknown one or two different ones."""
    sent = set()
    for name, value in headers:
        text = value.decode("latin-1").strip()
        if name == b"x-api-key":
            sent.add(text)
        elif name == b"authorization":
            scheme, _, credentials = text.partition(" ")
            if scheme.lower() == "bearer":
                sent.add(credentials.strip())
    sent.discard("")
    if not sent:
        raise KeyMissing
    if len(sent) > 1:
        raise KeyUnknown("The request has two different keys; send one.")
    key = keys.find(sent.pop())
    if key is None:
        raise KeyUnknown
    return key


def _segments(path: str) -> tuple[str, ...]:
    """The part after each slash: `/health/live` has health and live."""
    return tuple(path.split("/")[1:])


def _is_admin(path: str) -> bool:
    # Stricter than the router, which knows only the exact spelling /admin.
    return next(filter(None, _segments(path)), "").casefold() == "admin"


def _is_preflight(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return scope["method"] == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def _add_security(app: FastAPI, open_paths: OpenPaths) -> None:
    """Describes both headers in the OpenAPI document, so that the documentation page asks for a key."""
    described = app.openapi

    def with_security() -> dict[str, Any]:
        document = described()
        document.setdefault("components", {})["securitySchemes"] = {
            "Bearer": {"type": "http", "scheme": "bearer", "description": KeyMissing.sentence},
            "X-API-Key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": KeyMissing.sentence},
        }
        for path, operations in document["paths"].items():
            if path in open_paths and not _is_admin(path):
                continue
            refusals = (KeyMissing, KeyUnknown, KeyNotAdmin) if _is_admin(path) else (KeyMissing, KeyUnknown)
            for operation in operations.values():
                operation["security"] = [{"Bearer": []}, {"X-API-Key": []}]
                for status, response in openapi_responses(*refusals).items():
                    operation["responses"].setdefault(str(status), response)
        return document

    app.openapi = with_security  # type: ignore[method-assign]  # as FastAPI documents it
