"""What the parts of the web room read of a request's scope."""

from starlette.types import Scope


def route_path(scope: Scope) -> str:
    """The path that the router looks up: without the prefix under which the application is mounted.

    As Starlette's router computes it, so that what is checked here is what is then routed.
    """
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    inside = path.removeprefix(prefix)
    return inside if path.startswith(prefix) and inside[:1] in ("", "/") else path
