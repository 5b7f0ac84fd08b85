"""Refuses what a page of another site makes its visitor's browser send.

A page can post a form to any address that its visitor reaches, also to a service on the visitor's machine. Browsers
say from where a request comes (`Origin`, `Sec-Fetch-Site`); other programs do not, and pass. A page can also point its
own DNS name at that machine (DNS rebinding): for the browser, the service is then of the page's site. Such a request
has that name in `Host`.
"""

import re
import socket
from collections.abc import Collection

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import HostNotAllowed, MaeumError, OriginNotAllowed, SettingsInvalid
from ..settings import Settings
from .addresses import is_address, is_loopback
from .browsers import allowed_origins
from .problems import problem_response
from .state import request_state

_READ = frozenset({b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode"})
_PORT = re.compile(r":[0-9]*$")
# A name, or all names under one.
_NAME = re.compile(r"\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
# Nobody can have a public DNS name under these (RFC 6761, and ICANN's resolution 2024.07.29.06).
_NEVER_PUBLIC = (".localhost", ".internal")


def add_cross_site(app: FastAPI, settings: Settings) -> None:
    """Makes `app` refuse requests from pages of other sites. Raises SettingsInvalid.

    Must be inside ObserveMiddleware.
    """
    app.add_middleware(
        CrossSiteMiddleware,
        names=_allowed_names(settings.allowed_hosts),
        ask_on_loopback=settings.keys_file is None and settings.without_keys == "loopback",
        origins=allowed_origins(settings.cors_origins),
    )


class CrossSiteMiddleware:
    """Answers `host_not_allowed` to names that are not the service's, and `origin_not_allowed` to pages of others.

    `names` are those that the operator has set. Without any, every name is taken, but not where `ask_on_loopback` and
    the connection comes from this machine. `origins` are those whose pages may call the service.
    """

    def __init__(self, app: ASGIApp, names: Collection[str], ask_on_loopback: bool, origins: Collection[str]) -> None:
        self.app = app
        self._names = [*names, socket.gethostname().lower(), *_NEVER_PUBLIC]
        self._ask, self._ask_on_loopback = bool(names), ask_on_loopback
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is not None:
            await problem_response(refusal, request_state(scope).request_id)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> MaeumError | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _READ}
        host = headers.get(b"host", "").lower()
        local = scope.get("server")
        asks = self._ask or (self._ask_on_loopback and local is not None and is_loopback(local[0]))
        if asks and not self._is_ours(host):
            return HostNotAllowed()
        if self._is_foreign(scope["method"], host, headers):
            return OriginNotAllowed()
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether `host` cannot be the name of another site's page: a name without a dot is in no public DNS."""
        name = _PORT.sub("", host).removesuffix(".")
        if "." not in name or is_address(name.strip("[]")) or "*" in self._names:
            return True
        return any(name == each or (each.startswith(".") and name.endswith(each)) for each in self._names)

    def _is_foreign(self, method: str, host: str, headers: dict[bytes, str]) -> bool:
        """Whether a page of another origin sends the request, and it is not only a link that is followed."""
        origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
        if "*" in self._origins or origin in self._origins or site in ("same-origin", "none"):
            return False
        if site is not None:
            return method not in ("GET", "HEAD") or headers.get(b"sec-fetch-mode") != "navigate"
        # Older browsers, and addresses without TLS that are not this machine's: there an origin comes with every POST.
        return method not in ("GET", "HEAD") and origin is not None and origin.partition("://")[2] != host


def _allowed_names(text: str) -> list[str]:
    """The names in `text`; `.example.org` is all names under it, `*` is any."""
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if name != "*" and not _NAME.fullmatch(name):
            raise SettingsInvalid(
                f"MAEUM_ALLOWED_HOSTS has {name!r}: write names as in speech.example.org, without scheme and port, "
                ".example.org for all names under it, or * for any."
            )
    return names
