"""Counts the work of the graphs, which must follow the length of the speech: padding must not creep back."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from app.engine.batcher import PADDING, Batcher
from app.engine.engine import Engine, ModelInput, Prediction
from app.engine.shapes import Buckets
from app.store.manifest import Manifest
from benchmarks.harness.work import flops
from benchmarks.workload.lengths import draw_lengths, make
from tests.support.recorder import Recorder
from training.config import load_preset
from training.export.int8 import quantise_int8
from training.export.onnx import export_fp32
from training.networks.networks import Networks
from training.networks.text_encoder import load_encoder
from training.recipes.smoke import TINY, make_encoder


def computed(recorder: Recorder) -> int:
    """Frames and tokens that went into the graphs, padding among them."""
    frames = sum(waveform.shape[0] * (1 + waveform.shape[1] // 512) for waveform in recorder.inputs("waveform"))
    return frames + sum(ids.size for ids in recorder.inputs("input_ids"))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def engine(folder: Path, manifest: Manifest, recorder: Recorder) -> Engine:
    return Engine(folder, manifest, "fp32", open_session=recorder.open)


def test_an_utterance_alone_is_not_padded_at_all(engine: Engine, recorder: Recorder) -> None:
    engine.predict([make(1.7, 9, vocabulary=100)])
    assert [waveform.shape for waveform in recorder.inputs("waveform")] == [(1, 27_200)]
    assert [ids.shape for ids in recorder.inputs("input_ids")] == [(1, 9)]
    assert [mask.shape for mask in recorder.inputs("audio_mask")] == [(1, 54)]
    assert [mask.shape for mask in recorder.inputs("text_mask")] == [(1, 9)]


@pytest.mark.parametrize("quantised", [False, True], ids=["fp32", "int8"])
def test_work_grows_with_the_utterance(tmp_path: Path, quantised: bool) -> None:
    """In the published structure, twice the speech takes twice the products, and a little more for attention."""
    encoder = make_encoder(tmp_path / "encoder")
    config = load_preset("paper", {**TINY, "text.encoder": str(encoder)})
    graphs = export_fp32(Networks(config, load_encoder(str(encoder))), tmp_path)
    graphs = quantise_int8(graphs, tmp_path) if quantised else graphs

    def counted(seconds: float, tokens: int, rows: int = 1) -> int:
        one = make(seconds, tokens, vocabulary=10)
        assert one.waveform is not None and one.input_ids is not None
        waveform, ids = (np.stack([part] * rows) for part in (one.waveform, one.input_ids))
        audio = {"waveform": waveform, "waveform_length": np.full(rows, waveform.shape[1])}
        text = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        return flops(graphs["audio_arousal"], audio) + flops(graphs["text_valence"], text)

    short, long, two = counted(0.511, 8), counted(1.023, 16), counted(0.511, 8, rows=2)
    assert short > 0
    assert 2 * short <= long < 2.3 * short
    assert two == 2 * short


def test_a_missing_modality_is_not_computed(engine: Engine, recorder: Recorder) -> None:
    both = make(1.0, 8, vocabulary=100)
    engine.predict([ModelInput(both.waveform, None), both, ModelInput(None, both.input_ids)])
    rows = {name: [len(value) for value in recorder.inputs(name)] for name in ("waveform", "input_ids", "audio_mask")}
    assert rows == {"waveform": [1, 1], "input_ids": [1, 1], "audio_mask": [1, 1, 1]}


def test_a_full_queue_of_mixed_lengths_is_hardly_padded(folder: Path, manifest: Manifest, recorder: Recorder) -> None:
    speech = [make(min(length.seconds, 2.0), min(length.tokens, 16), 100) for length in draw_lengths(96)]
    real = sum(utterance.positions(manifest) for utterance in speech)
    batched = Engine(folder, manifest, "fp32", buckets=Buckets.none(manifest), open_session=recorder.open)
    asyncio.run(_all_at_once(batched.predict, lambda item: item.positions(manifest), speech))
    assert real <= computed(recorder) <= real / (1 - PADDING)
    assert len(recorder.runs) < len(speech)  # three graphs a batch: batches hold more than three


async def _all_at_once(
    run: Callable[[Sequence[ModelInput]], list[Prediction]], cost: Callable[[ModelInput], int], items: list[ModelInput]
) -> None:
    batcher = Batcher[ModelInput, Prediction]([run], cost, max_batch=16, max_cost=10_000)
    batcher.start()
    await asyncio.gather(*(batcher.submit(item) for item in items))
    await batcher.close()
