"""What browsers are told: which pages may call the service (CORS), and what they may do with its answers.

Strict-Transport-Security is not sent: that belongs to the proxy that ends TLS, which alone knows that there is TLS.
"""

import base64
import hashlib
import re

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import SettingsInvalid
from ..settings import Settings
from .state import route_path

# As browsers write it: lower case, no path, and no port where it is the scheme's own.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[1-9]\d{0,4})?")
_DEFAULT_PORT = re.compile(r"http:.*:80|https:.*:443")

_SENT_BY_PAGES = ("Authorization", "X-API-Key", "X-Request-ID", "X-Request-Timeout", "traceparent", "tracestate")
_READ_BY_PAGES = ("X-Request-ID", "Retry-After", "Server-Timing", "traceresponse")

_ON_EVERY_ANSWER = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    # For pages that embed without asking; those that ask, by CORS, are not held to it.
    "Cross-Origin-Resource-Policy": "same-origin",
}
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
_DOCS = "/docs"
_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def add_pages(app: FastAPI, settings: Settings) -> None:
    """Adds CORS where the settings name origins, and the headers for browsers. Raises SettingsInvalid.

    Call it last: these belong outermost, so that pages can read every answer, failures too.
    """
    origins = _origins(settings.cors_origins)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("GET", "POST"),
            allow_headers=_SENT_BY_PAGES,
            expose_headers=_READ_BY_PAGES,
        )
    app.add_middleware(BrowserHeadersMiddleware)


class BrowserHeadersMiddleware:
    """Tells browsers to take every answer for what it says it is, to keep none, to frame none and to load nothing.

    The page of the documentation may load its own files and run its one inline script, which is named by its hash.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        docs = route_path(scope) == _DOCS
        held: Message | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_ON_EVERY_ANSWER)
                headers["Content-Security-Policy"] = _DATA_POLICY
                if "etag" not in headers:  # files may be kept, as they can be asked for anew by their tag
                    headers.setdefault("Cache-Control", "no-store")
                if docs and headers.get("content-type", "").startswith("text/html"):
                    held = message
                    return
            elif held is not None:
                MutableHeaders(scope=held)["Content-Security-Policy"] = _docs_policy(message.get("body", b""))
                await send(held)
                held = None
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _docs_policy(page: bytes) -> str:
    """A policy under which Swagger UI works: it sets styles inline, and its styles hold images as data."""
    digests = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in _SCRIPT.findall(page)]
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in digests)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _origins(text: str) -> list[str]:
    """The origins in `text`; `*` is any."""
    origins = [origin.strip() for origin in text.split(",") if origin.strip()]
    for origin in origins:
        if origin != "*" and (not _ORIGIN.fullmatch(origin) or _DEFAULT_PORT.fullmatch(origin)):
            raise SettingsInvalid(
                f"MAEUM_CORS_ORIGINS names {origin!r}: an origin is scheme://host or scheme://host:port in lower case, "
                "without a path and without the scheme's usual port, or * for any."
            )
    return origins
