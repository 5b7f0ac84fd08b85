"""Exported graphs compute what the networks compute, and an export that does not fails."""

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from app.engine.engine import ModelInput
from app.engine.load import load_model
from app.settings import Precision, Settings
from app.store.manifest import GraphName
from app.store.versions import load_manifest, verify
from training.config import load_preset
from training.export.fp16 import convert_fp16
from training.export.int8 import quantise_int8
from training.export.onnx import export_fp32
from training.export.parity import BOUNDS, TOLERANCE, ParityError, Reference
from training.export.version import ExportError, Release, export
from training.networks.files import load_networks, save_config, save_stage
from training.networks.networks import Networks
from training.networks.text_encoder import TOKENIZER_FILE, load_encoder
from training.recipes.smoke import TINY, make_corpus, make_encoder

NAME = Release("tiny", "1.2.3", "Apache-2.0", about="Learned from tones.")


RECURRENT = {"emotion.fusion": "joined", **{f"{part}.head": "recurrent" for part in ("audio", "text", "emotion")}}


@pytest.fixture(scope="module", params=[{}, RECURRENT], ids=["added", "joined"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with fresh weights, of the starter's structure and with the published heads."""
    folder = tmp_path_factory.mktemp("run")
    encoder = make_encoder(folder / "tiny-encoder")
    config = load_preset("starter", {**TINY, "text.encoder": str(encoder), **request.param})
    networks = Networks(config, load_encoder(str(encoder)))
    save_config(folder, networks)
    shutil.copyfile(encoder / TOKENIZER_FILE, folder / TOKENIZER_FILE)
    for stage in ("audio", "text", "emotion"):
        save_stage(folder, networks, stage)
    return folder


@pytest.fixture(scope="module")
def networks(run: Path) -> Networks:
    return load_networks(run)


@pytest.fixture(scope="module")
def reference(networks: Networks) -> Reference:
    return Reference(networks)


@pytest.fixture(scope="module")
def fp32(networks: Networks, tmp_path_factory: pytest.TempPathFactory) -> dict[GraphName, Path]:
    return export_fp32(networks, tmp_path_factory.mktemp("graphs"))


def test_every_output_agrees_on_every_case(
    networks: Networks, reference: Reference, fp32: dict[GraphName, Path]
) -> None:
    found = reference.check_fp32(fp32)
    assert set(found) == {"arousal", "audio_embedding", "audio_mask", "valence", "text_embedding", "logits"}
    assert max(found.values()) <= TOLERANCE
    lengths = sorted(len(wave) for wave in reference.cases[-1].waveforms)
    assert lengths[0] == 1
    assert lengths[-1] > networks.config.audio.max_frames * 512


@pytest.mark.parametrize("graph", ["audio_arousal", "text_valence", "emotion"])
def test_a_graph_that_computes_something_else_fails(
    reference: Reference, fp32: dict[GraphName, Path], graph: GraphName, tmp_path: Path
) -> None:
    with pytest.raises(ParityError, match="off by"):
        reference.check_fp32(scaled(fp32, graph, 1.01, tmp_path))


def scaled(graphs: dict[GraphName, Path], graph: GraphName, factor: float, folder: Path) -> dict[GraphName, Path]:
    """`graphs` with the largest weights of `graph` multiplied by `factor`."""
    changed = onnx.load(graphs[graph])
    weights = max(changed.graph.initializer, key=lambda tensor: np.prod(tensor.dims) if tensor.data_type == 1 else 0)
    values = (numpy_helper.to_array(weights) * np.float32(factor)).astype(np.float32)
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    onnx.save(changed, folder / "changed.onnx")
    return {**graphs, graph: folder / "changed.onnx"}


@pytest.mark.parametrize("graph", ["audio_arousal", "text_valence", "emotion"])
def test_values_that_are_not_finite_pass_at_no_precision(
    reference: Reference, fp32: dict[GraphName, Path], graph: GraphName, tmp_path: Path
) -> None:
    broken = scaled(fp32, graph, float("nan"), tmp_path)
    with pytest.raises(ParityError, match="not finite"):
        reference.check_fp32(broken)
    for precision in BOUNDS:
        with pytest.raises(ParityError, match="not finite"):
            reference.check(broken, precision)


@pytest.mark.parametrize("output", ["arousal", "valence", "logits"])
@pytest.mark.parametrize("precision", list(BOUNDS))
def test_a_drift_past_its_bound_fails_the_export(
    reference: Reference, fp32: dict[GraphName, Path], precision: Precision, output: str
) -> None:
    """Compared with networks that answer differently, graphs in float32 are as far off as bad ones would be."""
    moved = copy.copy(reference)
    moved.truth = [
        [{name: values + 2 * (name == output) for name, values in arrays.items()} for arrays in case]
        for case in reference.truth
    ]
    with pytest.raises(ParityError, match=f"The {precision} graphs' {output} is off by"):
        moved.check(fp32, precision)


@pytest.mark.parametrize("precision", list(BOUNDS))
def test_large_logits_are_held_to_the_same_bound(
    reference: Reference, fp32: dict[GraphName, Path], precision: Precision
) -> None:
    """A logit of 40 that is answered as 0.8 is less than 1 off in proportion, and another answer."""
    moved = copy.copy(reference)
    moved.truth = [
        [{name: values * (50.0 if name == "logits" else 1) for name, values in arrays.items()} for arrays in case]
        for case in reference.truth
    ]
    assert moved.drift(fp32)["logits"] < 1
    with pytest.raises(ParityError, match=f"The {precision} graphs' logits is off by"):
        moved.check(fp32, precision)


def stored_in_float16(graphs: dict[GraphName, Path], name: GraphName, inputs: dict[str, NDArray[Any]]) -> list[bool]:
    """Whether each float16 value of a graph is finite, computed node by node on `inputs`."""
    model = onnx.load(graphs[name])
    halves = [node.output[0] for node in model.graph.node if node.op_type == "Cast"]
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT16, None)
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16 and value.name not in halves
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return [bool(np.isfinite(value).all()) for value in session.run(None, inputs)]


def test_values_past_the_range_of_float16_stay_in_float32(
    reference: Reference, fp32: dict[GraphName, Path], tmp_path: Path
) -> None:
    """The table of embeddings is large enough here that its products pass 65,504."""
    loud = scaled(fp32, "text_valence", 1e8, tmp_path)
    beyond = reference.beyond_float16(loud)
    assert beyond["text_valence"]
    inputs = {"input_ids": np.array([[1, 2, 3]]), "attention_mask": np.ones((1, 3), np.int64)}
    for names, finite in ((beyond, True), ({}, False)):
        (tmp_path / str(finite)).mkdir()
        fp16 = convert_fp16(loud, tmp_path / str(finite), names)
        assert all(stored_in_float16(fp16, "text_valence", inputs)) == finite


def test_int8_is_near_and_as_independent_of_its_neighbours(
    reference: Reference, fp32: dict[GraphName, Path], tmp_path: Path
) -> None:
    int8 = quantise_int8(fp32, tmp_path)
    drift = reference.drift(int8)
    assert 0 < drift["arousal"] < 0.1
    assert 0 < drift["valence"] < 0.1
    assert reference.neighbour_effect(int8) <= TOLERANCE


def test_a_version_is_whole_checked_and_says_what_it_is(run: Path, tmp_path: Path) -> None:
    folder = export(run, tmp_path, NAME, ["int8", "fp32"], make_corpus(tmp_path))
    assert folder == tmp_path / "tiny" / "1.2.3"
    manifest = load_manifest(folder)
    verify(folder, manifest)
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *(file.file for file in manifest.files())}
    assert 1 not in manifest.emotion.temperature.model_dump().values()
    assert "emotion of smoke, both" in manifest.evaluation
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Learned from tones." in card
    assert "| emotion of smoke, both | 5 |" in card
    with pytest.raises(ExportError, match="a version never changes"):
        export(run, tmp_path, NAME, ["int8"])
    assert list(tmp_path.glob("tiny/.*")) == []


def test_the_engine_answers_as_the_networks_do(run: Path, networks: Networks, tmp_path: Path) -> None:
    export(run, tmp_path, NAME, ["fp32"])
    model = load_model(Settings.load(model_store=tmp_path, model="tiny"))
    reference = Reference(networks)
    case, (truth, _, _) = reference.cases[0], reference.truth[0]
    (prediction,) = model.predict([ModelInput(case.waveforms[0], case.tokens[0])])
    logits = truth["logits"][0].astype(np.float64)
    expected = np.exp(logits - logits.max())
    assert prediction.arousal == pytest.approx(float(np.clip(truth["arousal"][0], 1, 5)), abs=1e-4)
    assert prediction.valence == pytest.approx(float(np.clip(truth["valence"][0], 1, 5)), abs=1e-4)
    assert prediction.probabilities == pytest.approx((expected / expected.sum()).tolist(), abs=1e-4)
