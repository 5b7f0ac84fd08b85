"""The state of a request, and the path that is checked."""

import pytest
from starlette._utils import get_route_path

from app.web.state import begin_request_state, request_state, route_path


def test_a_state_is_its_requests_own() -> None:
    one, other = {"state": {"else": 1}}, {}
    begun = begin_request_state(one, "r1")
    begin_request_state(other, "r2").problem = "queue_full"
    assert request_state(one) is begun
    assert (begun.request_id, begun.problem, request_state(other).problem) == ("r1", None, "queue_full")
    with pytest.raises(KeyError):
        request_state({"state": {}})


@pytest.mark.parametrize("prefix", ["", "/", "/api", "/api/"])
@pytest.mark.parametrize("path", ["", "/", "/api", "/api/", "/api/health", "/apis", "//api", "/health", "/api//admin"])
def test_a_path_is_read_as_the_router_reads_it(path: str, prefix: str) -> None:
    scope = {"path": path, "root_path": prefix}
    assert route_path(scope) == get_route_path(scope)
