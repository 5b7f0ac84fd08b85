"""Where the service listens, where it may without keys, and how a server takes leave of its listener."""

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
from app.web.server import Server, check_exposure, listen


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.1", "localhost", "::1"])
def test_this_machine_alone_needs_no_keys(host: str) -> None:
    listen(Settings(host=host, port=0)).close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "0"])
def test_elsewhere_it_refuses_and_names_both_ways_out(host: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"MAEUM_KEYS_FILE.* MAEUM_WITHOUT_KEYS=anyone"):
        listen(Settings(host=host, port=0))


def test_the_address_that_a_name_is_bound_to_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may lead elsewhere, or nowhere, whenever it is looked up."""

    def everywhere(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("0.0.0.0", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", everywhere)
    with pytest.raises(SettingsInvalid, match=r"On service\.example other machines"):
        listen(Settings(host="service.example", port=0))


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "fe80::1", "::ffff:192.0.2.1"])
def test_addresses_of_other_networks_need_keys(address: str) -> None:
    with pytest.raises(SettingsInvalid, match="MAEUM_KEYS_FILE"):
        check_exposure(Settings(host="service.example"), address)


@pytest.mark.parametrize("way_out", [{"keys_file": Path("keys")}, {"without_keys": "anyone"}])
def test_either_way_out_lets_it_listen_anywhere(way_out: dict[str, Any]) -> None:
    listen(Settings(host="0.0.0.0", port=0, **way_out)).close()


@pytest.mark.parametrize(
    "host", ["no-such-host.invalid", "[::1]", "a" * 70, "a..b", "a b", "\udcff", "a\0", "192.0.2.1"]
)
def test_a_host_where_none_can_listen_is_named(host: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"Cannot listen on .*--host"):
        listen(Settings(host=host, port=0, without_keys="anyone"))


def test_mapped_addresses_are_what_they_map() -> None:
    check_exposure(Settings(), "::ffff:127.0.0.1")
    with pytest.raises(SettingsInvalid):
        check_exposure(Settings(), "::ffff:0.0.0.0")


def test_anyone_may_ask_but_not_exchange_the_model() -> None:
    check_exposure(Settings(admin=True, without_keys="anyone"), "127.0.0.1")
    check_exposure(Settings(admin=True, keys_file=Path("keys")), "0.0.0.0")
    with pytest.raises(SettingsInvalid, match="maeum key NAME --admin"):
        check_exposure(Settings(admin=True, without_keys="anyone"), "0.0.0.0")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="the system lacks IPv4 or IPv6")
def test_every_address_of_ipv6_takes_ipv4_too() -> None:
    with listen(Settings(host="::", port=0, without_keys="anyone")) as listener:
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, listener.getsockname()[1]), timeout=20).close()


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
