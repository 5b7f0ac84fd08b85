"""The imported networks and graphs give the numbers of the original's own code, on weights made by a rule."""

import json
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.store.manifest import GraphName
from tests.support import SHARED
from training.config import STAGES
from training.export.onnx import export_fp32, export_graph
from training.networks.networks import Networks
from training.networks.original import OriginalAudioArousal
from training.recipes.import_original import TRAINED_HEADS, published
from training.recipes.original_weights import UNUSED, build_networks, published_key

ORIGINAL = SHARED / "original"
TOLERANCE = 1e-4

pytestmark = pytest.mark.skipif(not ORIGINAL.exists(), reason="the golden numbers in ../shared are not there")

Graphs = dict[GraphName, Path]
Arrays = dict[str, NDArray[Any]]


def _rule(key: str, shape: list[int]) -> Tensor:
    """The weights of a key, as `original/README.md` has them made."""
    name = key.removeprefix("AudioModel.").removeprefix("TextModel.")
    values = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if "layernorm" in name.lower() and name.endswith("weight"):
        return 1 + 0.1 * values
    return values / values[0].numel() ** 0.5 if len(shape) > 1 else 0.1 * values


@pytest.fixture(scope="module")
def keys() -> dict[str, list[int]]:
    return {key: shape for key, shape, _ in json.loads((ORIGINAL / "keys.json").read_text())}


@pytest.fixture(scope="module")
def networks(keys: dict[str, list[int]]) -> Networks:
    return build_networks({key: _rule(key, shape) for key, shape in keys.items()}, published())


@pytest.fixture(scope="module")
def alone(networks: Networks) -> OriginalAudioArousal:
    """The audio model by itself, with the heads that it was trained with."""
    audio = OriginalAudioArousal(published(TRAINED_HEADS).audio)
    audio.load_state_dict(networks.audio.state_dict())
    return audio.eval()


@pytest.fixture(scope="module")
def golden() -> Arrays:
    with np.load(ORIGINAL / "golden.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def given(golden: Arrays) -> Arrays:
    """Inputs of the graphs, padded as in serving: with zeros, to the longest."""
    waveforms = [golden[f"waveform_{row}"].astype(np.float32) / 32768 for row in range(3)]
    waveform = np.zeros((3, max(map(len, waveforms))), dtype=np.float32)
    for row, samples in enumerate(waveforms):
        waveform[row, : len(samples)] = samples
    read = np.arange(64) < golden["tokens"][:, None]
    return {
        "waveform": waveform,
        "waveform_length": np.array([len(samples) for samples in waveforms]),
        "input_ids": golden["input_ids"].astype(np.int64) * read,
        "attention_mask": read.astype(np.int64),
    }


def _check(golden: Arrays, **found: Tensor | NDArray[Any]) -> None:
    """Compares by the golden file's names."""
    rows = {"audio_embedding": [0, 50, 96, 200, 511], "text_embedding": [0, 5, 20, 63]}
    for name, values in found.items():
        values = np.asarray(values)
        chosen, truth = (values[:, rows[name]], f"{name}_rows") if name in rows else (values, name)
        np.testing.assert_allclose(chosen, golden[truth], atol=TOLERANCE, rtol=0, err_msg=name)


def test_every_published_key_has_its_place(networks: Networks, keys: dict[str, list[int]]) -> None:
    used = {published_key(stage, name) for stage in STAGES for name in networks.stage(stage).state_dict()}
    assert len(keys) == 413
    assert used < keys.keys()
    assert all(key.startswith(UNUSED) for key in keys.keys() - used)


@torch.no_grad()
def test_the_networks_give_the_golden_numbers(networks: Networks, golden: Arrays, given: Arrays) -> None:
    inputs = {name: torch.from_numpy(values) for name, values in given.items()}
    valence, text = networks.text(inputs["input_ids"], inputs["attention_mask"])
    _check(golden, valence=valence, text_embedding=text)
    features, frames = torch.from_numpy(golden["features"]), torch.from_numpy(golden["frames"]).long()
    for arousal, audio, mask in (
        networks.audio.from_features(features, frames),
        networks.audio(inputs["waveform"], inputs["waveform_length"]),
    ):
        logits = networks.emotion(audio, mask, text, inputs["attention_mask"].bool())
        _check(golden, arousal=arousal, audio_embedding=audio, emotion_logits=logits)


@torch.no_grad()
def test_the_audio_model_alone_gives_its_own(alone: OriginalAudioArousal, golden: Arrays, given: Arrays) -> None:
    arousal, _, _ = alone(torch.from_numpy(given["waveform"]), torch.from_numpy(given["waveform_length"]))
    _check(golden, arousal_6_heads=arousal)


@pytest.fixture(scope="module")
def graphs(networks: Networks) -> Iterator[Graphs]:
    with tempfile.TemporaryDirectory() as folder:  # 0.7 GB, which pytest would keep three times
        yield export_fp32(networks, Path(folder))


def _run(path: Path, outputs: list[str], inputs: Arrays) -> list[NDArray[Any]]:
    results: list[NDArray[Any]] = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(
        outputs, inputs
    )
    return results


def test_the_graphs_give_the_golden_numbers(graphs: Graphs, golden: Arrays, given: Arrays) -> None:
    audio_inputs = {name: given[name] for name in ("waveform", "waveform_length")}
    text_inputs = {name: given[name] for name in ("input_ids", "attention_mask")}
    arousal, audio, mask = _run(graphs["audio_arousal"], ["arousal", "audio_embedding", "audio_mask"], audio_inputs)
    valence, text = _run(graphs["text_valence"], ["valence", "text_embedding"], text_inputs)
    both = {
        "audio_embedding": audio,
        "audio_mask": mask,
        "text_embedding": text,
        "text_mask": given["attention_mask"].astype(bool),
    }
    (logits,) = _run(graphs["emotion"], ["logits"], both)
    _check(golden, arousal=arousal, audio_embedding=audio, valence=valence, text_embedding=text, emotion_logits=logits)


def test_the_graph_of_the_audio_model_alone_gives_its_own(
    alone: OriginalAudioArousal, golden: Arrays, given: Arrays, tmp_path: Path
) -> None:
    inputs = {name: given[name] for name in ("waveform", "waveform_length")}
    example = tuple(torch.from_numpy(values) for values in inputs.values())
    path = export_graph(alone, "audio_arousal", example, tmp_path)
    _check(golden, arousal_6_heads=_run(path, ["arousal"], inputs)[0])
    path.unlink()
