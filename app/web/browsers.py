"""Headers for browsers: which pages may call the service (CORS), and what browsers may do with its answers.

Strict-Transport-Security is not sent: it belongs to the proxy that ends TLS, as only the proxy knows of it.
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

# As browsers write it: lower case, no path, and no port that is the scheme's default.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[1-9]\d{0,4})?")
_DEFAULT_PORT = re.compile(r"http:.*:80|https:.*:443")

_SENT_BY_PAGES = ("Authorization", "X-API-Key", "X-Request-ID", "X-Request-Timeout", "traceparent", "tracestate")
_READ_BY_PAGES = ("X-Request-ID", "Retry-After", "Server-Timing", "traceresponse")

_ON_EVERY_ANSWER = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    # For pages that embed an answer without CORS; requests with CORS are not affected.
    "Cross-Origin-Resource-Policy": "same-origin",
}
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
DATA_HEADERS = {**_ON_EVERY_ANSWER, "Content-Security-Policy": _DATA_POLICY, "Cache-Control": "no-store"}
"""Those of an answer that is no page and no file."""
_DOCS = ("/", "/docs")
_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def add_pages(app: FastAPI, settings: Settings) -> None:
    """Adds CORS where the settings name origins, and the headers for browsers. Raises SettingsInvalid.

    Call it last: these belong outermost, so that pages can read every answer, including failures.
    """
    origins = allowed_origins(settings.cors_origins)
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
    """Makes browsers trust the content type, cache and frame no answer, and load nothing from one.

    The documentation page may load its own files and run its one inline script, which is allowed by its hash.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        docs = route_path(scope) in _DOCS
        held: Message | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_ON_EVERY_ANSWER)
                headers["Content-Security-Policy"] = _DATA_POLICY
                if "etag" not in headers:  # files may be cached, as their tag shows whether they have changed
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
    """A policy that Swagger UI works with: it sets inline styles, and its style sheet has images as data URLs."""
    digests = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in _SCRIPT.findall(page)]
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in digests)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def allowed_origins(text: str) -> list[str]:
    """The origins in `text`; `*` is any. Raises SettingsInvalid."""
    origins = [origin.strip() for origin in text.split(",") if origin.strip()]
    for origin in origins:
        if origin != "*" and (not _ORIGIN.fullmatch(origin) or _DEFAULT_PORT.fullmatch(origin)):
            raise SettingsInvalid(
                f"MAEUM_CORS_ORIGINS has {origin!r}: an origin is scheme://host or scheme://host:port in lower case, "
                "without a path and without the scheme's usual port, or * for any."
            )
    return origins
