"""Reads a model store at an address that fsspec knows, such as s3://bucket/models. Keeping it is `app.store.cache`'s.

No sentence and no log line holds the address, which may have a password in it. What a protocol needs to know beyond
it, it takes from its own environment variables.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

from fsspec.core import url_to_fs
from fsspec.registry import known_implementations

from ..errors import ModelCorrupt, ModelUnreachable
from .manifest import Manifest
from .versions import (
    MANIFEST_FILE,
    choose_version,
    read_manifest,
    sort_versions,
)

MANIFEST_BYTES = 1_000_000  # the starter's, with all its figures, has 45,000
_BLOCK_BYTES = 1 << 20


def is_address(model_store: str) -> bool:
    """Whether `model_store` is an address, and no folder."""
    return "://" in model_store or "::" in model_store


class RemoteStore:
    """The store at `address`, laid out as a folder is. Nothing is asked of it before a method is called."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")

    @property
    def key(self) -> str:
        """What tells this store from others, and does not tell the address."""
        # Of the whole address: in github://owner:models@main/ what looks like a password is none.
        return hashlib.sha256(self._address.encode()).hexdigest()[:32]

    def versions(self) -> list[str]:
        """Every NAME/VERSION in the store: by name, then the newest first. Raises ModelUnreachable."""
        found = sort_versions(f"{name}/{version}" for name in self._folders("") for version in self._folders(name))
        return [version for version in found if MANIFEST_FILE in self._entries(version)]

    def manifest(self, version: str) -> Manifest:
        """What `version`, a NAME/VERSION, says of itself. Raises ModelCorrupt, ModelNotFound, ModelUnreachable."""
        return read_manifest(b"".join(self.read(version, MANIFEST_FILE, MANIFEST_BYTES)), version)

    def read(self, version: str, file: str, most: int) -> Iterator[bytes]:
        """A file of `version` in blocks. Raises ModelCorrupt where it is missing or has more than `most` bytes,
        ModelNotFound where the version is missing, ModelUnreachable.
        """
        try:
            with _reaching():
                files, root = self._filesystem
                # A plain web server sends files from their beginning only, which is all that is needed.
                streamed = {"block_size": 0} if "http" in files.protocol else {}
                with files.open(f"{root}/{version}/{file}", "rb", **streamed) as remote:
                    while block := remote.read(min(_BLOCK_BYTES, most + 1)):
                        most -= len(block)
                        if most < 0:
                            raise ModelCorrupt(f"{version}: {file} is larger in the model store than it may be.")
                        yield block
        except FileNotFoundError as error:
            if file != MANIFEST_FILE:
                raise ModelCorrupt(f"{version}: {file} is not in the model store.") from error
            choose_version([name for name in self.versions() if name != version], version)

    def _folders(self, inside: str) -> list[str]:
        return [name for name, kind in self._entries(inside).items() if kind == "directory"]

    def _entries(self, inside: str) -> dict[str, str]:
        """What lies in a folder of the store, and of which type it is; nothing where there is no such folder."""
        with suppress(FileNotFoundError), _reaching():
            files, root = self._filesystem
            # Not glob, which takes a store that does not answer for one that is empty.
            found = files.ls(f"{root}/{inside}".rstrip("/"), detail=True)
            return {entry["name"].rstrip("/").split("/")[-1]: entry["type"] for entry in found}
        return {}

    @cached_property
    def _filesystem(self) -> tuple[Any, str]:
        """fsspec's filesystem, and where in it the store lies. Some protocols connect here."""
        try:
            files, root = url_to_fs(self._address)
        except ImportError as error:
            protocol = self._address.split("://")[0].split("::")[-1]
            known = known_implementations.get(protocol, {})
            hint = known.get("err", "Install the package that reads it")
            raise ModelUnreachable(f"The model store's {protocol}:// cannot be read here: {hint}.") from error
        except ValueError as error:
            raise ModelUnreachable("MAEUM_MODEL_STORE is no address that can be read; check its protocol.") from error
        files.invalidate_cache()  # fsspec shares what it has listed among all stores of a process
        return files, root.rstrip("/")


@contextmanager
def _reaching() -> Iterator[None]:
    """Makes what a protocol raises a ModelUnreachable. Its own message is left out, as it may hold the address."""
    try:
        yield
    except (FileNotFoundError, ModelCorrupt, ModelUnreachable):
        raise
    except Exception as error:  # the protocols' exceptions have no base of their own
        reason = f"does not answer ({type(error).__name__}); check MAEUM_MODEL_STORE, the network and credentials"
        raise ModelUnreachable(f"The address of the model store {reason}.") from error
