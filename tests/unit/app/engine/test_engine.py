"""The engine on real sessions: batched equals single, missing modalities, scale and probabilities."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from app.engine.engine import Engine, ModelInput
from app.engine.session import Device, check_runtime, has_vnni
from app.errors import InferenceFailed, ModelCorrupt, ProviderUnavailable, RuntimeConflict
from app.settings import Precision
from app.store.manifest import Temperatures
from app.store.versions import load_manifest
from tests.support.tiny_version import make_endless

MakeSpeech = Callable[..., NDArray[np.float32]]


def _engine(store: Path, precision: Precision, threads: int = 1) -> Engine:
    folder = store / "starter" / "0.1.0"
    return Engine(folder, load_manifest(folder), precision, Device("cpu", threads))


@pytest.fixture(scope="module")
def engine(store: Path) -> Engine:
    return _engine(store, "fp32")


def _ids(*ids: int) -> NDArray[np.int64]:
    return np.array(ids, dtype=np.int64)


@pytest.fixture(scope="module")
def mixed(make_speech: MakeSpeech) -> list[ModelInput]:
    """Both modalities, each alone, and lengths from one sample to the longest."""
    return [
        ModelInput(make_speech(1.0), _ids(2, 8, 9, 3)),
        ModelInput(make_speech(2.0, seed=1)[: 64 * 512 - 1], None),
        ModelInput(None, _ids(2, 20, 21, 22, 23, 24, 3)),
        ModelInput(make_speech(0.2, seed=2), _ids(2, 3)),
        ModelInput(np.array([0.5], dtype=np.float32), None),
        ModelInput(np.zeros(5000, dtype=np.float32), _ids(*range(4, 20))),
    ]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_answer_does_not_depend_on_its_neighbours(
    store: Path, mixed: list[ModelInput], precision: Precision, threads: int
) -> None:
    engine = _engine(store, precision, threads)
    alone = [engine.predict([utterance])[0] for utterance in mixed]
    for order in (range(6), reversed(range(6)), (2, 2, 1)):
        rows = list(order)
        for row, prediction in zip(rows, engine.predict([mixed[row] for row in rows]), strict=True):
            assert prediction.arousal == pytest.approx(alone[row].arousal, abs=1e-4)
            assert prediction.valence == pytest.approx(alone[row].valence, abs=1e-4)
            assert prediction.probabilities == pytest.approx(alone[row].probabilities, abs=1e-4)


def test_different_utterances_get_different_answers(engine: Engine, mixed: list[ModelInput]) -> None:
    predictions = engine.predict(mixed)
    assert len({prediction.probabilities for prediction in predictions}) == len(mixed)
    assert len({prediction.arousal for prediction in predictions}) == 6  # five and None


def test_a_missing_modality_has_no_score(engine: Engine, make_speech: MakeSpeech) -> None:
    from_audio, from_text = engine.predict([ModelInput(make_speech(1.0), None), ModelInput(None, _ids(2, 8, 3))])
    assert from_audio.arousal is not None and from_audio.valence is None
    assert from_text.arousal is None and from_text.valence is not None
    for prediction in (from_audio, from_text):
        assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-12)


def test_scores_stay_on_the_scale(engine: Engine) -> None:
    (loud,) = engine.predict([ModelInput(np.ones(16000, dtype=np.float32), None)])
    assert loud.arousal == 5.0


def test_each_row_is_softened_by_the_temperature_of_its_modalities(store: Path, make_speech: MakeSpeech) -> None:
    folder = store / "starter" / "0.1.0"
    manifest = load_manifest(folder)
    uncalibrated = manifest.emotion.model_copy(update={"temperature": Temperatures(audio=1, text=1, both=1)})
    plain = Engine(folder, manifest.model_copy(update={"emotion": uncalibrated}), "fp32")
    samples, ids = make_speech(1.0), _ids(2, 8, 3)
    batch = [ModelInput(samples, None), ModelInput(None, ids), ModelInput(samples, ids)]
    softened = Engine(folder, manifest, "fp32").predict(batch)
    for before, after, temperature in zip(plain.predict(batch), softened, (2.0, 0.75, 1.5), strict=True):
        expected = np.power(before.probabilities, 1 / temperature)
        assert after.probabilities == pytest.approx(expected / expected.sum(), abs=1e-6)


def test_an_empty_batch_has_no_answers(engine: Engine) -> None:
    assert engine.predict([]) == []


def test_an_error_of_the_runtime_is_inference_failed(engine: Engine) -> None:
    with pytest.raises(InferenceFailed):
        engine.predict([ModelInput(None, _ids(2, 10**9, 3))])


def test_answers_that_are_no_numbers_are_inference_failed(engine: Engine) -> None:
    with pytest.raises(InferenceFailed):
        engine.predict([ModelInput(np.full(1000, np.nan, dtype=np.float32), None)])


def test_a_classifier_with_other_classes_is_refused(store: Path) -> None:
    folder = store / "starter" / "0.1.0"
    manifest = load_manifest(folder)
    fewer = manifest.model_copy(update={"emotion": manifest.emotion.model_copy(update={"classes": ("calm", "angry")})})
    with pytest.raises(ModelCorrupt, match="number of classes"):
        Engine(folder, fewer, "fp32").warm_up(60)


def test_swapped_graphs_are_refused(store: Path) -> None:
    folder = store / "starter" / "0.1.0"
    manifest = load_manifest(folder)
    graphs = dict(manifest.graphs["fp32"])
    graphs["emotion"] = graphs["text_valence"]
    with pytest.raises(ModelCorrupt, match="not the emotion graph: it must take audio_embedding"):
        Engine(folder, manifest.model_copy(update={"graphs": {"fp32": graphs}}), "fp32")


def test_a_file_that_is_no_graph_is_refused(store: Path) -> None:
    folder = store / "starter" / "0.1.0"
    manifest = load_manifest(folder)
    graphs = {**manifest.graphs["fp32"], "emotion": manifest.card}
    with pytest.raises(ModelCorrupt, match="cannot be loaded"):
        Engine(folder, manifest.model_copy(update={"graphs": {"fp32": graphs}}), "fp32")


def test_cuda_demanded_and_missing_is_an_error(store: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("the GPU runtime is installed")
    folder = store / "starter" / "0.1.0"
    with pytest.raises(ProviderUnavailable):
        Engine(folder, load_manifest(folder), "fp32", Device("cuda"))


@pytest.mark.parametrize(
    ("flags", "expected"), [("avx2 avx_vnni", True), ("avx512f avx512_vnni", True), ("avx2 fma", False)]
)
def test_processors_that_multiply_bytes_without_overflow_are_known(tmp_path: Path, flags: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : fpu {flags} sse\n")
    assert has_vnni(tmp_path / "cpuinfo") is expected
    assert not has_vnni(tmp_path / "missing")


def test_options_of_the_gpu_provider() -> None:
    (name, options), fallback = Device("cuda", number=1, memory_bytes=9_000_000_000).providers()
    assert (name, fallback) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options["device_id"] == "1"
    assert options["gpu_mem_limit"] == "3000000000"
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert "gpu_mem_limit" not in Device("cuda").providers()[0][1]


@pytest.mark.parametrize(("installed", "found"), [((), "neither"), (("onnxruntime", "onnxruntime-gpu"), "and")])
def test_exactly_one_runtime(installed: tuple[str, ...], found: str) -> None:
    with pytest.raises(RuntimeConflict, match=found):
        check_runtime(installed.__contains__)


def test_a_loop_without_end_is_given_up(store: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(store / "starter/0.1.0", tmp_path / "starter/0.1.0"))
    make_endless(folder)
    endless = Engine(folder, load_manifest(folder), "int8")
    with pytest.raises(ModelCorrupt, match=r"did not end within 0\.5 s.* MAEUM_WARM_UP_TIMEOUT_S"):
        endless.warm_up(0.5)
