"""API keys: how one is made, the file that lists them, and finding the one that was sent.

The file holds no key, only its SHA-256, a line each: NAME SHA256 and perhaps the word admin. A name may stand there
twice, so that a new key works before the old one goes. What a key may do is `app.access`'.

A plain hash suffices, and who reads the file gains nothing: a key is 256 random bits, too many to try. For generated
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

# By it scanners for leaked secrets, and people, know what a string is.
_PREFIX = "maeum_"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LINE = re.compile(rf"({_NAME.pattern})\s+([0-9A-Fa-f]{{64}})(\s+admin)?".encode())


class Key(NamedTuple):
    """Whose key it is, and whether it may use /admin."""

    name: str
    admin: bool


def new_key(name: str, admin: bool = False) -> tuple[str, str]:
    """A new key, and its line for the file. Raises SettingsInvalid where the name may not stand there."""
    if not _NAME.fullmatch(name):
        raise SettingsInvalid("A key's name has 1 to 64 letters (A to Z), digits, dots, underscores or hyphens.")
    key = _PREFIX + secrets.token_urlsafe(32)
    return key, f"{name} {_hash(key).hex()}{' admin' if admin else ''}"


def print_new_key(name: str, admin: bool = False) -> None:
    """Makes a key and shows it once, on stderr. Its line goes to stdout alone, so that `>>` appends it to the file."""
    key, line = new_key(name, admin)
    sys.stderr.write(f"The key of {name}, which is kept nowhere and not shown again:\n\n  {key}\n\n")
    sys.stderr.write("Its line for the file that MAEUM_KEYS_FILE names:\n\n")
    sys.stderr.flush()
    sys.stdout.write(line + "\n")


class KeyRing:
    """The keys of the file at `path`, read again whenever it has changed; that costs one stat a request.

    Raises SettingsInvalid where it cannot be read at first, naming the line and never what it holds. Where it cannot
    later, the keys before stay valid and an error is logged, once a change.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = self._stat()
        self._keys = self._read()

    def find(self, key: str) -> Key | None:
        """The key that was sent, if it is one. How long that takes tells nothing about the keys that there are."""
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
            _log.error("%s The keys read before stay valid.", error)
        else:
            _log.info("The keys were read again: there are %d.", len(self._keys))

    def _stat(self) -> tuple[int, ...] | None:
        """What tells one state of the file from another; None where there is none.

        The time of the last change of status is in it because a corrected permission changes nothing else.
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
                    f"MAEUM_KEYS_FILE ({self._path}), line {number}: it must be NAME SHA256, and perhaps the word "
                    "admin after it; `maeum key NAME` makes one."
                )
            digest = bytes.fromhex(match[2].decode())
            if digest in keys:
                raise SettingsInvalid(f"MAEUM_KEYS_FILE ({self._path}), line {number}: the same key again.")
            keys[digest] = Key(match[1].decode(), admin=match[3] is not None)
        if not keys:
            _log.warning("MAEUM_KEYS_FILE (%s) holds no key: nobody may ask.", self._path)
        return keys


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
