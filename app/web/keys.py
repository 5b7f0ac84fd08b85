"""API keys: creating one, the file that lists them, and looking up the one in a request.

The file has a line per key, NAME SHA256 and optionally the word admin, and never the key itself. A name may have two
lines, so that a new key works before the old one is removed. `app.web.access` decides what a key allows.

A plain hash suffices, and reading the file gains nothing: a key is 256 random bits, too many to try. For generated
secrets NIST SP 800-63B (5.1.2.2) asks for salt and slow hashing only below 112 bits.
"""

import hashlib
import hmac
import logging
import re
import secrets
import sys
from pathlib import Path
from typing import NamedTuple

from ..errors import SettingsInvalid

_log = logging.getLogger(__name__)

# Tells people, and scanners for leaked secrets, what the string is.
_PREFIX = "maeum_"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LINE = re.compile(rf"({_NAME.pattern})\s+([0-9A-Fa-f]{{64}})(\s+admin)?".encode())


class Key(NamedTuple):
    """The owner of a key, and whether it may use /admin."""

    name: str
    admin: bool


def new_key(name: str, admin: bool = False) -> tuple[str, str]:
    """A new key, and its line for the file. Raises SettingsInvalid for a name that the file cannot hold."""
    if not _NAME.fullmatch(name):
        raise SettingsInvalid("A key's name must be 1 to 64 letters (A to Z), digits, dots, underscores or hyphens.")
    key = _PREFIX + secrets.token_urlsafe(32)
    return key, f"{name} {_hash(key).hex()}{' admin' if admin else ''}"


def print_new_key(name: str, admin: bool = False) -> None:
    """Creates a key and shows it once, on stderr. Only its line goes to stdout, so that `>>` appends it to the file."""
    key, line = new_key(name, admin)
    sys.stderr.write(f"The key of {name}. It is stored nowhere and not shown again:\n\n  {key}\n\n")
    sys.stderr.write("Its line for the file in MAEUM_KEYS_FILE:\n\n")
    sys.stderr.flush()
    sys.stdout.write(line + "\n")


class KeyRing:
    """The keys in the file at `path`, read again whenever it changes; checking that costs one stat per request.

    Raises SettingsInvalid where the file cannot be read at first, naming the line and never its content. If it cannot
    be read later, the previous keys stay valid and an error is logged, once per change.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = self._stat()
        self._keys = self._read()

    def find(self, key: str) -> Key | None:
        """The entry of a sent key, None for an unknown one. The time it takes reveals nothing about the keys."""
        self._refresh()
        given = _hash(key)
        found = None
        for stored, known in self._keys.items():
            if hmac.compare_digest(stored, given):
                found = known
        return found

    def _refresh(self) -> None:
        state = self._stat()
        if state == self._state:
            return
        self._state = state
        try:
            self._keys = self._read()
        except SettingsInvalid as error:
            _log.error("%s The previous keys stay valid.", error)
        else:
            _log.info("The keys file was read again: it has %d keys.", len(self._keys))

    def _stat(self) -> tuple[int, ...] | None:
        """Changes whenever the file does; None where there is no file.

        It includes the time of the last status change, as a corrected permission changes nothing else.
        """
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino

    def _read(self) -> dict[bytes, Key]:
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError as error:
            raise SettingsInvalid(f"MAEUM_KEYS_FILE ({self._path}) cannot be read: {error.strerror}.") from error
        keys: dict[bytes, Key] = {}
        for number, line in enumerate(map(bytes.strip, lines), start=1):
            if not line or line.startswith(b"#"):
                continue
            match = _LINE.fullmatch(line)
            if match is None:
                raise SettingsInvalid(
                    f"MAEUM_KEYS_FILE ({self._path}), line {number}: it must be NAME SHA256, optionally with the "
                    "word admin after it; `maeum key NAME` makes such a line."
                )
            digest = bytes.fromhex(match[2].decode())
            if digest in keys:
                raise SettingsInvalid(f"MAEUM_KEYS_FILE ({self._path}), line {number}: the key is listed twice.")
            keys[digest] = Key(match[1].decode(), admin=match[3] is not None)
        if not keys:
            _log.warning("MAEUM_KEYS_FILE (%s) has no keys: every request that needs one is refused.", self._path)
        return keys


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
