"""Finding versions and refusing damaged ones."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.engine.load import choose_precision, load_model, physical_cores
from app.errors import ModelCorrupt, ModelNotFound
from app.settings import Settings
from app.store.manifest import Temperatures
from app.store.versions import find_version, list_versions, load_manifest, verify
from tests.support.damage import flip


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A store with several versions, of which only the names matter, and folders that are none."""
    for name in ("b/0.2.0", "a/0.9.0", "a/0.10.0", "a/0.10.0-rc.2", "a/0.10.0-rc.10", "a/latest", ".hidden/1.0.0"):
        folder = tmp_path / "store" / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    (tmp_path / "store" / "a" / "9.9.9").mkdir()
    (tmp_path / "1.0.0").mkdir()
    (tmp_path / "1.0.0" / "manifest.json").write_text("{}")
    return tmp_path / "store"


def test_versions_are_ordered_as_numbers(many: Path) -> None:
    names = [folder.relative_to(many).as_posix() for folder in list_versions(many)]
    assert names == ["a/0.10.0", "a/0.10.0-rc.10", "a/0.10.0-rc.2", "a/0.9.0", "b/0.2.0"]


def test_a_name_alone_is_its_newest_version(many: Path) -> None:
    assert find_version(many, "a") == many / "a" / "0.10.0"
    assert find_version(many, "a/0.9.0") == many / "a" / "0.9.0"


@pytest.mark.parametrize("model", ["c", "a/9.9.9", "a/0.9", "", "a/", "../1.0.0", "a/../../1.0.0", "/etc/1.0.0", "A"])
def test_a_missing_model_is_reported_with_the_existing_ones(many: Path, model: str) -> None:
    with pytest.raises(ModelNotFound, match=r"a/0\.10\.0|NAME/VERSION"):
        find_version(many, model)


def test_an_absent_store_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="has no versions"):
        find_version(tmp_path / "none", "starter")


@pytest.fixture
def version(store: Path, tmp_path: Path) -> Path:
    """A copy of the tiny version, to be damaged."""
    return Path(shutil.copytree(store / "starter" / "0.1.0", tmp_path / "starter" / "0.1.0"))


def test_an_undamaged_version_verifies(version: Path) -> None:
    verify(version, load_manifest(version))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip, "SHA-256"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "bytes"),
        (lambda path: path.write_bytes(b""), "0 bytes"),
        (Path.unlink, "cannot be read"),
    ],
)
@pytest.mark.parametrize("file", ["emotion.onnx", "audio_arousal.int8.onnx", "tokenizer.json", "MODEL_CARD.md"])
def test_a_damaged_file_is_named(version: Path, damage: Callable[[Path], object], message: str, file: str) -> None:
    manifest = load_manifest(version)
    damage(version / file)
    with pytest.raises(ModelCorrupt, match=message) as refused:
        verify(version, manifest)
    assert str(refused.value).startswith(f"starter/0.1.0: {file} ") and str(version) not in str(refused.value)
    with pytest.raises(ModelCorrupt):
        load_model(Settings(model_store=version.parents[1]))


def _edit(version: Path, changes: dict[str, Any]) -> None:
    path = version / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "other"}, "a folder has its model"),
        ({"version": "0.2.0"}, "a folder has its model"),
        ({"schema_version": 2}, "schema_version"),
        ({"surprise": 1}, "surprise"),
        ({"emotion": {"classes": ["sad"], "temperature": 0}}, "emotion.temperature"),
        ({"emotion": {"classes": ["sad"], "temperature": {"both": 1.5}}}, "emotion.temperature.audio"),
        ({"graphs": {}}, "graphs"),
        ({"graphs": {"fp32": {}}}, "no fp32 graph audio_arousal"),
        ({"card": {"file": "../../secret", "sha256": "0" * 64, "bytes": 1}}, "card.file"),
        ({"card": {"file": "/etc/passwd", "sha256": "0" * 64, "bytes": 1}}, "card.file"),
    ],
)
def test_a_manifest_that_is_wrong_says_where(version: Path, changes: dict[str, Any], message: str) -> None:
    _edit(version, changes)
    with pytest.raises(ModelCorrupt, match=message):
        load_manifest(version)


def test_one_temperature_is_used_for_every_modality(version: Path) -> None:
    _edit(version, {"emotion": {"classes": ["sad"], "temperature": 1.099}})
    temperature = load_manifest(version).emotion.temperature
    assert temperature == Temperatures(audio=1.099, text=1.099, both=1.099)


def test_the_weights_were_once_named_checkpoint(version: Path) -> None:
    path = version / "manifest.json"
    content = json.loads(path.read_text())
    stored = {**content["card"], "file": "checkpoint.safetensors"}
    path.write_text(json.dumps({**content, "checkpoint": stored}))
    manifest = load_manifest(version)
    assert manifest.weights is not None and manifest.weights.file == "checkpoint.safetensors"
    path.write_text(manifest.model_dump_json())
    assert load_manifest(version) == manifest
    assert "weights" in json.loads(path.read_text())


def test_a_manifest_that_is_no_json(version: Path) -> None:
    (version / "manifest.json").write_text("{")
    with pytest.raises(ModelCorrupt, match="the file"):
        load_manifest(version)


def test_precision(version: Path) -> None:
    manifest = load_manifest(version)
    assert choose_precision(manifest, Settings()) == "int8"
    assert choose_precision(manifest, Settings(provider="cuda")) == "fp32"
    assert choose_precision(manifest, Settings(precision="fp32")) == "fp32"
    fp32_only = manifest.model_copy(update={"graphs": {"fp32": manifest.graphs["fp32"]}})
    assert choose_precision(fp32_only, Settings()) == "fp32"
    with pytest.raises(ModelNotFound, match="no fp16 graphs; it has fp32, int8"):
        choose_precision(manifest, Settings(precision="fp16"))


@pytest.mark.parametrize(
    ("has", "on_cpu", "on_gpu"),
    [(("int8", "fp16", "fp32"), "int8", "fp16"), (("fp16", "fp32"), "fp32", "fp16"), (("fp16",), "fp16", "fp16")],
)
def test_auto_takes_the_precision_that_suits_the_provider(
    version: Path, has: tuple[str, ...], on_cpu: str, on_gpu: str
) -> None:
    manifest = load_manifest(version)
    manifest = manifest.model_copy(update={"graphs": dict.fromkeys(has, manifest.graphs["fp32"])})
    assert choose_precision(manifest, Settings()) == on_cpu
    assert choose_precision(manifest, Settings(provider="cuda")) == on_gpu


def test_auto_on_a_gpu_takes_no_int8(version: Path) -> None:
    manifest = load_manifest(version)
    manifest = manifest.model_copy(update={"graphs": {"int8": manifest.graphs["int8"]}})
    with pytest.raises(ModelNotFound, match="no fp32 graphs; it has int8"):
        choose_precision(manifest, Settings(provider="cuda"))


def test_a_whole_model_loads(store: Path) -> None:
    model = load_model(Settings(model_store=store, model="starter/0.1.0", threads=1))
    assert model.precision == "int8" and model.card.startswith("# Tiny")


def test_there_is_at_least_one_core() -> None:
    assert physical_cores() >= 1
