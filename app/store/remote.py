"""Reads a model store at an address that fsspec knows, such as s3://bucket/models. `app.store.cache` keeps versions.

No message and no log line contains the address, which may hold a password. Everything else that a protocol needs, it
takes from its own environment variables.
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
from .versions import MANIFEST_BYTES, MANIFEST_FILE, choose_version, read_manifest, sort_versions

_BLOCK_BYTES = 1 << 20


def is_address(model_store: str) -> bool:
    """Whether `model_store` is an address rather than a folder."""
    return "://" in model_store or "::" in model_store


class RemoteStore:
    """The store at `address`, laid out as a local one. It is not contacted before a method is called."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")

    @property
    def key(self) -> str:
        """A name for this store that does not reveal its address."""
        # Of the whole address: in github://owner:models@main/ the part after the colon is no password.
        return hashlib.sha256(self._address.encode()).hexdigest()[:32]

    def versions(self) -> list[str]:
        """Every NAME/VERSION in the store, by name, the newest version first. Raises ModelUnreachable."""
        found = sort_versions(f"{name}/{version}" for name in self._folders("") for version in self._folders(name))
        return [version for version in found if MANIFEST_FILE in self._entries(version)]

    def manifest(self, version: str) -> Manifest:
        """The manifest of `version`, a NAME/VERSION. Raises ModelCorrupt, ModelNotFound, ModelUnreachable."""
        return read_manifest(b"".join(self.read(version, MANIFEST_FILE, MANIFEST_BYTES)), version)

    def read(self, version: str, file: str, most: int) -> Iterator[bytes]:
        """A file of `version` in blocks. Raises ModelCorrupt where it is missing or has more than `most` bytes,
        ModelNotFound where the version is missing, ModelUnreachable.
        """
        try:
            with _reaching():
                files, root = self._filesystem
                # Plain web servers send a file only from its beginning, which is enough here.
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
        """The type of every entry of a folder of the store, by name; empty if there is no such folder."""
        with suppress(FileNotFoundError), _reaching():
            files, root = self._filesystem
            # Not glob, for which a store that does not answer is empty.
            found = files.ls(f"{root}/{inside}".rstrip("/"), detail=True)
            return {entry["name"].rstrip("/").split("/")[-1]: entry["type"] for entry in found}
        return {}

    @cached_property
    def _filesystem(self) -> tuple[Any, str]:
        """fsspec's filesystem and the store's path in it. Some protocols connect here."""
        try:
            files, root = url_to_fs(self._address)
        except ImportError as error:
            protocol = self._address.split("://")[0].split("::")[-1]
            known = known_implementations.get(protocol, {})
            hint = known.get("err", "Install the package that reads it")
            raise ModelUnreachable(f"The model store's {protocol}:// cannot be read here: {hint}.") from error
        except ValueError as error:
            raise ModelUnreachable("MAEUM_MODEL_STORE is no address that can be read; check its protocol.") from error
        files.invalidate_cache()  # fsspec shares its listings among all stores of a process
        return files, root.rstrip("/")


@contextmanager
def _reaching() -> Iterator[None]:
    """Turns a protocol's exceptions into ModelUnreachable, without their messages, which may hold the address."""
    try:
        yield
    except (FileNotFoundError, ModelCorrupt, ModelUnreachable):
        raise
    except Exception as error:  # the protocols' exceptions have no base of their own
        reason = f"does not answer ({type(error).__name__}); check MAEUM_MODEL_STORE, the network and credentials"
        raise ModelUnreachable(f"The address of the model store {reason}.") from error
