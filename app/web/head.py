"""What a server must refuse of a request's head (RFC 9112), where the parser does not.

Two programs that read such a head differently, a proxy and the service, see different requests in the same bytes.
"""

import re
from collections.abc import Iterable

from ..errors import HttpInvalid, TransferCodingUnsupported

# A host and optionally a port, as RFC 3986 writes them; both may be empty.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|([\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(:[0-9]*)?")


def check_head(version: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises HttpInvalid, TransferCodingUnsupported. The names of `headers` are in lower case."""
    hosts, codings = [], []
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"transfer-encoding":
            codings += [coding.strip().lower() for coding in value.split(b",")]
    if version not in ("1.0", "1.1"):
        raise HttpInvalid("The service speaks HTTP/1.1 and HTTP/1.0 only.")
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        raise HttpInvalid("Send exactly one Host header.")
    if hosts and not _HOST.fullmatch(hosts[0].strip()):
        raise HttpInvalid("The Host header must be a host and optionally a port.")
    if codings and (version == "1.0" or codings.count(b"chunked") > 1 or codings[-1] != b"chunked"):
        raise HttpInvalid("The end of the body cannot be told from its Transfer-Encoding.")
    if codings[:-1]:
        raise TransferCodingUnsupported
