"""Finds the versions in a model store and checks their files. What a manifest says is `app.manifest`'s.

    model_store/<name>/<version>/manifest.json and the files it lists

Nothing is loaded into a runtime here.
"""

import hashlib
import re
from pathlib import Path

from pydantic import ValidationError

from app.errors import ModelCorrupt, ModelNotFound
from app.manifest import GRAPH_NAMES, Manifest

MANIFEST_FILE = "manifest.json"
# A name and a version as they stand in a manifest: neither can hold a path separator or begin with a dot.
_NAME = r"[a-z0-9][a-z0-9._-]*"
_VERSION = r"(\d+)\.(\d+)\.(\d+)([a-z0-9.-]*)"
_MODEL = re.compile(rf"({_NAME})(?:/({_VERSION}))?")


def list_versions(store: Path) -> list[Path]:
    """The folder of every version in `store`: by name, then the newest first."""
    found = [path.parent for path in store.glob(f"*/*/{MANIFEST_FILE}")]
    found = [folder for folder in found if _MODEL.fullmatch(f"{folder.parent.name}/{folder.name}")]
    found.sort(key=lambda folder: _order(folder.name), reverse=True)
    return sorted(found, key=lambda folder: folder.parent.name)


def find_version(store: Path, model: str) -> Path:
    """The folder of `model`, which is NAME (its newest version) or NAME/VERSION. Raises ModelNotFound."""
    asked = _MODEL.fullmatch(model)
    if asked is None:
        raise ModelNotFound(f"{model!r} is no model: write NAME or NAME/VERSION, such as starter or starter/0.1.0.")
    versions = list_versions(store)
    for folder in versions:
        if folder.parent.name == asked[1] and asked[2] in (None, folder.name):
            return folder
    names = ", ".join(f"{folder.parent.name}/{folder.name}" for folder in versions) or "nothing"
    raise ModelNotFound(f"{model} is not in the model store {store}, which holds {names}.")


def load_manifest(folder: Path) -> Manifest:
    """Reads the manifest of the version in `folder`. Raises ModelCorrupt where it is not one, or another version's."""
    path = folder / MANIFEST_FILE
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelCorrupt(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ModelCorrupt(f"{path} is no manifest that this release reads: {where}: {first['msg']}.") from error
    if (manifest.name, manifest.version) != (folder.parent.name, folder.name):
        raise ModelCorrupt(f"{path} is {manifest.name}/{manifest.version}'s; a folder is named as its model.")
    for precision, graphs in manifest.graphs.items():
        if missing := [name for name in GRAPH_NAMES if name not in graphs]:
            raise ModelCorrupt(f"{path} lists no {precision} graph {missing[0]}; a version has all three.")
    return manifest


def verify(folder: Path, manifest: Manifest) -> None:
    """Checks every file of the version against its size and SHA-256. Raises ModelCorrupt, naming the file."""
    for stored in manifest.files():
        path = folder / stored.file
        try:
            size = path.stat().st_size
            if size != stored.bytes:
                raise ModelCorrupt(f"{path} has {size} bytes where its manifest says {stored.bytes}; fetch it again.")
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelCorrupt(f"{path} cannot be read: {error.strerror}; fetch the version again.") from error
        if digest != stored.sha256:
            raise ModelCorrupt(f"{path} is not the file that its manifest pins (SHA-256 differs); fetch it again.")


def _order(version: str) -> tuple[int, int, int, bool, list[tuple[bool, int, str]]]:
    """Sorts as semantic versions do: numbers as numbers, and 1.0.0-rc.1 before 1.0.0."""
    parts = re.fullmatch(_VERSION, version)
    assert parts is not None, "list_versions lets no other name pass"
    suffix = re.findall(r"\d+|[a-z]+", parts[4])
    return (
        int(parts[1]),
        int(parts[2]),
        int(parts[3]),
        not suffix,
        [(part.isalpha(), 0 if part.isalpha() else int(part), part) for part in suffix],
    )
