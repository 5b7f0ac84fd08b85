"""Keeps versions of a remote model store on this machine. `app.store.remote` reads the store.

A version is fetched whole, as its manifest lists it, into a folder that is a model store itself. It appears there by
one rename, after every file has been checked: a killed process, a full disk or a second process that fetches the same
version leave no half version. Versions never change, so one in the cache is not fetched again.
"""

import errno
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import ModelCorrupt, ModelNotFound, ModelUnreachable
from .manifest import Manifest
from .remote import RemoteStore
from .versions import MANIFEST_BYTES, MANIFEST_FILE, choose_version, is_exact, list_versions, load_manifest, verify

_log = logging.getLogger(__name__)

_SCRATCH = ".fetch-"
_LEFTOVER_S = 900  # longer than any protocol waits: if nothing was written for this long, the process is gone


class ModelCache:
    """The versions fetched from `store`, in a folder of their own below `folder`. Several processes may share it."""

    def __init__(self, folder: Path, store: RemoteStore) -> None:
        """Raises ModelUnreachable where `folder` begins with ~ and there is no home folder."""
        try:
            self._folder = folder.expanduser() / "models" / store.key
        except RuntimeError as error:
            raise ModelUnreachable("There is no home folder for the model cache; set MAEUM_MODEL_CACHE.") from error
        self._store = store

    def fetch(self, model: str) -> tuple[Path, Manifest]:
        """The folder of `model`, a NAME or NAME/VERSION, in the cache, and its manifest. Every file is checked.

        A NAME means its newest version in the store or, while that cannot be listed or fetched, in the cache.

        Raises ModelCorrupt, ModelNotFound, ModelUnreachable.
        """
        if is_exact(model):
            return self._fetch(model)
        try:
            return self._fetch(choose_version(self._store.versions(), model))
        except ModelUnreachable as unreachable:
            version = self._newest_cached(model)
            if version is None:
                raise
            _log.warning("%s The newest version in the model cache is used instead: %s.", unreachable, version)
            return self._fetch(version)

    def _fetch(self, version: str) -> tuple[Path, Manifest]:
        """The same for a NAME/VERSION."""
        folder = self._folder / version
        if folder.exists():
            try:
                return folder, _checked(folder)
            except ModelCorrupt as error:
                _log.warning("A version in the model cache is damaged and is fetched again: %s", error)
        try:
            return folder, self._download(version)
        except OSError as error:  # of the cache: the store raises ModelUnreachable
            reason = f"{error.strerror}; check the free space and the permissions of MAEUM_MODEL_CACHE"
            raise ModelUnreachable(f"{version} cannot be stored in the model cache: {reason}.") from error

    def _newest_cached(self, name: str) -> str | None:
        try:
            return choose_version(["/".join(folder.parts[-2:]) for folder in list_versions(self._folder)], name)
        except ModelNotFound:
            return None

    def _download(self, version: str) -> Manifest:
        """Fetches `version` into the cache. Raises OSError where the cache cannot hold it."""
        with self._scratch() as scratch:
            staging = scratch / version
            staging.mkdir(parents=True)
            _write(staging / MANIFEST_FILE, self._store.read(version, MANIFEST_FILE, MANIFEST_BYTES))
            manifest = load_manifest(staging)
            files = {stored.file: stored.bytes for stored in manifest.files()}
            total = sum(files.values())
            if total > shutil.disk_usage(scratch).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            _log.info("Fetching %s, %.0f MB.", version, total / 1e6)
            for file, size in files.items():
                _write(staging / file, self._store.read(version, file, size))
            verify(staging, manifest)
            _sync(staging)
            _publish(staging, self._folder / version, scratch / "damaged")
        return manifest

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder next to the versions, on the same filesystem. Leftovers of killed processes are removed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._folder.glob(f"{_SCRATCH}*"):
            with suppress(OSError):
                written = max(path.stat().st_mtime for path in (leftover, *leftover.rglob("*")))
                if time.time() - written > _LEFTOVER_S:
                    shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=_SCRATCH) as scratch:
            yield Path(scratch)


def _checked(folder: Path) -> Manifest:
    manifest = load_manifest(folder)
    verify(folder, manifest)
    return manifest


def _write(path: Path, blocks: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for block in blocks:
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def _publish(staging: Path, target: Path, damaged: Path) -> None:
    """Moves a version to its place, unless another process has done so meanwhile."""
    target.parent.mkdir(exist_ok=True)
    with suppress(ModelCorrupt):
        _checked(target)
        return
    with suppress(FileNotFoundError):
        target.rename(damaged)
    try:
        staging.rename(target)
    except OSError:  # another process may have come between the two renames
        with suppress(ModelCorrupt):
            _checked(target)
            return
        raise
    _sync(target.parent)


def _sync(folder: Path) -> None:
    """Flushes a folder's list of files to the disk."""
    with suppress(OSError):  # some filesystems cannot; a loss is found when the version is checked
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
