"""Where the service may listen while it asks nobody for a key. Opening the socket is the command's."""

import ipaddress
import socket

from app.errors import SettingsInvalid
from app.settings import Settings


def check_exposure(settings: Settings) -> None:
    """Raises SettingsInvalid where other machines could reach a service without keys, and nobody said that they may.

    They may never reach /admin without one.
    """
    if settings.keys_file is not None or _is_loopback(settings.host):
        return
    if settings.without_keys == "anyone":
        if settings.admin:
            raise SettingsInvalid(
                f"On {settings.host or 'every address'} anyone could exchange the model: MAEUM_ADMIN needs keys there. "
                "Make one with `maeum key NAME --admin` and name its file in MAEUM_KEYS_FILE."
            )
        return
    raise SettingsInvalid(
        f"On {settings.host or 'every address'} other machines can reach the service, and it has no keys. Make one "
        "with `maeum key NAME` and name its file in MAEUM_KEYS_FILE; or let everyone in who reaches it, by "
        "MAEUM_WITHOUT_KEYS=anyone."
    )


def _is_loopback(host: str) -> bool:
    """Whether every address of `host` is this machine's own. One that cannot be resolved is left to the bind."""
    if not host:
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return True
    return all(_is_loopback_address(str(address[0])) for *_, address in found)


def _is_loopback_address(text: str) -> bool:
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
