"""What is read of a request's scope."""

import pytest
from starlette._utils import get_route_path

from app.web.state import route_path


@pytest.mark.parametrize("prefix", ["", "/", "/api", "/api/"])
@pytest.mark.parametrize("path", ["", "/", "/api", "/api/", "/api/health", "/apis", "//api", "/health", "/api//admin"])
def test_a_path_is_read_as_the_router_reads_it(path: str, prefix: str) -> None:
    scope = {"path": path, "root_path": prefix}
    assert route_path(scope) == get_route_path(scope)
