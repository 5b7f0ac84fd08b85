"""The path prefix under which a proxy serves the service, as in https://example.org/maeum/predict."""

from collections.abc import Iterable

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import SettingsInvalid
from ..settings import Settings


def add_root_path(app: FastAPI, settings: Settings, paths: Iterable[str]) -> None:
    """Serves `app` under the prefix of the settings. Raises SettingsInvalid where one of its `paths` begins like it.

    Call it last: everything further in reads the path without the prefix (`route_path` in `app.web.state`).
    """
    prefix = settings.root_path
    if not prefix:
        return
    if any(f"{path}/".startswith(f"{prefix}/") for path in paths):
        raise SettingsInvalid(f"MAEUM_ROOT_PATH is {prefix!r}, which is a path of the service itself; use another one.")
    app.add_middleware(RootPathMiddleware, prefix=prefix)


class RootPathMiddleware:
    """Names the prefix in each request, whether or not the proxy has removed it from the path.

    uvicorn's own `root_path` always adds the prefix, so that a proxy which keeps it gets 404 for everything.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            if not f"{scope['path']}/".startswith(f"{self._prefix}/"):
                scope["path"] = self._prefix + scope["path"]
                if "raw_path" in scope:
                    scope["raw_path"] = self._prefix.encode() + scope["raw_path"]
            scope["root_path"] = self._prefix
        await self.app(scope, receive, send)
