"""Heads that RFC 9112 forbids."""

import pytest

from app.errors import HttpInvalid, TransferCodingUnsupported
from app.web.head import check_head

HOST = (b"host", b"example.org")


@pytest.mark.parametrize(
    "host",
    [b"example.org", b"example.org:8000", b"127.0.0.1:80", b"[::1]:8000", b"", b"a_b", b"%EC%A7%91.example", b"x:"],
)
def test_hosts(host: bytes) -> None:
    check_head("1.1", [(b"host", host)])


@pytest.mark.parametrize("host", [b"a b", b"user@a", b"a/b", b"a:b", b"a:80:80", b"[::1", b"::1", "집".encode()])
def test_hosts_that_are_none(host: bytes) -> None:
    for version in ("1.0", "1.1"):
        with pytest.raises(HttpInvalid, match="Host"):
            check_head(version, [(b"host", host)])


def test_one_host_and_no_other_number() -> None:
    check_head("1.0", [])
    with pytest.raises(HttpInvalid, match="Host"):
        check_head("1.1", [])
    for version in ("1.0", "1.1"):
        with pytest.raises(HttpInvalid, match="Host"):
            check_head(version, [HOST, HOST])


@pytest.mark.parametrize("version", ["0.9", "2.0", "1.2"])
def test_other_versions(version: str) -> None:
    with pytest.raises(HttpInvalid, match=r"HTTP/1\.1"):
        check_head(version, [HOST])


@pytest.mark.parametrize("coding", [b"chunked", b" Chunked ", b"CHUNKED"])
def test_chunked(coding: bytes) -> None:
    check_head("1.1", [HOST, (b"transfer-encoding", coding)])
    with pytest.raises(HttpInvalid, match="Transfer-Encoding"):
        check_head("1.0", [HOST, (b"transfer-encoding", coding)])


@pytest.mark.parametrize("codings", [["gzip, chunked"], ["gzip", "chunked"], ["x,chunked"]])
def test_codings_that_are_not_known(codings: list[str]) -> None:
    with pytest.raises(TransferCodingUnsupported):
        check_head("1.1", [HOST, *((b"transfer-encoding", coding.encode()) for coding in codings)])


@pytest.mark.parametrize(
    "codings", [["chunked, gzip"], ["chunked", "identity"], ["gzip"], ["chunked, chunked"], ["chunked;q=1"], [""]]
)
def test_codings_without_an_end(codings: list[str]) -> None:
    with pytest.raises(HttpInvalid, match="Transfer-Encoding"):
        check_head("1.1", [HOST, *((b"transfer-encoding", coding.encode()) for coding in codings)])
