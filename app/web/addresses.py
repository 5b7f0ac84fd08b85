"""IP addresses as text, with IPv4 addresses that a socket for both families writes as ::ffff:127.0.0.1."""

import ipaddress
from functools import lru_cache


def unmapped(address: str) -> str:
    """`address`, as IPv4 where it is a mapped one."""
    return address.removeprefix("::ffff:")


def is_address(text: str) -> bool:
    """Whether `text` is an IP address and no name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=64)  # asked for each request, about the few addresses of this machine
def is_loopback(text: str) -> bool:
    """Whether `text` is an address of this machine that others cannot reach. False for a name."""
    return is_address(text) and ipaddress.ip_address(unmapped(text)).is_loopback
