"""Finds the versions in a model store, reads their manifests and checks their files.

    model_store/<name>/<version>/manifest.json and the files it lists

Nothing is loaded into a runtime here. No message contains a path: clients may see it. A link counts as the file that it
leads to, whose digest is checked; a pipe or a device, which may never end, is refused.
"""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Sequence
from io import BufferedReader
from pathlib import Path

from pydantic import ValidationError

from ..errors import ModelCorrupt, ModelNotFound
from .manifest import GRAPH_NAMES, Manifest

MANIFEST_FILE = "manifest.json"
MANIFEST_BYTES = 1_000_000  # the starter's manifest, with all its figures, has 45,000
_AGAIN = "fetch the version again"
# A name and a version as in a manifest: neither can hold a path separator or begin with a dot.
_NAME = r"[a-z0-9][a-z0-9._-]*"
_VERSION = r"([0-9]+(?:\.[0-9]+){2,})([a-z0-9.-]*)"
_MODEL = re.compile(rf"({_NAME})(?:/({_VERSION}))?")
# How a file of each kind begins. Manifests allow no other kind, so a pickle under another name is refused here.
_BEGINS = {
    ".onnx": re.compile(rb"\x08"),  # the first field of every ModelProto, its ir_version
    ".json": re.compile(rb"\s*\{"),
    ".safetensors": re.compile(rb".{8}\{", re.DOTALL),  # the header's length, then the header
    ".md": re.compile(rb"(?!PK\x03\x04)[^\x80]"),
}


def list_versions(store: Path) -> list[Path]:
    """The folder of every version in `store`, by name, the newest version first.

    Raises ModelNotFound if `store` is no folder that can be read.
    """
    try:
        os.scandir(store).close()
    except OSError as error:  # which glob takes for an empty folder
        raise ModelNotFound(f"The model store cannot be read: {error.strerror}; check MAEUM_MODEL_STORE.") from error
    found = store.glob(f"*/*/{MANIFEST_FILE}")
    return [store / version for version in sort_versions("/".join(path.parts[-3:-1]) for path in found)]


def find_version(store: Path, model: str) -> Path:
    """The folder of `model`: NAME (its newest version) or NAME/VERSION. Raises ModelNotFound."""
    return store / choose_version(["/".join(folder.parts[-2:]) for folder in list_versions(store)], model)


def sort_versions(names: Iterable[str]) -> list[str]:
    """Those of `names` that are a NAME/VERSION, by name, the newest version first."""
    found = [name.split("/") for name in names if _MODEL.fullmatch(name) and "/" in name]
    found.sort(key=lambda parts: _order(parts[1]), reverse=True)
    return ["/".join(parts) for parts in sorted(found, key=lambda parts: parts[0])]


def choose_version(versions: Sequence[str], model: str) -> str:
    """The first of `versions` that matches `model`. Raises ModelNotFound."""
    exact = is_exact(model)
    for version in versions:
        if model == (version if exact else version.split("/")[0]):
            return version
    raise ModelNotFound(f"{model} is not in the model store, which has {', '.join(versions) or 'no versions'}.")


def is_exact(model: str) -> bool:
    """Whether `model` is a NAME/VERSION rather than a NAME. Raises ModelNotFound where it is neither."""
    asked = _MODEL.fullmatch(model)
    if asked is None:  # not quoted in the message: it may be a path
        raise ModelNotFound("The model's name is invalid: use NAME or NAME/VERSION, such as starter or starter/0.1.0.")
    return asked[2] is not None


def load_manifest(folder: Path) -> Manifest:
    """Reads the manifest of the version in `folder`. Raises ModelCorrupt if it is invalid or another version's."""
    version = "/".join(folder.parts[-2:])
    try:
        with _open(folder / MANIFEST_FILE) as file:
            content = file.read(MANIFEST_BYTES + 1)
    except OSError as error:
        raise ModelCorrupt(f"{version}: {MANIFEST_FILE} cannot be read: {error.strerror}.") from error
    if len(content) > MANIFEST_BYTES:
        raise ModelCorrupt(f"{version}: {MANIFEST_FILE} has more than {MANIFEST_BYTES} bytes.")
    return read_manifest(content, version)


def read_manifest(content: bytes, version: str) -> Manifest:
    """The manifest in `content`, which must be that of `version`, a NAME/VERSION. Raises ModelCorrupt."""
    file = f"{version}: {MANIFEST_FILE}"
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where, reason = ".".join(map(str, first["loc"])) or "the file", first["msg"].removeprefix("Value error, ")
        raise ModelCorrupt(f"{file} is not a manifest that this release reads: {where}: {reason}.") from error
    if f"{manifest.name}/{manifest.version}" != version:
        raise ModelCorrupt(f"{file} belongs to {manifest.name}/{manifest.version}; a folder has its model's name.")
    for precision, graphs in manifest.graphs.items():
        if missing := [name for name in GRAPH_NAMES if name not in graphs]:
            raise ModelCorrupt(f"{file} lists no {precision} graph {missing[0]}; a version needs all three.")
    return manifest


def verify(folder: Path, manifest: Manifest) -> None:
    """Checks the size, the SHA-256 and the first bytes of every file of the version.

    Raises ModelCorrupt, naming the file.
    """
    for stored in manifest.files():
        name = f"{manifest.name}/{manifest.version}: {stored.file}"
        try:
            with _open(folder / stored.file) as file:
                size = os.fstat(file.fileno()).st_size
                if size != stored.bytes:
                    raise ModelCorrupt(f"{name} has {size} bytes, not the {stored.bytes} of its manifest; {_AGAIN}.")
                begins = file.read(64)
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelCorrupt(f"{name} cannot be read: {error.strerror}; {_AGAIN}.") from error
        if digest != stored.sha256:
            raise ModelCorrupt(f"{name} is not the file that its manifest lists (SHA-256 differs); {_AGAIN}.")
        kind = Path(stored.file).suffix
        if not _BEGINS[kind].match(begins):
            raise ModelCorrupt(f"{name} is not a valid {kind} file; a version holds no pickles and no archives.")


def read_card(folder: Path, manifest: Manifest) -> str:
    """The card of the version in `folder`. Raises ModelCorrupt where it is no text."""
    try:
        with _open(folder / manifest.card.file) as file:
            return file.read(manifest.card.bytes).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        name = f"{manifest.name}/{manifest.version}: {manifest.card.file}"
        raise ModelCorrupt(f"{name} cannot be read as UTF-8 ({type(error).__name__}).") from error


def _open(path: Path) -> BufferedReader:
    """Opens a file, but nothing else: opening a pipe waits for a writer. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file")
    return os.fdopen(descriptor, "rb")


def _order(version: str) -> tuple[list[int], bool, list[tuple[bool, int, str]]]:
    """A sort key: numbers as numbers, 1.0.0-rc.1 before 1.0.0 as in semantic versions, and 1.0.0.1 after it."""
    numbers, suffix = re.findall(_VERSION, version)[0]
    parts = re.findall(r"[0-9]+|[a-z]+", suffix)
    return (
        [int(number) for number in numbers.split(".")],
        not parts,
        [(part.isalpha(), 0 if part.isalpha() else int(part), part) for part in parts],
    )
