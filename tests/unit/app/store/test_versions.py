"""Finding versions and refusing damaged ones."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.audio.decode import SAMPLE_RATE
from app.engine.load import choose_precision, load_model, physical_cores
from app.errors import ModelCorrupt, ModelNotFound
from app.settings import Settings
from app.store.manifest import Temperatures
from app.store.versions import find_version, list_versions, load_manifest, sort_versions, verify
from tests.support.damage import flip

AUDIO = {"sample_rate": 16000, "hop_length": 512, "max_frames": 64}
NAN, INF = float("nan"), float("inf")


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


def test_a_version_may_have_a_fourth_number(tmp_path: Path) -> None:
    ascending = ("1.0.0-rc.1", "1.0.0.dev1", "1.0.0rc1", "1.0.0", "1.0.0.1-rc.1", "1.0.0.1", "1.0.0.10", "1.0.1")
    names = [f"a/{version}" for version in ascending]
    in_order = list(reversed(sort_versions(names)))
    assert in_order[3:] == names[3:] and set(in_order[:3]) == set(names[:3])


def test_a_store_that_is_no_folder_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="No such file or directory; check MAEUM_MODEL_STORE"):
        find_version(tmp_path / "none", "starter")
    (tmp_path / "file").touch()
    with pytest.raises(ModelNotFound, match="Not a directory"):
        list_versions(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFound, match="has no versions"):
        find_version(tmp_path / "empty", "starter")


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


@pytest.mark.parametrize("file", ["emotion.int8.onnx", "tokenizer.json", "MODEL_CARD.md", "manifest.json"])
def test_what_may_never_end_is_not_read(version: Path, file: str) -> None:
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir):
        path = version / file
        path.rename(version / "kept")
        make(path)
        with pytest.raises(ModelCorrupt, match=f"{file} cannot be read: it is no regular file"):
            load_model(Settings(model_store=version.parents[1]))
        path.rmdir() if path.is_dir() else path.unlink()
        (version / "kept").rename(path)


def test_a_link_counts_as_its_file(version: Path, tmp_path: Path) -> None:
    for path in list(version.iterdir()):
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    verify(version, load_manifest(version))


def test_a_card_that_is_no_text(version: Path) -> None:
    content = b"\xff\xfe# Tiny"
    (version / "MODEL_CARD.md").write_bytes(content)
    card = {"file": "MODEL_CARD.md", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    _edit(version, {"card": card})
    with pytest.raises(ModelCorrupt, match=r"MODEL_CARD\.md cannot be read as UTF-8"):
        load_model(Settings(model_store=version.parents[1]))


def test_a_manifest_without_end(version: Path) -> None:
    _edit(version, {"training": {"log": "x" * 1_000_000}})
    with pytest.raises(ModelCorrupt, match="more than 1000000 bytes"):
        load_manifest(version)


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
        (
            {"emotion": {"classes": ["sad", "glad", "sad"], "temperature": 1}},
            "emotion.classes: a class is listed twice",
        ),
        ({"emotion": {"classes": [], "temperature": 1}}, "emotion.classes"),
        ({"emotion": {"classes": [""], "temperature": 1}}, "emotion.classes"),
        *(
            ({"emotion": {"classes": ["sad"], "temperature": wrong}}, "temperature")
            for wrong in (-1, 1e-300, 1e300, NAN)
        ),
        *(({"scale": wrong}, "scale") for wrong in ([5, 1], [1, 1], [1, NAN], [-INF, 1], [1])),
        *(({"width": wrong}, "width") for wrong in (0, -1, 10**9, 10**30)),
        *(({"audio": AUDIO | {"sample_rate": wrong}}, "audio.sample_rate") for wrong in (8000, 0, -1, 44_100)),
        *(({"audio": AUDIO | {"hop_length": wrong}}, "audio") for wrong in (0, -512, 10**9, 10**30, 0.5)),
        *(({"audio": AUDIO | {"max_frames": wrong}}, "audio") for wrong in (0, -4, 10**12, 10**30)),
        ({"audio": AUDIO | {"hop_length": 1, "max_frames": 1}}, "a window of 0 samples"),
        ({"drift": {"fp32": {"logits": NAN}}}, "drift"),
        ({"graphs": {}}, "graphs"),
        ({"card": {"file": "card.md", "sha256": "0" * 64, "bytes": 10**9}}, "card: the card may have at most"),
        ({"graphs": {"fp32": {}}}, "no fp32 graph audio_arousal"),
        ({"card": {"file": "../../secret", "sha256": "0" * 64, "bytes": 1}}, "card.file"),
        ({"card": {"file": "/etc/passwd", "sha256": "0" * 64, "bytes": 1}}, "card.file"),
    ],
)
def test_a_manifest_that_is_wrong_says_where(version: Path, changes: dict[str, Any], message: str) -> None:
    _edit(version, changes)
    with pytest.raises(ModelCorrupt, match=message):
        load_manifest(version)


@pytest.mark.parametrize("tokens", [0, -3, 10**12])
def test_a_number_of_tokens_that_no_model_takes(version: Path, tokens: int) -> None:
    text = json.loads((version / "manifest.json").read_text())["text"]
    _edit(version, {"text": text | {"max_tokens": tokens}})
    with pytest.raises(ModelCorrupt, match=r"text\.max_tokens"):
        load_manifest(version)


def test_the_only_rate_is_that_of_decoded_clips(version: Path) -> None:
    assert load_manifest(version).audio.sample_rate == SAMPLE_RATE


def test_a_width_that_is_not_the_graphs(version: Path) -> None:
    _edit(version, {"width": 5})
    with pytest.raises(ModelCorrupt, match="do not fit the manifest"):
        load_model(Settings(model_store=version.parents[1]))


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
