"""The state of a request, which the layers around it share, and the path that they check."""

import math
from dataclasses import dataclass, field

from starlette.types import Scope

from ..telemetry.stopwatch import Stopwatch

_KEY = "maeum"


@dataclass
class RequestState:
    """One request's state, in `scope["state"]`. `app.web.observe` begins it and reads it at the end."""

    request_id: str
    """The sender's X-Request-ID or a new one: 1 to 64 letters, digits, dots, underscores or hyphens."""
    deadline: float = math.inf
    """When the request is given up, in the event loop's time."""
    key_name: str | None = None
    """The name of the sender's key; None without one."""
    problem: str | None = None
    """The code of the problem that was answered."""
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    """The stages that have begun."""


def begin_request_state(scope: Scope, request_id: str) -> RequestState:
    """Puts a new state into `scope`."""
    state = RequestState(request_id)
    scope.setdefault("state", {})[_KEY] = state
    return state


def request_state(scope: Scope) -> RequestState:
    """The state that was begun in `scope`. Raises KeyError where none was."""
    state: RequestState = scope["state"][_KEY]
    return state


def route_path(scope: Scope) -> str:
    """The path that the router looks up, without the prefix under which the application is mounted.

    Computed as Starlette's router does, so that the path checked is the path routed.
    """
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    inside = path.removeprefix(prefix)
    return inside if path.startswith(prefix) and inside[:1] in ("", "/") else path
