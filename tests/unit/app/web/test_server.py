"""Without keys, the service listens only where other machines cannot reach it, unless a setting allows more."""

from pathlib import Path
from typing import Any

import pytest

from app.errors import SettingsInvalid
from app.settings import Settings
from app.web.server import check_exposure


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
