"""Where the service may listen without keys, and how a server takes leave of its listener."""

import asyncio
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from app.engine.load import Model
from app.errors import SettingsInvalid
from app.settings import Settings
from app.web.api import create_app
from app.web.server import Server, check_exposure


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.1", "localhost", "::1", "::ffff:127.0.0.1"])
def test_this_machine_alone_needs_no_keys(host: str) -> None:
    check_exposure(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "0", "192.0.2.1", "2001:db8::1", "::ffff:0.0.0.0", "fe80::1%1"])
def test_elsewhere_it_refuses_and_names_both_ways_out(host: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"MAEUM_KEYS_FILE.* MAEUM_WITHOUT_KEYS=anyone"):
        check_exposure(Settings(host=host))


@pytest.mark.parametrize("way_out", [{"keys_file": Path("keys")}, {"without_keys": "anyone"}])
def test_either_way_out_lets_it_listen_anywhere(way_out: dict[str, Any]) -> None:
    check_exposure(Settings(host="0.0.0.0", **way_out))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "[::1]", "a" * 70])
def test_a_host_that_cannot_be_resolved_is_left_to_the_bind(host: str) -> None:
    check_exposure(Settings(host=host))


def test_anyone_may_ask_but_not_exchange_the_model() -> None:
    check_exposure(Settings(host="127.0.0.1", admin=True, without_keys="anyone"))
    check_exposure(Settings(host="0.0.0.0", admin=True, keys_file=Path("keys")))
    with pytest.raises(SettingsInvalid, match="maeum key NAME --admin"):
        check_exposure(Settings(host="0.0.0.0", admin=True, without_keys="anyone"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can ignore new connections and keep those that it has")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_no_connection_is_made_that_the_end_would_break(
    model: Model, settings: Settings, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """One that is made between the last accept and the close of the listener is reset after its request."""
    outcomes: list[BaseException | None] = []
    closes = uvicorn.Server.shutdown

    async def shutdown(self: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        outcomes.append(await asyncio.to_thread(attempt, sockets[0] if sockets else listener))
        await closes(self, sockets)

    def attempt(listener: socket.socket) -> BaseException | None:
        try:
            socket.create_connection(listener.getsockname()[:2], timeout=0.3).close()
        except OSError as error:
            return error
        return None

    monkeypatch.setattr(uvicorn.Server, "shutdown", shutdown)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        server = Server(create_app(settings, model), settings)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        assert _until(lambda: attempt(listener) is None and server.started)
        server.should_exit = True
        thread.join()
    assert [type(outcome) for outcome in outcomes] == [TimeoutError]


def _until(holds: Callable[[], bool]) -> bool:
    return any(holds() or threading.Event().wait(0.05) for _ in range(400))
