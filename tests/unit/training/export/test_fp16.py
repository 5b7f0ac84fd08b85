"""Graphs in float16 and in 8 bits: near to float32, and no larger than their weights."""

import shutil
from pathlib import Path

import onnxruntime
import pytest

from app.engine.load import load_model
from app.settings import Settings
from app.store.manifest import GraphName
from app.store.versions import load_manifest, verify
from training.config import STAGES, load_preset
from training.export.fp16 import convert_fp16
from training.export.onnx import export_fp32
from training.export.parity import Reference
from training.export.shared_weights import share_weights
from training.export.version import Release, export
from training.networks.files import WEIGHTS_FILE, load_weights, save_config, save_stage, save_weights
from training.networks.networks import Networks
from training.networks.text_encoder import TOKENIZER_FILE, load_encoder
from training.recipes.smoke import TINY, make_encoder

NEAR = 0.01  # of numbers between 1 and 10, which float16 spaces by 0.001 to 0.008
WHISPER = {"name": "none", "layers": 1, "width": 64, "heads": 4, "feed_forward": 64}

Graphs = dict[GraphName, Path]


def tiny(folder: Path, preset: str = "starter") -> Networks:
    """Fresh networks: on Whisper's layers with attentive heads, or the paper's with recurrent ones."""
    encoder = str(make_encoder(folder / "tiny-encoder"))
    changes = {**TINY, "text.encoder": encoder, "audio.encoder": WHISPER if preset == "starter" else None}
    return Networks(load_preset(preset, changes), load_encoder(encoder)).eval()


def total(graphs: Graphs) -> int:
    return sum(path.stat().st_size for path in graphs.values())


@pytest.mark.parametrize("preset", ["starter", "paper"])
def test_float16_answers_as_float32_does_and_shares_its_weights(preset: str, tmp_path: Path) -> None:
    networks = tiny(tmp_path, preset)
    save_weights(tmp_path / WEIGHTS_FILE, networks)
    reference = Reference(load_weights(tmp_path).eval())
    fp16 = convert_fp16(export_fp32(networks, tmp_path), tmp_path)
    whole, drift = total(fp16), reference.drift(fp16)
    assert drift["audio_mask"] == 0
    assert 0 < max(drift.values()) < NEAR
    assert reference.neighbour_effect(fp16) < NEAR
    for path in fp16.values():
        for value in onnxruntime.InferenceSession(path).get_inputs():
            assert value.type in ("tensor(float)", "tensor(int64)", "tensor(bool)")

    share_weights(fp16.values(), tmp_path / WEIGHTS_FILE)
    assert reference.drift(fp16) == drift
    weights = sum(2 * value.numel() for value in networks.state_dict().values() if 2 * value.numel() >= 4096)
    if preset == "starter":  # all but biases; the exporter writes a recurrent layer's weights in another order
        assert whole - total(fp16) > 0.95 * weights
    else:
        assert whole - total(fp16) > 0.1 * weights


def test_a_version_with_float16_graphs_is_whole_and_loads(tmp_path: Path) -> None:
    networks = tiny(tmp_path)
    run = tmp_path / "run"
    save_config(run, networks)
    shutil.copyfile(tmp_path / "tiny-encoder" / TOKENIZER_FILE, run / TOKENIZER_FILE)
    for stage in STAGES:
        save_stage(run, networks, stage)
    release = Release("tiny", "1.0.0", "Apache-2.0")
    shared = export(run, tmp_path / "shared", release, ["fp16"], weights=True)
    manifest = load_manifest(shared)
    verify(shared, manifest)
    assert {path.name for path in shared.iterdir()} == {"manifest.json", *(file.file for file in manifest.files())}
    assert 0 < manifest.drift["fp16"]["audio_embedding"] < NEAR
    assert load_model(Settings(model_store=tmp_path / "shared", model="tiny", threads=1)).precision == "fp16"

    alone = load_manifest(export(run, tmp_path / "alone", release, ["fp16"]))
    assert alone.weights is None
    graphs: tuple[GraphName, ...] = ("audio_arousal", "text_valence")  # the classifier is too small to share anything
    for name in graphs:
        assert alone.graphs["fp16"][name].bytes > manifest.graphs["fp16"][name].bytes
